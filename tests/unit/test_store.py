"""The library: what is put in comes out, and a kill at any moment loses next to nothing."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from twinreel.errors import StoreError, StoreLocked, StoreVersion
from twinreel.store import Facts, Library, Remembered, schema
from twinreel.store import library as asked
from twinreel.types import Features, Match, Segment, Track, VideoFile, VideoInfo

INFO = VideoInfo(
    12.5, 640, 360, 640, 360, "h264", "mov,mp4", 25.0, 25.0, 90, 1.0, 800_000, 10, "pq", True,
    (Track("aac", "eng", 2),), (Track("srt", "ger"),),
)  # fmt: skip
FACTS = Facts(INFO, 0.5, 25, 24, "1 of 9 packets undecodable", 123.0, (0.0, 0.1, 1.0, 0.9))


def made(key: str, rows: int = 5, model: str = "m", sampling: str = "s", seed: int = 0) -> Features:
    """Features with random unit rows that float16 holds."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(rows, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    times = np.arange(rows) * 0.5
    return Features(
        key, model, sampling, vectors.astype(np.float16).astype(np.float32),
        np.stack([times, times + 0.5], axis=1), np.arange(rows) % 3 == 0, rows * 0.5,
    )  # fmt: skip


@pytest.fixture
def library(tmp_path: Path):
    with Library.open(tmp_path / "library.db") as opened:
        yield opened


def test_a_look_comes_out_as_it_went_in(library: Library) -> None:
    f = made("k")
    thumbs = [(0.0, b"first"), (0.5, b""), (1.0, b"third picture")]
    library.put_look(FACTS, f, thumbs, "s")
    back = library.features("k", "m", "s")
    assert back is not None
    for name in ("vectors", "spans_s", "blank"):
        assert np.array_equal(getattr(back, name), getattr(f, name))
    assert back.vectors.dtype == np.float32
    assert (back.key, back.model, back.sampling, back.duration_s) == ("k", "m", "s", 2.5)
    assert library.facts() == {"k": FACTS}
    assert library.thumbs("k") == library.thumbs("k", "s") == thumbs
    assert library.thumbs("k", "other") == [] == library.thumbs("none")


def test_pictured_are_those_of_which_every_moment_is_kept(library: Library) -> None:
    pictures = [(i / 2, b"picture") for i in range(6)]
    library.put_look(replace(FACTS, got=3), made("k", rows=3), pictures[:3], "s")
    assert library.pictured("s") == {"k"} and library.pictured("other") == set()
    # A look at other moments changes how many were got last, and nothing of these.
    denser = made("k", rows=6, sampling="denser")
    library.put_look(replace(FACTS, got=6), denser, pictures, "denser")
    assert library.pictured("s") == library.pictured("denser") == {"k"}
    library.put_look(replace(FACTS, got=3), made("l", rows=3), pictures[:2], "s")
    assert library.pictured("s") == {"k"}


def test_other_options_never_meet_these_vectors(library: Library) -> None:
    library.put_look(FACTS, made("k"))
    assert library.features("k", "m", "other sampling") is None
    assert library.features("k", "other model", "s") is None
    assert library.known("m", "s") == {"k"} and library.known("m", "t") == set()
    library.put_look(FACTS, made("k", model="n"))
    assert library.known("m", "s") == library.known("n", "s") == {"k"}
    assert [f.key for f in library.all_features("n", "s")] == ["k"]


def test_float16_is_near_enough(library: Library) -> None:
    f = made("k")
    noisy = replace(f, vectors=f.vectors + np.float32(1e-5))
    library.put_look(FACTS, noisy)
    back = library.features("k", "m", "s")
    assert back is not None and np.abs(back.vectors - noisy.vectors).max() < 1e-3


