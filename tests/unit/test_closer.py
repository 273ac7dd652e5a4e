"""A closer look: what the pictures say of copies, turned and cropped, and of other takes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import videos
from twinreel import closer, doubt, models
from twinreel.changes import Agreement
from twinreel.closer import Closer, CloserTask, Line, look_closer
from twinreel.compare import TRUSTED, Calibration
from twinreel.decode import Looked, LookTask, look
from twinreel.doubt import WHOLES, Doubts, Look, families, look_again
from twinreel.embed import features
from twinreel.exact import content_key
from twinreel.options import SampleOptions
from twinreel.picture import Rect
from twinreel.progress import Progress
from twinreel.register import Place
from twinreel.store import Facts, Library
from twinreel.types import Features, Match, Segment

LINE = Line(1.0, 0.0, 0.0, 6.0)
_QUIET = Progress(show=False)


def _looked(path: Path) -> Looked:
    *_, last = look(LookTask(str(path), sample=SampleOptions(moments=16)))
    assert isinstance(last, Looked)
    return last


TWIN = Calibration(**models.get("twin.v1").extra["calibration"])


def _closer(
    a: Path, b: Path, *lines: Line, reach_s: float = 0.4, calibration: Calibration | None = None
) -> Closer | None:
    task = CloserTask(str(b), _looked(a).thumbs, lines or (LINE,), reach_s, _looked(b).picture)
    return look_closer(replace(task, calibration=calibration or task.calibration))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return videos.make(tmp_path_factory.mktemp("closer") / "a.mp4", 6, seed=5)


def test_a_cropped_mirrored_copy_is_laid_on_its_source(source: Path, tmp_path: Path) -> None:
    b = videos.make(tmp_path / "b.mp4", 6, seed=5, crop=(0.1, 0.2, 0.8, 0.9), mirrored=True)
    found = _closer(source, b)
    assert found is not None
    assert found.place.mirrored and not found.place.turns and found.place.inside
    assert found.place.part == pytest.approx((0.1, 0.2, 0.8, 0.9), abs=0.06)
    assert found.agreement.correlation > 0.8 and found.fit > 0.9


def test_an_upside_down_copy_is_laid_on_its_source(source: Path, tmp_path: Path) -> None:
    b = videos.make(tmp_path / "b.mp4", 6, seed=5, edit=lambda p, _: p[::-1, ::-1])
    found = _closer(source, b)
    assert found is not None and (found.place.turns, found.place.mirrored) == (2, False)
    assert found.agreement.correlation > 0.8


def test_the_shift_is_found_to_a_frame(source: Path, tmp_path: Path) -> None:
    b = videos.make(tmp_path / "b.mp4", 5, seed=5, start_s=0.8)
    found = _closer(source, b, Line(1.0, -0.6, 1.0, 5.5))
    assert found is not None
    assert found.line.speed * 3 + found.line.offset == pytest.approx(2.2, abs=0.06)
    assert found.agreement.correlation > 0.8
    assert found.span[0] >= 1.0


def test_another_video_changes_otherwise(source: Path, tmp_path: Path) -> None:
    b = videos.make(tmp_path / "b.mp4", 6, seed=6)
    found = _closer(source, b)
    assert found is not None and found.agreement.correlation < 0.6
    assert found.moments < len(_looked(source).thumbs)  # seen at a few: no finer look is worth it


@pytest.mark.parametrize(("large", "titles", "most"), [(3, (60, 90), 0.1), (5, (60, 70), 0.5)])
def test_the_same_clock_in_the_corner_of_two_slides_proves_nothing(
    large: int, titles: tuple[int, int], most: float, tmp_path: Path
) -> None:
    """All that changes, changes alike; it is in one place."""
    digits = np.random.default_rng(1).integers(0, 2, (10, 4, 3)).astype(np.uint8)

    def slide(title: int) -> Callable[[Any, float], Any]:
        def paint(frame: Any, t: float) -> Any:
            out = np.full_like(frame, 255)
            out[:20] = (31, 78, 121)
            out[40:54, 10 : 10 + title] = 0
            for place, every in enumerate((3, 1, 0.5)):
                shape = digits[int(t / every) % 10].repeat(large, 0).repeat(large, 1)
                left = 250 + (3 * large + 5) * place
                out[174 - 4 * large : 174, left : left + 3 * large] = shape[..., None] * 255
            return out

        return paint

    paths = [
        videos.make(tmp_path / f"{title}.mp4", 6, number=False, edit=slide(title))
        for title in titles
    ]
    found = _closer(*paths)
    assert found is not None and found.agreement.correlation > 0.5 and found.fit > 0.8
    assert found.score(TWIN) < most


@pytest.mark.parametrize(
    ("pace", "words", "likely"), [(1.0, 0, True), (1.0, 40, False), (1.6, 0, False)]
)
def test_a_little_that_moves_alike_in_the_same_picture_is_likely(
    pace: float, words: int, likely: bool, tmp_path: Path
) -> None:
    """Somebody far away in a meadow: in too few places for a proof. Other words beside it, or
    another way to go, and nothing is told."""
    rng = np.random.default_rng(3)
    meadow = rng.integers(40, 215, (9, 16, 3)).astype(np.uint8).repeat(20, 0).repeat(20, 1)

    def field(pace: float, words: int) -> Callable[[Any, float], Any]:
        def paint(frame: Any, t: float) -> Any:
            out = meadow.copy()
            out[150:162, 200 : 200 + words] = 255
            x = 120 + int(30 * np.sin(pace * t) + 12 * np.sin(2.3 * pace * t))
            y = 70 + int(20 * np.sin(1.7 * pace * t))
            out[y : y + 24, x : x + 20] = (250, 250, 40)
            return out

        return paint

    a = videos.make(tmp_path / "a.mp4", 8, number=False, edit=field(1.0, 0))
    b = videos.make(tmp_path / "b.mp4", 8, number=False, edit=field(pace, words))
    found = _closer(a, b)
    assert found is not None and not found.agreement.detail
    assert found.likely == likely
    assert found.score(TWIN) == closer.LIKELY if likely else found.score(TWIN) < 0.1
    assert closer.LIKELY < TRUSTED  # listed, not removed at the default


def test_of_several_lines_the_right_one_is_taken(source: Path, tmp_path: Path) -> None:
    b = videos.make(tmp_path / "b.mp4", 6, seed=5, codec="mpeg4")
    found = _closer(source, b, Line(0.7, 1.0, 0.0, 6.0), LINE)
    assert found is not None and found.line.speed == pytest.approx(1.0, abs=0.03)


def test_what_is_alike_for_a_moment_beyond_a_piece_does_not_lengthen_it(
    source: Path, tmp_path: Path
) -> None:
    # From 3.5 s on b shows something else, but for half a second near its end.
    tiles = np.random.default_rng(0).integers(0, 256, (9, 16, 3), np.uint8)
    other = tiles.repeat(20, 0).repeat(20, 1)
    b = videos.make(
        tmp_path / "b.mp4",
        6,
        seed=5,
        edit=lambda p, t: other if t > 3.5 and not 4.9 < t < 5.4 else p,
    )
    found = _closer(source, b)
    assert found is not None and found.agreement.correlation > 0.9
    assert found.span[0] == 0 and 2.9 <= found.span[1] <= 3.5


def test_seconds_beyond_the_end_of_a_piece_are_no_witness(source: Path, tmp_path: Path) -> None:
    # From 3.5 s on b shows something else, though the line goes on.
    tiles = np.random.default_rng(0).integers(0, 256, (9, 16, 3), np.uint8)
    other = tiles.repeat(20, 0).repeat(20, 1)
    b = videos.make(tmp_path / "b.mp4", 6, seed=5, edit=lambda p, t: other if t > 3.5 else p)
    found = _closer(source, b)
    assert found is not None and found.agreement.correlation > 0.9
    assert found.span[0] == 0 and 2.9 <= found.span[1] <= 3.5
    assert found.moments < len(_looked(source).thumbs)


def test_what_a_look_sees_to_be_unlike_is_not_shared(tmp_path: Path) -> None:
    """Other pictures in between: the rest is one line, and a copy but for them."""
    tiles = np.random.default_rng(0).integers(0, 256, (9, 16, 3), np.uint8)
    other = tiles.repeat(20, 0).repeat(20, 1)
    a = videos.make(tmp_path / "a.mp4", 10, seed=5)
    b = videos.make(tmp_path / "b.mp4", 10, seed=5, edit=lambda p, t: other if 4 < t < 6 else p)
    line = Line(1.0, 0.0, 0.0, 10.0)
    found = _closer(a, b, line)
    assert found is not None and found.span == (0, 9)
    (unlike,) = found.unlike
    assert unlike == pytest.approx((4.0, 6.0), abs=0.5)
    with Library.open(tmp_path / "l.db") as library:
        ka, kb = sorted((_put(library, a), _put(library, b)))
        paths = {content_key(p): str(p) for p in (a, b)}
        m = Match(ka, kb, 0.3, "copy", (Segment((0.0, 10.0), (0.0, 10.0)),), 1.0, 1.0)
        ((told, _),) = look_again([m], replace(_stage(library, paths), calibration=TWIN), _QUIET)
    assert told.score > 0.9 and [s.a for s in told.segments] == [(0, 4.5), (5.5, 10)]
    assert told.coverage_a == pytest.approx(0.9) == told.coverage_b


def test_a_look_does_not_restore_what_sure_descriptors_saw_to_be_other(
    source: Path, tmp_path: Path
) -> None:
    b = videos.make(tmp_path / "b.mp4", 6, seed=5, crop=(0.0, 0.0, 0.9, 0.9))
    pieces = tuple(Segment(s, s) for s in ((0.0, 2.0), (4.0, 6.0)))
    with Library.open(tmp_path / "l.db") as library:
        ka, kb = sorted((_put(library, source), _put(library, b)))
        paths = {content_key(p): str(p) for p in (source, b)}
        for score, coverage in ((0.95, 4 / 6), (0.5, 1.0)):
            look = replace(_stage(library, paths), calibration=TWIN, made_by=str(score))
            m = Match(ka, kb, score, "overlap", pieces, 4 / 6, 4 / 6)
            ((told, _),) = look_again([m], look, _QUIET)
            assert told.score > 0.9 and told.coverage_a == pytest.approx(coverage, abs=0.05)


def test_black_in_the_opened_file_is_not_shared(source: Path, tmp_path: Path) -> None:
    b = videos.make(
        tmp_path / "b.mp4", 6, seed=5, edit=lambda p, t: 0 * p if 2.2 < t < 3.9 else p
    )
    found = _closer(source, b)
    assert found is not None
    (unlike,) = found.unlike
    assert unlike == pytest.approx((2.2, 3.9), abs=0.4)


def _room(until_s: float) -> Callable[[Any, float], Any]:
    """A room that never changes, and somebody who walks through it, from then on another way."""
    walls = np.random.default_rng(0).integers(60, 200, (9, 16, 3), np.uint8)
    ways = np.random.default_rng(1).uniform(0, 6.3, (2, 4))

    def paint(frame: Any, t: float) -> Any:
        out = walls.repeat(20, 0).repeat(20, 1)
        one, two, three, four = ways[int(t > until_s)]
        x = int(140 + 70 * np.sin(1.1 * t + one) + 60 * np.sin(2.3 * t + two))
        y = int(70 + 30 * np.sin(1.7 * t + three) + 25 * np.sin(0.9 * t + four))
        out[y : y + 60, x : x + 80] = 160
        return out

    return paint


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same to 3.5 s."""
    folder = tmp_path_factory.mktemp("rooms")
    return tuple(  # type: ignore[return-value]
        videos.make(folder / f"{n}.mp4", 6, number=False, edit=_room(until))
        for n, until in enumerate((9.0, 3.5))
    )


