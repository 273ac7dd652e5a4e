"""The tables of a library, older ones brought forward, and SQLite's errors in our words."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from twinreel.errors import StoreError, StoreLocked, StoreVersion

MIGRATIONS = [
    """
    CREATE TABLE files (
        path BLOB PRIMARY KEY, size INTEGER, mtime_ns INTEGER, inode INTEGER, device INTEGER,
        volume TEXT, key TEXT, full_hash TEXT, last_seen TEXT) WITHOUT ROWID;
    CREATE INDEX files_key ON files (key);
    CREATE TABLE videos (
        key TEXT PRIMARY KEY, info TEXT, step_s REAL, planned INTEGER, got INTEGER, damage TEXT,
        detail REAL, picture TEXT) WITHOUT ROWID;
    CREATE TABLE features (
        id INTEGER PRIMARY KEY, key TEXT, model TEXT, sampling TEXT, duration_s REAL,
        rows INTEGER, dim INTEGER, vectors BLOB, spans BLOB, blank BLOB,
        UNIQUE (key, model, sampling));
    CREATE TABLE thumbs (key TEXT, sampling TEXT, times BLOB, sizes BLOB, data BLOB,
        PRIMARY KEY (key, sampling));
    CREATE TABLE failures (
        key TEXT PRIMARY KEY, stage TEXT, error TEXT, detail TEXT, transient INTEGER,
        twinreel TEXT, at TEXT) WITHOUT ROWID;
    CREATE TABLE pairs (context TEXT, a TEXT, b TEXT, score REAL, match TEXT,
        PRIMARY KEY (context, a, b)) WITHOUT ROWID;
    CREATE TABLE compared (context TEXT, key TEXT, PRIMARY KEY (context, key)) WITHOUT ROWID;
    CREATE TABLE remembered (kind TEXT, name TEXT, value TEXT, at TEXT,
        PRIMARY KEY (kind, name)) WITHOUT ROWID;
    """,
    "ALTER TABLE videos ADD COLUMN noise REAL NOT NULL DEFAULT 0",
    "ALTER TABLE features ADD COLUMN place INTEGER",  # row in vectors.Shards; then `vectors` is ''
    """
    CREATE TABLE insets (
        key TEXT, model TEXT, sampling TEXT, duration_s REAL, rows INTEGER, dim INTEGER,
        vectors BLOB, spans BLOB, blank BLOB, PRIMARY KEY (key, model, sampling)) WITHOUT ROWID
    """,  # Features of pictures inside pictures
]


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """SQLite's errors as ours."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if "locked" in str(error) or "busy" in str(error):
            raise StoreLocked(f"{path}: in use by another run; wait for it or close it") from None
        remedy = "free space" if "full" in str(error) else "name another --library"
        raise StoreError(f"{path}: {error}; {remedy}") from None
    except sqlite3.DatabaseError as error:
        raise StoreError(
            f"{path}: not a twinreel library: {error}; name another --library"
        ) from None


def migrate(path: Path, db: sqlite3.Connection) -> None:
    """Bring a library forward to this version, all or nothing; several may try at once."""
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version > len(MIGRATIONS):
        raise StoreVersion(
            f"{path}: library version {version}, this twinreel knows {len(MIGRATIONS)}; "
            "update twinreel or name another --library"
        )
    if version == len(MIGRATIONS):
        return
    db.execute("BEGIN IMMEDIATE")
    with db:
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if not version and db.execute("SELECT 1 FROM sqlite_master").fetchone():
            raise StoreError(
                f"{path}: not a twinreel library but another program's; name another --library"
            )
        for number, script in enumerate(MIGRATIONS[version:], version + 1):
            for statement in script.split(";"):
                db.execute(statement)
            db.execute(f"PRAGMA user_version={number}")