def test_many_features_in_their_order(library: Library) -> None:
    for i in range(20):
        library.put_look(FACTS, made(f"k{i:02}", rows=i + 1, seed=i))
    some = list(library.all_features("m", "s", ["k07", "k03", "nowhere"]))
    assert [(f.key, len(f.vectors)) for f in some] == [("k07", 8), ("k03", 4)]
    assert len(list(library.all_features("m", "s"))) == 20
    assert set(library.facts(["k01", "k99"])) == {"k01"}


def test_paths_that_are_not_utf8(library: Library) -> None:
    name = os.fsdecode(b"/videos/\xff\xfe\n.mp4")
    file = VideoFile(name, 10, 2**62, 2**63 - 1, 7, "uuid-1", "k")
    library.put_files([file], {name: "f" * 32}, "2026-01-01T00:00:00Z")
    ((back, full, seen),) = library.files()
    assert back == file and full == "f" * 32 and seen == "2026-01-01T00:00:00Z"
    library.drop_files([name])
    assert list(library.files()) == []


def test_a_rename_costs_nothing(library: Library) -> None:
    """What was learnt hangs on the content: another path with that key finds all of it."""
    library.put_files([VideoFile("/a.mp4", 1, 2, 3, 4, "", "k")], {}, "t1")
    library.put_look(FACTS, made("k"), [(0.0, b"x")], "s")
    library.drop_files(["/a.mp4"])
    library.put_files([VideoFile("/b/c.mkv", 1, 2, 3, 4, "", "k")], {}, "t2")
    ((file, _, _),) = library.files()
    assert file.path == "/b/c.mkv" and library.features(file.key or "", "m", "s") is not None
    assert library.thumbs("k") and library.facts()["k"] == FACTS


def test_failures_are_remembered_until_a_look_goes_well(library: Library) -> None:
    failure = Remembered("decode", "DecodeFailed", "words", False, "0.1.0")
    library.put_failure("k", failure)
    library.put_failure("io", replace(failure, transient=True))
    assert library.failures() == {"k": failure, "io": replace(failure, transient=True)}
    library.put_look(FACTS, made("k"))
    assert set(library.failures()) == {"io"}


def test_pairs_by_context_and_score(library: Library) -> None:
    segment = Segment((0.0, 2.0), (1.0, 3.5), 1.25, True)
    match = Match("a", "b", 0.75, "part_of", (segment,), 0.9, 0.4)
    library.put_pairs("c1", ["a", "b"], [match])
    assert list(library.pairs("c1")) == [match]
    assert list(library.pairs("c1", 0.76)) == [] == list(library.pairs("c2"))
    assert library.compared("c1") == {"a", "b"} and library.compared("c2") == set()


def test_small_memories(library: Library) -> None:
    library.remember("report", "x", {"a": [1, 2]})
    library.remember("report", "x", {"a": [3]})
    assert library.recall("report", "x") == {"a": [3]}
    assert library.recall("report", "y") is None
    sizes = library.sizes()
    assert sizes["features"] == 0 and sizes["bytes"] > 0


def test_half_a_transaction_is_none(library: Library) -> None:
    def matches():
        yield Match("a", "b", 1.0, "copy")
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError):
        library.put_pairs("c", ["a", "b"], matches())
    assert list(library.pairs("c")) == [] and library.compared("c") == set()
    library.put_pairs("c", ["a"], [])  # and the next one goes well
    assert library.compared("c") == {"a"}


def test_a_newer_library_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "l.db"
    Library.open(path).close()
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA user_version={len(schema.MIGRATIONS) + 1}")
    db.close()
    before = path.read_bytes()
    with pytest.raises(StoreVersion, match=r"library version \d+, this twinreel knows \d+; update"):
        Library.open(path)
    assert path.read_bytes() == before


