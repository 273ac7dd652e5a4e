"""The promise of act, in a model of a file system: no content is lost that was not given up.

Worlds are drawn at random: files, hard links, symbolic links, other disks, a folder seen twice;
reports that are true, stale, edited, or plainly wrong; any action and policy; a call that fails, a
kill, or a second act with other views that runs in the middle of the first.
"""

from __future__ import annotations

import errno
import os
import threading
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.model_disk import ALIASES, Killed, ModelDisk, Store, key_of
from tests.property.worlds import WORLDS
from twinreel import actions
from twinreel.actions import JournalLost, apply, undo
from twinreel.actions.disk import NATIVE_TRASH
from twinreel.actions.plan import KEEP_RULES, QUARANTINE, ActOptions, Plan
from twinreel.report import Report
from twinreel.types import Group, Match, Video, VideoFile, VideoInfo

ACTIONS = ("trash", "move", "hardlink", "symlink", "reflink", "delete")
NAMES = ("/a/1.mp4", "/a/2.mp4", "/a/3.mkv", "/b/1.mp4", "/b/4.mp4", "/c/1.mp4", "/c/5.mp4")
CONTENTS = ("filmA", "filmB", "other", "longer film", "!broken")  # filmA, filmB: the same key
CODES = (errno.EIO, errno.ENOSPC, errno.EXDEV, errno.EACCES, errno.ENOENT)
INFO = VideoInfo(60.0, 640, 360, 640, 360, "h264")
pytestmark = pytest.mark.skipif(NATIVE_TRASH, reason="models the trash of Linux")
# The same worlds in every run: the suite says the same twice. Other seeds are for the desk.
COMMON = {
    "derandomize": True,
    "deadline": None,
    "suppress_health_check": list(HealthCheck),
    "database": None,
}


def plan(found: Report, action: str, options: ActOptions) -> Plan:
    """Planned by a judge to whom all pictures look alike: as much goes as ever may."""
    return actions.plan(found, action, options, judge=lambda a, b: [])


class Draw:
    """Choices from a string of bytes: fast, and small bytes mean simple worlds."""

    def __init__(self, data: bytes) -> None:
        self.data = iter(data)

    def below(self, n: int) -> int:
        return next(self.data, 0) % n

    def one(self, options: Any) -> Any:
        return options[self.below(len(options))]

    def chance(self, percent: int) -> bool:
        return self.below(100) >= 100 - percent


def world(draw: Draw) -> tuple[Store, list[str]]:
    store = Store(draw.one(ALIASES))
    paths = [n for n in NAMES if draw.below(4)]
    for path in paths:
        store.add(path, draw.one(CONTENTS), 1 + draw.below(3))
    for path in list(paths):
        if draw.chance(15):
            other = f"{path}.hard.mp4"
            store.names[other] = store.names[path]
            paths.append(other)
        if store.alias != "none" and path.startswith("/a/") and draw.chance(60):
            paths.append(path.replace("/a/", "/alias/"))
        if draw.chance(10):
            sidecar = os.path.splitext(path)[0] + ".srt"
            if sidecar not in store.names:
                store.add(sidecar, f"text of {path}")
    return store, paths


def report(draw: Draw, store: Store, paths: list[str]) -> Report:
    """Groups of whatever: the relations and keys are true or not."""
    disk = ModelDisk(store)
    videos = []
    for path in paths:
        look = disk._look(path)
        assert look is not None
        key = None if draw.chance(10) else key_of(disk._data(path))
        inode, device = (0, 0) if draw.chance(10) else (look.inode, look.device)
        file = VideoFile(path, look.size, look.mtime_ns, inode, device, "", key)
        videos.append(Video(file, INFO, offline=draw.chance(5)))
    groups, found = [], {}
    for _ in range(1 + draw.below(3)):
        members = [p for p in paths if draw.below(3)]
        if len(members) < 2:
            continue
        for i, a in enumerate(members):
            for b in members[i + 1 :]:
                relation = draw.one(("exact", "copy", "copy", "part_of", "contains", "overlap"))
                found[(a, b)] = Match(a, b, 0.9, relation)
        losses = {p: ["subtitles deu"] if draw.chance(10) else [] for p in members}
        decision = draw.one((None, None, None, "accept", "skip", "not_a_match"))
        look_first = draw.chance(10)
        groups.append(Group(tuple(members), draw.one(members), "w", losses, decision, look_first))
    return Report("", tuple(videos), tuple(found.values()), tuple(groups), roots=("/a", "/b", "/c"))