def test_one_half_may_show_what_the_whole_does_not(rooms: tuple[Path, Path]) -> None:
    plain = _closer(*rooms)
    assert plain is not None and not plain.half and plain.score(TWIN) < 0.5
    found = _closer(*rooms, calibration=TWIN)
    assert found is not None and found.half and found.alone
    assert found.score(TWIN) > 0.9 and found.span[0] == 0 and 2.4 <= found.span[1] <= 3.5
    # A half is the best of several tries: it has to show more than a whole.
    assert found.score(TWIN) < replace(found, half=False).score(TWIN)


def test_what_one_half_shows_is_shared_in_that_half_alone(
    rooms: tuple[Path, Path], tmp_path: Path
) -> None:
    with Library.open(tmp_path / "l.db") as library:
        ka, kb = sorted(_put(library, path) for path in rooms)
        paths = {content_key(p): str(p) for p in rooms}
        m = Match(ka, kb, 0.3, "copy", (Segment((0.0, 6.0), (0.0, 6.0)),), 1.0, 1.0)
        stage = replace(_stage(library, paths), calibration=TWIN)
        ((told, _),) = look_again([m], stage, _QUIET)
    assert told.score > 0.9 and told.relation != "copy"
    assert max(told.coverage_a, told.coverage_b) < 0.7
    assert all(s.a[1] < 4 for s in told.segments)


