"""The library: what was learnt of videos, kept in one SQLite file and found again.

    with Library.open(path) as library:
        library.put_features(features)
        library.features(key, model, sampling)     # Features or None

Everything is keyed by content (exact.content_key), never by name: a rename costs nothing. Vectors
are kept with the identity of model and sampling that made them. One transaction per video: kill -9
loses at most the videos in flight. Newer twinreel versions migrate older libraries forward.

library.py holds the questions and answers, schema.py the tables and how older ones are brought
forward, rows.py what a record is as a row.
"""

from twinreel.store.library import Library as Library
from twinreel.store.library import default_path as default_path
from twinreel.store.library import now as now
from twinreel.store.rows import Facts as Facts
from twinreel.store.rows import Remembered as Remembered
from twinreel.store.rows import pack_match as pack_match
from twinreel.store.rows import unpack_match as unpack_match
