"""Planning and its small parts: pure, no file is touched."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.acting import OLD_NS, Quick, in_child, put, report_of, tree
from twinreel.actions import ACTIONS, Action, ActOptions, action, apply, load, survey, undo, write
from twinreel.actions import journal as journals
from twinreel.actions import plan as plan_of
from twinreel.actions.disk import NATIVE_TRASH, Look
from twinreel.actions.foreign import line_of
from twinreel.actions.kinds import Move
from twinreel.actions.losses import UNSEEN, accepted, by_headers, evidence, unheld
from twinreel.actions.places import free_name, mount_point, quarantine_of, trash_info
from twinreel.actions.plan import structured
from twinreel.actions.survey import beside
from twinreel.actions.undo import history, newest, seconds, settle
from twinreel.errors import BadReport, InputError
from twinreel.report import Report
from twinreel.types import Group, Match, Segment, Track, Video, VideoFile, VideoInfo

INFO = VideoInfo(60.0, 640, 360, 640, 360, "h264")


def video(path: str, key: str = "", size: int = 10, inode: int = 0, **more: Any) -> Video:
    info = {k: more.pop(k) for k in list(more) if k in VideoInfo.__dataclass_fields__}
    mtime = more.pop("mtime_ns", 5)
    file = VideoFile(path, size, mtime, inode, 1, "", key or f"key of {path}")
    return Video(file, dataclasses.replace(INFO, **info), **more)


def report(videos: list[Video], relation: str = "copy", **more: Any) -> Report:
    paths = [v.path for v in videos]
    pairs = [(a, b) for i, a in enumerate(paths) for b in paths[i + 1 :]]
    found = tuple(Match(a, b, 0.9, relation) for a, b in pairs)
    lost = {p: [] for p in paths[1:]} | more.pop("losses", {})
    group = Group(tuple(paths), paths[0], "sharper", lost, **more)
    return Report("", tuple(videos), found, (group,), roots=("/v",))


ABC = [video("/v/a.mp4"), video("/v/b/b.mp4"), video("/w/c.mp4")]


def plan(found: Report, act: str, *options: ActOptions, **settings: Any) -> Any:
    """Planned by a judge to whom all pictures look alike."""

    def judge(a: Video, b: Video) -> list[str]:
        return by_headers(a, b, evidence(found, a.path, b.path))

    return plan_of(found, act, *options, **{"judge": judge, **settings})


def paths(planned: Any) -> list[str]:
    return [s.path for s in planned.steps]


def reasons(planned: Any) -> dict[str, str]:
    return {s.path: s.reason for s in planned.skipped}


# -- who stays ------------------------------------------------------------------------------------


def test_all_but_the_kept_one_go_and_it_is_said_why() -> None:
    planned = plan(report(ABC), "trash")
    assert paths(planned) == ["/v/b/b.mp4", "/w/c.mp4"]
    assert {s.keep for s in planned.steps} == {"/v/a.mp4"}
    assert planned.steps[0].why == "the same content, score 0.900; kept: sharper"
    assert planned.freed == 20


@pytest.mark.parametrize(
    ("rule", "kept"),
    [("best", "/v/1"), ("largest", "/v/22"), ("oldest", "/v/333"), ("newest", "/v/1"),
     ("shortest-path", "/v/1")],
)  # fmt: skip
def test_keep_rules(rule: str, kept: str) -> None:
    videos = [
        video("/v/1", size=1, mtime_ns=9), video("/v/22", size=9, mtime_ns=5),
        video("/v/333", size=5, mtime_ns=1),
    ]  # fmt: skip
    planned = plan(report(videos), "trash", keep=rule)
    assert kept not in paths(planned) and len(planned.steps) == 2


def test_prefer_decides_again_in_its_order() -> None:
    assert {s.keep for s in plan(report(ABC), "trash", prefer=("/x", "/w")).steps} == {"/w/c.mp4"}
    assert {s.keep for s in plan(report(ABC), "trash", prefer=("*/b/*",)).steps} == {"/v/b/b.mp4"}
    assert {s.keep for s in plan(report(ABC), "trash", prefer=("/none",)).steps} == {"/v/a.mp4"}


def test_an_unknown_action_is_said() -> None:
    with pytest.raises(ValueError, match=r"action is one of .*trash.*, got 'unknown'"):
        plan(report(ABC), "unknown")


def test_another_kept_file_has_its_own_losses() -> None:
    videos = [
        video("/v/a", size=1, audio=(Track("aac", "deu"), Track("aac", "eng")), hdr="pq",
              duration_s=70.0, width=1920),
        video("/v/b", size=9, audio=(Track("aac", "eng"),)),
    ]  # fmt: skip
    planned = plan(report(videos), "trash", keep="largest")
    reason = reasons(planned)["/v/a"]
    for word in ("audio language deu", "HDR (pq)", "10.0 s", "resolution 1920x360 over 640x360"):
        assert word in reason
    assert paths(plan(report(videos), "trash", keep="largest", accept=("all",))) == ["/v/a"]
    assert not plan(report(videos), "trash", keep="largest", accept=("audio",)).steps


def test_what_nobody_compared_counts_as_lost() -> None:
    """The report knows what its own kept file lacks; `--keep` and `--prefer` ask about another."""
    unlike = report(ABC, losses={"/w/c.mp4": ["overlay-free picture: the kept file has a logo"]})
    assert paths(plan_of(unlike, "trash")) == ["/v/b/b.mp4"]
    planned = plan_of(unlike, "trash", prefer=("/w",))
    assert not planned.steps and UNSEEN in reasons(planned)["/v/a.mp4"]
    assert not plan_of(unlike, "trash", prefer=("/w",), judge=lambda a, b: None).steps
    cut = plan_of(unlike, "trash", prefer=("/w",), judge=lambda a, b: ["picture area: 28%"])
    assert not cut.steps and "picture area: 28%" in reasons(cut)["/v/a.mp4"]
    assert len(plan_of(unlike, "trash", prefer=("/w",), accept=("picture",)).steps) == 2
    assert len(plan_of(unlike, "trash", prefer=("/w",), judge=lambda a, b: []).steps) == 2
    same = plan_of(report(ABC, "exact"), "trash", prefer=("/w",))
    assert len(same.steps) == 2  # equal bytes are equal pictures


def test_another_kept_file_set_by_hand_is_no_way_around_the_losses() -> None:
    by_hand = report([video("/v/a", hdr="pq"), video("/v/b")])
    group = replace(by_hand.groups[0], keep="/v/b")
    edited = replace(by_hand, groups=(group,))
    planned = plan_of(edited, "trash")
    assert not planned.steps and all(w in reasons(planned)["/v/a"] for w in (UNSEEN, "HDR (pq)"))
    looked = replace(edited, groups=(replace(group, decision="accept"),))
    assert "HDR (pq)" in reasons(plan_of(looked, "trash"))["/v/a"]  # looked at, not given up
    assert UNSEEN not in reasons(plan_of(looked, "trash"))["/v/a"]
    assert paths(plan_of(looked, "trash", accept=("hdr",))) == ["/v/a"]


def test_words_about_the_old_kept_file_hold_for_no_other() -> None:
    """A report edited by hand: also files that neither were nor are the kept one are asked anew."""
    german = (Track("aac", "eng"), Track("aac", "ger"))
    a, c = (replace(v, info=replace(v.info, audio=german)) for v in (ABC[0], ABC[2]))
    b = replace(ABC[1], info=replace(ABC[1].info, audio=german[:1]))
    found = report([a, b, c])
    edited = replace(found, groups=(replace(found.groups[0], keep=b.path),))
    planned = plan(edited, "delete")
    assert not planned.steps
    assert all("ger" in s.reason for s in planned.skipped)


def test_a_refuted_pair_is_no_evidence() -> None:
    """--all-matches lists pairs of any score."""
    a, b, c = ABC
    found = replace(report(ABC), options={"min_score": 0.8})
    doubtful = tuple(replace(m, score=0.02) if m.b == c.path else m for m in found.matches)
    found = replace(found, matches=doubtful)
    assert evidence(found, b.path, a.path) is not None
    assert evidence(found, c.path, a.path) is None
    for act in ("trash", "delete"):
        assert [s.path for s in plan(found, act, accept=("all",)).steps] == [b.path]


def test_a_kept_file_is_decoded_in_every_run(tmp_path: Path) -> None:
    """What was intact last week may have rotted where the content key does not read."""
    kept, *others = (put(tmp_path / "m" / f"{n}.mkv", n * 300) for n in "abcd")

    class Decoding(Quick):
        damaged = ""
        times = 0

        def damage(self, path: str, full: bool) -> str:
            self.times += 1
            return self.damaged

    disk = Decoding()
    found = report_of(tmp_path / "m", [kept, *others[:2]], relation="copy")
    done = apply(plan(found, "trash"), str(tmp_path / "j1"), disk=disk)
    assert (len(done.done), disk.times) == (2, 1)
    disk.damaged = "1 of 2 packets are undecodable"
    found = report_of(tmp_path / "m", [kept, others[2]], relation="copy")
    done = apply(plan(found, "trash"), str(tmp_path / "j2"), disk=disk)
    assert not done.done and "damaged (1 of 2" in done.refused[0].reason
    assert kept.exists() and others[2].exists()


def test_a_deletion_cut_in_two_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between hiding and unlinking; meanwhile the disk is away, then it is back."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    kept, gone = (put(tmp_path / "disk" / f"{n}.mkv", "x" * 300) for n in "ab")

    class Killed(Quick):
        def _call(self, name: str, function: Any, *args: Any) -> Any:
            if name == "unlink":
                os.kill(os.getpid(), signal.SIGKILL)
            return super()._call(name, function, *args)

    planned = plan(report_of(tmp_path / "disk", [kept, gone]), "delete")
    assert in_child(lambda: apply(planned, disk=Killed())) == -signal.SIGKILL
    assert not gone.exists()
    (entry,) = history()
    assert entry.can_undo == 1 and newest() == entry.path
    (tmp_path / "disk").rename(tmp_path / "unplugged")
    settle(disk=Quick())
    assert history()[0].can_undo == 0
    (tmp_path / "unplugged").rename(tmp_path / "disk")
    assert [s.path for s in undo(newest(), disk=Quick()).done] == [str(gone)]
    assert gone.read_text() == "x" * 300
    assert history()[0].can_undo == 0


def test_another_sound_counts_whichever_of_the_two_stays() -> None:
    heard = report([video("/v/a"), video("/v/b")], losses={"/v/b": ["sound: other words"]})
    for settings in ({}, {"prefer": ("/v/b",)}):
        planned = plan(heard, "trash", **settings)
        assert not planned.steps and "sound: other words" in planned.skipped[0].reason


@pytest.mark.parametrize(
    "folder", ["/v/.Trash-1000/files", "/u/Trash/files", "/v/$RECYCLE.BIN", "/v/.zfs/snapshot/1",
               "/v/.twinreel-quarantine/films"],
)  # fmt: skip
def test_nothing_goes_for_a_file_that_somebody_may_empty(folder: str) -> None:
    planned = plan(report([video(f"{folder}/a.mp4"), video("/v/b.mp4")]), "trash", accept=("all",))
    assert not planned.steps and "may be emptied" in reasons(planned)["/v/b.mp4"]
    kept = plan(report([video("/v/trash/a.mp4"), video("/v/b.mp4")]), "trash")
    assert len(kept.steps) == 1  # a folder of that name is no trash


def test_a_kept_file_of_a_disc_or_stream_is_not_moved(tmp_path: Path) -> None:
    preferred = {"place": "preferred", "prefer": (str(tmp_path / "best"),), "structured": False}
    for folder, beside_it in (("BDMV", ""), ("stream", "list.m3u8"), ("plain", "")):
        kept = put(tmp_path / folder / "a.mp4", b"a" * 900)
        copy = put(tmp_path / "best" / f"{folder}.mp4", b"a" * 900)
        if beside_it:
            put(kept.with_name(beside_it), "#EXTM3U")
        planned = survey(plan(report_of(tmp_path, [kept, copy]), "move", **preferred), Quick())
        assert paths(planned)[0] == str(copy)
        assert (str(kept) in paths(planned)) == (folder == "plain")
    forced = plan(report_of(tmp_path, [kept.parents[1] / "BDMV" / "a.mp4", copy]), "move",
                  **{**preferred, "structured": True})  # fmt: skip
    assert "place" in [s.action for s in survey(forced, Quick()).steps]


def test_a_damaged_or_absent_kept_file_removes_nothing() -> None:
    for more in ({"damage": "cut off"}, {"offline": True}):
        planned = plan(report([video("/v/a", **more), video("/v/b")]), "trash")
        assert not planned.steps and "kept file" in reasons(planned)["/v/b"]
    intact = [video("/v/a", damage="cut off", size=99), video("/v/b"), video("/v/c", size=5)]
    assert {s.keep for s in plan(report(intact), "trash", keep="largest").steps} == {"/v/b"}


# -- who goes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("decision", ["skip", "not_a_match"])
def test_decisions(decision: str) -> None:
    assert not plan(report(ABC, decision=decision), "trash").steps
    assert len(plan(report(ABC, decision="accept", look=True), "trash").steps) == 2


def test_what_dups_protected_stays_whatever_is_accepted() -> None:
    protected = replace(report(ABC), options={"protect": ["/w"]})
    assert paths(plan(protected, "trash", accept=("all",))) == ["/v/b/b.mp4"]


def test_a_wish_that_protects_nothing_is_said() -> None:
    planned = plan(report(ABC), "trash", protect=("/w", "/V"))
    assert planned.notes == ("no video of the report matches --protect /V",)
    assert not plan(report(ABC), "trash", protect=("*/c.mp4",)).notes


def test_protect_only_accept() -> None:
    assert paths(plan(report(ABC), "trash", protect=("/w",))) == ["/v/b/b.mp4"]
    assert not plan(report(ABC), "trash", only=("exact",)).steps
    lossy = report(ABC, losses={"/w/c.mp4": ["HDR (pq)"]})
    assert paths(plan(lossy, "trash")) == ["/v/b/b.mp4"]
    assert len(plan(lossy, "trash", accept=("hdr",)).steps) == 2


@pytest.mark.parametrize("relation", ["contains", "overlap", "shared_intro"])
def test_what_is_not_contained_never_goes(relation: str) -> None:
    videos = [video("/v/b"), video("/v/a")]
    found = Report("", tuple(videos), (Match("/v/a", "/v/b", 0.9, relation),),
                   (Group(("/v/b", "/v/a"), "/v/b", "w"),))  # fmt: skip
    assert not plan(found, "delete", accept=("all",)).steps


def test_part_of_goes_when_its_whole_is_kept() -> None:
    videos = [video("/v/long", duration_s=100.0), video("/v/clip", duration_s=10.0)]
    found = Report("", tuple(videos), (Match("/v/clip", "/v/long", 0.9, "part_of"),),
                   (Group(("/v/long", "/v/clip"), "/v/long", "w"),))  # fmt: skip
    assert paths(plan(found, "trash")) == ["/v/clip"]
    assert not plan(found, "trash", only=("copy",)).steps
    assert not plan(found, "trash", keep="shortest-path", prefer=("/v/clip",)).steps


def test_no_direct_evidence_no_step() -> None:
    chain = report(ABC)
    chain = dataclasses.replace(chain, matches=chain.matches[:1])  # a-b; c only by hearsay
    assert paths(plan(chain, "trash")) == ["/v/b/b.mp4"]


def test_evidence_by_content_key() -> None:
    videos = [video("/v/a", "K"), video("/v/b"), video("/v/a2", "K")]
    found = Report(
        "", tuple(videos), (Match("/v/a", "/v/b", 0.8, "copy"),), (), options={"min_score": 0.8}
    )
    assert evidence(found, "/v/a2", "/v/b") == Match("/v/a2", "/v/b", 0.8, "copy")
    assert evidence(found, "/v/a", "/v/a2") == Match("/v/a", "/v/a2", 1.0, "exact")
    assert evidence(Report("", tuple(videos), (), ()), "/v/a", "/v/b") is None


def test_the_kept_file_of_one_group_is_no_victim_of_another() -> None:
    one = report(ABC)
    two = Group(("/v/b/b.mp4", "/v/a.mp4"), "/v/b/b.mp4", "w")
    planned = plan(dataclasses.replace(one, groups=(*one.groups, two)), "trash")
    assert paths(planned) == ["/w/c.mp4"]
    assert not {"/v/a.mp4", "/v/b/b.mp4"} & set(paths(planned))


def test_hard_links_of_a_kept_file_stay() -> None:
    videos = [video("/v/a", "K", inode=7), video("/v/b", "K", inode=7), video("/v/c", "K", inode=8)]
    planned = plan(report(videos, "exact"), "delete")
    assert paths(planned) == ["/v/c"] and "hard link" in reasons(planned)["/v/b"]


@pytest.mark.parametrize(
    ("path", "inside"),
    [
        ("/m/FILM/VIDEO_TS/VTS_01_1.VOB", True), ("/m/BDMV/STREAM/00001.m2ts", True),
        ("/card/DCIM/100CANON/MVI_1.MP4", True), ("/u/My.photoslibrary/originals/1.mov", True),
        ("/m/films/video_ts.mp4", False), ("/m/dcim.mp4", False),
    ],
)  # fmt: skip
def test_structured(path: str, inside: bool) -> None:
    assert structured(path) == inside


@pytest.mark.parametrize(
    ("action_", "settings"),
    [
        ("trash", {"to": "/x"}), ("hardlink", {"sidecars": "follow"}), ("symlink", {"place": "x"}),
        ("delete", {"sidecars": "follow"}), ("trash", {"place": "preferred"}),
        ("trash", {"keep": "prettiest"}), ("trash", {"only": ("overlap",)}),
        ("trash", {"inherit": ("owner",)}), ("trash", {"verify": "hardly"}),
        ("reflink", {"place": "preferred", "prefer": ("/v",)}),
    ],
)  # fmt: skip
def test_options_that_make_no_sense(action_: str, settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r".+, got .+|goes? with|take|needs|place|delete"):
        plan(report(ABC), action_, **settings)


@given(st.permutations(ABC), st.sampled_from(["best", "largest", "oldest", "shortest-path"]))
def test_order_of_the_report_does_not_matter(order: list[Video], rule: str) -> None:
    first = report(ABC)
    group = dataclasses.replace(first.groups[0], members=tuple(v.path for v in order))
    other = dataclasses.replace(first, videos=tuple(order), groups=(group,))
    assert set(paths(plan(other, "trash", keep=rule))) == set(
        paths(plan(first, "trash", keep=rule))
    )


# -- small parts ----------------------------------------------------------------------------------


def test_accepted() -> None:
    assert accepted("subtitles deu", ["subtitles"]) and accepted("HDR (pq)", ["hdr"])
    assert accepted("anything", ["all"]) and accepted("audio language deu", ["audio language deu"])
    assert not accepted("subtitles deu", ["sub"]) and not accepted("subtitles deu", [])


def test_unheld_seconds() -> None:
    match = Match("a", "b", 0.9, "copy", (Segment((5.0, 20.0), (0.0, 15.0)),
                                          Segment((30.0, 59.5), (15.0, 44.5))))  # fmt: skip
    assert unheld(match, 60.0) == [[0.0, 5.0], [20.0, 30.0]]
    assert unheld(Match("a", "b", 1.0, "exact"), 60.0) == []


def test_seconds_of_an_age() -> None:
    assert seconds("30d") == 30 * 86400 and seconds("1.5h") == 5400 and seconds("0s") == 0
    for wrong in ("30", "d", "-1d", "30 days"):
        with pytest.raises(ValueError, match="like 30d"):
            seconds(wrong)


def test_a_sidecar_stays_while_one_of_its_videos_does(tmp_path: Path) -> None:
    """Both go by the plan, one of them changes before its turn."""
    kept = put(tmp_path / "best" / "film.mp4", b"f" * 900)
    first, second = (put(tmp_path / "old" / f"film.{e}", b"f" * 900) for e in ("mkv", "mp4"))
    words = put(tmp_path / "old" / "film.srt", "words")
    found = report_of(tmp_path, [kept, first, second])
    planned = survey(plan(found, "move", sidecars="follow"), Quick())
    assert paths(planned) == [str(first), str(second), str(words)]
    put(first, b"g" * 900)
    outcome = apply(planned, str(tmp_path / "j.jsonl"), disk=Quick())
    assert [s.path for s in outcome.done] == [str(second)] and words.exists()
    assert {s.path for s in outcome.refused} == {str(first), str(words)}
    put(first, b"f" * 900)
    again = survey(plan(report_of(tmp_path, [kept, first]), "move", sidecars="follow"), Quick())
    outcome = apply(again, str(tmp_path / "j2.jsonl"), disk=Quick())
    assert not outcome.refused and not words.exists()


def test_protected_sidecars_stay(tmp_path: Path) -> None:
    kept, copy = (put(tmp_path / n / "film.mp4", b"f" * 900) for n in ("best", "old"))
    words = put(copy.with_suffix(".srt"), "words")
    found = report_of(tmp_path, [kept, copy])
    for how in ("follow", "move-to-keeper"):
        settings = {"sidecars": how, "protect": ("*.srt",)}
        planned = survey(plan(found, "move", **settings), Quick())
        assert paths(planned) == [str(copy)] and "protected" in reasons(planned)[str(words)]


def test_sidecars_of_a_video() -> None:
    names = ["film.mp4", "film.srt", "film.en.srt", "film-poster.jpg", "film.txt", "film 2.mp4",
             "film 2.srt", "filmography.nfo", "other.srt"]  # fmt: skip
    names.sort()
    found = beside("/v/film.mp4", names, set())
    assert found == ["/v/film-poster.jpg", "/v/film.en.srt", "/v/film.srt"]
    more = sorted([*names, "film.mkv"])
    assert beside("/v/film.mp4", more, set()) == []  # they are the other's too
    assert beside("/v/film.mp4", more, {"/v/film.mkv"})


def test_trash_info_is_as_the_standard_asks() -> None:
    text = trash_info("/mnt/disk/a b/ü.mp4", "/mnt/disk", 0.0).decode("ascii")
    lines = text.splitlines()
    assert lines[:2] == ["[Trash Info]", "Path=a%20b/%C3%BC.mp4"]
    assert lines[2].startswith("DeletionDate=19") and text.endswith("\n")


def test_free_names_and_quarantine(tmp_path: Path) -> None:
    disk = Quick()
    film = put(tmp_path / "lib" / "sub" / "a.mp4", "x")
    put(tmp_path / "lib" / "sub" / "a (2).mp4", "x")
    assert free_name(str(film.parent), "a.mp4", disk) == "a (3).mp4"
    look = disk.look(str(film))
    assert look is not None
    dest = quarantine_of(str(film), look, (str(tmp_path / "lib"),), "", disk)
    assert dest == str(tmp_path / ".twinreel-quarantine" / "lib" / "sub" / "a.mp4")
    dest = quarantine_of(str(film), look, (str(tmp_path / "lib"),), str(tmp_path / "q"), disk)
    assert dest == str(tmp_path / "q" / "lib" / "sub" / "a.mp4")
    top = mount_point(str(film), disk)
    assert str(film).startswith(top) and Path(top).stat().st_dev == film.stat().st_dev


def test_rename_never_replaces(tmp_path: Path) -> None:
    for old in (False, True):
        a, b = put(tmp_path / "a", "a"), put(tmp_path / "b", "b")
        with pytest.raises(FileExistsError):
            Quick(old).rename(str(a), str(b))
        assert (a.read_text(), b.read_text()) == ("a", "b")


def test_names_change_places_or_nothing_happens(tmp_path: Path) -> None:
    a, b = put(tmp_path / "a", "a"), put(tmp_path / "b", "b")
    done = Quick().exchange(str(a), str(b))
    assert (a.read_text(), b.read_text()) == (("b", "a") if done else ("a", "b"))
    assert not Quick(old=True).exchange(str(a), str(b))


def test_a_reserved_name_is_given_back(tmp_path: Path) -> None:
    """Where no call renames without replacing, and the rename fails."""
    a = put(tmp_path / "a", "a")
    disk = Quick(old=True)
    disk.rename(str(a), str(tmp_path / "b"))
    assert (tmp_path / "b").read_text() == "a" and sorted(tree(tmp_path)) == ["b"]
    with pytest.raises(FileNotFoundError):
        disk.rename(str(a), str(tmp_path / "c"))
    assert sorted(tree(tmp_path)) == ["b"]


def test_reflink_needs_a_file_system_that_can(tmp_path: Path) -> None:
    """Either blocks are shared and the content is the same, or nothing is changed."""
    from twinreel.actions.disk import Disk
    from twinreel.errors import ActionRefused

    a = put(tmp_path / "a", "content")
    try:
        Disk().clone(str(a), str(tmp_path / "b"))
    except ActionRefused as error:
        assert "cannot share blocks" in str(error) and sorted(tree(tmp_path)) == ["a"]
    else:
        assert (tmp_path / "b").read_text() == "content"


# -- journals -------------------------------------------------------------------------------------


@pytest.fixture
def done(tmp_path: Path) -> tuple[Path, Path, str]:
    lib = tmp_path / "lib"
    kept, gone = put(lib / "a.mp4", "film"), put(lib / "b.mp4", "film")
    out = apply(plan(report_of(lib, [kept, gone]), "move"), str(tmp_path / "j.jsonl"), disk=Quick())
    return lib, gone, out.journal


def test_a_journal_tells_all(done: tuple[Path, Path, str]) -> None:
    _, gone, journal = done
    lines = [json.loads(line) for line in Path(journal).read_text().splitlines()]
    assert [line.get("phase") for line in lines] == [None, "begin", "done", "end"]
    assert lines[0]["journal"] == 1 and lines[0]["action"] == "move" and "library" in lines[0]
    assert lines[1]["path"] == str(gone) and lines[1]["file"]["key"] == lines[1]["keeper"]["key"]


@pytest.mark.parametrize("keep_bytes", [-1, -5, -30])
def test_torn_lines_are_left_out(done: tuple[Path, Path, str], keep_bytes: int) -> None:
    _, gone, journal = done
    text = Path(journal).read_bytes()
    Path(journal).write_bytes(text[:keep_bytes])
    outcome = undo(journal, disk=Quick())
    assert gone.exists() and len(outcome.done) == 1
    assert not undo(journal, disk=Quick()).done  # its own line stands on a line of its own


def test_a_long_journal_is_not_read_at_every_line(tmp_path: Path) -> None:
    disk = Quick()
    book = journals.Journal(str(tmp_path / "j.jsonl"), disk)
    for n in range(50):
        book.write({"n": n, "phase": "done"})
    assert disk.names_called.count("read") == 0 and disk.names_called.count("lstat") == 1
    again = journals.Journal(book.path, disk)
    again.write({"phase": "end"})
    again.write({"phase": "end"})
    assert disk.names_called.count("lstat") == 2 and len(Path(book.path).read_text().split()) > 50


def test_what_went_aside_by_two_runs_of_one_plan_stays_apart(tmp_path: Path) -> None:
    """Two runs that set one file's like aside never choose one name for what they may remove."""
    kept, gone = put(tmp_path / "lib" / "a.mp4", "film"), put(tmp_path / "lib" / "b.mp4", "other")
    holds = []
    for n in range(2):
        report = report_of(tmp_path / "lib", [kept, gone], relation="copy")
        done = apply(plan(report, "symlink"), str(tmp_path / f"j{n}"), disk=Quick())
        assert gone.is_symlink()
        holds.append(journals.read(done.journal, Quick()).steps[0]["hold"])
        undo(done.journal, disk=Quick())
        assert gone.read_text() == "other" and not gone.is_symlink()
    assert holds[0] != holds[1] and not list(tmp_path.rglob(".twinreel*"))


