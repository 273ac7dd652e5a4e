"""Nearest neighbours in place of every pair: the same families, less work."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from twinreel import ann, candidates, large
from twinreel.ann import flat
from twinreel.ann import index as index_module
from twinreel.ann.index import ROW_BYTES
from twinreel.ann.search import passing
from twinreel.candidates import Shelf
from twinreel.cluster import clusters
from twinreel.compare import Calibration
from twinreel.errors import ExtraMissing
from twinreel.store import Library
from twinreel.types import Features, Match

ANY = (float("inf"), 0.0)
RULE = Calibration()


def _video(key: str, vectors: np.ndarray, seconds: float = 8.0) -> Features:
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    edges = np.linspace(0, seconds, len(vectors) + 1)
    spans = np.stack([edges[:-1], edges[1:]], axis=1)
    blank = np.zeros(len(vectors), bool)
    return Features(key, "m@1", "s", vectors.astype(np.float32), spans, blank, seconds)


def _library(contents: int, copies: int, noise: float = 0.02, seed: int = 0) -> list[Features]:
    """`contents` unlike videos of eight moments, and `copies` copies of each of the first three."""
    dice = np.random.default_rng(seed)
    firsts = [dice.standard_normal((8, 96)) for _ in range(contents)]
    made = [_video(f"v{n:04}", v, 5 + n % 7) for n, v in enumerate(firsts)]
    for n in range(3):
        for c in range(copies):
            moved = firsts[n] + noise * dice.standard_normal(firsts[n].shape)
            made.append(_video(f"w{n}-{c:04}", moved, 5 + n % 7))
    return made


def _source(videos: list[Features]) -> ann.Kept:
    by_key = {v.key: v for v in videos}
    return ann.Kept({v.key: v.duration_s for v in videos}, by_key.__getitem__)


def _search(
    source: ann.Kept,
    index: ann.Index,
    tolerance: tuple[float, float] = ANY,
    known: tuple[str, ...] = (),
) -> ann.Search:
    """A search among all videos, of which those named are known."""
    there = np.array([key in known for key in source.keys])
    return ann.Search(source, index, there, tolerance, RULE)


def _belongs(m: Match) -> bool:
    return m.score >= 0.9 and m.relation == "copy"


@pytest.fixture
def faiss() -> None:
    pytest.importorskip("faiss", reason="faiss is not installed: pip install 'twinreel[ann]'")


@pytest.mark.usefixtures("faiss")
@pytest.mark.parametrize("tolerance", [ANY, (1.5, 0.0)])
def test_the_pairs_are_those_of_the_exact_search(tolerance: tuple[float, float]) -> None:
    videos = _library(300, 5)
    exact = candidates.candidates(Shelf(videos), {v.key for v in videos}, tolerance, RULE)
    wanted = {frozenset((a.key, b.key)) for a, b in exact}
    source = _source(videos)
    index = ann.Index.build(source, threads=1)
    search = _search(source, index, tolerance)
    found = {
        frozenset((source.keys[i], source.keys[j]))
        for i, near in ann.neighbours(search, range(len(videos)))
        for j, _ in near
    }
    assert found <= wanted
    copies = {p for p in wanted if len({k[:2] for k in p} | {"w" + min(p)[-1]}) < 4}
    assert len(found & copies) >= 0.99 * len(copies) > 40
    words = ann.check(search)
    assert "on 200 videos" in words or f"on {len(videos)} videos" in words


@pytest.mark.usefixtures("faiss")
def test_only_known_and_new_videos_meet() -> None:
    videos = _library(60, 4)
    source = _source(videos)
    index = ann.Index.build(source, threads=1)
    place = {key: i for i, key in enumerate(source.keys)}
    search = _search(source, index, known=("w0-0001",))
    near = dict(ann.neighbours(search, [place["w0-0000"]]))
    assert [source.keys[j] for j, _ in near[place["w0-0000"]]] == ["w0-0001"]


@pytest.mark.usefixtures("faiss")
def test_memory_of_the_index_is_bounded() -> None:
    videos = _library(100, 4)
    source = _source(videos)
    small = ann.Index.build(source, threads=1, index_bytes=len(videos) * ROW_BYTES)
    assert small.most == 1 and small.rows.ntotal == len(videos)
    whole = ann.Index.build(source, threads=1)
    assert whole.rows.ntotal == 8 * len(videos)
    still = [replace(v, vectors=np.repeat(v.vectors[:1], 8, axis=0)) for v in videos]
    assert len(ann.Index.build(_source(still), threads=1).rows.rows) == len(videos)


@pytest.mark.usefixtures("faiss")
@pytest.mark.parametrize("block", [7, 64, 8192])
def test_videos_of_one_row_meet_in_a_plain_product(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flat, "BLOCK", block)
    monkeypatch.setattr(flat, "HELD", 8)
    dice = np.random.default_rng(1)
    rows = dice.standard_normal((250, 40))
    rows[100:] = rows[:150] + 0.4 * dice.standard_normal((150, 40))
    videos = [_video(f"v{n:03}", v[None], 5 + n % 7) for n, v in enumerate(rows)]
    source = _source(videos)
    index = ann.Index.build(source, threads=1)
    assert isinstance(index.rows, flat.Flat) and index.words.startswith("a plain product of 250")
    search = _search(source, index, (3.0, 0.0), known=tuple(source.keys[::2]))
    new = list(range(1, 250, 2))
    found = {(i, j) for i, near in ann.neighbours(search, new) for j, _ in near}
    exact = {
        (i, j) for i in new for j in range(250)
        if i != j and candidates.best_moments(source.get(i), source.get(j)) >= RULE.candidate
        and abs(source.durations[i] - source.durations[j]) <= 3
    }  # fmt: skip
    assert found == exact and len(exact) > 50
    # What is asked for is the most similar of all.
    few = index.rows.search(index.rows.rows[:5], 3, -1.0, 20, 200, np.arange(250) % 3 > 0)
    sims = index.rows.rows[:5] @ index.rows.rows.T
    sims[:, [n for n in range(250) if n < 20 or n >= 200 or n % 3 == 0]] = -2
    np.testing.assert_array_equal(np.sort(few[1]), np.sort(np.argsort(-sims, axis=1)[:, :3]))
    np.testing.assert_allclose(few[0], np.take_along_axis(sims, few[1], axis=1), atol=1e-6)


@pytest.mark.usefixtures("faiss")
def test_a_crowd_costs_its_members_not_its_pairs() -> None:
    videos = _library(30, 36)
    source = _source(videos)
    index = ann.Index.build(source, threads=1)
    families = ann.Families(len(videos), crowd=6)
    counts = ann.Counts()
    search = _search(source, index)
    matches = list(ann.scored(search, range(len(videos)), families, _belongs, None, counts))
    assert counts.aligned < 6 * len(videos) < 3 * 37 * 36 / 2 / 2
    names = [v.key for v in videos]
    exact = [m for m in candidates.compare_all(Shelf(videos), set(names), ANY, RULE) if _belongs(m)]
    ours = clusters(names, filter(_belongs, matches), 0.1, 2)
    assert ours == clusters(names, exact, 0.1, 2)
    assert sorted(map(len, families.crowds())) == [37, 37, 37]


@pytest.mark.usefixtures("faiss")
def test_a_bridge_between_two_crowds_is_found() -> None:
    dice = np.random.default_rng(5)
    one, two = dice.standard_normal((2, 8, 96))
    videos = [_video(f"a{n:03}", one + 0.02 * dice.standard_normal(one.shape)) for n in range(60)]
    videos += [_video(f"b{n:03}", two + 0.02 * dice.standard_normal(two.shape)) for n in range(60)]
    videos.append(_video("bridge", np.concatenate([one, two]), 16.0))
    source = _source(videos)
    index = ann.Index.build(source, threads=1)
    families = ann.Families(len(videos), crowd=20)
    search = _search(source, index)
    for _ in ann.scored(search, range(len(videos)), families, lambda m: m.score >= 0.9):
        pass
    assert [len(c) for c in families.crowds()] == [121]


def test_families_join() -> None:
    families = ann.Families(6, crowd=3, leaders=2)
    assert families.join(0, 1) and families.join(2, 3) and not families.join(1, 0)
    assert not families.is_crowd(0)
    assert families.join(1, 3) and families.is_crowd(2)
    assert families.family[0] == families.family[3] != families.family[4]
    assert families.first(3) == [0, 1] and families.crowds() == [[0, 1, 2, 3]]


def test_new_videos_against_known_ones_cost_the_product(monkeypatch: pytest.MonkeyPatch) -> None:
    videos = _library(400, 2)
    cells = 0
    alike = candidates._alike

    def counted(rows, starts, query, others, least):  # type: ignore[no-untyped-def]
        nonlocal cells
        cells += len(query) * sum(int(starts[k + 1] - starts[k]) for k in others)
        return alike(rows, starts, query, others, least)

    monkeypatch.setattr(candidates, "_alike", counted)
    new = {"w0-0000", "w1-0001"}
    found = {
        frozenset((a.key, b.key)) for a, b in candidates.candidates(Shelf(videos), new, ANY, RULE)
    }
    assert cells <= len(new) * len(videos) * 64
    assert {frozenset(("w0-0000", "v0000")), frozenset(("w1-0001", "w1-0000"))} <= found
    every = candidates.candidates(Shelf(videos), {v.key for v in videos}, ANY, RULE)
    assert found == {p for a, b in every if (p := frozenset((a.key, b.key))) & new}


def test_one_pair_is_judged_as_a_library_judges_it() -> None:
    dice = np.random.default_rng(2)
    base = dice.standard_normal((40, 32))
    videos = [
        _video(f"v{n}", base[:rows] + dice.uniform(0, 2) * dice.standard_normal((rows, 32)), 3 + n)
        for n, rows in enumerate(range(4, 39, 5))
    ]  # fmt: skip
    rule = replace(RULE, candidate=0.7)
    found = {
        (a.key, b.key)
        for a, b in candidates.candidates(Shelf(videos), {v.key for v in videos}, ANY, rule)
    }
    ours = {(a.key, b.key) for a in videos for b in videos
            if a.key < b.key and candidates.best_moments(a, b) >= 0.7}  # fmt: skip
    assert found == ours and 0 < len(found) < 21
    source = _source(videos)
    for i in range(7):
        others = np.array([j for j in range(7) if j != i])
        near = dict(passing(source, i, others, -1.0))
        for j in others.tolist():
            assert near[j] == pytest.approx(
                candidates.best_moments(source.get(i), source.get(j)), abs=1e-5
            )


def test_chosen_by_size_and_said_when_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not ann.wanted("auto", 1000, 1000) and not ann.wanted("exact", 10**6, 10**6)
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ExtraMissing, match=r"twinreel\[ann\]"):
        ann.wanted("ann", 10, 10)
    monkeypatch.setattr(index_module, "installed", lambda: False)
    assert not ann.wanted("auto", 10**6, 10**6)


# -- in a library -------------------------------------------------------------------------------


def _held(library: Library) -> large.Held:
    return large.Held(library, "m@1", "s", "context", RULE, 0.9)


def _filled(tmp_path: Path, videos: list[Features]) -> Library:
    library = Library.open(tmp_path / "library.db")
    for video in videos:
        library.put_features(video)
    return library


def _score(
    held: large.Held, new: set[str], say: Callable[[str], None] = lambda words: None
) -> None:
    done = held.library.compared("context")
    large.score(held, done | new, new, ANY, 2, 1, say)


@pytest.mark.usefixtures("faiss")
def test_a_library_is_scored_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large, "CHUNK", 70)
    monkeypatch.setattr(large, "CROWD", 6)
    videos = _library(60, 30)
    names = {v.key for v in videos}
    with _filled(tmp_path, videos) as library:
        said: list[str] = []
        calls = 0
        put = library.put_pairs

        def killed(context, keys, matches):  # type: ignore[no-untyped-def]
            nonlocal calls
            calls += 1
            if calls == 2:
                raise KeyboardInterrupt
            put(context, keys, matches)

        monkeypatch.setattr(library, "put_pairs", killed)
        with pytest.raises(KeyboardInterrupt):
            _score(_held(library), names, said.append)
        assert "faiss IVF" in said[0] and "candidates that the exact search" in said[0]
        monkeypatch.setattr(library, "put_pairs", put)
        assert len(library.compared("context")) == 70
        _score(_held(library), names - library.compared("context"))
        assert library.compared("context") == names
        exact = [m for m in candidates.compare_all(Shelf(videos), names, ANY, RULE) if _belongs(m)]
        wanted = clusters(sorted(names), exact, 0.1, 2)
        assert clusters(sorted(names), library.pairs("context", 0.9), 0.1, 2) == wanted
        assert sum(1 for _ in library.pairs("context", 0.9)) < len(exact) / 2
        # A pair inside of a crowd that was left out is scored when it is asked for.
        held = _held(library)
        large.complete(held, names)
        pairs = {(m.a, m.b) for m in library.pairs("context", 0.9)}
        left = next((m.a, m.b) for m in exact if tuple(sorted((m.a, m.b))) not in pairs)
        scored = large.one(held, *left)
        assert scored is not None and scored.score >= 0.9
        assert large.one(held, "v0040", "v0041") is None
        # A part of the crowd, without those that stood for it, still hangs together.
        part = set(sorted(n for n in names if n.startswith("w1"))[15:])
        large.complete(held, part)
        inside = [m for m in library.pairs("context", 0.9) if {m.a, m.b} <= part]
        assert clusters(sorted(part), inside, 0.1, 2) == [sorted(part)]


@pytest.mark.usefixtures("faiss")
def test_what_a_crowd_s_pair_was_told_to_be_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its last touch, by a look since: it is not scored anew when the crowd is completed."""
    monkeypatch.setattr(large, "CROWD", 6)
    videos = _library(60, 30)
    names = {v.key for v in videos}
    with _filled(tmp_path, videos) as library:
        _score(_held(library), names)
        refuted = next(m for m in library.pairs("context", 0.9))
        library.put_pairs("context", (), [replace(refuted, score=0.01)])
        held = _held(library)
        large.complete(held, names)
        assert large.one(held, refuted.a, refuted.b) is None
        known = library.pair("context", refuted.a, refuted.b)
        assert known is not None and known.score == 0.01
        exact = candidates.compare_all(Shelf(videos), names, ANY, RULE)
        matches = {(m.a, m.b) for m in map(Match.ordered, filter(_belongs, exact))}
        left = next(p for p in sorted(matches) if library.pair("context", *p) is None)
        held.finish = lambda m: replace(m, score=0.4)
        told = large.one(held, *left)
        assert told is not None and told.score == 0.4
    (tmp_path / "other").mkdir()
    with _filled(tmp_path / "other", videos) as library:
        held = replace(_held(library), finish=lambda m: replace(m, score=0.4))
        _score(held, names)
        large.complete(held, names)
        assert not list(library.pairs("context", 0.9)) and list(library.pairs("context", 0.1))
        assert not library.recall("crowds", "context")