def test_an_older_library_is_brought_forward(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "l.db"
    with Library.open(path) as first:
        first.put_look(FACTS, made("k"))
    newer = [*schema.MIGRATIONS, "ALTER TABLE videos ADD COLUMN extra TEXT;"]
    monkeypatch.setattr(schema, "MIGRATIONS", newer)
    with Library.open(path) as second:
        assert second.features("k", "m", "s") is not None
        columns = second._db.execute("PRAGMA table_info(videos)").fetchall()
        assert "extra" in [c[1] for c in columns]
    Library.open(path).close()  # once only


def test_a_migration_that_fails_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "l.db"
    with Library.open(path) as first:
        first.put_look(FACTS, made("k"))
    good = schema.MIGRATIONS
    broken = [*good, "CREATE TABLE half (a); CREATE TABLE half (a);"]
    monkeypatch.setattr(schema, "MIGRATIONS", broken)
    with pytest.raises(StoreError):
        Library.open(path)
    monkeypatch.setattr(schema, "MIGRATIONS", good)
    with Library.open(path) as again:
        assert again.features("k", "m", "s") is not None
        tables = again._db.execute("SELECT name FROM sqlite_master").fetchall()
        assert ("half",) not in tables


def test_what_is_no_library_is_said(tmp_path: Path) -> None:
    words = tmp_path / "words.db"
    words.write_text("not a database, but long enough to look like one. " * 50)
    with pytest.raises(StoreError, match="not a twinreel library"):
        Library.open(words)
    assert words.read_text().startswith("not a database")
    with pytest.raises(StoreError, match="name another --library"):
        Library.open(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="name another --library"):
        Library.open(tmp_path / "file" / "below.db")


def test_a_strange_database_is_left_alone(tmp_path: Path) -> None:
    """Another program's SQLite file under --library must not get our tables."""
    path = tmp_path / "photos.db"
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE files (id INTEGER)")
    db.commit()
    db.close()
    with pytest.raises(StoreError):
        Library.open(path)
    db = sqlite3.connect(path)
    tables = [n for (n,) in db.execute("SELECT name FROM sqlite_master")]
    db.close()
    assert tables == ["files"]


def test_a_locked_library_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "l.db"
    Library.open(path).close()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    monkeypatch.setattr(asked, "WAIT_S", 0.1)
    with (
        pytest.raises(StoreLocked, match="in use by another run; wait"),
        Library.open(path) as library,
    ):
        library.put_failure("k", Remembered("a", "b", "c", False, "d"))
    other.close()


def test_two_processes_take_turns(tmp_path: Path) -> None:
    with Library.open(tmp_path / "l.db") as a, Library.open(tmp_path / "l.db") as b:
        for i in range(10):
            a.put_look(FACTS, made(f"a{i}"))
            b.put_look(FACTS, made(f"b{i}"))
        assert a.known("m", "s") == b.known("m", "s") and len(a.known("m", "s")) == 20


WRITER = """
import sys
from tests.unit.test_store import FACTS, made
from twinreel.store import Library
with Library.open(sys.argv[1]) as library:
    for i in range(100_000):
        library.put_look(FACTS, made(f"k{i:06}", rows=40, seed=i), [(0.0, b"x" * 5000)], "s")
        print(i, flush=True)
"""


@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.parametrize("after", [3, 40])
def test_kill_9_loses_at_most_the_video_in_flight(tmp_path: Path, after: int) -> None:
    root = Path(__file__).parents[2]
    path = tmp_path / "l.db"
    child = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)],
        env={**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{root / 'src'}"},
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert child.stdout
    said = -1
    for line in child.stdout:
        said = int(line)
        if said >= after:
            os.kill(child.pid, signal.SIGKILL)
            break
    said = max([said, *(int(line) for line in child.stdout)])
    child.wait()
    child.stdout.close()
    with Library.open(path) as library:
        assert library._db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        known = library.known("m", "s")
        assert said + 1 <= len(known) <= said + 2  # all that was said, and at most one more
        for i in range(said + 1):
            back = library.features(f"k{i:06}", "m", "s")
            assert back is not None
            assert np.array_equal(back.vectors, made("", rows=40, seed=i).vectors)
        # Never half a look.
        assert known == set(library.facts())
        assert all(len(library.thumbs(key)) == 1 for key in known)
