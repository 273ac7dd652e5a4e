"""discover: which files are looked at, which are left out and why."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import pytest

from twinreel import discover as discovery
from twinreel import volumes
from twinreel.discover import discover, readers, root_alive, volume_of
from twinreel.errors import InputError
from twinreel.options import EXTENSIONS, DiscoverOptions

PLAIN = DiscoverOptions()


def put(path: Path, data: bytes = b"\x00\x01 some bytes") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def names(found: discovery.Discovery, root: Path) -> list[str]:
    return [os.path.relpath(f.path, root) for f in found.files]


def test_a_folder_in_the_order_of_its_bytes(tmp_path: Path) -> None:
    for name in ("b/2.MKV", "a.mp4", "b/1.mp4", "B.MoV", "notes.txt"):
        put(tmp_path / name)
    found = discover([str(tmp_path)], PLAIN)
    assert names(found, tmp_path) == ["B.MoV", "a.mp4", "b/1.mp4", "b/2.MKV"]
    assert found.skipped == {discovery.OTHER: 1}
    assert found.failures == ()
    assert found.roots == (str(tmp_path),)


def test_what_is_known_of_a_file(tmp_path: Path) -> None:
    path = put(tmp_path / "a.mp4", b"x" * 77)
    (file,) = discover([str(path)], PLAIN).files
    about = path.stat()
    assert (file.path, file.size, file.mtime_ns) == (str(path), 77, about.st_mtime_ns)
    assert (file.inode, file.device, file.key) == (about.st_ino, about.st_dev, None)
    assert file.volume == volume_of(str(tmp_path))


@pytest.mark.parametrize("ending", EXTENSIONS)
def test_every_usual_extension_in_any_case(tmp_path: Path, ending: str) -> None:
    put(tmp_path / f"a.{ending}")
    put(tmp_path / f"b.{ending.upper()}")
    assert len(discover([str(tmp_path)], PLAIN).files) == 2


def test_ext_replaces_the_usual_extensions(tmp_path: Path) -> None:
    put(tmp_path / "a.mp4")
    put(tmp_path / "b.DAT")
    found = discover([str(tmp_path)], DiscoverOptions(ext=(".dat",)))
    assert names(found, tmp_path) == ["b.DAT"]


@pytest.mark.parametrize(
    ("glob", "left"),
    [
        ("*.mkv", ["a.mp4", "x/c.mp4"]),
        ("x", ["a.mp4", "b.mkv"]),
        ("x/*", ["a.mp4", "b.mkv"]),
        ("*/x/c.mp4", ["a.mp4", "b.mkv"]),
        ("nothing", ["a.mp4", "b.mkv", "x/c.mp4"]),
    ],
)
def test_exclude_by_name_path_or_folder(tmp_path: Path, glob: str, left: list[str]) -> None:
    for name in ("a.mp4", "b.mkv", "x/c.mp4"):
        put(tmp_path / name)
    found = discover([str(tmp_path)], DiscoverOptions(exclude=(glob,)))
    assert names(found, tmp_path) == left
    assert found.skipped.get(discovery.EXCLUDED, 0) == 3 - len(left)


def test_small_and_empty_files_are_counted(tmp_path: Path) -> None:
    put(tmp_path / "empty.mp4", b"")
    put(tmp_path / "small.mp4", b"12")
    put(tmp_path / "large.mp4", b"1234567890")
    found = discover([str(tmp_path)], DiscoverOptions(min_size=5))
    assert names(found, tmp_path) == ["large.mp4"]
    assert found.skipped == {discovery.EMPTY: 1, discovery.SMALL: 1}
    assert len(discover([str(tmp_path)], DiscoverOptions(min_size=0)).files) == 3


def test_links_are_not_followed_and_never_a_copy(tmp_path: Path) -> None:
    put(tmp_path / "real/a.mp4")
    library = tmp_path / "library"
    library.mkdir()
    (library / "file.mp4").symlink_to(tmp_path / "real/a.mp4")
    (library / "folder").symlink_to(tmp_path / "real")
    (library / "dangling.mp4").symlink_to(tmp_path / "nowhere.mp4")
    (library / "loop").symlink_to(library)
    (library / "self.mp4").symlink_to(library / "self.mp4")
    found = discover([str(library)], PLAIN)
    assert found.files == ()
    assert found.skipped == {discovery.LINK: 5}
    assert found.failures == ()


def test_a_named_link_is_a_root_when_it_leads_to_a_folder(tmp_path: Path) -> None:
    put(tmp_path / "real/a.mp4")
    (tmp_path / "folder").symlink_to(tmp_path / "real")
    (tmp_path / "file.mp4").symlink_to(tmp_path / "real/a.mp4")
    found = discover([str(tmp_path / "folder")], PLAIN)
    assert [f.path for f in found.files] == [str(tmp_path / "real/a.mp4")]
    assert found.roots == (str(tmp_path / "real"),)
    found = discover([str(tmp_path / "file.mp4")], PLAIN)
    assert found.files == ()
    assert found.skipped == {discovery.LINK: 1}


def test_hard_links_are_one_file(tmp_path: Path) -> None:
    put(tmp_path / "m.mp4")
    for name in ("z.mp4", "a.mp4"):
        os.link(tmp_path / "m.mp4", tmp_path / name)
    found = discover([str(tmp_path)], PLAIN)
    assert names(found, tmp_path) == ["a.mp4"]
    assert found.skipped == {discovery.HARD_LINK: 2}
    assert found.links == {
        str(tmp_path / "a.mp4"): (str(tmp_path / "m.mp4"), str(tmp_path / "z.mp4"))
    }


def test_one_file_through_two_paths_is_one(tmp_path: Path) -> None:
    """As a bind mount or a second name of a share shows it: one inode, one link."""
    put(tmp_path / "a.mp4")
    walk = discovery._Walk(PLAIN)
    (file,) = discover([str(tmp_path)], PLAIN).files
    walk._files = {p: discovery.VideoFile(p, 1, 1, 7, 1) for p in (file.path, "/mnt/b/a.mp4")}
    found = walk.result((str(tmp_path),), {})
    assert len(found.files) == 1
    assert found.skipped == {discovery.SAME_FILE: 1}


def test_overlapping_roots_count_once(tmp_path: Path) -> None:
    put(tmp_path / "x/a.mp4")
    put(tmp_path / "x/notes.txt")
    put(tmp_path / "b.mp4")
    roots = [str(tmp_path / "x"), str(tmp_path), str(tmp_path / "x/a.mp4"), f"{tmp_path}/x/.."]
    found = discover(roots, PLAIN)
    assert names(found, tmp_path) == ["b.mp4", "x/a.mp4"]
    assert found.skipped == {discovery.OTHER: 1}


def test_pipes_and_sockets_are_listed_and_not_opened(tmp_path: Path) -> None:
    put(tmp_path / "a.mp4")
    os.mkfifo(tmp_path / "pipe.mp4")
    with socket.socket(socket.AF_UNIX) as ear:
        here = os.getcwd()
        os.chdir(tmp_path)  # a socket's path may only be short
        try:
            ear.bind("ear.mkv")
        finally:
            os.chdir(here)
        found = discover([str(tmp_path)], PLAIN)
    assert names(found, tmp_path) == ["a.mp4"]
    assert [(os.path.basename(f.path), f.stage) for f in found.failures] == [
        ("ear.mkv", "discover"),
        ("pipe.mp4", "discover"),
    ]
    assert "socket" in found.failures[0].detail
    assert "named pipe" in found.failures[1].detail


def test_odd_names_survive(tmp_path: Path) -> None:
    put(tmp_path / "two\nlines.mp4")
    raw = os.fsencode(tmp_path) + b"/not \xff utf-8.mp4"
    try:
        with open(raw, "wb") as file:
            file.write(b"x")
    except OSError:
        pytest.skip("this file system takes only valid UTF-8 names")
    found = discover([str(tmp_path)], PLAIN)
    assert os.fsencode(found.files[0].path) == raw
    assert found.files[1].path.endswith("two\nlines.mp4")


def test_an_unreadable_folder_is_a_failure_and_the_rest_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "a.mp4")
    put(tmp_path / "closed/b.mp4")
    scandir = os.scandir

    def refusing(path: str) -> object:
        if str(path).endswith("closed"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)  # chmod would not stop root
    found = discover([str(tmp_path)], PLAIN)
    assert names(found, tmp_path) == ["a.mp4"]
    (failure,) = found.failures
    assert (failure.path, failure.error) == (str(tmp_path / "closed"), "PermissionError")
    assert "Permission denied" in failure.detail


class _Vanishing:
    """A directory entry whose file goes away between the listing and the look."""

    def __init__(self, entry: os.DirEntry[str], error: OSError) -> None:
        self._entry, self._error = entry, error
        self.name, self.path = entry.name, entry.path

    def is_symlink(self) -> bool:
        return False

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        return self._entry.is_dir(follow_symlinks=follow_symlinks)

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        raise self._error


def _scandir_with(monkeypatch: pytest.MonkeyPatch, ending: str, error: OSError) -> None:
    scandir = os.scandir

    class Listing:
        def __init__(self, path: str) -> None:
            self._entries = list(scandir(path))

        def __enter__(self) -> list[object]:
            return [_Vanishing(e, error) if e.name.endswith(ending) else e for e in self._entries]

        def __exit__(self, *_: object) -> None:
            pass

        def __next__(self) -> object:
            return next(iter(self._entries))

    monkeypatch.setattr(os, "scandir", Listing)


def test_a_vanishing_file_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "a.mp4")
    put(tmp_path / "gone.mp4")
    monkeypatch.setattr(discovery, "root_alive", lambda root, device: True)
    _scandir_with(monkeypatch, "gone.mp4", FileNotFoundError(errno.ENOENT, "No such file"))
    found = discover([str(tmp_path)], PLAIN)
    assert names(found, tmp_path) == ["a.mp4"]
    (failure,) = found.failures
    assert failure.path == str(tmp_path / "gone.mp4")
    assert "vanished" in failure.detail


def test_a_root_that_goes_away_is_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(50):
        put(tmp_path / f"{n}.mp4")
    monkeypatch.setattr(discovery, "root_alive", lambda root, device: False)
    _scandir_with(monkeypatch, ".mp4", OSError(errno.ENOTCONN, "Transport endpoint"))
    found = discover([str(tmp_path)], PLAIN)
    (failure,) = found.failures
    assert (failure.path, failure.error) == (str(tmp_path), "NotReached")
    assert "not reached" in failure.detail


@pytest.mark.parametrize(
    ("folder", "reason"),
    [
        (".Trash-1000", discovery.TRASH),
        ("$RECYCLE.BIN", discovery.TRASH),
        ("#recycle", discovery.TRASH),
        (".Trashes", discovery.TRASH),
        ("@eaDir", discovery.SYSTEM),
        (".snapshots", discovery.SYSTEM),
        ("#snapshot", discovery.SYSTEM),
        ("System Volume Information", discovery.SYSTEM),
        (".twinreel-quarantine", discovery.SYSTEM),
        ("film.download", discovery.UNFINISHED),
    ],
)
def test_closed_folders_are_counted_and_not_read(tmp_path: Path, folder: str, reason: str) -> None:
    put(tmp_path / folder / "deep/a.mp4")
    put(tmp_path / "b.mp4")
    found = discover([str(tmp_path)], PLAIN)
    assert names(found, tmp_path) == ["b.mp4"]
    assert found.skipped == {reason: 1}
    # Nor when they are named.
    found = discover([str(tmp_path / folder / "deep"), str(tmp_path / "b.mp4")], PLAIN)
    assert names(found, tmp_path) == ["b.mp4"]
    found = discover([str(tmp_path)], DiscoverOptions(include_system=True))
    assert len(found.files) == 2


def test_the_desktops_trash_is_known_by_its_shape(tmp_path: Path) -> None:
    put(tmp_path / "share/Trash/files/a.mp4")
    (tmp_path / "share/Trash/info").mkdir()
    put(tmp_path / "music/Trash/b.mp4")  # a band
    found = discover([str(tmp_path)], PLAIN)
    assert names(found, tmp_path) == ["music/Trash/b.mp4"]
    assert found.skipped == {discovery.TRASH: 1}


@pytest.mark.parametrize("name", ["a.mp4.part", "a.mkv.crdownload", "a.avi.!qB", "A.MP4.PART"])
def test_unfinished_downloads(tmp_path: Path, name: str) -> None:
    put(tmp_path / name)
    found = discover([str(tmp_path)], PLAIN)
    assert (found.files, found.skipped) == ((), {discovery.UNFINISHED: 1})


def test_a_file_with_an_unfinished_companion_is_unfinished(tmp_path: Path) -> None:
    put(tmp_path / "a.mp4")
    put(tmp_path / "a.mp4.aria2")
    put(tmp_path / "b.mp4")
    found = discover([str(tmp_path)], PLAIN)
    assert names(found, tmp_path) == ["b.mp4"]
    assert found.skipped[discovery.UNFINISHED] >= 1


def test_cloud_placeholders(tmp_path: Path) -> None:
    put(tmp_path / ".a.mp4.icloud")
    put(tmp_path / "b.mkv.nextcloud")
    with open(tmp_path / "hollow.mp4", "wb") as file:
        file.truncate(5_000_000)
    put(tmp_path / "real.mp4", b"x" * 100_000)
    found = discover([str(tmp_path)], PLAIN)
    assert names(found, tmp_path) == ["real.mp4"]
    assert found.skipped == {discovery.PLACEHOLDER: 3}


def test_macos_attribute_files_are_system_files(tmp_path: Path) -> None:
    put(tmp_path / "._a.mp4")
    assert discover([str(tmp_path)], PLAIN).skipped == {discovery.SYSTEM: 1}


def test_typescript_is_not_a_transport_stream(tmp_path: Path) -> None:
    put(tmp_path / "index.ts", "export const name = 'é';\n".encode() * 80)
    put(tmp_path / "film.ts", b"\x47\x40\x00\x10" + b"\xff" * 184)
    found = discover([str(tmp_path)], PLAIN)
    assert names(found, tmp_path) == ["film.ts"]
    assert found.skipped == {discovery.SOURCE_CODE: 1}


def test_a_list_on_stdin(tmp_path: Path) -> None:
    a, b = put(tmp_path / "a.mp4"), put(tmp_path / "x/b.mp4")
    lines = [f"{a}\n", "\n", f"{b.parent}\r\n"]
    found = discover(["-"], PLAIN, lines)
    assert names(found, tmp_path) == ["a.mp4", "x/b.mp4"]


def test_a_list_with_nul_bytes_takes_any_name(tmp_path: Path) -> None:
    a, b = put(tmp_path / "two\nlines.mp4"), put(tmp_path / "b.mp4")
    found = discover(["-"], PLAIN, f"{a}\0{b}\0".splitlines(keepends=True))
    assert len(found.files) == 2


def test_globs_where_no_file_has_that_name(tmp_path: Path) -> None:
    put(tmp_path / "a1.mp4")
    put(tmp_path / "a2.mp4")
    put(tmp_path / "deep/er/a3.mp4")
    (tmp_path / "a4.mp4").symlink_to(tmp_path / "a1.mp4")
    found = discover([f"{tmp_path}/a*.mp4"], PLAIN)
    assert names(found, tmp_path) == ["a1.mp4", "a2.mp4"]
    assert found.skipped == {discovery.LINK: 1}
    assert names(discover([f"{tmp_path}/**/a3.mp4"], PLAIN), tmp_path) == ["deep/er/a3.mp4"]
    put(tmp_path / "a[1].mp4")
    assert names(discover([f"{tmp_path}/a[1].mp4"], PLAIN), tmp_path) == ["a[1].mp4"]


def test_a_missing_root_is_an_error_alone_and_a_failure_among_others(tmp_path: Path) -> None:
    put(tmp_path / "a.mp4")
    missing = str(tmp_path / "nowhere")
    with pytest.raises(InputError, match="nowhere.*not reached"):
        discover([missing], PLAIN)
    with pytest.raises(InputError, match="and 1 more"):
        discover([missing, missing + "2"], PLAIN)
    with pytest.raises(InputError, match="empty"):
        discover(["-"], PLAIN, [])
    found = discover([missing, str(tmp_path)], PLAIN)
    assert len(found.files) == 1
    (failure,) = found.failures
    assert (failure.path, failure.stage) == (missing, "discover")
    assert "not reached" in failure.detail


def test_a_home_folder_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "Videos/a.mp4")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert names(discover(["~/Videos"], PLAIN), tmp_path) == ["Videos/a.mp4"]


def test_a_root_is_alive_while_it_is_on_its_device(tmp_path: Path) -> None:
    device = tmp_path.stat().st_dev
    assert root_alive(str(tmp_path), device)
    assert not root_alive(str(tmp_path), device + 1)  # unmounted: the folder below shows
    assert not root_alive(str(tmp_path / "gone"), device)


def test_readers_and_volume_of_this_disk(tmp_path: Path) -> None:
    assert readers(str(tmp_path)) >= 1
    assert readers(str(tmp_path / "gone")) >= 1
    assert volume_of(str(tmp_path)) == volume_of(str(tmp_path.parent)) != ""


MOUNTS = [
    ("/", "ext4", "/dev/sda1"),
    ("/mnt/nas", "nfs4", "server:/films"),
    ("/mnt/nas/usb", "ext4", "/dev/sdb1"),
]


def test_the_innermost_mount_holds_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(volumes, "_mounts", lambda: MOUNTS)
    monkeypatch.setattr(os.path, "realpath", lambda path: path)
    assert volumes._mount_of("/mnt/nas/a.mp4") == ("nfs4", "server:/films")
    assert volumes._mount_of("/mnt/nas/usb/a.mp4") == ("ext4", "/dev/sdb1")
    assert volumes._mount_of("/mnt/nasty/a.mp4") == ("ext4", "/dev/sda1")
    assert volumes._name_volume(1, "/mnt/nas/a.mp4") == "nfs4:server:/films"
    volumes._disk_readers.cache_clear()
    assert volumes._disk_readers(1, "/mnt/nas") == 2


def test_names_of_mounts_are_unescaped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = put(tmp_path / "mountinfo", b"36 35 8:1 / /mnt/my\\040disk rw - ext4 /dev/sda1 rw\n")
    monkeypatch.setattr(volumes, "Path", lambda _: table)
    assert volumes._mounts() == [("/mnt/my disk", "ext4", "/dev/sda1")]


def test_ten_thousand_files_are_quick(tmp_path: Path) -> None:
    import time

    for n in range(20):
        folder = tmp_path / str(n)
        folder.mkdir()
        for i in range(500):
            os.close(os.open(folder / f"{i}.mp4", os.O_CREAT | os.O_WRONLY))
    begun = time.process_time()
    found = discover([str(tmp_path)], DiscoverOptions(min_size=0))
    assert len(found.files) == 10_000
    assert time.process_time() - begun < 2.0  # 0.3 s on a free core