@pytest.mark.parametrize(("correlation", "asked"), [(0.2, 1), (0.5, 2), (0.99, 1)])
def test_halves_are_laid_anew_where_the_whole_leaves_hope(
    correlation: float, asked: int, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[list[Line]] = []

    def told(task: Any, given: Any, pictures: Any, shifts: Any, beat: Any, *more: Any) -> Closer:
        lines.append(list(given))
        sure = len(lines) > 1
        agreement = Agreement(0.99, 0.9) if sure else Agreement(correlation, 0.9 * correlation**2)
        return Closer(agreement, 0.9, 20, LINE, Place(), (0.0, 6.0), half=sure)

    monkeypatch.setattr(closer, "_told", told)
    found = _closer(source, source, calibration=TWIN)
    assert len(lines) == asked and found is not None and found.half == (asked == 2)
    if asked == 2:
        spans = [(line.start, line.end) for line in lines[1]]
        assert spans == [(0.0, 3.0), (1.5, 4.5), (3.0, 6.0)]
    lines.clear()
    assert _closer(source, source) is not None and len(lines) == 1  # weighed by nothing


@pytest.mark.parametrize("apart_s", [0.2, 3.0])
def test_segments_that_nobody_looked_at_do_not_count(
    rooms: tuple[Path, Path], tmp_path: Path, apart_s: float
) -> None:
    """The look was along the first, longer one; the second lies on the same line, or on another."""
    first = Segment((0.0, 3.2), (0.0, 3.2))
    second = Segment((3.2, 6.0 - apart_s), (3.2 + apart_s, 6.0))
    with Library.open(tmp_path / "l.db") as library:
        ka, kb = sorted(_put(library, path) for path in rooms)
        paths = {content_key(p): str(p) for p in rooms}
        m = Match(ka, kb, 0.3, "copy", (first, second), 1.0, 1.0)
        stage = replace(_stage(library, paths), calibration=TWIN)
        ((told, _),) = look_again([m], stage, _QUIET)
    assert told.score > 0.9 and told.segments == (first, second)
    assert told.relation == ("copy" if apart_s < 1 else "overlap")
    assert told.coverage_a == pytest.approx(1.0 if apart_s < 1 else 3.2 / 6, abs=0.01)


STILL, FROZEN, OTHER, CARDS = "still", "frozen", "other", "cards"


def _heard_of(rest: str, at: int) -> Closer:
    """What 24 moments say, a quarter of a second apart, that change alike up to `at`; in the rest
    both are still, b alone is, both change, or they show still pictures that are unlike."""
    rng = np.random.default_rng(2)
    picture = rng.normal(size=1600)
    moves, others, noise = (size * rng.normal(size=(2, 24, 1600)) for size in (0.3, 0.3, 0.03))
    moves[1] = moves[0]
    after = {STILL: 0 * others, FROZEN: others * np.array([1, 0])[:, None, None], OTHER: others}
    after[CARDS] = np.repeat(2 * others[:, :1], 24, axis=1)
    moves[:, at:] = after[rest][:, at:]
    noise[1, at:] *= rest != FROZEN  # a stuck recording repeats a frame to the last bit
    a, b = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in picture + moves + noise)
    each = (a * b).sum(axis=1)
    seen = closer._Seen(LINE, [0.25 * n for n in range(24)], a, b, each)
    strict = Calibration(closer_weights=(1000.0, 0.0), closer_bias=-985.0)
    ends = closer._stretch(each - (np.quantile(each, 0.75) - closer._UNLIKE))
    return closer._heard_in(CloserTask("", (), (), 0.4, calibration=strict), seen, Place(), *ends)


