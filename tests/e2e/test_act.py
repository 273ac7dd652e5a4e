"""`twinreel act` and `undo` through the command, in situations that want to lose a file.

Each test says what the user sees, the exit code, and looks at every file afterwards.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.acting import OLD_NS, contents, put, report_of, tree
from tests.e2e import command
from twinreel.actions.disk import NATIVE_TRASH, Disk
from twinreel.cli import main

pytestmark = pytest.mark.skipif(NATIVE_TRASH, reason="looks into the trash folder of Linux")


SHELLS = [shell for shell in ("sh", "bash") if shutil.which(shell)]


class Place:
    """A library of three copies of one film in three folders, with a report about it."""

    def __init__(self, base: Path) -> None:
        self.base, self.root = base, base / "media" / "films"
        self.kept = put(self.root / "best" / "film.mp4", b"f" * 3000)
        self.second = put(self.root / "old" / "film copy.mp4", b"f" * 3000, 10)
        self.third = put(self.root / "tmp" / "film.mp4", b"f" * 3000, 20)
        self.report = base / "report.json"
        self.write()

    def write(self, relation: str = "exact", **more: Any) -> None:
        files = [self.kept, self.second, self.third]
        report_of(self.root, files, relation=relation, **more).save(self.report)

    def edit(self, change: Callable[[Any], None]) -> None:
        data = json.loads(self.report.read_text())
        change(data)
        self.report.write_text(json.dumps(data, indent=1))

    @property
    def now(self) -> dict[str, Any]:
        return tree(self.base / "media")

    def act(self, *words: str, code: int = 0) -> Result:
        return call("act", words[0], str(self.report), *words[1:], code=code)


def call(*words: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, list(words), catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return Place(tmp_path)


# -- the ordinary way -----------------------------------------------------------------------------


def test_the_plan_touches_nothing(place: Place) -> None:
    before = tree(place.base)
    out = place.act("trash").output
    assert "Nothing was done" in out and "2 files, 6.0 kB" in out
    assert "the same bytes" in out and str(place.kept) in out
    assert tree(place.base) == before


@pytest.mark.parametrize("action", ["trash", "move", "hardlink", "symlink"])
def test_done_listed_and_undone(place: Place, action: str) -> None:
    before = place.now
    out = place.act(action, "--yes").output
    assert "done: 2 files" in out and place.now != before
    assert place.now["films/best/film.mp4"] == before["films/best/film.mp4"]
    assert "2 can be taken back" in call("undo", "--list").output
    assert "taken back: 2; not: 0" in call("undo").output
    assert place.now == before
    call("undo", code=2)  # nothing left to undo


def test_the_trash_is_one_that_file_managers_know(place: Place) -> None:
    place.act("trash", "--yes")
    trash = place.base / "home" / "Trash"
    assert {p.name for p in (trash / "files").iterdir()} == {"film copy.mp4", "film.mp4"}
    info = (trash / "info" / "film copy.mp4.trashinfo").read_text().splitlines()
    assert info[0] == "[Trash Info]" and info[1] == f"Path={str(place.second).replace(' ', '%20')}"


def test_delete_wants_permanently_and_cannot_be_undone(place: Place) -> None:
    before = place.now
    assert "--permanently" in place.act("delete", "--yes", code=2).output
    assert place.now == before
    place.act("delete", "--yes", "--permanently")
    assert not place.second.exists() and not place.third.exists() and place.kept.exists()
    journal = json.loads(call("undo", "--list", "--json").output)[-1]["path"]
    assert "deleted for good" in call("undo", journal, code=1).output


def test_without_a_name_the_newest_report_is_taken(place: Place) -> None:
    folder = place.base / "home" / "twinreel" / "reports"
    folder.mkdir(parents=True)
    shutil.copy(place.report, folder / "dups-new.json")
    out = call("act", "trash").output
    assert f"report: {folder / 'dups-new.json'}" in out and "2 files" in out


def test_no_report_at_all(place: Place) -> None:
    assert "run `twinreel dups PATH` first" in call("act", "trash", code=2).output


def test_json(place: Place) -> None:
    shown = json.loads(place.act("move", "--json").output)
    assert len(shown["plan"]["steps"]) == 2 and shown["outcome"] is None
    done = json.loads(place.act("move", "--json", "--yes").output)
    assert len(done["outcome"]["done"]) == 2 and Path(done["outcome"]["journal"]).exists()


def test_a_loss_wants_to_be_accepted(place: Place) -> None:
    place.write("copy", losses={str(place.second): ["subtitles deu"]})
    assert "would be lost: subtitles deu" in place.act("trash").output
    assert "1 files" in place.act("trash").output
    assert "2 files" in place.act("trash", "--accept", "subtitles").output


def test_a_wish_that_protects_nothing_is_said(place: Place) -> None:
    note = "no video of the report matches --protect /none"
    assert f"note: {note}" in place.act("trash", "--protect", "/none").output
    shown = json.loads(place.act("trash", "--protect", "/none", "--json").output)
    assert shown["plan"]["notes"] == [note]
    assert "1 files" in place.act("trash", "--protect", str(place.third)).output


def test_a_group_that_wants_a_look(place: Place) -> None:
    place.write(look=True)
    assert "a person should look first" in place.act("trash").output
    assert "2 files" in place.act("trash", "--accept", "look").output


def test_purge_checks_the_kept_file_again(place: Place) -> None:
    before = place.now
    place.act("move", "--yes")
    assert "0 files" in call("undo", "--purge").output  # too young
    place.third.parent.mkdir(exist_ok=True)
    put(place.kept, b"g" * 3000)
    assert "refused" in call("undo", "--purge", "--older-than", "0s", "--yes", code=1).output
    put(place.kept, b"f" * 3000)
    assert "2 files" in call("undo", "--purge", "--older-than", "0s").output
    call("undo", "--purge", "--older-than", "0s", "--yes")
    again = call("undo", "--purge", "--older-than", "0s", "--yes").output
    assert "done: 0 files" in again and "refused: 0" in again
    assert not [p for p in place.now if "quarantine" in p and p.endswith(".mp4")]
    journal = json.loads(call("undo", "--list", "--json").output)[0]["path"]
    assert "purged" in call("undo", journal, code=1).output
    assert place.now["films/best/film.mp4"] == before["films/best/film.mp4"]


def test_sidecars(place: Place) -> None:
    put(place.second.with_suffix(".en.srt"), "words")
    out = place.act("move").output
    assert "film copy.en.srt" in out and "left alone" in out
    before = place.now
    place.act("move", "--sidecars", "move-to-keeper", "--yes")
    assert (place.kept.parent / "film.en.srt").read_text() == "words"
    call("undo")
    assert place.now == before
    place.act("move", "--sidecars", "follow", "--yes")
    assert not place.second.with_suffix(".en.srt").exists()
    call("undo")
    assert place.now == before


def test_place_and_inherit(place: Place) -> None:
    if hasattr(os, "setxattr"):
        try:
            os.setxattr(place.second, "user.tag", b"seen")
        except OSError:
            pytest.skip("no extended attributes here")
    before = place.now
    tmp = str(place.root / "tmp" / "*")
    wanted = ("--place", "preferred", "--prefer", tmp, "--inherit", "mtime", "--inherit", "xattr")
    place.act("trash", *wanted, "--yes")
    assert not place.kept.exists() and place.third.exists()  # the best file, in the preferred place
    assert place.third.stat().st_mtime_ns == OLD_NS - 20 * 10**9
    assert os.getxattr(place.third, "user.tag") == b"seen"
    call("undo")
    assert place.now == before
    assert "user.tag" not in os.listxattr(place.kept)


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_does_what_the_plan_says(place: Place, shell: str) -> None:
    weird = put(place.root / "x" / "it's\n$(rm) é.mp4", b"f" * 3000)
    report_of(place.root, [place.kept, place.second, weird]).save(place.report)
    script = place.base / "plan.sh"
    for action in ("move", "trash", "hardlink", "symlink", "delete"):
        copy = place.base / "copy"
        shutil.copytree(place.base / "media", copy)
        place.act(action, "--script", str(script))
        assert weird.exists() and place.second.exists()  # writing it does nothing
        subprocess.run([shell, str(script)], check=True)
        assert place.kept.read_bytes() == b"f" * 3000
        if action == "hardlink":
            assert weird.samefile(place.kept)
        elif action == "symlink":
            assert os.readlink(weird) == str(place.kept)
        else:
            assert not weird.exists() and not place.second.exists()
        for path in (weird, place.second):
            path.unlink(missing_ok=True)  # not into a hard link
            shutil.copy2(copy / path.relative_to(place.base / "media"), path)
            os.utime(path, ns=(OLD_NS, OLD_NS))
        report_of(place.root, [place.kept, place.second, weird]).save(place.report)
        shutil.rmtree(copy)


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("action", ["delete", "trash", "move", "hardlink", "symlink"])
@pytest.mark.parametrize("change", ["truncated", "touched", "gone", "a link"])
def test_the_script_leaves_all_when_the_kept_file_changed(
    place: Place, shell: str, action: str, change: str
) -> None:
    for path, content in ((place.kept, b"k" * 5000), (place.second, b"v" * 3000)):
        put(path, content)
    place.write("copy")
    script = place.base / "plan.sh"
    place.act(action, "--script", str(script))
    place.kept.touch() if change == "touched" else place.kept.unlink()
    if change == "truncated":
        put(place.kept, b"")  # a full disk, a copy under way
    elif change == "a link":
        place.kept.symlink_to(place.second)
    before = place.now
    done = subprocess.run([shell, str(script)], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.count("left: ") == 2
    assert place.now == before


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_looks_at_the_kept_file_again_before_it_deletes(
    place: Place, shell: str, tmp_path: Path
) -> None:
    """The kept file goes while the copy is renamed: the copy comes back."""
    put(place.kept, b"k" * 5000)
    place.write("copy")
    script, before = place.base / "plan.sh", place.now
    place.act("delete", "--script", str(script))
    program = f'#!/bin/sh\n: >"{place.kept}"\nexec {shutil.which("mv")} "$@"\n'
    mv = put(tmp_path / "bin" / "mv", program)
    mv.chmod(0o755)
    paths = f"{mv.parent}:{os.environ['PATH']}"
    done = subprocess.run([shell, str(script)], capture_output=True, env={"PATH": paths})
    assert done.returncode == 1 and place.kept.stat().st_size == 0
    kept = os.path.relpath(place.kept, place.base / "media")
    assert {**place.now, kept: 0} == {**before, kept: 0}


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_gives_each_file_a_name_of_its_own_in_the_trash(
    place: Place, shell: str
) -> None:
    names = [place.root / folder / "film.tar.mp4" for folder in ("one", "two")]
    victims = [put(path, b"f" * 3000) for path in names]
    report_of(place.root, [place.kept, *victims]).save(place.report)
    script, trash = place.base / "plan.sh", place.base / "home" / "Trash"
    place.act("trash", "--script", str(script))
    other = put(trash / "info" / "film.tar.mp4.trashinfo", "another program's")  # since then
    subprocess.run([shell, str(script)], check=True)
    assert other.read_text() == "another program's"
    for n, victim in enumerate(victims, 2):
        name = f"film.tar ({n}).mp4"
        assert (trash / "files" / name).read_bytes() == b"f" * 3000 and not victim.exists()
        assert f"Path={victim}\n" in (trash / "info" / f"{name}.trashinfo").read_text()


# -- hostile situations ---------------------------------------------------------------------------


def test_the_first_seeds_disaster(place: Place) -> None:
    """Four real files and a link to one: the seed kept the link and deleted all four."""
    folder = place.root / "seed"
    real = [put(folder / n, b"f" * 3000) for n in ("a.mp4", "b.mp4", "c.mov", "f.mp4")]
    link = folder / "z_link.mp4"
    link.symlink_to(real[0])
    report = report_of(place.root, [*real])
    data = json.loads(json.dumps(report.to_dict()))
    data["videos"].append({**data["videos"][0], "path": str(link)})
    data["groups"][0]["members"].append(str(link))
    data["groups"][0]["keep"] = str(link)  # as the seed would
    data["matches"] = []
    place.report.write_text(json.dumps(data))
    before = tree(folder)
    for action in ("trash", "move", "hardlink", "symlink", "delete"):
        out = place.act(action, "--yes", "--permanently", "--accept", "all").output
        assert "done: 0 files" in out and "not a real file" in out
        assert tree(folder) == before


def test_file_changed(place: Place) -> None:
    put(place.second, b"g" * 3000)
    os.utime(place.second, ns=(OLD_NS, OLD_NS - 10 * 10**9))  # same size, same time, other bytes
    out = place.act("trash", "--yes", code=1).output
    assert "content changed" in out and "done: 1 files" in out
    assert place.second.read_bytes() == b"g" * 3000 and not place.third.exists()


def test_same_head_tail_and_time_but_other_bytes(place: Place) -> None:
    """Keys agree, a byte in the middle does not: only the comparison of all bytes sees it."""
    size = 3_000_000
    files = [place.kept, place.second]
    for path in files:
        put(path, b"f" * size)
    with open(place.second, "r+b") as file:
        file.seek(200_000)  # between the pieces of the key
        file.write(b"X")
    os.utime(place.second, ns=(OLD_NS, OLD_NS))
    report_of(place.root, files).save(place.report)
    keys = {v["key"] for v in json.loads(place.report.read_text())["videos"]}
    assert len(keys) == 1, "the test must change a byte that the key does not read"
    assert "not the same bytes" in place.act("delete", "--yes", "--permanently", code=1).output
    assert place.second.exists()


def test_kept_file_changed_or_gone(place: Place) -> None:
    put(place.kept, b"x")
    assert "done: 0 files" in place.act("trash", "--yes").output
    place.kept.unlink()
    assert "not there any more" in place.act("trash", "--yes").output
    assert place.second.exists() and place.third.exists()


def test_replaced_by_a_link_to_the_kept_file(place: Place) -> None:
    place.second.unlink()
    place.second.symlink_to(place.kept)
    assert "not a real file" in place.act("delete", "--yes", "--permanently").output
    assert place.second.is_symlink() and place.kept.exists()


def test_kept_file_replaced_by_a_link_to_the_copy(place: Place) -> None:
    place.kept.unlink()
    place.kept.symlink_to(place.second)
    out = place.act("delete", "--yes", "--permanently").output
    assert "done: 0 files" in out
    assert place.second.exists() and place.third.exists()


def test_replaced_by_a_folder(place: Place) -> None:
    place.second.unlink()
    put(place.second / "inside.mp4", "safe")
    assert "done: 1 files" in place.act("trash", "--yes").output
    assert (place.second / "inside.mp4").read_text() == "safe"


def test_vanished(place: Place) -> None:
    place.second.unlink()
    out = place.act("move", "--yes").output
    assert "not there any more" in out and "done: 1 files" in out


def test_still_growing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Merely recent may go; what differs between two looks a moment apart may not."""
    os.utime(place.second)
    place.write()
    monkeypatch.setattr(Disk, "sleep", lambda self, s: None)
    assert "done: 2 files" in place.act("move", "--yes").output
    call("undo")

    def grow(self: Disk, seconds: float) -> None:
        with open(place.second, "ab") as file:
            file.write(b"more")

    monkeypatch.setattr(Disk, "sleep", grow)
    out = place.act("move", "--yes", code=1).output
    assert "is changing right now" in out and place.second.exists()


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_read_only_folder(place: Place) -> None:
    """In a process that has given up root's right to write everywhere."""
    place.second.parent.chmod(0o555)
    try:
        done = command.run(place.base / "home", "act", "move", str(place.report), "--yes")
    finally:
        place.second.parent.chmod(0o755)
    assert done.code == 1 and "Permission denied" in done.err and "done: 1 files" in done.out
    assert place.second.exists()


