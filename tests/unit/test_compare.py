"""Aligning and weighing, on Features made of known pieces: every row names its second."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from twinreel import candidates as candidates_module
from twinreel.candidates import Shelf, Sketch, candidates, compare_all, length_alike
from twinreel.compare import (
    SHORT_SCORE,
    Calibration,
    Evidence,
    Witness,
    compare,
    is_intro,
    relation_of,
)
from twinreel.types import Features, Match, Segment

CAL = Calibration()
DIM = 64
ANY = (math.inf, 0.0)


def scene(seed: int, n: int) -> np.ndarray:
    """n unit rows with something in common, as the frames of one film have; cosines about 0.4."""
    rng = np.random.default_rng(seed)
    return unit(rng.normal(size=(n, DIM)) + rng.normal(size=DIM) * 0.8)


def walk(seed: int, n: int) -> np.ndarray:
    """n unit rows that wander slowly: neighbours in time are alike."""
    rng = np.random.default_rng(seed)
    return unit(np.cumsum(rng.normal(size=(n, DIM)), axis=0) * 0.05 + rng.normal(size=DIM) * 0.5)


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def film(
    key: str, rows: np.ndarray, step: float = 1.0, blank: tuple[int, ...] = (),
    model: str = "m", sampling: str = "s",
) -> Features:  # fmt: skip
    times = np.arange(len(rows)) * step
    flags = np.zeros(len(rows), bool)
    flags[list(blank)] = True
    return Features(
        key, model, sampling, rows.astype(np.float32), np.stack([times, times + step], axis=1),
        flags, len(rows) * step,
    )  # fmt: skip


def noisy(rows: np.ndarray, amount: float, seed: int = 9) -> np.ndarray:
    """What re-encoding does: the same rows, a little off."""
    rng = np.random.default_rng(seed)
    return unit(rows + rng.normal(size=rows.shape) * amount / math.sqrt(DIM))


def matched(a: Features, b: Features) -> Match:
    match = compare(a, b, CAL)
    assert match is not None
    return match


def test_a_copy() -> None:
    rows = scene(1, 24)
    match = matched(film("a", rows), film("b", noisy(rows, 0.1)))
    assert match.relation == "copy" and match.score > 0.9
    (segment,) = match.segments
    assert segment.a == pytest.approx((0, 24), abs=0.5)
    assert segment.b == pytest.approx((0, 24), abs=0.5)
    assert segment.speed == 1.0
    assert match.coverage_a > 0.95 and match.coverage_b > 0.95


def test_strangers_score_low() -> None:
    for seed in range(10):
        match = compare(film("a", scene(seed, 24)), film("b", scene(seed + 100, 24)), CAL)
        assert match is None or match.score < 0.5


def test_a_video_with_itself_is_one() -> None:
    a = film("a", scene(1, 24))
    match = matched(a, a)
    assert (match.score, match.relation) == (1.0, "exact")
    assert (match.coverage_a, match.coverage_b) == (1.0, 1.0)


def test_swapping_swaps_everything() -> None:
    rows = scene(3, 30)
    a, b = film("x", rows), film("y", noisy(rows[8:26], 0.1))
    assert compare(a, b, CAL) == matched(b, a).swapped()


@pytest.mark.parametrize(("first", "last"), [(0, 16), (7, 23), (14, 30)])
def test_a_part_is_found_where_it_is(first: int, last: int) -> None:
    rows = scene(4, 30)
    match = matched(film("part", noisy(rows[first:last], 0.1)), film("whole", rows))
    assert match.relation == "part_of"
    (segment,) = match.segments
    assert segment.a == pytest.approx((0, last - first), abs=1.0)
    assert segment.b == pytest.approx((first, last), abs=1.0)
    assert match.coverage_a > 0.9
    assert match.coverage_b == pytest.approx((last - first) / 30, abs=0.07)
    assert matched(film("w", rows), film("p", noisy(rows[first:last], 0.1))).relation == "contains"


def test_an_overlap() -> None:
    rows = scene(5, 40)
    match = matched(film("a", rows[:28]), film("b", noisy(rows[12:], 0.1)))
    assert match.relation == "overlap"
    (segment,) = match.segments
    assert segment.a == pytest.approx((12, 28), abs=1.5)
    assert segment.b == pytest.approx((0, 16), abs=1.5)


@pytest.mark.parametrize("speed", [0.43, 0.8, 0.96, 1.042, 1.25, 2.33])
def test_another_speed(speed: float) -> None:
    """PAL plays films 4 % faster; b's second s shows a's second s * speed."""
    fine = walk(6, 4000)
    a = film("a", fine[: 100 * 36 : 100])
    at = np.round(np.arange(0, 36 / speed) * speed * 100).astype(int)
    b = film("b", noisy(fine[at[at < 3600]], 0.05))
    match = matched(a, b)
    assert match.relation == "copy" and match.score > 0.5
    (segment,) = match.segments
    assert segment.a == pytest.approx((0, 36), abs=2.0)
    assert segment.speed == pytest.approx(1 / speed, rel=0.06)


def test_blank_moments_prove_nothing() -> None:
    """Two videos alike in their black ends only."""
    black = np.tile(unit(np.ones((1, DIM))), (10, 1))
    a = np.concatenate([black, scene(7, 10), black])
    b = np.concatenate([black, scene(8, 10), black])
    ends = (*range(10), *range(20, 30))
    match = compare(film("a", a, blank=ends), film("b", b, blank=ends), CAL)
    assert match is None or match.score < 0.5
    dark = tuple(range(30))
    assert compare(film("a", a, blank=dark), film("b", a, blank=dark), CAL) is None


@pytest.mark.parametrize(("share", "stretches"), [(0.1, 1), (0.1, 2), (0.2, 1)])
@pytest.mark.parametrize("black", [False, True])
def test_what_two_show_otherwise_in_between_is_not_shared(
    share: float, stretches: int, black: bool
) -> None:
    """Two cuts of one film, of one length: other pictures, or none, for some of it."""
    rows = scene(7, 120)
    b, each = noisy(rows, 0.1), int(120 * share / stretches)
    other = [n for k in range(stretches) for n in range(20 + 30 * k, 20 + 30 * k + each)]
    b[other] = scene(70, len(other))
    blank = tuple(other) if black else ()
    match = matched(film("a", rows), film("b", b, blank=blank))
    assert match.score > 0.9  # there is no doubt that they share the rest
    assert match.coverage_a == pytest.approx(1 - share, abs=0.02) == match.coverage_b
    assert match.relation == ("copy" if share < 0.15 else "overlap")
    ends = [s.a for s in match.segments]
    assert len(ends) == stretches + 1 and ends[0] == pytest.approx((0, 20), abs=1)
    assert all(s.a == pytest.approx(s.b) for s in match.segments)
    turned = matched(film("b", rows), film("a", b, blank=blank))
    assert turned.coverage_a == pytest.approx(match.coverage_b)


@pytest.mark.parametrize("first", ["a", "z"])
def test_seconds_of_which_one_has_no_moments_are_not_shared(first: str) -> None:
    rows = scene(7, 80)
    whole = film(first, rows)
    b = film("m", noisy(rows, 0.1))
    there = np.r_[0:30, 40:80]
    holed = replace(b, vectors=b.vectors[there], spans_s=b.spans_s[there], blank=b.blank[there])
    match = matched(whole, holed)
    assert match.coverage_a == pytest.approx(70 / 80, abs=0.03) == match.coverage_b


def test_pieces_of_a_film_behind_black_are_told_by_their_own_seconds() -> None:
    one, other = scene(1, 30), scene(2, 30)
    black = np.tile(unit(np.ones((1, DIM))), (40, 1))
    a = film("a", np.concatenate([one, other]))
    b = film("b", noisy(np.concatenate([black, other, one]), 0.05), blank=tuple(range(40)))
    match = matched(a, b)
    assert match.coverage_a > 0.95 and match.relation == "part_of"
    assert sorted(s.a for s in match.segments)[0] == pytest.approx((0, 30), abs=1.5)


def test_an_intro_with_an_odd_moment_is_one_all_the_same() -> None:
    intro = scene(1, 16)
    shown = noisy(intro, 0.05)
    shown[7] = scene(9, 1)
    a = film("a", np.concatenate([intro, scene(2, 44)]))
    b = film("b", np.concatenate([shown, scene(3, 44)]))
    sure = replace(CAL, bias=CAL.bias + 12)
    match = compare(a, b, sure)
    assert match is not None and match.score > 0.9 and len(match.segments) == 2
    assert match.relation == "shared_intro"


def test_black_at_the_end_of_one_alone_is_not_shared() -> None:
    rows, last = scene(7, 60), tuple(range(40, 60))
    b = noisy(rows, 0.1)
    b[40:] = unit(np.ones((1, DIM)))
    match = matched(film("a", rows), film("b", b, blank=last))
    assert match.coverage_a == pytest.approx(40 / 60, abs=0.03)
    both = matched(film("a", rows, blank=last), film("b", noisy(rows, 0.1), blank=last))
    assert both.coverage_a == both.coverage_b == 1.0


def test_a_slip_of_sampling_is_shared_all_the_same() -> None:
    rows = scene(7, 60)
    b = noisy(rows, 0.1)
    b[30] = scene(70, 1)
    match = matched(film("a", rows), film("b", b))
    assert match.coverage_a == 1.0 and len(match.segments) == 1
    b[[10, 20, 40]] = scene(71, 3)  # one moment in fifteen is no slip
    assert matched(film("a", rows), film("b", b)).coverage_a == pytest.approx(56 / 60, abs=0.01)


def test_dark_pictures_that_coding_blanks_now_and_then_are_shared() -> None:
    """One dark moment is blank in one of two by a hair; a black one in its place is another."""
    rows = scene(7, 120)
    b = noisy(rows, 0.1)
    now_and_then = (*range(5, 120, 9), 119)
    fitted = replace(CAL, closer_weights=(1.0, 1.0))

    def covered(shown: np.ndarray, calibration: Calibration) -> float:
        other = film("b", shown, 0.5, blank=now_and_then)
        match = compare(film("a", rows, 0.5), other, calibration)
        assert match is not None and match.score > 0.9
        return match.coverage_a

    assert covered(b, fitted) == 1.0
    black = b.copy()
    black[list(now_and_then)] = unit(np.ones((1, DIM)))
    # Of other networks nobody knows how alike they find black and dark pictures.
    for shown, calibration in ((black, fitted), (b, CAL)):
        assert covered(shown, calibration) == pytest.approx(1 - 14 / 120, abs=0.02)


def test_a_still_picture_is_a_copy_of_itself_and_of_no_other() -> None:
    still = np.tile(scene(1, 1), (12, 1))
    other = np.tile(scene(2, 1), (12, 1))
    assert matched(film("a", still), film("b", noisy(still, 0.02))).score > 0.8
    match = compare(film("a", still), film("b", other), CAL)
    assert match is None or match.score < 0.5


def test_one_moment_each() -> None:
    row = scene(1, 1)
    match = matched(film("a", row, 0.2), film("b", row, 0.2))
    assert 0 <= match.score <= 1 and match.relation == "copy"


def test_features_of_unlike_makers_never_meet() -> None:
    rows = scene(1, 4)
    for other in (film("b", rows, model="n"), film("b", rows, sampling="t")):
        with pytest.raises(ValueError, match="never meet in one comparison"):
            compare(film("a", rows), other, CAL)


def test_relations() -> None:
    assert relation_of(0.9, 0.9) == "copy"
    assert relation_of(0.3, 0.9) == "contains"
    assert relation_of(0.9, 0.3) == "part_of"
    assert relation_of(0.3, 0.3) == "overlap"


def test_length_alike() -> None:
    assert length_alike(10, 15, (5.0, 0.0)) and not length_alike(10, 15.1, (5.0, 0.0))
    assert length_alike(80, 100, (0.0, 0.2)) and not length_alike(79, 100, (0.0, 0.2))
    assert length_alike(1, 1e6, ANY)


def test_evidence_weighs_up() -> None:
    """Better in any respect is never worse in score."""
    word = Witness(0.9, 0.8, 0.5, 3.0)
    base = Evidence((word,), 0.8, 10)
    for better in (
        Evidence((replace(word, similarity=0.95),), 0.8, 10),
        Evidence((replace(word, correlation=0.9),), 0.8, 10),
        Evidence((replace(word, independent=9.0),), 0.8, 10),
        Evidence((word,), 0.9, 10),
        Evidence((word,), 0.8, 20),
    ):
        assert better.score(CAL) >= base.score(CAL)
    assert 0 <= Evidence((Witness(-1, -1, 0, 0),), 0, 0).score(CAL) < 0.01


# -- over a library -----------------------------------------------------------------------------


def shelf_of(count: int = 30) -> Shelf:
    """Strangers of 10 to 39 moments, and a copy of v05."""
    videos = [film(f"v{i:02}", scene(i, 10 + i)) for i in range(count)]
    videos.append(film("copy", noisy(scene(5, 15), 0.1)))
    return Shelf(videos)


def test_candidates_hold_the_copies_and_few_others() -> None:
    shelf = shelf_of()
    keys = {f.key for f in shelf.videos}
    pairs = {frozenset((a.key, b.key)) for a, b in candidates(shelf, keys, ANY, CAL)}
    assert frozenset(("v05", "copy")) in pairs
    assert len(pairs) < 30


def test_candidates_are_blind_to_the_block_size(monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = shelf_of()
    keys = {f.key for f in shelf.videos}
    loose = Calibration(candidate=0.3)

    def found() -> set[frozenset[str]]:
        return {frozenset((a.key, b.key)) for a, b in candidates(shelf, keys, ANY, loose)}

    whole = found()
    for rows in (1, 40, 130):
        monkeypatch.setattr(candidates_module, "BLOCK_CELLS", rows * 10)
        assert found() == whole
    assert len(whole) > 3


def test_sketches_leave_out_no_candidate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few numbers before all of them: the same pairs, with all videos new and with some."""
    shelf = shelf_of()
    keys = [f.key for f in shelf.videos]

    def found(least: float, new: list[str], across: bool) -> list[tuple[str, str]]:
        rule = Calibration(candidate=least)
        return [(a.key, b.key) for a, b in candidates(shelf, set(new), ANY, rule, across)]

    asked = [
        (r, new, a) for r in (0.2, 0.3, 0.5) for new in (keys, keys[::3]) for a in (False, True)
    ]
    plain = [found(*how) for how in asked]
    monkeypatch.setattr(candidates_module, "SKETCHED_FROM", 100)
    monkeypatch.setattr(candidates_module, "SKETCH", 24)
    monkeypatch.setattr(candidates_module, "MOST_LEFT", 1.0)
    assert [found(*how) for how in asked] == plain
    assert 0 < len(plain[-1]) < len(plain[0])