def test_a_half_speaks_for_the_rest_where_both_are_still() -> None:
    told = _heard_of(STILL, 12)
    assert told.half and not told.alone and told.span == (0.0, 5.75)


@pytest.mark.parametrize("rest", [FROZEN, OTHER])
@pytest.mark.parametrize("at", [12, 18])
def test_a_half_speaks_for_nothing_that_changes_otherwise(rest: str, at: int) -> None:
    told = _heard_of(rest, at)
    assert told.half and told.alone
    assert told.span[0] == 0.0 and told.span[1] <= 0.25 * (at - 1)


def test_unlike_pictures_are_not_shared_though_they_are_still() -> None:
    told = _heard_of(CARDS, 14)
    assert not told.half and told.cut and told.alone and told.span == (0.0, 3.25)


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_picture_shrunk_into_a_corner_is_laid_at_its_full_size(
    source: Path, tmp_path: Path, mirrored: bool
) -> None:
    def shrunk(p: np.ndarray, _: float) -> np.ndarray:
        out = np.full_like(p, 90)
        out[150:330, 300:620] = (p[:, ::-1] if mirrored else p)[::2, ::2]
        return out

    b = videos.make(tmp_path / "b.mp4", 6, seed=5, size=(640, 360), edit=shrunk)
    for found in (_closer(source, b), _closer(b, source)):
        assert found is not None and found.place.mirrored == mirrored
        assert found.agreement.correlation > 0.9