def test_not_a_journal(tmp_path: Path) -> None:
    other = put(tmp_path / "x.jsonl", '{"n": 0, "phase": "begin"}\n')
    with pytest.raises(BadReport, match="not a journal"):
        journals.read(str(other), Quick())
    with pytest.raises(BadReport, match="undo --list"):
        journals.read(str(tmp_path / "none.jsonl"), Quick())


def test_undo_refuses_to_overwrite(done: tuple[Path, Path, str]) -> None:
    _, gone, journal = done
    put(gone, "somebody else's")
    outcome = undo(journal, disk=Quick())
    assert not outcome.done and "something else stands there" in outcome.refused[0].reason
    assert gone.read_text() == "somebody else's"
    gone.unlink()
    assert undo(journal, disk=Quick()).done and gone.read_text() == "film"


class _Others(Quick):
    """Somebody else's file: its owner cannot be given, or (`bare`) no attribute either."""

    def __init__(self, bare: bool) -> None:
        super().__init__()
        self.bare = bare

    def look(self, path: str) -> Look | None:
        look = super().look(path)
        return replace(look, owner=(4321, 1)) if look and path.endswith("b.mp4") else look

    def xattrs(self, path: str) -> dict[str, bytes]:
        return {"user.a": b"1"} if path.endswith("b.mp4") else {}

    def set_xattr(self, path: str, name: str, value: bytes) -> None:
        if self.bare or not Path(path).stat().st_mode & 0o200:
            raise PermissionError(errno.EACCES, "Permission denied", path)

    def set_owner(self, path: str, owner: tuple[int, int]) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted", path)


