"""One library file: what is kept in it and found again."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from twinreel.errors import StoreError
from twinreel.store.rows import (
    Facts,
    Packed,
    Remembered,
    facts_row,
    file_row,
    pack_match,
    read_info,
    unpack_match,
)
from twinreel.store.schema import explained, migrate
from twinreel.types import Features, Floats, Match, VideoFile
from twinreel.vectors import Shards, wide

FEW_KEYS = 100  # are asked for one by one, more by reading all
WAIT_S = 30.0  # for another process to finish writing


def default_path() -> Path:
    """The library in the user's data folder ($TWINREEL_LIBRARY overrides)."""
    if named := os.environ.get("TWINREEL_LIBRARY"):
        return Path(named)
    import platformdirs

    return Path(platformdirs.user_data_dir("twinreel")) / "library.db"


def now() -> str:
    """The time as an ISO string in UTC, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


class Library:
    """One library file. Not for several threads; several processes take turns."""

    def __init__(self, path: Path, db: sqlite3.Connection) -> None:
        self.path = path
        self._db = db
        self._shards = Shards(path.with_name(path.name + ".vectors"))

    @classmethod
    def open(cls, path: str | Path | None = None) -> Library:
        """Open or create. Raises StoreError, StoreVersion, StoreLocked."""
        path = Path(path) if path else default_path()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{path}: {error.strerror}; name another --library") from None
        with explained(path):
            db = sqlite3.connect(path, timeout=WAIT_S, isolation_level=None)
            try:
                db.execute("PRAGMA journal_mode=WAL")
                db.execute("PRAGMA synchronous=NORMAL")
                migrate(path, db)
            except BaseException:
                db.close()
                raise
        return cls(path, db)

    def __enter__(self) -> Library:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._shards.close()
        self._db.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """`with library.transaction():` all or nothing. Raises StoreLocked, StoreError."""
        # Begun inside: Ctrl-C while it begins must not leave it open.
        with explained(self.path), self._db:
            self._db.execute("BEGIN IMMEDIATE")
            yield

    # -- files ----------------------------------------------------------------------------------

    def files(self) -> Iterator[tuple[VideoFile, str, str]]:
        """(file, full hash or '', last seen) of every path ever looked at."""
        rows = self._db.execute(
            "SELECT path, size, mtime_ns, inode, device, volume, key, full_hash, last_seen"
            " FROM files"
        )
        for path, size, mtime, inode, device, volume, key, full, seen in rows:
            yield (
                VideoFile(os.fsdecode(path), size, mtime, inode, device, volume, key),
                full or "",
                seen,
            )

    def put_files(self, files: Iterable[VideoFile], hashes: dict[str, str], seen: str) -> None:
        """Remember paths with their keys and when they were seen."""
        with self.transaction():
            self._db.executemany(
                "INSERT OR REPLACE INTO files VALUES (?,?,?,?,?,?,?,?,?)",
                (file_row(f, hashes.get(f.path), seen) for f in files),
            )

    def drop_files(self, paths: Iterable[str]) -> None:
        """Forget paths (what was learnt of their content stays)."""
        with self.transaction():
            self._db.executemany(
                "DELETE FROM files WHERE path = ?", ((os.fsencode(p),) for p in paths)
            )

    # -- what was learnt ------------------------------------------------------------------------

    def put_look(
        self,
        facts: Facts,
        features: Features,
        thumbs: Sequence[tuple[float, bytes]] = (),
        thumbs_sampling: str = "",
        inset: Features | None = None,
    ) -> None:
        """Keep all that one look gave, in one transaction; an earlier failure is forgotten.

        inset: of the picture inside the pictures, where there is one.
        """
        key = features.key
        with self.transaction():
            self._db.execute(
                "INSERT OR REPLACE INTO videos VALUES (?,?,?,?,?,?,?,?,?)", facts_row(key, facts)
            )
            self._put_features(features)
            if inset is not None:
                self._put_features(inset, "insets")
            if thumbs:
                self._db.execute(
                    "INSERT OR REPLACE INTO thumbs VALUES (?,?,?,?,?)",
                    (
                        key,
                        thumbs_sampling,
                        np.array([t for t, _ in thumbs], np.float64).tobytes(),
                        np.array([len(d) for _, d in thumbs], np.int32).tobytes(),
                        b"".join(d for _, d in thumbs),
                    ),
                )
            self._db.execute("DELETE FROM failures WHERE key = ?", (key,))

    def put_features(self, f: Features) -> None:
        """Keep Features; vectors as float16."""
        with self.transaction():
            self._put_features(f)

    def _put_features(self, f: Features, table: str = "features") -> None:
        self._db.execute(
            f"INSERT OR REPLACE INTO {table}"
            " (key, model, sampling, duration_s, rows, dim, vectors, spans, blank)"
            " VALUES (?,?,?,?,?,?,?,?,?)",
            (
                f.key,
                f.model,
                f.sampling,
                f.duration_s,
                *f.vectors.shape,
                f.vectors.astype(np.float16).tobytes(),
                f.spans_s.tobytes(),
                np.packbits(f.blank).tobytes(),
            ),
        )

    def known(self, model: str, sampling: str) -> set[str]:
        """Keys that have Features of this model and sampling."""
        rows = self._db.execute(
            "SELECT key FROM features WHERE model = ? AND sampling = ?", (model, sampling)
        )
        return {key for (key,) in rows}

    def features(self, key: str, model: str, sampling: str) -> Features | None:
        """Features as kept, or None."""
        return next(self.all_features(model, sampling, [key]), None)

    def all_features(
        self, model: str, sampling: str, keys: Sequence[str] | None = None
    ) -> Iterator[Features]:
        """Features of the given keys (all when None); vectors float32, rounded to float16."""
        sql = (
            "SELECT key, duration_s, rows, dim, vectors, spans, blank, place FROM features"
            " WHERE model = ? AND sampling = ?"
        )
        if keys is None:
            cursors = iter([self._db.execute(sql, (model, sampling))])
        else:
            cursors = (
                self._db.execute(sql + " AND key = ?", (model, sampling, key)) for key in keys
            )
        for cursor in cursors:
            for row in cursor:
                yield self._made(model, sampling, row)

    def _made(self, model: str, sampling: str, row: tuple[Any, ...]) -> Features:
        """A row of a table as Features."""
        key, duration, n, d, vectors, spans, blank, place = row
        return Features(
            key,
            model,
            sampling,
            self._rows(vectors, place, n, d),
            np.frombuffer(spans, np.float64).reshape(n, 2),
            np.unpackbits(np.frombuffer(blank, np.uint8), count=n).astype(bool),
            duration,
        )

    def insets(self, model: str, sampling: str) -> Iterator[Features]:
        """Features of pictures inside pictures, under the keys of the videos around them."""
        found = self._db.execute(
            "SELECT key, duration_s, rows, dim, vectors, spans, blank, NULL FROM insets"
            " WHERE model = ? AND sampling = ? ORDER BY key",
            (model, sampling),
        )
        return (self._made(model, sampling, row) for row in found)

    def _rows(self, vectors: bytes, place: int | None, n: int, d: int) -> Floats:
        """Vectors as float32 (n, d), from the row itself or from the shards."""
        if place is None:
            return wide(np.frombuffer(vectors, np.float16).reshape(n, d))
        with self._beside():
            return self._shards.read(place, n, d)

    @contextlib.contextmanager
    def _beside(self) -> Iterator[None]:
        """What the shards' errors mean."""
        try:
            yield
        except (OSError, ValueError) as error:
            raise StoreError(
                f"{self._shards.folder}: {error}; this folder belongs to {self.path}: "
                "put it back beside it"
            ) from None

    def pack(self, model: str, sampling: str, batch: int = 4096) -> int:
        """Move the vectors of a large library into shards beside it; rows moved.

        One transaction per `batch` videos: a kill loses nothing, the next call goes on.
        """
        moved = 0
        while True:
            with self.transaction():
                found = self._db.execute(
                    "SELECT id, rows, dim, vectors FROM features WHERE model = ? AND sampling = ?"
                    " AND place IS NULL AND rows > 0 ORDER BY id LIMIT ?",
                    (model, sampling, batch),
                ).fetchall()
                for dim in {d for _, _, d, _ in found}:
                    place = self._db.execute(
                        "SELECT coalesce(max(place + rows), 0) FROM features WHERE dim = ?", (dim,)
                    ).fetchone()[0]
                    ours = [(number, n, data) for number, n, d, data in found if d == dim]
                    data = b"".join(data for _, _, data in ours)
                    try:
                        self._shards.write(place, np.frombuffer(data, np.float16).reshape(-1, dim))
                    except OSError as error:
                        raise StoreError(
                            f"{self._shards.folder}: {error}; free space, then start again"
                        ) from None
                    for number, n, _ in ours:
                        self._db.execute(
                            "UPDATE features SET vectors = x'', place = ? WHERE id = ?",
                            (place, number),
                        )
                        place, moved = place + n, moved + n
            if len(found) < batch:
                return moved

    def packed(self, model: str, sampling: str) -> Iterator[Packed]:
        """Where the vectors of each video stand, after `pack`."""
        found = self._db.execute(
            "SELECT key, duration_s, place, rows, dim, blank FROM features"
            " WHERE model = ? AND sampling = ? AND (place IS NOT NULL OR rows = 0)",
            (model, sampling),
        )
        for key, duration, place, n, dim, blank in found:
            shown = None
            if any(blank):
                bits = np.unpackbits(np.frombuffer(blank, np.uint8), count=n)
                shown = np.nonzero(bits == 0)[0]
            yield Packed(key, duration, place or 0, n, dim, shown)

    def vectors_at(self, rows: npt.NDArray[np.int64], dim: int) -> Floats:
        """float32 (n, dim): rows of the shards, as `packed` says where they stand."""
        with self._beside():
            return self._shards.take(rows, dim)

    def rows(self, model: str, sampling: str) -> int:
        """Vectors held under this model and sampling."""
        total = self._db.execute(
            "SELECT coalesce(sum(rows), 0) FROM features WHERE model = ? AND sampling = ?",
            (model, sampling),
        )
        return int(total.fetchone()[0])

    def kinds(self) -> list[tuple[str, str]]:
        """(model, sampling) of all Features held."""
        rows = self._db.execute("SELECT DISTINCT model, sampling FROM features ORDER BY 1, 2")
        return list(rows)

    def extents(self, model: str, sampling: str) -> dict[str, tuple[float, int]]:
        """Key -> (duration in seconds, moments) of everything that has such Features."""
        rows = self._db.execute(
            "SELECT key, duration_s, rows FROM features WHERE model = ? AND sampling = ?",
            (model, sampling),
        )
        return {key: (duration, count) for key, duration, count in rows}

    def samplings(self, key: str, model: str) -> list[str]:
        """The samplings under which this content has Features of this model."""
        rows = self._db.execute(
            "SELECT sampling FROM features WHERE key = ? AND model = ?", (key, model)
        )
        return [sampling for (sampling,) in rows]

    def facts(self, keys: Iterable[str] | None = None) -> dict[str, Facts]:
        """key -> Facts, of all contents or of the given ones."""
        wanted = None if keys is None else set(keys)
        out = {}
        sql = "SELECT key, info, step_s, planned, got, damage, detail, picture, noise FROM videos"
        if wanted is not None and len(wanted) <= FEW_KEYS:
            sql += f" WHERE key IN ({','.join('?' * len(wanted))})"
        rows = self._db.execute(sql, tuple(wanted or ()) if "?" in sql else ())
        for key, info, step, planned, got, damage, detail, picture, noise in rows:
            if wanted is None or key in wanted:
                out[key] = Facts(
                    read_info(info),
                    step,
                    planned,
                    got,
                    damage,
                    detail,
                    tuple(json.loads(picture)),
                    noise,
                )
        return out

    def thumbs(self, key: str, sampling: str | None = None) -> list[tuple[float, bytes]]:
        """(time in seconds, JPEG bytes) of the kept small pictures; [] when there are none.

        The pictures are squares of the border-cut frame, to be shown at the video's own aspect.
        """
        sql = "SELECT times, sizes, data FROM thumbs WHERE key = ?"
        args: tuple[str, ...] = (key,)
        if sampling is not None:
            sql, args = sql + " AND sampling = ?", (key, sampling)
        row = self._db.execute(sql + " LIMIT 1", args).fetchone()
        if row is None:
            return []
        times, sizes = np.frombuffer(row[0], np.float64), np.frombuffer(row[1], np.int32)
        ends = np.cumsum(sizes)
        return [
            (float(t), row[2][end - size : end])
            for t, size, end in zip(times, sizes, ends, strict=True)
        ]

    def pictured(self, sampling: str) -> set[str]:
        """The contents of which every moment looked at under this sampling is kept as a picture."""
        # `videos.got` is of the last look, which may have had another sampling.
        rows = self._db.execute(
            "SELECT key FROM thumbs JOIN videos USING (key)"
            " WHERE thumbs.sampling = ?1 AND length(sizes) > 0 AND length(sizes) / 4 = coalesce("
            "(SELECT max(rows) FROM features AS f WHERE f.key = thumbs.key AND f.sampling = ?1),"
            " got)",
            (sampling,),
        )
        return {key for (key,) in rows}

    # -- failures -------------------------------------------------------------------------------

    def put_failure(self, key: str, failure: Remembered) -> None:
        """Remember why a content could not be used."""
        f = failure
        with self.transaction():
            self._db.execute(
                "INSERT OR REPLACE INTO failures VALUES (?,?,?,?,?,?,?)",
                (key, f.stage, f.error, f.detail, f.transient, f.twinreel, now()),
            )

    def failures(self) -> dict[str, Remembered]:
        """key -> failure."""
        rows = self._db.execute(
            "SELECT key, stage, error, detail, transient, twinreel FROM failures"
        )
        return {k: Remembered(s, e, d, bool(t), v) for k, s, e, d, t, v in rows}

    # -- scored pairs ---------------------------------------------------------------------------

    def compared(self, context: str) -> set[str]:
        """Keys that have all been compared with each other under `context`."""
        rows = self._db.execute("SELECT key FROM compared WHERE context = ?", (context,))
        return {key for (key,) in rows}

    def put_pairs(self, context: str, keys: Iterable[str], matches: Iterable[Match]) -> None:
        """Keep matches (a, b are keys) and that `keys` are compared, in one transaction."""
        with self.transaction():
            self._db.executemany(
                "INSERT OR REPLACE INTO pairs VALUES (?,?,?,?,?)",
                ((context, m.a, m.b, m.score, json.dumps(pack_match(m))) for m in matches),
            )
            self._db.executemany(
                "INSERT OR REPLACE INTO compared VALUES (?,?)", ((context, k) for k in keys)
            )

    def pairs(self, context: str, min_score: float = 0.0) -> Iterator[Match]:
        """Kept matches (a, b are keys) at or above a score."""
        rows = self._db.execute(
            "SELECT a, b, score, match FROM pairs WHERE context = ? AND score >= ?",
            (context, min_score),
        )
        for a, b, score, packed in rows:
            yield unpack_match(a, b, score, json.loads(packed))

    def pair(self, context: str, a: str, b: str) -> Match | None:
        """The kept match of two keys, a < b."""
        row = self._db.execute(
            "SELECT score, match FROM pairs WHERE context = ? AND a = ? AND b = ?", (context, a, b)
        ).fetchone()
        return None if row is None else unpack_match(a, b, row[0], json.loads(row[1]))

    # -- small memories -------------------------------------------------------------------------

    def remember(self, kind: str, name: str, value: Any) -> None:
        """Keep a small JSON value under (kind, name)."""
        with self.transaction():
            self._db.execute(
                "INSERT OR REPLACE INTO remembered VALUES (?,?,?,?)",
                (kind, name, json.dumps(value), now()),
            )

    def recall(self, kind: str, name: str) -> Any:
        """The value kept under (kind, name), or None."""
        row = self._db.execute(
            "SELECT value FROM remembered WHERE kind = ? AND name = ?", (kind, name)
        ).fetchone()
        return None if row is None else json.loads(row[0])

    def recall_all(self, kind: str) -> dict[str, Any]:
        """Everything kept under `kind`: name -> value."""
        rows = self._db.execute("SELECT name, value FROM remembered WHERE kind = ?", (kind,))
        return {name: json.loads(value) for name, value in rows}

    def forget(self, kind: str, name: str) -> bool:
        """Drop what is kept under (kind, name); whether there was anything."""
        done = self._db.execute("DELETE FROM remembered WHERE kind = ? AND name = ?", (kind, name))
        return done.rowcount > 0

    def sizes(self) -> dict[str, int]:
        """Rows per table and bytes of the file, for `library` and `doctor`."""
        tables = ("files", "videos", "features", "thumbs", "failures", "pairs")
        out = {t: int(self._db.execute(f"SELECT count(*) FROM {t}").fetchone()[0]) for t in tables}
        return {**out, "bytes": self.path.stat().st_size}