def test_blank_pictures_say_nothing(source: Path, tmp_path: Path) -> None:
    dark = videos.make(tmp_path / "b.mp4", 6, seed=5, edit=lambda p, _: np.zeros_like(p))
    assert _closer(source, dark) is None
    assert _closer(dark, source) is None


# -- the stage ----------------------------------------------------------------------------------

CALIBRATION = Calibration(closer_weights=(1.0, 6.0), closer_bias=-4.0)


def _put(library: Library, path: Path) -> str:
    looked, key = _looked(path), content_key(path)
    info = looked.info
    times = np.array([t for t, _ in looked.thumbs])
    vectors = np.repeat(np.eye(1, 8, dtype=np.float32), len(times), axis=0)
    blank = np.zeros(len(times), bool)
    made = features(key, "m", "s", times, blank, vectors, info.duration_s)
    facts = Facts(info, looked.step_s, looked.planned, looked.got, "", 0.0, looked.picture)
    library.put_look(facts, made, looked.thumbs, "s")
    return key


def _stage(library: Library, path: dict[str, str]) -> Look:
    def reader(key: str) -> Features:
        found = library.features(key, "m", "s")
        assert found is not None
        return found

    def picture(key: str) -> Rect:
        return library.facts({key})[key].picture

    return Look(library, CALIBRATION, 0.99, "m s", reader, picture, path, (160, 160), 1)


def test_a_doubtful_pair_is_scored_anew_once(source: Path, tmp_path: Path) -> None:
    b = videos.make(tmp_path / "b.mp4", 6, seed=5, crop=(0.0, 0.0, 0.8, 0.8), mirrored=True)
    with Library.open(tmp_path / "l.db") as library:
        ka, kb = sorted((_put(library, source), _put(library, b)))
        paths = {content_key(p): str(p) for p in (source, b)}
        whole = Segment((0.0, 6.0), (0.0, 6.0))
        m = Match(ka, kb, 0.3, "copy", (whole,))
        (told, why), *rest = look_again([m], _stage(library, paths), _QUIET)
        assert (why, rest) == ("", [])
        assert (told.a, told.b) == (ka, kb) and told.score > 0.8
        assert told.segments[0].mirrored
        assert not list(look_again([told], _stage(library, paths), _QUIET))
        # Scored again under other options: the verdict holds without another look.
        known = list(look_again([m.swapped()], _stage(library, {}), _QUIET))
        assert known == [(told, "")]