@pytest.mark.parametrize("bare", [False, True])
def test_a_file_whose_owner_cannot_be_given_comes_back(tmp_path: Path, bare: bool) -> None:
    files = [put(tmp_path / "m" / name, "film") for name in ("a.mp4", "b.mp4")]
    files[1].chmod(0o4555)
    disk, journal = _Others(bare), str(tmp_path / "journal")
    assert not apply(plan(report_of(tmp_path, files), "symlink"), journal, disk=disk).refused
    outcome = undo(journal, disk=disk)
    names = sorted(path.name for path in (tmp_path / "m").iterdir())
    assert names == ["a.mp4", "b.mp4"]  # no half copy
    if bare:
        assert outcome.refused and files[1].is_symlink()
    else:
        assert not outcome.refused and files[1].stat().st_mtime_ns == OLD_NS
        assert any("its owner is another" in note for note in outcome.notes)
        assert files[1].stat().st_mode & 0o7777 == 0o555  # not setuid for another


def test_undo_says_when_the_quarantine_was_emptied_by_hand(done: tuple[Path, Path, str]) -> None:
    lib, gone, journal = done
    (lib.parent / ".twinreel-quarantine" / "lib" / "b.mp4").unlink()
    assert "look for it there by hand" in undo(journal, disk=Quick()).refused[0].reason


