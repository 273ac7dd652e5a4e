"""report: what a run writes, people edit and `act` reads."""

from __future__ import annotations

import csv
import io
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.reports import ODD, example, video
from twinreel import report as reports
from twinreel.errors import BadReport, OutputError
from twinreel.report import FolderPair, Report, human_bytes, printable, spans, write_atomically
from twinreel.table import show
from twinreel.types import Match, Segment


@pytest.mark.parametrize("ending", ["json", "jsonl", "JSON"])
def test_saved_and_loaded_is_the_same(tmp_path: Path, ending: str) -> None:
    path = example().save(tmp_path / f"report.{ending}")
    assert Report.load(path) == example()
    assert [p.name for p in tmp_path.iterdir()] == [path.name]  # nothing temporary is left


def test_the_shape_that_others_rely_on(tmp_path: Path) -> None:
    data = json.loads(example().save(tmp_path / "r.json").read_text())
    assert data["version"] == 1
    assert {"library", "videos", "matches", "groups", "failures", "options", "model"} <= set(data)
    first = data["videos"][0]
    assert first["path"] == "/v/a.mp4"
    assert {"size", "mtime_ns", "inode", "device", "key", "duration_s", "width"} <= set(first)
    (match,) = data["matches"]
    assert {k: match[k] for k in ("a", "b", "relation", "coverage_a", "coverage_b")} == {
        "a": "/v/a.mp4", "b": "/v/b.mp4", "relation": "contains", "coverage_a": 0.8,
        "coverage_b": 1.0,
    }  # fmt: skip
    assert match["segments"] == [
        {"a": [0.0, 10.0], "b": [2.0, 12.0], "speed": 1.0, "mirrored": True}
    ]
    (group,) = data["groups"]
    assert group["decision"] is None
    assert group["losses"] == {"/v/b.mp4": ["sound"]}
    assert data["failures"][0].keys() == {"path", "stage", "error", "detail"}
    assert data == example().to_dict() or json.loads(json.dumps(example().to_dict())) == data


def test_a_person_can_edit_it(tmp_path: Path) -> None:
    path = example().save(tmp_path / "r.json")
    text = path.read_text()
    assert text.count("\n") > 20  # one record per line
    path.write_text(text.replace('"decision": null', '"decision": "accept"'))
    assert Report.load(path).groups[0].decision == "accept"


