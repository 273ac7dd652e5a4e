"""Every registered action under every failure: each call fails once, and each is killed once.

Contract: whatever happens, every content that was there is still there (for `delete`: in the kept
file), the kept file is never touched, and `undo` brings back the very tree.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.acting import ERRORS, Failing, Killing, Quick, contents, in_child, put, report_of, tree
from twinreel.actions import JournalLost, apply, plan, settle, undo
from twinreel.actions.disk import NATIVE_TRASH
from twinreel.report import Report

ACTIONS = ("trash", "move", "hardlink", "symlink", "reflink", "delete")
RELATIONS = ("exact", "copy")
CASES = [(a, r) for a in ACTIONS for r in RELATIONS]
pytestmark = pytest.mark.skipif(NATIVE_TRASH, reason="the trash of this system is not ours to fail")


class World:
    """One group: kept.mp4 and gone.mp4 in two folders; the home trash is on the same disk."""

    def __init__(self, base: Path, relation: str, more: bool = False) -> None:
        self.base, self.root = base, base / "media" / "films"
        kept = put(self.root / "x" / "kept.mp4", b"one" * 50)
        gone = put(
            self.root / "y" / "gone.mp4", b"one" * 50 if relation == "exact" else b"two" * 60, 5
        )
        self.kept, self.gone = kept, gone
        (base / "home").mkdir()
        self.before, self.had = tree(base / "media"), contents(base)
        self.report: Report = report_of(self.root, [kept, gone], relation=relation)
        self.journals = str(base / "journals")
        Path(self.journals).mkdir()
        self.journal = str(base / "journals" / "j.jsonl")

    def act(self, action: str, disk: Quick, journal: str = "", **options: object) -> object:
        return apply(plan(self.report, action, **options), journal or self.journal, disk=disk)

    @property
    def now(self) -> dict[str, object]:
        return tree(self.base / "media")


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    count = iter(range(10**6))

    def make(relation: str) -> World:
        base = tmp_path / str(next(count))
        base.mkdir()
        monkeypatch.setenv("XDG_DATA_HOME", str(base / "home"))
        return World(base, relation)

    return make


def calls(world: World, action: str, old: bool = False) -> tuple[Quick, dict[str, object]]:
    """The disk of a run that went well, and the tree it left."""
    disk = Quick(old)
    outcome = world.act(action, disk)
    assert not outcome.refused and len(outcome.done) == 1  # type: ignore[attr-defined]
    return disk, world.now


@pytest.mark.parametrize(("action", "relation"), CASES)
def test_done_and_undone(fresh, action, relation) -> None:  # type: ignore[no-untyped-def]
    world = fresh(relation)
    _, after = calls(world, action)
    assert after != world.before or action == "reflink"
    assert after["films/x/kept.mp4"] == world.before["films/x/kept.mp4"]
    if action == "delete":
        assert not world.gone.exists() and not undo(world.journal).done
        return
    assert contents(world.base / "media", world.base / "home") >= world.had
    outcome = undo(world.journal, disk=Quick())
    assert not outcome.refused and world.now == world.before
    assert not undo(world.journal, disk=Quick()).done  # a second undo has nothing to do
    assert world.now == world.before


@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(("action", "relation"), CASES)
def test_every_call_fails_once(fresh, action, relation, late) -> None:  # type: ignore[no-untyped-def]
    disk, _ = calls(fresh(relation), action)
    for at in range(len(disk.names_called)):
        for code in ERRORS if not late else ERRORS[:1]:
            world = fresh(relation)
            disk = Failing(at, code, late)
            try:
                outcome = world.act(action, disk)
            except JournalLost:
                outcome = None  # not even its first line could be written
            where = f"{action} {relation}, call {at} {disk.names_called[at]}, error {code}"
            stay = contents(world.base / "media", world.base / "home")
            given_up = action == "delete" and relation == "copy" and not world.gone.exists()
            assert stay >= world.had or given_up, where
            assert world.now["films/x/kept.mp4"] == world.before["films/x/kept.mp4"], where
            if outcome is not None and Path(world.journal).exists():
                undo(world.journal, disk=Quick())
            if action != "delete" or world.gone.exists():
                assert world.now == world.before, where


@pytest.mark.parametrize(("action", "relation"), [c for c in CASES if c[0] != "delete"])
def test_undo_fails_once(fresh, action, relation) -> None:  # type: ignore[no-untyped-def]
    world = fresh(relation)
    calls(world, action)
    counter = Quick()
    undo(world.journal, disk=counter)
    for at in range(len(counter.names_called)):
        world = fresh(relation)
        calls(world, action)
        disk = Failing(at, ERRORS[at % len(ERRORS)])
        try:
            undo(world.journal, disk=disk)
        except Exception as error:
            assert "journal" in str(error) or isinstance(error, OSError)
        where = f"undo of {action} {relation}, call {at} {disk.names_called[at]}"
        assert contents(world.base / "media", world.base / "home") >= world.had, where
        undo(world.journal, disk=Quick())
        assert world.now == world.before, where


OLD = [("trash", "exact", True), ("move", "exact", True), ("delete", "copy", True)]
OLD += [("hardlink", "copy", True), ("symlink", "exact", True), ("reflink", "exact", True)]
KILLS = [(*c, False) for c in CASES] + OLD


@pytest.mark.parametrize(("action", "relation", "old"), KILLS)
def test_killed_before_every_change_then_undo(fresh, action, relation, old) -> None:  # type: ignore[no-untyped-def]
    disk, _ = calls(fresh(relation), action, old)
    for at in disk.changing:
        world = fresh(relation)
        assert in_child(lambda: world.act(action, Killing(at, old))) == -9  # noqa: B023
        stay = contents(world.base / "media", world.base / "home")
        given_up = action == "delete" and relation == "copy" and not world.gone.exists()
        assert stay >= world.had or given_up
        assert world.now["films/x/kept.mp4"] == world.before["films/x/kept.mp4"]
        if Path(world.journal).exists():
            undo(world.journal, disk=Quick(old))
        if action != "delete" or world.gone.exists():
            assert world.now == world.before, f"{action} {relation}, killed at call {at}"


def untagged(tree: dict[str, object]) -> dict[str, object]:
    """Without what is another in every run: its tag in names, and the link itself."""
    named = {re.sub(r"\.[0-9a-f]{16}-\d+", "", k): v for k, v in tree.items()}
    return {k: v for k, v in named.items() if k != "films/y/gone.mp4"}


@pytest.mark.parametrize(("action", "relation"), CASES)
def test_killed_before_every_change_then_act_again(fresh, action, relation) -> None:  # type: ignore[no-untyped-def]
    disk, after = calls(fresh(relation), action)
    after = untagged(after)
    for at in disk.changing:
        world = fresh(relation)
        assert in_child(lambda: world.act(action, Killing(at))) == -9  # noqa: B023
        settle(world.journals, Quick())
        world.act(action, Quick(), world.journal + "2")
        assert untagged(world.now) == after, f"{action} {relation}, killed at call {at}"
        if action in ("trash", "move", "delete"):
            assert not world.gone.exists()
        elif action == "symlink":
            assert world.gone.is_symlink()
        elif action == "hardlink":
            assert world.gone.samefile(world.kept)


UNDONE = [(c, False) for c in ACTIONS if c != "delete"] + [
    (c, True) for c in ("trash", "move", "hardlink", "symlink")
]


@pytest.mark.parametrize(("action", "old"), UNDONE)
def test_undo_killed_before_every_change(fresh, action, old) -> None:  # type: ignore[no-untyped-def]
    for relation in RELATIONS:
        world = fresh(relation)
        calls(world, action, old)
        counter = Quick(old)
        undo(world.journal, disk=counter)
        for at in counter.changing:
            world = fresh(relation)
            calls(world, action, old)
            assert in_child(lambda: undo(world.journal, disk=Killing(at, old))) == -9  # noqa: B023
            stay = contents(world.base / "media", world.base / "home")
            assert stay >= world.had, f"undo of {action} {relation}, killed at call {at}"
            undo(world.journal, disk=Quick(old))
            assert world.now == world.before, f"undo of {action} {relation}, killed at call {at}"


def test_undo_killed_where_inodes_are_not_used_again(fresh) -> None:  # type: ignore[no-untyped-def]
    """What undo made anew mostly has the number of what had gone; elsewhere it has another one."""
    world = fresh("exact")
    calls(world, "hardlink")
    counter = Quick()
    undo(world.journal, disk=counter)
    for at in counter.changing:
        world = fresh("exact")
        calls(world, "hardlink")
        for n in range(32):
            (world.gone.parent / f"filler {n}").touch()
        assert in_child(lambda: undo(world.journal, disk=Killing(at))) == -9  # noqa: B023
        for n in range(32):
            (world.gone.parent / f"filler {n}").rename(world.base / f"filler {n}")
        assert undo(world.journal, disk=Quick()).refused == ()
        assert world.now == world.before, f"killed at call {at}"