def test_vectors_move_beside_a_large_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from twinreel import vectors

    monkeypatch.setattr(vectors, "SHARD_ROWS", 100)
    videos = _library(40, 3)
    with _filled(tmp_path, videos) as library:
        before = {f.key: f for f in library.all_features("m@1", "s")}
        assert library.pack("m@1", "s", batch=7) == 8 * len(videos)
        assert library.pack("m@1", "s") == 0
        after = {f.key: f for f in library.all_features("m@1", "s")}
        assert after.keys() == before.keys()
        for key, f in before.items():
            np.testing.assert_array_equal(after[key].vectors, f.vectors)
        files = sorted(p.name for p in (tmp_path / "library.db.vectors").iterdir())
        assert files == [f"96-0000{n}.npy" for n in range(4)]
        # New rows are put into the library and moved behind the others.
        library.put_features(replace(videos[0], vectors=-videos[0].vectors))
        assert library.pack("m@1", "s") == 8
        again = library.features(videos[0].key, "m@1", "s")
        other = library.features(videos[1].key, "m@1", "s")
        assert again is not None and other is not None
        np.testing.assert_array_equal(again.vectors, -before[videos[0].key].vectors)
        np.testing.assert_array_equal(other.vectors, before[videos[1].key].vectors)
    import shutil

    from twinreel.errors import StoreError

    shutil.move(tmp_path / "library.db.vectors", tmp_path / "away")
    with (
        Library.open(tmp_path / "library.db") as library,
        pytest.raises(StoreError, match="beside"),
    ):
        list(library.all_features("m@1", "s"))