def test_a_sketch_is_never_below_the_product(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates_module, "SKETCH", 16)
    rows = np.concatenate([walk(seed, 50) for seed in range(8)])
    sketch = Sketch.of(rows)
    assert sketch is not None
    short = sketch(rows)
    assert short.shape == (400, 17) and short.dtype == np.float32
    assert (short @ short.T >= rows @ rows.T - candidates_module.ROUNDING).all()
    everywhere = unit(np.random.default_rng(0).normal(size=(400, DIM)))
    assert Sketch.of(everywhere) is None


def test_only_pairs_with_a_new_video_and_of_like_length() -> None:
    shelf = shelf_of()
    loose = Calibration(candidate=-1.0)
    new = {"copy", "v20"}
    pairs = [(a, b) for a, b in candidates(shelf, new, (3.0, 0.0), loose)]
    assert pairs
    for a, b in pairs:
        assert new & {a.key, b.key}
        assert length_alike(a.duration_s, b.duration_s, (3.0, 0.0))
    wanted = {
        frozenset((x.key, y.key))
        for x in shelf.videos for y in shelf.videos
        if x.key < y.key and new & {x.key, y.key}
        and length_alike(x.duration_s, y.duration_s, (3.0, 0.0))
    }  # fmt: skip
    assert {frozenset((a.key, b.key)) for a, b in pairs} == wanted
    assert len(pairs) == len(wanted)  # each once


