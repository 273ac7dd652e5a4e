"""What must hold of the spine whatever comes in."""

from __future__ import annotations

import bisect
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.test_compare import film, noisy, scene, unit
from tests.videos import make, read_number
from twinreel import models
from twinreel.candidates import Shelf, compare_all
from twinreel.cluster import clusters, cut_chains
from twinreel.compare import Calibration, compare
from twinreel.embed import Batcher
from twinreel.frames import Tally, frames_at
from twinreel.options import SampleOptions
from twinreel.probe import opened, video_stream
from twinreel.sample import plan
from twinreel.store import Library
from twinreel.types import Features, FrameBatch, Match

CAL = Calibration()
COPIES = frozenset({"exact", "copy"})
SLOW = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
QUICK = settings(max_examples=80, deadline=None)

# -- sampling -----------------------------------------------------------------------------------

dials = st.builds(
    SampleOptions,
    sampler=st.sampled_from(["uniform", "dense", "keyframes", "fps"]),
    moments=st.integers(1, 300),
    fps=st.floats(0.01, 20),
)


@QUICK
@given(st.floats(0, 50_000), dials)
def test_times_increase_and_stay_inside(duration: float, options: SampleOptions) -> None:
    if options.sampler in ("fps", "dense") and duration * options.fps > 1e5:
        duration = 1e5 / options.fps
    p = plan(duration, options)
    assert len(p.times_s) >= 1 and p.times_s[0] == 0.0
    assert np.all(np.diff(p.times_s) > 0)
    assert p.times_s[-1] == 0.0 or p.times_s[-1] < duration
    assert np.diff(p.times_s) == pytest.approx(p.step_s)
    if options.sampler in ("uniform", "keyframes"):
        assert len(p.times_s) <= options.moments
    if options.sampler == "dense":
        assert p.step_s <= max(1 / options.fps, 1 / 8) + 1e-9


@QUICK
@given(st.floats(0.1, 10_000), st.floats(0.1, 10_000), st.integers(1, 64))
def test_two_lengths_share_the_moments_of_the_coarser_grid(a: float, b: float, n: int) -> None:
    """Steps are powers of two: one grid is part of the other, as far as both videos reach."""
    options = SampleOptions(moments=n)
    x, y = plan(a, options).times_s, plan(b, options).times_s
    fine, coarse = (x, y) if a <= b else (y, x)
    assert set(coarse[coarse < min(a, b)].tolist()) <= set(fine.tolist())


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(
        tmp_path_factory.mktemp("v") / "a.mp4", seconds=12, size=(160, 96),
        options={"preset": "veryfast", "crf": "20", "bf": "3", "g": "40"},
    )  # fmt: skip


@SLOW
@given(st.lists(st.floats(0, 13), min_size=1, max_size=12, unique=True), st.booleans())
def test_any_moments_give_the_frames_shown(
    watched: Path, times: list[float], nearest_key: bool
) -> None:
    times = sorted(times)
    with opened(str(watched)) as container:
        stream = video_stream(container, str(watched))
        got = [
            (i, t, read_number(f.to_ndarray(format="rgb24")))
            for i, t, f in frames_at(
                container, stream, np.array(times), "", lambda: None, Tally(), nearest_key
            )
        ]
    starts = [i / 25 for i in range(300)]
    if nearest_key:
        keys = [n for _, _, n in got]
        assert keys == sorted(set(keys)) and all(n is not None and n / 25 <= 12 for n in keys)
        assert all(t == pytest.approx(n / 25) for _, t, n in got)
    else:
        inside = [(i, t) for i, t in enumerate(times) if t < 12]
        assert [(i, t) for i, t, _ in got] == inside
        want = [bisect.bisect_right(starts, t + 1e-6) - 1 for _, t in inside]
        assert [n for _, _, n in got] == want


# -- comparing ----------------------------------------------------------------------------------


@st.composite
def pairs(draw: Any) -> tuple[Features, Features]:
    """Strangers, copies, parts, with blanks, of any length and step."""
    seed = draw(st.integers(0, 10_000))
    n = draw(st.integers(1, 24))
    rows = scene(seed, n)
    step = draw(st.sampled_from([0.125, 0.5, 1.0, 8.0]))
    kind = draw(st.sampled_from(["stranger", "copy", "part", "static"]))
    if kind == "stranger":
        other = scene(seed + 1, draw(st.integers(1, 24)))
    elif kind == "static":
        rows = np.tile(rows[:1], (n, 1))
        other = np.tile(rows[:1], (draw(st.integers(1, 24)), 1))
    else:
        first = draw(st.integers(0, n - 1)) if kind == "part" else 0
        other = noisy(rows[first:], draw(st.sampled_from([0.0, 0.1, 0.5])), seed)
    blank = [tuple(draw(st.sets(st.integers(0, len(r) - 1), max_size=3))) for r in (rows, other)]
    return film("a", rows, step, blank[0]), film("b", other, step, blank[1])