def test_rows_are_read_many_videos_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from twinreel import vectors

    monkeypatch.setattr(vectors, "SHARD_ROWS", 20)
    dice = np.random.default_rng(3)
    videos = [
        replace(v, blank=dice.random(8) < 0.3 * (n % 2)) if n else replace(v, blank=~v.blank)
        for n, v in enumerate(_library(30, 0))
    ]
    nothing = np.zeros((0, 96), np.float32)
    videos.append(Features("none", "m@1", "s", nothing, np.zeros((0, 2)), np.zeros(0, bool), 1.0))
    with _filled(tmp_path, videos) as library:
        library.pack("m@1", "s")
        held = _held(library)
        beside = large.Beside(held, {v.key for v in videos if v.key != "v0007"})
        plain = ann.Kept({v.key: v.duration_s for v in videos if v.key != "v0007"}, held.read)
        assert beside.keys == plain.keys and len(plain.keys) == 30
        np.testing.assert_array_equal(beside.durations, plain.durations)
        for numbers in ([3], [5, 2, 2, 29], list(range(30)), [plain.keys.index("v0000")]):
            for mine, theirs in zip(beside.laid(numbers), plain.laid(numbers), strict=True):
                np.testing.assert_array_equal(mine, theirs)


def test_halves_are_widened_exactly() -> None:
    from twinreel.vectors import wide

    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    finite = every[np.isfinite(every)]
    np.testing.assert_array_equal(
        wide(finite).view(np.uint32), finite.astype(np.float32).view(np.uint32)
    )


def test_a_kill_while_vectors_move_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    videos = _library(30, 2)
    with _filled(tmp_path, videos) as library:
        before = {f.key: f.vectors for f in library.all_features("m@1", "s")}
        write = library._shards.write

        def torn(place, rows):  # type: ignore[no-untyped-def]
            write(place, rows[: len(rows) // 2] * 0 + 7)
            raise KeyboardInterrupt

        monkeypatch.setattr(library._shards, "write", torn)
        with pytest.raises(KeyboardInterrupt):
            library.pack("m@1", "s")
    with Library.open(tmp_path / "library.db") as library:
        library.pack("m@1", "s")
        for f in library.all_features("m@1", "s"):
            np.testing.assert_array_equal(f.vectors, before[f.key])