def test_equal_features_are_compared_once_and_told_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def counted(a: Features, b: Features, calibration: Calibration) -> Match | None:
        asked.append((a.key, b.key))
        return compare(a, b, calibration)

    rows, copy = walk(1, 12), noisy(walk(1, 12), 0.2)
    films = [film("a1", rows), film("a2", rows), film("c1", copy), film("c2", copy)]
    alone = {(a.key, b.key): compare(a, b, CAL) for a in films for b in films if a.key < b.key}
    monkeypatch.setattr(candidates_module, "compare", counted)
    found = list(compare_all(Shelf(films), {f.key for f in films}, ANY, CAL))
    assert {(m.a, m.b): m for m in found} == alone
    assert len(asked) == 3  # a with a, a with c, c with c


def test_videos_that_show_nothing_break_nothing() -> None:
    rows = scene(1, 6)
    dark = film("dark", rows, blank=tuple(range(6)))
    shelf = Shelf([film("a", rows), dark, film("b", rows), film("z", rows[:0], 1.0)])
    found = list(compare_all(shelf, {f.key for f in shelf.videos}, ANY, CAL))
    assert [(m.a, m.b, m.relation) for m in found] == [("a", "b", "copy")]
    assert list(compare_all(Shelf([]), set(), ANY, CAL)) == []


