"""Which disk a path is on, whether it still answers, and how many may read from it at once.

volume_of("/mnt/usb/a.mp4")     # 'uuid-1b3c-...', the same after unplugging and remounting
"""

from __future__ import annotations

import functools
import os
import re
from pathlib import Path

_NETWORK = {
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "afpfs", "ncpfs", "9p", "davfs", "ceph", "lustre",
    "glusterfs", "fuse.sshfs", "fuse.rclone", "fuse.glusterfs", "fuse.davfs2", "fuse.s3fs",
}  # fmt: skip
_NETWORK_READERS = 2
# Disks of virtual machines say 'rotational' whatever is below them.
_VIRTUAL = ("vd", "xvd", "nbd", "loop", "zram")
_volumes: dict[int, str] = {}


def root_alive(root: str, device: int) -> bool:
    """Whether `root` still answers on the device it was on; cheap, for when reads start to fail.

    An unmounted disk leaves an empty folder of the disk below, so being there is not enough.
    """
    try:
        if os.stat(root, follow_symlinks=False).st_dev != device:
            return False
        if os.path.isdir(root):
            with os.scandir(root) as entries:
                next(entries, None)
    except OSError as error:
        return isinstance(error, PermissionError)
    return True


def volume_of(path: str, device: int | None = None) -> str:
    """Which file system `path` is on, by a name that survives remounting.

    Linux: 'uuid-...' of the disk, 'nfs4:server:/share' for a network share, else 'fsid-...';
    elsewhere 'fsid-...' or the volume's serial number. Found once per `device` (st_dev of `path`).
    """
    if device is None:
        device = os.stat(path, follow_symlinks=False).st_dev
    if device not in _volumes:
        _volumes[device] = _name_volume(device, path)
    return _volumes[device]


def _name_volume(device: int, path: str) -> str:
    kind, source = _mount_of(path)
    if kind in _NETWORK:
        return f"{kind}:{source}"
    if source.startswith("/dev/"):
        try:
            wanted = os.stat(source).st_rdev
            for link in os.scandir("/dev/disk/by-uuid"):
                if os.stat(link.path).st_rdev == wanted:
                    return f"uuid-{link.name}"
        except OSError:
            pass  # containers have no such folder
    if hasattr(os, "statvfs"):
        try:
            if fsid := os.statvfs(path).f_fsid:
                return f"fsid-{fsid:x}"
        except OSError:
            pass
    return f"device-{device:x}"


def _mount_of(path: str) -> tuple[str, str]:
    """(file system type, source) of the mount that holds `path`; ('', '') where unknown."""
    real = os.path.realpath(path)
    best, found = -1, ("", "")
    for point, kind, source in _mounts():
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= best:  # of two on one point, the later one is seen
            best, found = len(point), (kind, source)
    return found


def _mounts() -> list[tuple[str, str, str]]:
    """(mount point, type, source) of each mount, in order; empty where there is no /proc."""
    try:
        lines = Path("/proc/self/mountinfo").read_bytes().decode("utf-8", "surrogateescape")
    except OSError:
        return []
    out = []
    for line in lines.splitlines():
        left, _, right = line.partition(" - ")
        kind, source = right.split(" ")[:2]
        point = re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), left.split(" ")[4])
        out.append((point, kind, source))
    return out


@functools.lru_cache(maxsize=64)
def _disk_readers(device: int, path: str) -> int:
    kind, source = _mount_of(path)
    if kind in _NETWORK:
        return _NETWORK_READERS
    if not os.major(device) and source.startswith("/dev/"):  # btrfs: a number of its own
        device = os.stat(source).st_rdev
    block = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}").resolve()
    if any(f.name.startswith(_VIRTUAL) for f in (block, block.parent)):
        return _cores()
    for folder in (block, block.parent):  # a partition's queue is its disk's
        rotational = folder / "queue" / "rotational"
        if rotational.exists():
            return 1 if rotational.read_text().strip() == "1" else _cores()
    return _cores()


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def readers(path: str) -> int:
    """How many processes may read from the disk of `path` at once.

    1 on a rotating disk, 2 over a network, else one per core. Where the system does not tell
    (not Linux), one per core.
    """
    try:
        return _disk_readers(os.stat(path).st_dev, os.path.dirname(os.path.realpath(path)))
    except OSError:
        return _cores()