def test_a_pair_that_shows_nothing_is_as_likely_as_not_at_most(
    source: Path, tmp_path: Path
) -> None:
    dark = videos.make(tmp_path / "b.mp4", 6, seed=5, edit=lambda p, _: np.zeros_like(p))
    with Library.open(tmp_path / "l.db") as library:
        ka, kb = sorted((_put(library, source), _put(library, dark)))
        paths = {content_key(p): str(p) for p in (source, dark)}
        whole = Segment((0.0, 6.0), (0.0, 6.0))
        for score, told in ((0.75, 0.5), (0.3, 0.3)):
            m = Match(ka, kb, score, "copy", (whole,))
            look = replace(_stage(library, paths), made_by=str(score))
            assert list(look_again([m], look, _QUIET)) == [(replace(m, score=told), "")]


def test_one_look_serves_all_copies_of_the_same_pictures(source: Path, tmp_path: Path) -> None:
    """The source and the same packets under another key; a crop that is doubtful beside both."""
    twin = tmp_path / "twin.mp4"
    twin.write_bytes(source.read_bytes() + b"\0\0\0\x08free")
    b = videos.make(tmp_path / "b.mp4", 6, seed=5, crop=(0.0, 0.0, 0.8, 0.8))
    whole = (Segment((0.0, 6.0), (0.0, 6.0)),)
    opened: list[str] = []

    class Told(Progress):
        def stage(self, name: str, total: int | None) -> Any:
            opened.append(f"{name} {total}")
            return super().stage(name, total)

    with Library.open(tmp_path / "l.db") as library:
        first, second, crop = (_put(library, p) for p in (source, twin, b))
        paths = {first: str(source), second: str(twin), crop: str(b)}
        sure = Match(*sorted((first, second)), 0.9999, "copy", whole)
        doubts = [Match(*sorted((k, crop)), 0.3, "copy", whole) for k in (first, second)]
        told = [m for m, _ in look_again([sure, *doubts], _stage(library, paths), Told(False))]
        assert opened == ["look closer 1"]
        assert {(m.a, m.b) for m in told} == {(m.a, m.b) for m in doubts}
        assert all(m.score == told[0].score > 0.8 for m in told)
        # A third one, met later, needs no look either.
        third = tmp_path / "third.mp4"
        third.write_bytes(source.read_bytes() + b"\0\0\0\x09free!")
        key = _put(library, third)
        also = Match(*sorted((first, key)), 0.9999, "copy", whole)
        late = Match(*sorted((key, crop)), 0.3, "copy", whole)
        paths[key] = str(third)
        ((m, why),) = look_again([sure, also, late], _stage(library, paths), Told(False))
        assert opened == ["look closer 1"] and not why
        assert ({m.a, m.b}, m.score) == ({key, crop}, told[0].score)


def test_sure_pairs_and_closed_files_are_left_alone(source: Path, tmp_path: Path) -> None:
    with Library.open(tmp_path / "l.db") as library:
        key = _put(library, source)
        sure = [Match(key, "b", 0.9999, "copy"), Match(key, "b", 0.001, "copy")]
        assert not list(look_again(sure, _stage(library, {key: str(source)}), _QUIET))
        doubtful = [Match(key, "b", 0.5, "copy")]
        nowhere = _stage(library, {})
        assert not list(look_again(doubtful, nowhere, _QUIET))


def test_a_file_that_cannot_be_opened_is_told(source: Path, tmp_path: Path) -> None:
    other = videos.make(tmp_path / "b.mp4", 6, seed=5, codec="mpeg4")
    with Library.open(tmp_path / "l.db") as library:
        ka, kb = sorted((_put(library, source), _put(library, other)))
        gone = {ka: str(tmp_path / "x.mp4"), kb: str(tmp_path / "x.mp4")}
        m = Match(ka, kb, 0.3, "copy", (Segment((0.0, 6.0), (0.0, 6.0)),))
        ((same, why),) = look_again([m], _stage(library, gone), _QUIET)
        assert same == m and why


def test_families_are_what_pairs_connect() -> None:
    root = families([("a", "b"), ("c", "d"), ("b", "d"), ("x", "y")])
    assert root("a") == root("c") != root("x") == root("y")
    assert root("alone") == "alone"