def options(draw: Draw, action: str) -> ActOptions:
    plain = action in ("trash", "move", "delete")
    sidecars = draw.one(("leave", "follow", "move-to-keeper"))
    sidecars = "leave" if not plain or action == "delete" and sidecars == "follow" else sidecars
    prefer = draw.one(((), ("/b/*",), ("/a/*", "/c"), ("/alias",)))
    place = "preferred" if prefer and plain and sidecars == "leave" and draw.chance(50) else ""
    return ActOptions(
        keep=draw.one(KEEP_RULES),
        prefer=prefer,
        protect=draw.one(((), (), ("/c",), ("*/1.mp4",))),
        only=draw.one(((), (), ("exact",), ("copy", "part_of"))),
        accept=draw.one(((), ("all",), ("subtitles",))),
        sidecars=sidecars,
        place=place,
        inherit=draw.one(((), (), ("mtime", "xattr"))),
    )


def meddle(draw: Draw, store: Store, paths: list[str]) -> None:
    """What happened between the report and now."""
    for path in [p for p in paths if p in store.names]:
        what = draw.below(40)
        if what == 39:
            del store.names[path]
        elif what == 38:
            store.add(path, draw.one(CONTENTS), 7)
        elif what == 37:
            store.names[path] = ("link", draw.one(paths))
        elif what == 36:
            store.names[path] = ("dir", 1)
        elif what == 35:  # other bytes, everything else the same
            node = store.inodes[store.names[path][1]]
            node.data = node.data[:-1] + "x"
        elif what == 34:
            store.names[path] = store.names.get(draw.one(paths), store.names[path])


def live(store: Store) -> dict[str, str]:
    """Real files that a person would find: not in trash, quarantine or set aside."""
    return {
        p: data
        for p, data in store.files().items()
        if p.endswith((".mp4", ".mkv"))
        and QUARANTINE not in p
        and not p.startswith("/home/")
        and "Trash" not in p
        and not os.path.basename(p).startswith(".twinreel")
    }


def snapshot(store: Store) -> dict[str, Any]:
    """Names and what they lead to, without journals; hard links count by content."""
    return {
        p: (k, store.inodes[w].data if k == "file" else w)
        for p, (k, w) in store.names.items()
        if not p.startswith("/j/") and k != "dir"
    }


def run(
    store: Store, rep: Report, action: str, opts: ActOptions, journal: str, before: Any = None
) -> tuple[Any, ModelDisk]:
    disk = ModelDisk(store, before or (lambda n, name: None))
    try:
        return apply(plan(rep, action, opts), journal, disk=disk), disk
    except (JournalLost, Killed):
        return None, disk


def keeps_promise(
    store: Store,
    reports: list[Report],
    was: dict[str, str],
    given_up: set[str],
    aside: bool = False,
) -> None:
    """Every group that had a real copy has one, and no content went that was not given up.

    Where two reports disagree, or a folder is seen twice, groups that share a file count as one:
    each report alone says that all their files show the same. aside: a file that was set aside
    counts, because a kill or a second failure kept it from coming back before `undo` runs.
    """
    now = set(live(store).values())
    if aside and store.alias != "none":
        now |= {d for p, d in store.files().items() if not p.startswith("/j/")}
    groups = [
        {real(store, m) for m in g.members}
        for rep in reports
        for g in rep.groups
        if g.decision != "not_a_match"
    ]
    if len(reports) > 1 or store.alias != "none":
        groups = joined(groups)
    for members in groups:
        had = {was[m] for m in members if m in was}
        assert not had or had & now, f"{members} left without a real copy"
    lost = set(was.values()) - set(store.files().values()) - given_up
    assert not lost, f"content is nowhere any more: {lost}"


def joined(groups: list[set[str]]) -> list[set[str]]:
    out: list[set[str]] = []
    for group in groups:
        apart = [g for g in out if not g & group]
        out = [*apart, set.union(group, *(g for g in out if g & group))]
    return out