def test_a_new_action_is_one_class(tmp_path: Path) -> None:
    """As the guide says: register it, and plan, apply and undo know it."""

    @action("shelve")
    class Shelve(Move):
        """Beside the kept file, under a name that says so."""

        def prepare(self, step: Any, n: int, look: Any, keeper: Any, run: Any) -> dict[str, Any]:
            return {"dest": f"{step.path}.shelved", "made": []}

    try:
        assert isinstance(ACTIONS["shelve"], Action)
        kept, gone = put(tmp_path / "a.mp4", "film"), put(tmp_path / "b.mp4", "film")
        journal = str(tmp_path / "j.jsonl")
        apply(plan(report_of(tmp_path, [kept, gone]), "shelve"), journal, disk=Quick())
        assert not gone.exists() and (tmp_path / "b.mp4.shelved").exists()
        assert undo(journal, disk=Quick()).done and gone.exists()
    finally:
        del ACTIONS["shelve"]


# -- other tools ----------------------------------------------------------------------------------


@pytest.fixture
def films(tmp_path: Path) -> list[Path]:
    return [put(tmp_path / n, "film") for n in ("a.mp4", "b.mp4", "c.mp4")]


def test_fclones_in_and_out(tmp_path: Path, films: list[Path]) -> None:
    data = {
        "header": {"version": "0.35.0", "base_dir": str(tmp_path), "stats": {}},
        "groups": [
            {"file_len": 4, "file_hash": "x", "files": ["a.mp4", str(films[1]), "gone.mp4"]}
        ],
    }
    source = tmp_path / "fclones.json"
    source.write_text(json.dumps(data))
    found = load(source)
    assert [g.members for g in found.groups] == [(str(films[0]), str(films[1]))]
    assert [f.path for f in found.failures] == [str(tmp_path / "gone.mp4")]
    assert len(plan(found, "trash").steps) == 1
    out = json.loads(write(found, tmp_path / "out.fclones.json").read_text())
    assert out["groups"][0]["files"] == [str(films[0]), str(films[1])]
    assert out["header"]["stats"]["redundant_file_size"] == 4