def test_copies_that_belong_together_are_not_looked_at(source: Path, tmp_path: Path) -> None:
    with Library.open(tmp_path / "l.db") as library:
        key = _put(library, source)
        sure = [Match(key, "m", 0.95, "copy"), Match("b", "m", 0.95, "copy")]
        stage = replace(_stage(library, {key: str(source)}), sure=0.9)
        assert not list(look_again([*sure, Match(key, "b", 0.5, "copy")], stage, _QUIET))


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> dict[frozenset[str], float]:
    """Looks that open nothing: what they will say of each pair (0 where it is not named), and
    under `asked` the pairs in order."""
    says: dict[frozenset[str], float] = {}
    monkeypatch.setattr(doubt, "_task", lambda m, name, look: (CloserTask("", (), (), 1.0), m))

    def looked(tasks: Any, look: Look, progress: Progress) -> Any:
        for _, m in tasks:
            pair = frozenset((m.a, m.b))
            asked.append(pair)
            yield replace(m, score=says.get(pair, 0.0)), ""

    asked: list[frozenset[str]] = []
    monkeypatch.setattr(doubt, "_looked", looked)
    monkeypatch.setattr(doubt, "_asked", asked, raising=False)
    return says


def _pair(names: str) -> frozenset[str]:
    return frozenset(names)


def _looks(
    tmp_path: Path, sure: str, doubtful: str, name: str = "l", likeliest: float = 0.04
) -> list[frozenset[str]]:
    """The pairs looked at, in order; words like 'ab bc', the likeliest first."""
    asked: list[frozenset[str]] = doubt._asked  # type: ignore[attr-defined]
    asked.clear()
    matches = [Match(*w, 0.95, "copy") for w in sure.split()]
    matches += [
        Match(*w, likeliest * (1 - n / 120), "copy") for n, w in enumerate(doubtful.split())
    ]
    with Library.open(tmp_path / f"{name}.db") as library:
        stage = replace(_stage(library, {}), library=library, sure=0.9)
        list(look_again(matches, stage, _QUIET))
    return list(asked)


def test_of_a_family_the_one_with_most_copies_is_looked_at(
    tmp_path: Path, told: dict[frozenset[str], float]
) -> None:
    # x is likeliest beside b, but h has most copies; once that is settled, no other is asked.
    told[_pair("hx")] = 0.97
    assert _looks(tmp_path, "ah bh ch", "bx ax hx cx") == [_pair("hx")]


def test_a_video_that_is_no_copy_is_looked_at_beside_two_of_a_family(
    tmp_path: Path, told: dict[frozenset[str], float]
) -> None:
    pairs = _looks(tmp_path, "ah bh ch dh", "ax bx cx dx hx")
    assert pairs == [_pair("hx"), _pair("ax")]
    # And no more in the next run.
    assert _looks(tmp_path, "ah bh ch dh", "ax bx cx dx hx") == []


def test_who_joined_a_family_is_looked_at_beside_its_middle(
    tmp_path: Path, told: dict[frozenset[str], float]
) -> None:
    # y is known beside the leaf a alone, then doubtful beside h, of the same family by now.
    told[_pair("ay")] = 0.95
    assert _looks(tmp_path, "ah bh ch", "ay") == [_pair("ay")]
    assert _looks(tmp_path, "ah bh ch ay", "hy by", "n") == [_pair("hy")]


def test_families_whose_middles_had_their_looks_are_told_by_others(
    tmp_path: Path, told: dict[frozenset[str], float]
) -> None:
    # h and x have most copies and are looked at with strangers until they are not due any more.
    pairs = _looks(tmp_path, "ah bh vx wx", "hp hq hr sx tx ux hx av")
    assert _pair("hx") not in pairs
    assert pairs[-1] == _pair("av") and len(pairs) == 7


def test_looks_at_strangers_are_bounded(tmp_path: Path, told: dict[frozenset[str], float]) -> None:
    crowd = [f"x{c}" for c in "abcdefghij"]
    pairs = _looks(tmp_path, "", " ".join(crowd))
    assert len(pairs) == len(crowd)  # each of the others is looked at for the first time
    between = " ".join(f"{a}{b}" for a in "abcdefgh" for b in "abcdefgh" if a < b)
    pairs = _looks(tmp_path, "", between, "n")
    assert len(pairs) == len(set(pairs)) <= WHOLES.looks * 8 < len(between.split())