def real(store: Store, path: str) -> str:
    return ModelDisk(store)._at(path)[0]


def may_give_up(rep: Report, action: str, was: dict[str, str], store: Store) -> set[str]:
    """Contents that a user knowingly deletes: of members of open groups, with `delete`."""
    if action != "delete":
        return set()
    return {was[real(store, m)] for g in rep.groups for m in g.members if real(store, m) in was}


# A kept file whose content was exchanged for another with the same content key: undo of a hard
# link must not take the last name of the old content away.
EXCHANGED = bytes.fromhex(
    "02000000000000000000000000000000000000000000000101010100000000010001000000000000"
    "00000000000000000000000000000044000000000101000100000000000000000000000101000000"
    "00000001000000004bc6010000000000000000000000000000000000000000000000000000000000"
    "00000000000000000000000000000000000000000000000000000000000000000000000000000000"
)


@settings(max_examples=5000, **COMMON)
@given(st.binary(min_size=160, max_size=160))
@example(EXCHANGED)
def test_content_survives(data: bytes) -> None:
    os.environ["XDG_DATA_HOME"] = "/home"
    draw = Draw(data)
    action, other_action = draw.one(ACTIONS), draw.one(ACTIONS)
    mode = draw.one(("plain", "fail", "late", "kill", "rival", "rival"))
    at, code = 1 + draw.below(120), draw.one(CODES)
    opts, other_opts = options(draw, action), options(draw, other_action)
    store, paths = world(draw)
    rep = report(draw, store, paths)
    other = rep if draw.below(2) else report(draw, store, paths)
    meddle(draw, store, paths)
    store.old = data[-1] % 4 == 3
    was, names = live(store), snapshot(store)

    def before(n: int, name: str) -> None:
        if n != at:
            return
        if mode == "fail":
            raise OSError(code, os.strerror(code))
        if mode == "late" and name in ("rename", "replace", "link", "unlink", "write", "create"):
            disks[0].late = OSError(code, os.strerror(code))
        if mode == "kill":
            raise Killed
        if mode == "rival":
            run(store, other, other_action, other_opts, "/j/2")

    disks: list[ModelDisk] = []
    disk = ModelDisk(store, before)
    disks.append(disk)
    try:
        outcome: Any = apply(plan(rep, action, opts), "/j/1", disk=disk)
    except (JournalLost, Killed, OSError):
        outcome = None
    store.locks.clear()
    given_up = may_give_up(rep, action, was, store)
    if mode == "rival":
        given_up |= may_give_up(other, other_action, was, store)
    reports = [rep] if mode != "rival" or other is rep else [rep, other]
    keeps_promise(store, reports, was, given_up, aside=mode in ("kill", "fail", "late"))
    if outcome and action == "delete" and mode != "rival":
        for step in outcome.done:  # the same bytes are never given up
            if step.keep and step.expect["relation"] == "exact":
                assert was[real(store, step.path)] in live(store).values()
    if mode == "rival" or "/j/1" not in store.names:
        return
    later = draw.chance(25)
    if later:  # a person goes on working before thinking of undo
        meddle(draw, store, list(live(store)))
    held = videos(store)
    back = undo("/j/1", disk=ModelDisk(store))
    assert held <= videos(store), "undo lost something"
    if later:
        return
    keeps_promise(store, [rep], was, given_up)
    if action != "delete":
        assert not back.refused, back.refused
        assert snapshot(store) == names


def videos(store: Store) -> set[str]:
    """All contents, wherever they lie, but what trash and journals write about them."""
    return {d for p, d in store.files().items() if not p.startswith("/j/") and "/info/" not in p}


def few(draw: Draw) -> tuple[Store, list[str]]:
    """Two to four files of one name, of the same bytes or not."""
    store = Store(draw.one(("none", "none", "none", *ALIASES)))
    paths = ["/a/1.mp4", "/b/1.mp4", "/a/b/1.mp4", "/c/1.mp4"][: 2 + draw.below(3)]
    store.names["/a/b"] = ("dir", 1)
    for path in paths:
        store.add(path, draw.one(("filmA", "filmA", "other")), 1 + draw.below(2))
    if draw.chance(20):
        store.names["/b/2.mp4"] = store.names["/a/1.mp4"]
        paths.append("/b/2.mp4")
    if store.alias != "none":
        paths += [p.replace("/a/", "/alias/") for p in paths if p.startswith("/a/")]
    return store, paths