def test_czkawka_in(tmp_path: Path, films: list[Path]) -> None:
    entries = [{"path": str(p), "size": 4, "modified_date": 1} for p in films]
    source = tmp_path / "czkawka.json"
    source.write_text(json.dumps([entries[:2], entries[2:]]))
    similar = load(source)
    assert len(similar.groups) == 1 and similar.groups[0].look  # somebody else's opinion
    assert not plan(similar, "trash").steps
    source.write_text(json.dumps({"4": [[{**e, "hash": "h"} for e in entries]]}))
    same = load(source)
    assert not same.groups[0].look and len(plan(same, "trash").steps) == 2
    source.write_text(json.dumps([[entries[0], entries[1:]]]))  # with a reference folder
    assert len(load(source).groups[0].members) == 3


@pytest.mark.parametrize("more", [{"hash": "h"}, {}])
def test_a_reference_of_czkawka_always_stays(tmp_path: Path, more: dict[str, str]) -> None:
    names = ("z/film.mp4", "a/film.mp4", "b/film.mp4")
    files = [put(tmp_path / name, "film") for name in names]
    if not more:
        put(files[1], "larger film")
    reference, *others = [
        {"path": str(p), "size": p.stat().st_size, "modified_date": 1, **more} for p in files
    ]
    source = tmp_path / "czkawka.json"
    source.write_text(json.dumps([[reference, others]]))
    found = load(source)
    for settings in ({}, {"keep": "largest"}, {"keep": "shortest-path"}, {"prefer": ("*/a/*",)}):
        planned = plan(found, "trash", accept=("all",), **settings)
        assert paths(planned) == [str(p) for p in files[1:]]
        assert {s.keep for s in planned.steps} == {str(files[0])}
    by_hand = replace(found, groups=(replace(found.groups[0], keep=str(files[1])),))
    assert paths(plan(by_hand, "trash", accept=("all",))) == [str(files[2])]
    files[0].unlink()  # who named it a reference wants it kept, not what is left beside it
    assert not load(source).groups