def test_above_the_limit_records_stand_one_per_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "JSONL_ABOVE", 2)
    path = example().save(tmp_path / "r.json")
    lines = path.read_text().splitlines()
    assert len(lines) == 1 + len(list(example().records()))
    assert all(len(json.loads(line)) == 1 for line in lines[1:])
    assert Report.load(path) == example()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 2}, "version 2.*run `twinreel dups` again"),
        ({"version": None}, "version None"),
        ({"groups": [{"members": ["/v/a.mp4"], "keep": "/v/x.mp4", "why": ""}]}, r"groups\[0\]"),
        ({"groups": [{"members": ["/x"], "keep": "/x", "why": ""}]}, "'/x' is not among"),
        ({"matches": [{"a": "x", "b": "y", "score": 7, "relation": "copy"}]}, r"matches\[0\].*7"),
        ({"matches": [{"a": "x", "b": "y", "score": 1, "relation": "twin"}]}, "relation"),
        ({"videos": [{"path": "/x"}]}, r"videos\[0\]"),
        ({"failures": ["text"]}, r"failures\[0\]"),
    ],
)
def test_a_bad_report_names_the_place(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    path = tmp_path / "r.json"
    path.write_text(json.dumps({**example().to_dict(), **change}))
    with pytest.raises(BadReport, match=words):
        Report.load(path)


@pytest.mark.parametrize("ending", ["json", "jsonl"])
def test_a_bad_record_is_named_with_its_line(tmp_path: Path, ending: str) -> None:
    path = example().save(tmp_path / f"r.{ending}")
    lines = path.read_text().splitlines()
    (place,) = [n for n, line in enumerate(lines, 1) if '"relation": "contains"' in line]
    path.write_text("\n".join(lines).replace('"contains"', '"eats"'))
    with pytest.raises(BadReport, match=rf"r\.{ending}: line {place}: matches\[0\].*'eats'"):
        Report.load(path)
    (place,) = [n for n, line in enumerate(lines, 1) if '"keep"' in line]
    # The kept file's last mention is changed: a member that is not listed.
    path.write_text("\n".join(lines).replace('["/v/a.mp4", "/v/b.mp4"', '["/v/a.mp4", "/gone"'))
    with pytest.raises(BadReport, match=rf"line {place}: group member '/gone'"):
        Report.load(path)
    path.write_text("\n".join([*lines[:place - 1], lines[place - 1][:-9], *lines[place:]]))
    with pytest.raises(BadReport, match=rf"line {place}|line {place + 1}"):
        Report.load(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "line 1"),
        (b"[1, 2]", "not a twinreel report"),
        (b"\xff\xfe\x00", "not a text file"),
        (b"", "line 1"),
    ],
)
def test_what_is_no_report_is_said(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "r.json"
    path.write_bytes(content)
    with pytest.raises(BadReport, match=words):
        Report.load(path)
    with pytest.raises(BadReport, match="No such file"):
        Report.load(tmp_path / "none.json")


def test_video_and_match_are_found_by_path() -> None:
    report = example()
    assert report.video(ODD).offline
    with pytest.raises(KeyError):
        report.video("/none")
    forward, back = report.match("/v/a.mp4", "/v/b.mp4"), report.match("/v/b.mp4", "/v/a.mp4")
    assert forward is not None and back is not None
    assert (forward.relation, back.relation) == ("contains", "part_of")
    assert (back.coverage_a, back.segments[0].a) == (1.0, (2.0, 12.0))
    assert report.match("/v/a.mp4", ODD) is None


def test_parts_are_told_once_for_two_families_of_copies() -> None:
    segment = (Segment((0.0, 10.0), (2.0, 12.0)),)
    matches = (
        Match("/v/clip.mp4", "/v/b.mp4", 0.7, "part_of", segment),
        Match("/v/a.mp4", "/v/clip.mp4", 0.95, "contains", segment),
        Match("/v/clip.mp4", "/v/x.mp4", 0.65, "overlap", segment),
        Match("/v/a.mp4", "/v/b.mp4", 0.99, "contains", segment),  # in one group
        Match("/v/x.mp4", "/v/y.mp4", 0.99, "shared_intro", segment),
        Match("/v/x.mp4", "/v/z.mp4", 0.99, "copy", segment),
    )
    report = replace(example(), matches=matches)
    sure, likely = report.parts()
    assert (sure.a, sure.b, sure.relation) == ("/v/clip.mp4", "/v/a.mp4", "part_of")
    assert spans(sure) == "0:02.0-0:12.0 = 0:00.0-0:10.0"
    far = replace(sure, segments=(Segment((59.96, 3599.96), (5003.25, 8543.25)),))
    assert spans(far) == "1:00.0-1:00:00.0 = 1:23:23.2-2:22:23.2"
    assert likely.b == "/v/x.mp4" and likely.score < report.min_score
    everything = replace(report, options={"min_score": 0.9, "all_matches": True})
    assert everything.parts() == [sure]  # the rest may be refuted
    text = report.text()
    assert "\nshare a part (" in text
    assert "  /v/clip.mp4\n    part of 0.950  /v/a.mp4  [0:02.0-0:12.0 = 0:00.0-0:10.0]\n" in text
    assert "    likely overlaps 0.650  /v/x.mp4  [" in text


def test_a_part_is_told_of_contents_that_are_there() -> None:
    """Files of one content are one, as are pairs whose disks are both away."""
    segment = (Segment((0.0, 10.0), (2.0, 12.0)),)
    videos = [video(f"/v/{n}.mp4", key=f"key {n % 3}", offline=n > 3) for n in range(6)]
    films = video("/v/film.mp4"), video("/v/away.mp4", offline=True)
    matches = tuple(
        Match(v.path, film.path, 0.95, "part_of", segment) for v in videos for film in films
    )
    report = replace(example(), videos=(*videos, *films), groups=(), matches=matches)
    told = [(m.a, m.b) for m in report.parts()]
    assert told == [(f"/v/{n}.mp4", film) for n in range(3) for film in
                    ("/v/film.mp4", "/v/away.mp4")]  # fmt: skip
    away = tuple(m for m in matches if m.a in ("/v/4.mp4", "/v/5.mp4"))
    assert [m.b for m in replace(report, matches=away).parts()] == ["/v/film.mp4"] * 2


def test_what_counts_where_a_report_does_not_say() -> None:
    assert replace(example(), options={}).min_score == 0.9
    assert replace(example(), options={"min_score": 0.0}).min_score == 0.0


def test_parts_stand_on_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    segment = Segment((0.0, 10.0), (2.0, 12.0), 1.0, True)
    matches = tuple(
        Match("/v/a.mp4", f"/v/{n}.mp4", score, "contains", (segment,) * (1 + 4 * n))
        for n, score in enumerate((0.95, 0.7, 0.65))
    )
    show(replace(example(), matches=matches), None, 2)
    out = capsys.readouterr().out
    told = "0:02.0-0:12.0 = 0:00.0-0:10.0 mirrored"
    assert "3 pairs share a part (" in out and "and 1 more in the report" in out
    assert f"  /v/0.mp4\n    part of 0.950  /v/a.mp4\n    {told}\n" in out
    assert "  /v/1.mp4\n    likely part of 0.700  /v/a.mp4\n" in out and "/v/2.mp4" not in out
    assert f"    {told}, {told}, {told} and 2 more\n" in out


def test_freed_counts_what_removal_frees() -> None:
    report = example()
    assert report.freed(report.groups[0]) == 3000  # not the offline one
    link = video("/v/link.mp4", size=5000, inode=report.videos[0].file.inode)
    report = replace(report, videos=(*report.videos, link))
    group = replace(report.groups[0], members=("/v/a.mp4", "/v/link.mp4", "/v/b.mp4"))
    assert report.freed(group) == 3000  # a hard link of the kept file frees nothing
    assert report.freed(replace(group, keep="/v/b.mp4")) == 5000


def test_csv_has_a_row_per_member(tmp_path: Path) -> None:
    path = example().save(tmp_path / "r.csv")
    rows = list(csv.DictReader(io.StringIO(path.read_text())))
    assert [(r["role"], r["path"]) for r in rows] == [
        ("keep", "/v/a.mp4"), ("copy", "/v/b.mp4"), ("copy", printable(ODD)),
    ]  # fmt: skip
    assert (rows[1]["score"], rows[1]["relation"], rows[1]["losses"]) == (
        "0.9877", "part_of", "sound",
    )  # fmt: skip
    assert rows[2]["relation"] == ""


def test_text_is_for_reading(tmp_path: Path) -> None:
    text = example().save(tmp_path / "r.txt").read_text()
    assert "group 1: frees 3.0 kB; longer" in text
    assert "  keep  /v/a.mp4\n  copy  /v/b.mp4  [sound]\n" in text
    assert "failed  /v/c.mp4  probe: CannotOpen: moov atom not found" in text
    assert "(partial)" in text
    assert text.endswith("3 pairs share content\n")


def test_odd_paths_are_escaped_for_people() -> None:
    assert printable(ODD) == "/v/new\\nline \\xff.mp4"
    assert printable("/v/ünï ✓.mp4") == "/v/ünï ✓.mp4"
    assert printable("\x1b[31m") == "\\x1b[31m"


def test_folder_pairs_in_words() -> None:
    assert FolderPair("A", "B", 212, 212, 221, 9).sentence() == (
        "all 212 videos of A are in B; B has 9 more"
    )
    assert FolderPair("A", "B", 3, 5, 3, 0).sentence() == "3 of the 5 videos of A are in B"


@pytest.mark.parametrize(
    ("n", "text"),
    [(0, "0 B"), (999, "999 B"), (1536, "1.5 kB"), (2.5e12, "2.5 TB"), (3e15, "3000.0 TB")],
)
def test_human_bytes(n: float, text: str) -> None:
    assert human_bytes(n) == text


def test_a_failed_write_leaves_the_old_report_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "r.json"
    path.write_text("old")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        write_atomically(path, iter(["new"]))
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_folders_on_the_way_are_made(tmp_path: Path) -> None:
    path = example().save(tmp_path / "a/b/r.json")
    assert path.exists()