def test_head_and_tail_alone_are_an_intro() -> None:
    head, tail = Segment((0, 4), (0, 4)), Segment((36, 40), (56, 60))
    middle = Segment((15, 19), (20, 24))

    def shared(*segments: Segment) -> Match:
        return Match("a", "b", 0.9, "overlap", segments, 0.2, 0.15)

    assert is_intro(shared(head), 40, 60) and is_intro(shared(head, tail), 40, 60)
    assert not is_intro(shared(head, middle), 40, 60)
    assert not is_intro(shared(), 40, 60)
    # What is nearly half of a short clip, at its head by chance, is a piece of it.
    assert is_intro(shared(head), 10.1, 60) and not is_intro(shared(head), 9.3, 60)


def test_a_short_pair_needs_full_agreement() -> None:
    eager = Calibration(weights=(0.0,) * 6, bias=5.0)
    rows = scene(1, 16)
    halfway = unit(rows + 0.9 * scene(5, 16))

    def score(other: np.ndarray, seconds: float) -> float:
        step = seconds / 16
        found = compare(film("a", rows, step), film("b", other, step), eager)
        assert found is not None
        return found.score

    assert score(noisy(rows, 0.1), 2.0) > 0.9
    assert score(halfway, 8.0) > 0.9
    assert score(halfway, 2.0) == SHORT_SCORE


