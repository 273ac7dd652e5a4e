"""Feature extraction, in the order of a video's way through it:

manifest (CSV or folders -> jobs), options, plan (which networks, which sampling), claims (who does
what on a shared disk), filters and clips (decoding in other processes), feed, batches, forward
(the networks), projection, outputs and shards (whole files, atomically), status, journey (all of it
in one function), devices (several GPUs), cli.

    from twinreel.extract.journey import extract
"""