@pytest.mark.skipif(not hasattr(os, "setxattr"), reason="no extended attributes here")
@pytest.mark.parametrize("action", ["hardlink", "symlink"])
def test_a_read_only_file_with_attributes_comes_back(place: Place, action: str) -> None:
    """In a process that has given up root's right to write everywhere."""
    try:
        os.setxattr(place.second, "user.origin", b"https://example.org")
    except OSError:
        pytest.skip("no extended attributes here")
    place.second.chmod(0o444)
    before, home = place.now, place.base / "home"
    assert command.run(home, "act", action, str(place.report), "--yes").code == 0
    undone = command.run(home, "undo")
    assert undone.code == 0 and "taken back: 2; not: 0" in undone.out
    assert place.now == before and place.second.stat().st_mode & 0o777 == 0o444
    assert os.getxattr(place.second, "user.origin") == b"https://example.org"


@pytest.mark.parametrize(
    ("call_name", "code", "words"),
    [
        ("renameat2", errno.EACCES, "Permission denied"),  # a read-only folder, for root too
        ("create", errno.ENOSPC, "No space left"),  # the disk of the trash is full
        ("renameat2", errno.EROFS, "Read-only file system"),
    ],
)
def test_the_system_refuses(
    place: Place, monkeypatch: pytest.MonkeyPatch, call_name: str, code: int, words: str
) -> None:
    before = place.now

    def gate(self: Disk, name: str, function: Callable[..., Any], *args: Any) -> Any:
        if name == call_name:
            raise OSError(code, os.strerror(code))
        return function(*args)

    monkeypatch.setattr(Disk, "_call", gate)
    out = place.act("trash", "--yes", code=1).output
    assert out.count(words) == 2 and "done: 0 files" in out
    assert place.now == before