def test_czkawka_out(tmp_path: Path, films: list[Path]) -> None:
    same = report_of(tmp_path, films)
    out = json.loads(write(same, tmp_path / "out.czkawka.json").read_text())
    assert [e["path"] for e in out[0]] == [str(p) for p in films]


def test_a_foreign_report_that_lies_about_sizes(tmp_path: Path, films: list[Path]) -> None:
    source = tmp_path / "czkawka.json"
    source.write_text(json.dumps([[{"path": str(p), "size": 9} for p in films]]))
    found = load(source)
    assert not found.groups and len(found.failures) == 3


def test_fdupes_out(tmp_path: Path, films: list[Path]) -> None:
    found = report_of(tmp_path, films[:2])
    assert write(found, tmp_path / "x.fdupes").read_text() == f"{films[0]}\n{films[1]}\n\n"
    odd = put(tmp_path / "x\ny.mp4", "film")
    with pytest.raises(InputError, match="line break"):
        write(report_of(tmp_path, [films[0], odd]), tmp_path / "x.fdupes")
    with pytest.raises(InputError, match="ending"):
        write(found, tmp_path / "x.xml")


def test_lines_of_a_report() -> None:
    text = (
        '{\n "videos": [\n  {"path": "/a"}\n ],\n "groups": [\n  {"x": 1},\n  {"keep": "/a"}\n ]\n}'
    )
    assert line_of(text, "groups[1]: ...") == 7
    assert line_of(text, "videos[0]: '/a' ...") == 3
    assert line_of(text, "videos[9]: ...") is None and line_of(text, "version 3") is None
    lines = '{"version": 1, "format": "lines"}\n{"videos": {"path": "/a"}}\n{"groups": {}}\n'
    assert line_of(lines, "groups[0]: ...") == 3