def few_options(draw: Draw, action: str) -> ActOptions:
    return ActOptions(keep=draw.one(KEEP_RULES), prefer=draw.one(((), ("/b/*",), ("/a/*",))))


def true_report(draw: Draw, store: Store, paths: list[str]) -> Report:
    """One group of some of the files, as `dups` would find them."""
    disk = ModelDisk(store)
    videos, found = [], []
    for path in paths:
        look = disk._look(path)
        assert look is not None
        key = key_of(disk._data(path))
        file = VideoFile(path, look.size, look.mtime_ns, look.inode, look.device, "", key)
        videos.append(Video(file, INFO))
    members = [p for p in paths if draw.below(4)]
    members = members if len(members) > 1 else paths
    for i, a in enumerate(members):
        for b in members[i + 1 :]:
            same = disk._data(a) == disk._data(b)
            found.append(Match(a, b, 0.9, "exact" if same else "copy"))
    group = Group(tuple(members), draw.one(members), "w")
    return Report("", tuple(videos), tuple(found), (group,), roots=("/a", "/b", "/c"))


def found_worlds(test: Any) -> Any:
    """Every world in which a run once lost something, as an example."""
    for data, turns in WORLDS:
        test = example(data, turns)(test)
    return test


@settings(max_examples=400, **COMMON)
@found_worlds
@given(st.binary(min_size=160, max_size=160), st.binary(min_size=60, max_size=60))
def test_call_by_call(data: bytes, turns: bytes) -> None:
    """Runs with opposite views, each call of one between any two calls of the others.

    Two acts, three, or one act and the undo of an earlier one.
    """
    os.environ["XDG_DATA_HOME"] = "/home"
    draw = Draw(data)
    mode = draw.one(("two", "two", "undo", "three"))
    close = draw.below(4) > 0  # few files and true reports: the runs meet at the same names
    make, views = (few, few_options) if close else (world, options)
    jobs = [
        (a, views(draw, a)) for a in (draw.one(ACTIONS) for _ in range(3 if mode == "three" else 2))
    ]
    store, paths = make(draw)
    store.old = bool(draw.below(2))
    say = true_report if close else report
    reports = [say(draw, store, paths) for _ in jobs]
    if draw.below(2):
        reports[1] = reports[0]
    was = live(store)
    if mode == "undo":
        run(store, reports[0], *jobs[0], "/j/0")

    def work(i: int, disk: ModelDisk) -> None:
        if mode == "undo" and i == 0:
            undo("/j/0", disk=disk)
        else:
            apply(plan(reports[i], *jobs[i]), f"/j/{i}", disk=disk)

    interleave(store, work, len(jobs), turns)
    given_up: set[str] = set()
    for rep, (action, _) in zip(reports, jobs, strict=True):
        given_up |= may_give_up(rep, action, was, store)
    unlike = [rep for i, rep in enumerate(reports) if rep not in reports[:i]]
    # Where a folder is seen twice, a file may be held under a hidden name, which the refusal tells.
    keeps_promise(store, unlike, was, given_up, aside=True)


def interleave(store: Store, work: Any, count: int, turns: bytes) -> None:
    """Call work(i, disk) for each i at once; `turns` says whose disk makes the next call."""
    may_run = [threading.Semaphore(0) for _ in range(count)]
    paused = threading.Semaphore(0)
    alive = list(range(count))
    errors: list[BaseException] = []

    def begin(i: int) -> None:
        def before(n: int, name: str) -> None:
            paused.release()
            may_run[i].acquire()

        may_run[i].acquire()
        try:
            work(i, ModelDisk(store, before))
        except BaseException as error:
            errors.append(error)
        alive.remove(i)
        paused.release()

    threads = [threading.Thread(target=begin, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    n = 0
    while alive:
        i = alive[(turns[n % len(turns)] >> (n // len(turns)) % 8) % len(alive)]
        n += 1
        may_run[i].release()
        paused.acquire()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