def test_disk_full_for_the_journal(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """No journal, no deed."""
    before = place.now
    real = Disk.append

    def full(self: Disk, path: str, data: bytes) -> None:
        if b'"begin"' in data:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(self, path, data)

    monkeypatch.setattr(Disk, "append", full)
    out = place.act("trash", "--yes", code=1).output
    assert "a journal must be written" in out and "not reached" in out
    assert place.now == before


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, 1 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)], capture_output=True
    )
    if made.returncode:
        pytest.skip("mounting is not allowed here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_another_disk_has_its_own_trash(place: Place, small_disk: Path) -> None:
    far = put(small_disk / "deep" / "film.mp4", b"f" * 3000)
    report_of(small_disk, [place.kept, far]).save(place.report)
    place.act("trash", "--yes")
    assert not far.exists()
    kept = small_disk / f".Trash-{os.getuid()}"
    assert (kept / "files" / "film.mp4").read_bytes() == b"f" * 3000
    assert "Path=deep/film.mp4" in (kept / "info" / "film.mp4.trashinfo").read_text()
    call("undo")
    assert far.read_bytes() == b"f" * 3000 and not kept.exists()


def test_a_disk_without_a_trash(place: Place, small_disk: Path) -> None:
    """Where a trash cannot be made, nothing is done; least of all a deletion."""
    far = put(small_disk / "film.mp4", b"f" * 3000)
    (small_disk / f".Trash-{os.getuid()}").write_text("in the way")
    report_of(small_disk, [place.kept, far]).save(place.report)
    out = place.act("trash", "--yes").output
    assert "no trash on its file system" in out and "twinreel act move" in out
    assert far.exists()


def test_links_across_disks_are_refused_untouched(place: Place, small_disk: Path) -> None:
    far = put(small_disk / "film.mp4", b"f" * 3000)
    inode = far.stat().st_ino
    report_of(small_disk, [place.kept, far]).save(place.report)
    for action in ("hardlink", "symlink", "reflink"):
        out = place.act(action, "--yes").output
        assert "another file system" in out and "done: 0 files" in out
    assert far.stat().st_ino == inode


def test_move_stays_on_its_disk(place: Place, small_disk: Path) -> None:
    far = put(small_disk / "a" / "film.mp4", b"f" * 3000)
    report_of(small_disk, [place.kept, far]).save(place.report)
    assert "another file system" in place.act("move", "--to", str(place.base), "--yes").output
    place.act("move", "--yes")
    assert [p for p in tree(small_disk) if p.endswith("a/film.mp4")] == [
        ".twinreel-quarantine/small/a/film.mp4"
    ]


def test_full_disk(place: Place, small_disk: Path) -> None:
    """Undoing an exact hard link needs room for the bytes: without it the link stays."""
    kept = put(small_disk / "kept.mp4", b"f" * 300_000)
    copy = put(small_disk / "copy.mp4", b"f" * 300_000)
    report_of(small_disk, [kept, copy]).save(place.report)
    place.act("hardlink", "--yes")
    (small_disk / "filler").write_bytes(b"x" * 600_000)
    assert "No space left" in call("undo", code=1).output
    assert copy.read_bytes() == b"f" * 300_000 and len(tree(small_disk)) == 3
    (small_disk / "filler").unlink()
    call("undo")
    assert not copy.samefile(kept) and copy.read_bytes() == b"f" * 300_000


def test_bind_mount_is_one_file(place: Place, tmp_path: Path) -> None:
    """The same folder mounted twice: both names are one file, whatever the report believes."""
    twin = tmp_path / "twin"
    twin.mkdir()
    if subprocess.run(
        ["mount", "--bind", str(place.root), str(twin)], capture_output=True
    ).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        again = twin / "best" / "film.mp4"
        report_of(place.root, [place.kept, again]).save(place.report)
        place.edit(lambda d: d["videos"][1].update(inode=0, device=77))
        for action in ("delete", "trash", "move", "hardlink", "symlink"):
            out = place.act(action, "--yes", "--permanently").output
            assert "the same file" in out and "done: 0 files" in out
            assert place.kept.read_bytes() == b"f" * 3000
    finally:
        subprocess.run(["umount", "-l", str(twin)], check=True)


def test_one_file_behind_two_names_that_nothing_tells_apart(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A share mounted twice, with other numbers for everything: only the rename gives it away."""
    twin = place.root.parent / "twin"
    real_call = Disk._call

    def through(path: Any) -> Any:
        text = os.fspath(path) if isinstance(path, str | Path) else path
        return text.replace(str(twin), str(place.root)) if isinstance(text, str) else text

    def gate(self: Disk, name: str, function: Callable[..., Any], *args: Any) -> Any:
        twice = [isinstance(a, str) and str(twin) in a for a in args]
        result = real_call(self, name, function, *map(through, args))
        if name == "lstat" and any(twice):  # other inode and device numbers over there
            numbers = list(result)
            numbers[1], numbers[2] = numbers[1] + 999, numbers[2] + 999
            return os.stat_result(numbers, {"st_mtime_ns": result.st_mtime_ns})
        return result

    again = twin / "best" / "film.mp4"
    report_of(place.root, [place.kept]).save(place.report)

    def add(data: Any) -> None:
        video = data["videos"][0]
        data["videos"].append({**video, "path": str(again), "inode": 0, "device": 5})
        data["groups"][0]["members"].append(str(again))

    place.edit(add)
    monkeypatch.setattr(Disk, "_call", gate)
    monkeypatch.setattr(Disk, "open_look", lambda self, path: self.look(path) or _gone(path))
    out = place.act("delete", "--yes", "--permanently", code=1).output
    assert "one file seen" in out and "taken back" in out
    assert place.kept.read_bytes() == b"f" * 3000


def _gone(path: str) -> Any:
    raise FileNotFoundError(errno.ENOENT, "No such file or directory", path)


def test_hard_linked_victims(place: Place) -> None:
    place.second.unlink()
    os.link(place.kept, place.second)  # the same file as the kept one
    place.third.unlink()
    other = put(place.root / "other.mp4", b"f" * 3000)
    os.link(other, place.third)  # two names of one copy
    report_of(place.root, [place.kept, place.second, place.third, other]).save(place.report)
    out = place.act("delete", "--yes", "--permanently").output
    assert "the same file as a kept one" in out and "2 files, 3.0 kB" in out
    assert place.second.exists() and not place.third.exists() and not other.exists()


def test_names_that_differ_in_case_only(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a disk that ignores case, Film.mp4 is film.mp4; a second name for it is the same inode."""
    upper = place.kept.with_name("FILM.MP4")
    os.link(place.kept, upper)  # what such a disk shows
    report_of(place.root, [place.kept, upper]).save(place.report)
    place.edit(lambda d: [v.update(inode=0) for v in d["videos"]])
    out = place.act("delete", "--yes", "--permanently").output
    assert "the same file" in out and place.kept.exists()


def test_the_kept_files_disk_is_unplugged(place: Place) -> None:
    place.edit(lambda d: d["videos"][0].update(offline=True))
    out = place.act("delete", "--yes", "--permanently").output
    assert "the kept file's disk is not here" in out and "done: 0 files" in out
    place.edit(lambda d: d["videos"][0].update(offline=False))
    shutil.rmtree(place.kept.parent)
    out = place.act("delete", "--yes", "--permanently").output
    assert "done: 0 files" in out and place.second.exists() and place.third.exists()


def test_names_with_newlines_and_invalid_utf8(place: Place) -> None:
    bad = os.fsdecode(os.fsencode(place.root) + b"/caf\xe9\n\x1b[31m.mp4")
    Path(bad).write_bytes(b"f" * 3000)
    os.utime(bad, ns=(OLD_NS, OLD_NS))
    report_of(place.root, [place.kept, Path(bad)]).save(place.report)
    before = place.now
    for action in ("trash", "move", "symlink"):
        out = place.act(action, "--yes").output
        assert "\x1b" not in out and "caf\\xe9\\n" in out and "done: 1 files" in out
        call("undo")
        assert place.now == before
    # A link to the same bytes gave the old file up; undo made another one, with another number.
    report_of(place.root, [place.kept, Path(bad)]).save(place.report)
    place.act("delete", "--yes", "--permanently")
    assert not os.path.exists(bad)


def test_a_report_from_another_machine(place: Place) -> None:
    place.report.write_text(place.report.read_text().replace(str(place.root), "/mnt/elsewhere"))
    out = place.act("trash", "--yes").output
    assert out.count("not there any more") == 2 and "done: 0 files" in out
    place.report.write_text(place.report.read_text().replace("/mnt/elsewhere", "D:\\\\films"))
    assert "not a full path on this system" in place.act("trash", code=2).output


def test_the_same_path_on_another_machine(place: Place) -> None:
    """Same names, same sizes and times, other disks: the inodes give it away."""
    place.edit(lambda d: [v.update(inode=v["inode"] + 1000, key=None) for v in d["videos"]])
    assert "the report says" in place.act("trash", "--yes", code=1).output
    assert place.second.exists()


@pytest.mark.parametrize(
    ("change", "words", "where"),
    [
        (
            lambda d: d["groups"][0].update(keep="/nowhere.mp4"),
            "groups[0]",
            ("/nowhere", "members"),
        ),
        (lambda d: d["groups"][0]["members"].append("/nowhere.mp4"), "not among", ("/nowhere",)),
        (
            lambda d: d["groups"][0]["members"].append(d["groups"][0]["keep"]),
            "listed twice",
            ("members",),
        ),
        (lambda d: d["groups"][0].update(decision="yes"), "'accept'", ("members",)),
        (lambda d: d["groups"][0].pop("members"), "members", ('"keep"',)),
        (lambda d: d["videos"][1].update(size="big"), "size must be", ('"big"',)),
        (lambda d: d["videos"][2].pop("path"), "path", ('"size"',)),
        (lambda d: d["matches"][0].update(a="/nowhere.mp4"), "matches[0]", ("/nowhere",)),
        (lambda d: d["matches"][0].update(relation="same"), "relation", ('"a"', "same")),
        (lambda d: d["groups"][0].update(losses={"/x": ["all"]}), "no member", ('"/x"',)),
        (lambda d: d.update(version=99), "version", ()),
    ],
)
def test_a_report_edited_badly(
    place: Place, change: Callable[[Any], Any], words: str, where: tuple[str, ...]
) -> None:
    before = place.now
    place.edit(change)
    out = place.act("trash", "--yes", code=2).output
    assert words in out.replace("\n", " ")
    if where:
        lines = place.report.read_text().splitlines()
        number = int(out.partition("line ")[2].partition(":")[0])
        near = "\n".join(lines[number - 1 : number + 2])
        assert any(sign in near for sign in where), near
    assert place.now == before


def test_a_report_with_a_slip_of_the_pen(place: Place) -> None:
    text = place.report.read_text().replace('"groups": [', '"groups": [,', 1)
    place.report.write_text(text)
    number = text[: text.index('"groups": [,')].count("\n") + 1
    assert f"line {number}" in place.act("trash", code=2).output


def test_a_kept_file_that_another_group_would_remove(place: Place) -> None:
    other = put(place.root / "z.mp4", b"f" * 3000)
    report_of(place.root, [place.kept, place.second], [other, place.kept]).save(place.report)
    out = place.act("trash", "--yes").output
    assert "group 1 keeps it" in out and place.kept.exists()


def test_structured_folders(place: Place) -> None:
    disc = put(place.root / "DVD" / "VIDEO_TS" / "VTS_01_1.VOB", b"f" * 3000)
    piece = put(place.root / "hls" / "seg1.ts", b"f" * 3000)
    put(place.root / "hls" / "index.m3u8", "#EXTM3U")
    report_of(place.root, [place.kept, disc, piece]).save(place.report)
    out = place.act("trash", "--yes").output
    assert "done: 0 files" in out and out.count("--structured") == 2
    assert "2 files" in place.act("trash", "--structured").output


_CHILD = """
import sys, time
from twinreel.actions import Disk, apply, load, plan, survey
report, action, rule, journal, start = sys.argv[1:]
planned = survey(plan(load(report), action, keep=rule))
while time.time() < float(start): pass
apply(planned, journal)
"""


@pytest.mark.parametrize(
    "actions", [("delete", "delete"), ("trash", "hardlink"), ("move", "symlink")]
)
def test_two_acts_at_once(place: Place, actions: tuple[str, str]) -> None:
    """Opposite policies, two processes: between them one real copy of everything stays."""
    pairs = []
    for i in range(30):
        a = put(place.root / "a" / f"{i}.mp4", f"film {i}" * 100, 0)
        b = put(place.root / "b" / f"{i} longer name.mp4", f"film {i}" * 100, 50)
        pairs.append([a, b])
    report_of(place.root, *pairs).save(place.report)
    had = contents(place.root)
    start = str(time.time() + 2.0)
    children = [
        subprocess.Popen(
            [
                sys.executable,
                "-c",
                _CHILD,
                str(place.report),
                action,
                rule,
                str(place.base / rule),
                start,
            ]
        )
        for action, rule in zip(actions, ("oldest", "newest"), strict=True)
    ]
    for child in children:
        assert child.wait(60) == 0
    assert contents(place.root) >= had  # without trash and quarantine, which lie elsewhere
    for a, b in pairs:
        assert (a.exists() and not a.is_symlink()) or (b.exists() and not b.is_symlink())


def test_killed_then_act_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """kill -9 between the rename and the journal's word for it; the next act completes."""
    before = place.now
    code = (
        "import os, sys\n"
        "from twinreel.actions.disk import Disk\n"
        "from twinreel.cli import main\n"
        "real = Disk._call\n"
        "def gate(self, name, function, *args):\n"
        "    result = real(self, name, function, *args)\n"
        "    if name == 'renameat2': os.kill(os.getpid(), 9)\n"
        "    return result\n"
        "Disk._call = gate\n"
        "main(sys.argv[1:])\n"
    )
    words = ["act", "move", str(place.report), "--yes"]
    assert subprocess.run([sys.executable, "-c", code, *words]).returncode == -9
    assert contents(place.base / "media") and place.now != before
    out = place.act("move", "--yes").output
    assert not place.second.exists() and not place.third.exists(), out
    for _ in range(2):
        call("undo")
    assert place.now == before


# -- with real videos -----------------------------------------------------------------------------


@pytest.fixture
def films(place: Place) -> Path:
    from tests.videos import make

    folder = place.root.parent / "real"
    folder.mkdir()
    make(folder / "a_orig.mp4", seconds=3, size=(320, 180), seed=4)
    shutil.copy(folder / "a_orig.mp4", folder / "b_copy.mp4")
    make(folder / "c_small.mp4", seconds=3, size=(160, 90), seed=4)
    make(folder / "other.mp4", seconds=3, size=(160, 90), seed=5)
    (folder / "z_link.mp4").symlink_to(folder / "a_orig.mp4")
    return folder


def test_from_dups_to_undo(place: Place, films: Path) -> None:
    """Search, act for good, and the same again with the trash: the real decode check included."""
    words = ["dups", str(films), "-o", str(place.base / "found.json"), "-q", "--nice", "0"]
    subprocess.run([sys.executable, "-m", "twinreel", *words], check=True, timeout=300)
    before = tree(films)
    shown = call("act", "trash", str(place.base / "found.json")).output
    loose = ("--accept", "overlay") if "overlay" in shown else ()
    out = call("act", "trash", str(place.base / "found.json"), "--yes", *loose).output
    left = tree(films)
    assert "done: 2 files" in out and "refused: 0" in out
    assert {"other.mp4", "z_link.mp4"} < set(left)
    assert ("a_orig.mp4" in left) != ("b_copy.mp4" in left) and "c_small.mp4" not in left
    call("undo")
    assert tree(films) == before


def test_a_kept_file_whose_end_does_not_decode(place: Place, films: Path) -> None:
    """The head is the same and the key says nothing: the packets have to be read."""
    kept, copy = films / "a_orig.mp4", films / "c_small.mp4"
    data = bytearray(kept.read_bytes())
    start = data.index(b"mdat") + 4
    data[start + 6000 :] = bytes(len(data) - start - 6000)
    broken = put(films / "broken.mkv", bytes(data))
    report_of(films, [broken, copy], relation="copy").save(place.report)
    out = place.act("delete", "--yes", "--permanently", code=1).output
    assert "keep another" in out and copy.exists()
    report_of(films, [kept, copy], relation="copy").save(place.report)
    place.act("delete", "--yes", "--permanently", "--verify", "full")
    assert kept.exists() and not copy.exists()