def test_options_are_complete_and_said_once() -> None:
    for f in dataclasses.fields(ActOptions):
        assert f.metadata["help"].endswith((".", ")."))


@pytest.mark.skipif(NATIVE_TRASH, reason="there Send2Trash itself is used")
def test_our_trash_is_the_one_of_send2trash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Same folder, same names, same words as the library that other programs use."""
    import importlib

    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "theirs"))
    monkeypatch.setenv("HOME", str(tmp_path))
    theirs = importlib.reload(importlib.import_module("send2trash.plat_other"))
    lib = tmp_path / "lib"
    kept, gone, other = (put(lib / f"é {n}.mp4", "film") for n in ("a", "b", "c"))
    theirs.send2trash(str(other))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "ours"))
    apply(plan(report_of(lib, [kept, gone]), "trash"), str(tmp_path / "j"), disk=Quick())
    shape = [sorted(tree(tmp_path / n / "Trash")) for n in ("theirs", "ours")]
    assert [p.replace("b.mp4", "c.mp4") for p in shape[1]] == shape[0]
    texts = [next((tmp_path / n / "Trash" / "info").iterdir()).read_text().splitlines()
             for n in ("theirs", "ours")]  # fmt: skip
    assert texts[0][0] == texts[1][0]
    assert texts[0][1].endswith("%C3%A9%20c.mp4") and texts[1][1].endswith("%C3%A9%20b.mp4")
    assert texts[0][2][:24] == texts[1][2][:24]
