"""Accuracy scoreboard: edited copies of real clips, truth by construction, rivals beside us.

    python -m benchmarks.accuracy.run --quick

Everything it makes (videos, hashes of rivals) lies under ``--work``, outside git.
"""