@settings(max_examples=60, deadline=None)
@given(pairs())
def test_score_is_symmetric_and_swapping_swaps_the_segments(
    pair: tuple[Features, Features],
) -> None:
    a, b = pair
    there, back = compare(a, b, CAL), compare(b, a, CAL)
    assert (there is None) == (back is None)
    if there is None or back is None:
        return
    assert there.score == back.score
    assert there.swapped() == back or there == back.swapped()
    for match, x, y in ((there, a, b), (back, b, a)):
        assert 0.0 <= match.score <= 1.0
        assert 0.0 <= match.coverage_a <= 1.0 and 0.0 <= match.coverage_b <= 1.0
        for s in match.segments:
            assert -1e-6 <= s.a[0] <= s.a[1] <= x.duration_s + 1e-6
            assert -1e-6 <= s.b[0] <= s.b[1] <= y.duration_s + 1e-6
            assert s.speed > 0


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 40), st.sampled_from([0.125, 1.0, 16.0]))
def test_a_video_with_itself_is_one(seed: int, n: int, step: float) -> None:
    f = film("k", scene(seed, n), step)
    match = compare(f, f, CAL)
    assert match is not None
    assert (match.score, match.relation, match.coverage_a, match.coverage_b) == (
        1.0, "exact", 1.0, 1.0,
    )  # fmt: skip
    # Under another key too (a copy of the container): as sure as can be.
    if n >= 3:
        twin = compare(f, film("other", f.vectors, step), CAL)
        assert twin is not None and twin.score > 0.95 and twin.relation == "copy"


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 1000), st.randoms(use_true_random=False))
def test_scores_and_groups_do_not_depend_on_input_order(seed: int, dice: random.Random) -> None:
    videos = [film(f"v{i:02}", scene(seed + i, 8 + i)) for i in range(8)]
    videos += [film(f"c{i:02}", noisy(videos[i % 4].vectors, 0.15, seed + i)) for i in range(6)]
    results = []
    for _ in range(3):
        dice.shuffle(videos)
        keys = {f.key for f in videos}
        matches = list(compare_all(Shelf(list(videos)), keys, (float("inf"), 0.0), CAL))
        dice.shuffle(matches)
        found = clusters([f.key for f in videos], matches, 0.3, 2)
        plain = sorted(m if m.a < m.b else m.swapped() for m in matches_by_key(matches))
        results.append((plain, found))
    assert results[0] == results[1] == results[2]
    assert any(len(g) > 1 for g in results[0][1])


def matches_by_key(matches: Sequence[Match]) -> list[Any]:
    return [_Sortable(m if m.a < m.b else m.swapped()) for m in matches]


class _Sortable:
    """A match that sorts by its names."""

    def __init__(self, match: Match) -> None:
        self.match, self.a, self.b = match, match.a, match.b

    def __lt__(self, other: _Sortable) -> bool:
        return (self.a, self.b) < (other.a, other.b)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Sortable) and self.match == other.match


# -- grouping -----------------------------------------------------------------------------------

names = [f"v{i}" for i in range(10)]
edges = st.lists(
    st.tuples(
        st.sampled_from(names), st.sampled_from(names), st.floats(0.5, 1.0),
        st.sampled_from(["copy", "copy", "copy", "contains", "overlap"]),
    ).filter(lambda e: e[0] < e[1]),
    unique_by=lambda e: (e[0], e[1]),
    max_size=30,
).map(lambda found: [Match(*e) for e in found])  # fmt: skip


@QUICK
@given(edges, st.floats(0.0, 0.5), st.integers(2, 4), st.randoms(use_true_random=False))
def test_clusters_do_not_depend_on_order_or_direction(
    matches: list[Match], epsilon: float, samples: int, dice: random.Random
) -> None:
    want = clusters(names, matches, epsilon, samples)
    mixed = [m.swapped() if dice.random() < 0.5 else m for m in matches]
    dice.shuffle(mixed)
    assert clusters(dice.sample(names, len(names)), mixed, epsilon, samples) == want
    members = [n for group in want for n in group]
    assert len(members) == len(set(members)) and all(len(g) > 1 for g in want)


