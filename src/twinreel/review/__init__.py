"""A report becomes a page on which a person decides, and decisions become a report again.

    from twinreel.review.page import write_page

    write_page(Report.load("report.json"), "report.html")

choices   what was decided on the page -> an edited Report   pictures  library -> strips, matrices
page      Report and Library -> one self-contained file      server    the same page, with playback
guard     who may ask the server                             playback  a video in a browser
stream    the worker that remuxes or transcodes              cli       the verb `review`
"""