def test_likely_pairs_are_looked_at_twice_as_often(
    tmp_path: Path, told: dict[frozenset[str], float]
) -> None:
    strangers = " ".join(f"{a}{b}" for a in "abcdefghijklmn" for b in "abcdefghijklmn" if a < b)
    few = _looks(tmp_path, "", strangers)
    many = _looks(tmp_path, "", strangers, "n", likeliest=0.8)
    assert 1.5 * len(few) < len(many) <= 2 * WHOLES.looks * 14 < len(strangers.split())


def test_every_pair_that_a_group_hangs_on_is_looked_at_once(
    tmp_path: Path, told: dict[frozenset[str], float]
) -> None:
    asked: list[frozenset[str]] = doubt._asked  # type: ignore[attr-defined]
    told[_pair("kb")] = 0.99
    matches = [Match(*sorted("k" + c), 0.5, "copy") for c in "abcde"]
    with Library.open(tmp_path / "l.db") as library:
        doubts = Doubts(replace(_stage(library, {}), library=library, sure=0.9))
        found = {frozenset((m.a, m.b)): m.score for m, _ in doubts.settle_all(matches, _QUIET)}
        assert found == {_pair("k" + c): 0.99 if c == "b" else 0.0 for c in "abcde"}
        assert not list(doubts.settle_all([m for m in matches if m.b == "k"][:0], _QUIET))
        again = list(doubts.settle_all(matches, _QUIET))
        assert len(asked) == 5
        assert {m.score for m, _ in again} == {0.99, 0.0}  # remembered, told again


def test_a_compilation_is_looked_at_as_often_as_it_has_stretches(
    tmp_path: Path, told: dict[frozenset[str], float]
) -> None:
    def match(name: str, start: float) -> Match:
        return Match(name, "z", 0.5, "overlap", (Segment((0.0, 4.0), (start, start + 4.0)),))

    asked: list[frozenset[str]] = doubt._asked  # type: ignore[attr-defined]
    # Every source has been looked at often enough; of z only the first stretch has.
    busy = [match(n, 0.0) for n in "abcd"] + [
        Match(*sorted(n + o), 0.6, "copy", (Segment((0.0, 4.0), (0.0, 4.0)),))
        for n in "abcdef" for o in ("p", "q", "r")
    ]  # fmt: skip
    with Library.open(tmp_path / "l.db") as library:
        stage = replace(_stage(library, {}), library=library, sure=0.9)
        list(look_again([*busy, match("e", 8.0), match("f", 16.0)], stage, _QUIET))
    assert _pair("ez") in asked and _pair("fz") in asked


def test_the_file_of_which_fewer_pictures_are_kept_is_opened(tmp_path: Path) -> None:
    short = videos.make(tmp_path / "short.mp4", 3, seed=5, start_s=2.0)
    long = videos.make(tmp_path / "long.mp4", 24, seed=5)
    with Library.open(tmp_path / "l.db") as library:
        paths = {_put(library, p): str(p) for p in (short, long)}
        keys = {Path(p).stem: k for k, p in paths.items()}
        m = Match(keys["long"], keys["short"], 0.5, "contains",
                  (Segment((2.0, 5.0), (0.0, 3.0)),))  # fmt: skip
        for way in (m, m.swapped()):
            found = doubt._task(way, "n", _stage(library, paths))
            assert found is not None
            assert (found[0].path, found[1].b) == (str(long), keys["long"])


def test_proof_raises_the_score() -> None:
    def seen(correlation: float, detail: float) -> Closer:
        return Closer(Agreement(correlation, detail), 0.9, 20, LINE, Place(), (0.0, 6.0))

    low, high = (seen(c, d).score(CALIBRATION) for c, d in ((0.2, 0.1), (0.95, 1.8)))
    assert low < 0.5 < high
    assert seen(0.0, 0.5).score(CALIBRATION) == pytest.approx(1 / (1 + math.e))
    # What changes in a corner alone, or nowhere, is less than little.
    assert seen(1.0, 0.0).score(CALIBRATION) < seen(0.9, 1e-6).score(CALIBRATION) - 0.02
    assert WHOLES.looks >= 1