def slow(seed: int, n: int) -> np.ndarray:
    """n rows of one slow shot: any two are much alike (cosine 0.8), near ones more so."""
    rng = np.random.default_rng(seed)
    steps = np.cumsum(rng.normal(size=(n, DIM)), axis=0)
    steps = (steps - steps.mean(axis=0)) / math.sqrt(DIM * n / 6)
    return unit(rng.normal(size=DIM) / math.sqrt(DIM) * 2 + steps)


@pytest.mark.parametrize("seed", [11, 12, 13])
def test_a_piece_put_into_a_slow_shot_parts_it(seed: int) -> None:
    """One line at another speed runs near both parts: it must not be taken for them."""
    rows = slow(seed, 40)
    put_in = np.concatenate([rows[:22], scene(seed + 50, 6), rows[22:]])
    match = matched(film("a", rows, 0.25), film("b", noisy(put_in, 0.1), 0.25))
    assert [s.speed for s in match.segments] == [1.0, 1.0]
    first, second = match.segments
    assert first.b[1] == pytest.approx(5.5, abs=0.5) and second.b[0] == pytest.approx(7.0, abs=0.5)
    assert second.a[1] == pytest.approx(10.0, abs=0.5)
    assert match.score > 0.9


@pytest.mark.parametrize("seed", [21, 22])
def test_a_clip_in_a_slow_shot_lies_at_its_seconds(seed: int) -> None:
    rows = slow(seed, 60)
    clip = np.concatenate([scene(seed + 50, 12), noisy(rows[24:44], 0.1), scene(seed + 60, 12)])
    match = matched(film("a", rows, 0.25), film("b", clip, 0.25))
    (segment,) = match.segments
    assert segment.a == pytest.approx((6.0, 11.0), abs=0.5)
    assert segment.b == pytest.approx((3.0, 8.0), abs=0.5)


def test_a_clip_a_second_into_its_source_is_no_intro() -> None:
    clip = Segment((0.9, 5.0), (0.0, 4.1))
    assert not is_intro(Match("a", "b", 1.0, "overlap", (clip,), 0.27, 0.22), 15, 19)
    # Two heads and tails that are more than half of a short video are still only that.
    ends = (Segment((0.0, 2.9), (0.0, 2.9)), Segment((13.1, 16.0), (8.4, 11.3)))
    assert is_intro(Match("a", "b", 1.0, "overlap", ends, 0.36, 0.51), 16, 11.3)
