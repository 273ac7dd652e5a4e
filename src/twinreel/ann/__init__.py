"""Candidates of a large library: nearest neighbours in place of every pair (extra `ann`: faiss).

    search = Search(source, Index.build(source), known, tolerance, calibration)
    check(search)                                  # what share of the exact search it finds
    for match in scored(search, new, families, belongs):
        ...

Three steps, each dropping what is settled:

1. index.py: an inverted file holds the moments of all videos.
2. search.py: each new video asks for its nearest videos. Those pass the very rule that the exact
   search uses (candidates.best_moments), on the full vectors, read through memory maps.
3. matches.py: the pairs are aligned and scored as everywhere. In a crowd, a family of hundreds of
   videos that match (families.py), a newcomer meets its LEADERS, one after the other, until it
   matches one: further pairs inside add nothing to what DBSCAN finds (with min_samples up to 2),
   so they are not looked at. Memory and time grow with members, not with pairs.
"""

from twinreel.ann.check import check
from twinreel.ann.families import LEADERS, Families
from twinreel.ann.index import Index, installed, wanted
from twinreel.ann.matches import Counts, scored, workers
from twinreel.ann.search import NEAR, Search, neighbours
from twinreel.ann.source import Ints, Kept

__all__ = [
    "LEADERS",
    "NEAR",
    "Counts",
    "Families",
    "Index",
    "Ints",
    "Kept",
    "Search",
    "check",
    "installed",
    "neighbours",
    "scored",
    "wanted",
    "workers",
]
