"""The review page, the choices made on it, and how a browser plays a video."""

from __future__ import annotations

import base64
import html.parser
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from click.testing import CliRunner

from tests.reviewing import BIG_INODE, BIG_NS, made_up
from tests.videos import make, read_number
from twinreel.actions import plan
from twinreel.cli import main
from twinreel.errors import InputError
from twinreel.probe import probe
from twinreel.report import Report
from twinreel.review.choices import Choice, Ties, decided, read_choices, told_apart
from twinreel.review.page import find_library, head, render, safe, style_for, write_page
from twinreel.review.pictures import STYLES, TYPICAL_BYTES, group_pictures
from twinreel.review.playback import frame_jpeg, how
from twinreel.store import Library
from twinreel.types import Video, VideoFile, VideoInfo


class _Scripts(html.parser.HTMLParser):
    """The texts of a page's script elements by id ('' for the program), and all other tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.texts: dict[str, str] = {}
        self.tags: list[tuple[str, dict[str, Any]]] = []
        self._open: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self._open = dict(attrs).get("id", "")
            self.texts[self._open] = ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self._open = None

    def handle_data(self, data: str) -> None:
        if self._open is not None:
            self.texts[self._open] += data


@pytest.fixture
def report(tmp_path: Path) -> Report:
    return made_up(tmp_path)


# -- the page -------------------------------------------------------------------------------------


def test_the_page_holds_the_whole_report(report: Report, tmp_path: Path) -> None:
    page = write_page(report, tmp_path / "r.html", name="r.json").read_text()
    parts = _Scripts(page).texts
    data = {**json.loads(parts["head"]), "groups": json.loads(parts["groups"])}
    assert Report.from_dict(data) == report
    assert str(BIG_NS) in parts["head"] and str(BIG_INODE) in parts["head"]
    assert {f"p{n}" for n in range(6)} <= set(parts)


def test_what_the_page_saves_is_what_was_read(report: Report, tmp_path: Path) -> None:
    # savedText() in review-state.js puts the head's text and the groups together like this.
    text = f'{safe(head(report))[:-1]}, "groups": {json.dumps(report.to_dict()["groups"])}}}'
    (tmp_path / "saved.json").write_text(text)
    assert Report.load(tmp_path / "saved.json") == report
    assert '"version": 1' in text[:2000]  # by which `act` knows our reports


def test_no_name_becomes_markup_and_nothing_is_fetched(report: Report, tmp_path: Path) -> None:
    page = write_page(report, tmp_path / "r.html").read_text()
    assert "onerror=alert(1)" in page  # the name is there ...
    tags = _Scripts(page).tags
    assert not [t for t, _ in tags if t in ("img", "iframe", "object", "embed", "base")]
    for _, traits in tags:  # ... but only as JSON
        assert not [name for name in traits if name.startswith("on")]
        assert not str(traits.get("src", "")) and "http" not in str(traits.get("href", ""))
    policy = next(t["content"] for _, t in tags if "Content-Security" in t.get("http-equiv", ""))
    assert "default-src 'none'" in policy and "connect-src 'none'" in policy
    assert "unsafe" not in policy


def test_the_policy_names_the_script_as_it_stands(report: Report, tmp_path: Path) -> None:
    import hashlib

    parser = _Scripts(write_page(report, tmp_path / "r.html").read_text())
    policy = next(t["content"] for _, t in parser.tags if "Content-Security" in str(t))
    digest = base64.b64encode(hashlib.sha256(parser.texts[""].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy


def test_without_a_library_the_page_says_so(tmp_path: Path) -> None:
    report = made_up(tmp_path, library=False)
    page = write_page(report, tmp_path / "r.html").read_text()
    view = json.loads(_Scripts(page).texts["view"])
    assert "library.db is not here" in view["note"] and view["pictures"] is False
    assert not (tmp_path / "library.db").exists()  # looking for it made none


def test_a_file_that_is_no_library_is_told(tmp_path: Path, report: Report) -> None:
    (tmp_path / "no.db").write_text("this is text, and long enough to be looked at by SQLite" * 20)
    found, note = find_library(report, str(tmp_path / "no.db"))
    assert found is None and "not a twinreel library" in note


def test_pictures_stay_within_their_budget() -> None:
    assert style_for(10) is STYLES[0]
    chosen = [style_for(n) for n in (10, 700, 1500, 3000, 100_000)]
    assert chosen == sorted(chosen, key=STYLES.index) and chosen[-1] is STYLES[-1]
    assert list(TYPICAL_BYTES) == sorted(TYPICAL_BYTES, reverse=True)


def test_an_empty_report_makes_a_page(tmp_path: Path) -> None:
    parts = _Scripts(write_page(Report("", (), (), ()), tmp_path / "r.html").read_text()).texts
    assert json.loads(parts["groups"]) == [] and json.loads(parts["view"])["note"]


# -- pictures by content time ---------------------------------------------------------------------


def test_the_same_content_stands_in_one_column(report: Report, tmp_path: Path) -> None:
    with Library.open(tmp_path / "library.db") as library:
        data = group_pictures(report, report.groups[1], library, STYLES[0])
    kept, trimmed = data["kinds"]
    for column, own, inside in zip(
        data["columns"], trimmed["times"], trimmed["inside"], strict=True
    ):
        if own is not None:
            assert own == pytest.approx(column - 20, abs=3) and inside
        else:
            assert column < 20 + 3 or column > 67 - 3
    assert trimmed["times"][0] is None and kept["times"][0] == pytest.approx(data["columns"][0], 1)
    assert data["sprites"][0]["n"] == len({c for c in kept["cells"] if c >= 0})


def test_exact_copies_share_their_pictures(report: Report, tmp_path: Path) -> None:
    ties = Ties(report, report.groups[3])
    assert ties.kind == [0, 0] and ties.between(0, 1).relation == "exact"  # type: ignore[union-attr]
    with Library.open(tmp_path / "library.db") as library:
        assert len(group_pictures(report, report.groups[3], library, STYLES[0])["sprites"]) == 1


def test_what_is_only_likely_ties_nobody(report: Report) -> None:
    """A report lists parts below the threshold, with --all-matches also what was refuted."""
    a, b, c = report.groups[2].members
    assert all(Ties(report, report.groups[2]).between(i, 0) for i in (1, 2))
    unsure = tuple(
        replace(m, score=0.7, relation="part_of") if {m.a, m.b} == {a, c} else m
        for m in report.matches
    )
    options = {**report.options, "min_score": 0.9}
    ties = Ties(replace(report, matches=unsure, options=options), report.groups[2])
    assert ties.between(1, 0) is not None and ties.between(2, 0) is None


def test_the_matrix_shows_where_two_are_alike(report: Report, tmp_path: Path) -> None:
    with Library.open(tmp_path / "library.db") as library:
        data = group_pictures(report, report.groups[4], library, STYLES[0])
    matrix = data["matrices"][1]
    values = np.frombuffer(base64.b64decode(matrix["data"]), np.uint8)
    values = values.reshape(matrix["rows"], matrix["columns"])
    # Both were given the same vectors: a bright diagonal and nothing as bright beside it.
    assert (np.diag(values) > 250).all() and (values > 250).sum() == len(values)


# -- choices --------------------------------------------------------------------------------------


def test_untouched_groups_stay_as_they_are(report: Report) -> None:
    assert decided(report, {}) == report
    same = decided(report, {0: Choice(None, None)})
    assert same == report


def test_another_kept_file_brings_its_own_losses(report: Report) -> None:
    group = decided(report, {0: Choice(1, "accept")}).groups[0]
    assert group.keep == report.groups[0].members[1] and group.decision == "accept"
    lost = group.losses[report.groups[0].keep]
    assert "audio language deu" in lost and any("1920x1080" in w for w in lost)
    assert not any("better file" in w for w in lost)
    assert "chosen by hand" in group.why and report.groups[0].why in group.why


def test_another_kept_file_that_nobody_looked_at_is_worked_out_anew(report: Report) -> None:
    """No words are written, so `act` asks pictures and headers, as for a report edited by hand."""
    kept = report.groups[0].keep
    group = decided(report, {0: Choice(1, None)}).groups[0]
    assert group.keep != kept and group.losses == {}
    assert decided(report, {0: Choice(None, None)}).groups[0].losses == report.groups[0].losses


def test_another_sound_is_a_loss_whichever_file_stays(report: Report) -> None:
    first = report.groups[0]
    words = "sound: another sound from 3 s on"
    told = replace(first, losses={**first.losses, first.members[1]: [words]})
    changed = replace(report, groups=(told, *report.groups[1:]))
    group = decided(changed, {0: Choice(1, "accept")}).groups[0]
    assert words in group.losses[first.keep]


def test_a_chosen_loser_is_not_removed_unseen(report: Report) -> None:
    """Whoever keeps the smaller file must give up what it lacks by name."""
    changed = decided(report, {0: Choice(1, "accept")})
    better = report.groups[0].keep
    steps = plan(changed, "trash").steps
    assert better not in {s.path for s in steps}
    accept = ("audio", "resolution", "hdr")
    assert better in {s.path for s in plan(changed, "trash", accept=accept).steps}


def test_members_told_apart_leave_the_group(report: Report) -> None:
    changed = decided(report, {2: Choice(None, "accept", (1,))})
    old = report.groups[2]
    assert changed.groups[2].members == (old.members[0], old.members[2])
    assert old.members[1] not in changed.groups[2].losses
    alone = decided(report, {0: Choice(None, None, (1,))}).groups[0]
    assert alone.decision == "not_a_match" and alone.members == report.groups[0].members


def test_pairs_told_apart(report: Report) -> None:
    def pairs(choice: Choice, n: int = 2) -> set[tuple[str, ...]]:
        found = told_apart(report, {n: choice})
        return {tuple(sorted((a.path[-9:], b.path[-9:]))) for a, b in found}

    assert len(pairs(Choice(None, "not_a_match"))) == 3
    assert len(pairs(Choice(None, "accept", (1,)))) == 2
    assert not pairs(Choice(None, "skip"))
    assert not pairs(Choice(None, "not_a_match"), 3)  # equal bytes cannot be unlike


@pytest.mark.parametrize(
    "bad",
    [
        [],
        {"6": {}},
        {"-1": {}},
        {"0": []},
        {"0": {"keep": 2}},
        {"0": {"keep": -1}},
        {"0": {"keep": True}},
        {"0": {"keep": "/etc/passwd"}},
        {"0": {"decision": "delete"}},
        {"0": {"apart": [0]}},
        {"0": {"apart": [7]}},
        {"0": {"apart": "1"}},
    ],
)
def test_choices_that_name_what_is_not_there_are_refused(report: Report, bad: Any) -> None:
    with pytest.raises(InputError):
        read_choices(bad, report)


# -- how a browser plays it -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "container", "codec", "audio", "more", "mode"),
    [
        ("a.mp4", "mov,mp4", "h264", "aac", {}, "direct"),
        ("a.webm", "matroska,webm", "vp9", "opus", {}, "direct"),
        ("a.mkv", "matroska,webm", "h264", "aac", {}, "remux"),
        ("a.mp4", "mov,mp4", "h264", "ac3", {}, "remux"),
        ("a.ts", "mpegts", "h264", "aac", {}, "remux"),
        ("a.avi", "avi", "h264", "mp3", {}, "transcode"),
        ("a.mp4", "mov,mp4", "hevc", "aac", {}, "transcode"),
        ("a.mp4", "mov,mp4", "h264", "aac", {"bit_depth": 10}, "transcode"),
        ("a.mp4", "mov,mp4", "av1", "aac", {"hdr": "pq"}, "transcode"),
        ("a.mpg", "mpeg", "mpeg2video", "mp2", {"interlaced": True}, "transcode"),
        ("a.mp4", "", "", "", {}, "none"),
    ],
)
def test_how_a_video_is_played(
    name: str, container: str, codec: str, audio: str, more: dict[str, Any], mode: str
) -> None:
    from twinreel.types import Track

    info = VideoInfo(9.0, 64, 36, 64, 36, codec, container, audio=(Track(audio),), **more)
    way = how(Video(VideoFile(f"/v/{name}", 1, 1, 1, 1), info))
    assert way.mode == mode and bool(way.why) == (mode != "direct")


@pytest.mark.parametrize(("mode", "asked"), [("transcode", 1.5), ("remux", 2.0), ("remux", 0.0)])
def test_streams_begin_where_they_are_asked_to(tmp_path: Path, mode: str, asked: float) -> None:
    from twinreel.review.stream import convert, start_of

    source = make(tmp_path / "a.mkv", seconds=3, size=(320, 180), audio="eng", gop=10)
    out = tmp_path / "out.mp4"
    convert(str(source), mode, asked, str(out))
    info = probe(str(out))
    assert info.codec == "h264" and info.audio[0].codec == "aac"
    zero = start_of(str(source), mode, asked)
    assert zero == asked if mode == "transcode" else asked - 0.5 < zero <= asked
    with av.open(str(out)) as container:
        # The painted numbers tell which moment is really shown at the time that the page adds up.
        frames = container.decode(video=0)
        shown = [(f.time, read_number(f.to_ndarray(format="rgb24"))) for f in frames]
    for time, number in shown:
        assert time + zero == pytest.approx(number / 25, abs=0.021)
    assert shown[-1][1] == 74


def test_a_single_frame_is_the_one_asked_for(tmp_path: Path) -> None:
    import io

    from PIL import Image

    source = make(tmp_path / "a.mp4", seconds=2, size=(320, 180))
    jpeg = frame_jpeg(str(source), 1.0, (0.0, 0.0, 1.0, 1.0), (320, 180))
    with Image.open(io.BytesIO(jpeg)) as image:
        assert image.size == (320, 180) and read_number(np.asarray(image)) == 25


# -- the command ----------------------------------------------------------------------------------


def test_the_command_writes_the_page(report: Report, tmp_path: Path) -> None:
    source = report.save(tmp_path / "r.json")
    out = tmp_path / "r.html"
    result = CliRunner().invoke(main, ["review", str(source), "--html", str(out)])
    assert result.exit_code == 0 and "6 groups" in result.output and out.stat().st_size > 50_000


def test_other_machines_are_let_in_only_when_named(report: Report, tmp_path: Path) -> None:
    source = report.save(tmp_path / "r.json")
    result = CliRunner().invoke(main, ["review", str(source), "--host", "0.0.0.0"])
    assert result.exit_code == 2 and "--allow-host" in result.output and "ssh -L" in result.output


def test_the_page_is_not_written_over_a_report(report: Report, tmp_path: Path) -> None:
    source = report.save(tmp_path / "r.json")
    result = CliRunner().invoke(main, ["review", str(source), "--html", str(source)])
    assert result.exit_code == 2 and "Error: " in result.output and Report.load(source) == report


def test_rendering_imports_no_torch() -> None:
    import subprocess
    import sys

    code = "import sys, twinreel.review.page; sys.exit(bool({'torch', 'av'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_pieces_join_to_one_page(report: Report) -> None:
    text = "".join(render(report, name="/somewhere/r.json", served={"gone": {}, "past": []}))
    assert "/somewhere" not in _Scripts(text).texts["view"] and 'id="p0"' not in text