@QUICK
@given(edges, st.floats(0, 0.5), st.floats(0, 0.5))
def test_a_higher_threshold_never_merges(matches: list[Match], x: float, y: float) -> None:
    strict = clusters(names, matches, min(x, y), 2)
    loose = clusters(names, matches, max(x, y), 2)
    for group in strict:
        assert any(set(group) <= set(other) for other in loose)


@QUICK
@given(edges, st.floats(0.5, 1.0), st.permutations(names))
def test_every_member_matches_the_kept_one(
    matches: list[Match], least: float, order: list[str]
) -> None:
    """After chains are cut, whoever is kept."""
    table = {frozenset((m.a, m.b)): m for m in matches}

    def match(a: str, b: str) -> Match | None:
        return table.get(frozenset((a, b)))

    def choose(left: Sequence[str]) -> str:
        return min(left, key=order.index)

    for members in clusters(names, matches, 1 - least, 2):
        groups = cut_chains(members, match, choose, least, COPIES)
        for kept, together in groups:
            assert kept in together and len(together) > 1
            for name in together:
                if name != kept:
                    found = match(kept, name)
                    assert found and found.score >= least and found.relation in COPIES
        flat = [n for _, together in groups for n in together]
        assert len(flat) == len(set(flat)) and set(flat) <= set(members)
        shuffled = cut_chains(order_of(members, order), match, choose, least, COPIES)
        assert shuffled == groups


def order_of(members: Sequence[str], order: list[str]) -> list[str]:
    return sorted(members, key=order.index, reverse=True)


# -- embedding ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def network() -> Any:
    import torch

    torch.set_num_threads(1)
    return models.load("dctgrad.v1", device="cpu", precision="fp32")


@SLOW
@given(
    st.integers(0, 1000),
    st.lists(st.integers(1, 9), min_size=1, max_size=6),
    st.integers(1, 40),
)
def test_features_do_not_depend_on_the_batch_size(
    network: Any, seed: int, lengths: list[int], size: int
) -> None:
    rng = np.random.default_rng(seed)
    videos = [rng.integers(0, 256, (n, 40, 40, 3), np.uint8) for n in lengths]
    alone = [np.concatenate([network(p[i : i + 1]) for i in range(len(p))]) for p in videos]
    batcher = Batcher(network, size)
    out: list[Any] = []
    for i, pixels in enumerate(videos):
        cut = int(rng.integers(0, len(pixels) + 1))
        for part in (pixels[:cut], pixels[cut:]):
            if len(part):
                chunk = FrameBatch(part, np.arange(len(part), dtype=float))
                out += batcher.add(str(i), chunk, np.zeros(len(part), bool))
        out += batcher.close(str(i), None)
    out += batcher.flush()
    assert sorted(name for name, *_ in out) == sorted(str(i) for i in range(len(videos)))
    for name, _, _, _, vectors in out:
        want = alone[int(name)]
        assert vectors.shape == want.shape == (len(want), 256)
        assert np.abs(vectors - want).max() < 2e-5
        assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-4)


# -- storing ------------------------------------------------------------------------------------


@SLOW
@given(
    st.integers(1, 30), st.integers(1, 40), st.integers(0, 1000),
    st.text(min_size=1, max_size=20).filter(lambda t: t.isprintable()),
)  # fmt: skip
def test_what_is_kept_comes_back(rows: int, dim: int, seed: int, name: str) -> None:
    rng = np.random.default_rng(seed)
    vectors = unit(rng.normal(size=(rows, dim))).astype(np.float16).astype(np.float32)
    starts = np.cumsum(rng.uniform(0.01, 5, rows))
    f = Features(
        name, "m" + name, "s", vectors, np.stack([starts, starts + 1], axis=1),
        rng.random(rows) < 0.3, float(starts[-1] + 1),
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        with Library.open(Path(folder) / "l.db") as library:
            library.put_features(f)
        with Library.open(Path(folder) / "l.db") as library:
            back = library.features(name, "m" + name, "s")
    assert back is not None
    assert np.array_equal(back.vectors, f.vectors) and np.array_equal(back.spans_s, f.spans_s)
    assert np.array_equal(back.blank, f.blank) and back.duration_s == f.duration_s
