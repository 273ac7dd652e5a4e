"""Who works on what, on a disk that several processes and machines share.

    claims = Claims(folder)
    if claim := claims.take("a/x.mp4"):     # None: somebody else is at it
        ...
        if claims.holds(claim): publish()
        claims.release(claim)

A claim is a file made by exclusive creation. Its owner touches it every quarter of its lease, which
the claim states. A claim that was not touched for a whole lease, or whose owner is a dead process
of this machine, is stale, and is taken over by making the next generation of it (name-0, name-1,
...), again exclusively: of two that try, one wins. The newest generation is the owner; an owner
that was only slow sees that it has lost when it looks before publishing. Ages are judged by the
file server's clock alone: the time stamps of the claims against that of a file just touched beside
them.

A claim says nothing about what is done: whoever takes one looks at the output again.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import socket
import threading
import time
import uuid
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from twinreel.errors import OutputError

LEASE_S = 60.0
# Where these are the errors, the disk has no hard links, and O_EXCL does the same.
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS}


@dataclass(frozen=True)
class Claim:
    """The right to work on `name`."""

    name: str
    path: Path
    generation: int


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


@cache
def machine() -> str:
    """What tells this running system, and this namespace of process numbers, from all others."""
    space = ""
    with contextlib.suppress(OSError):
        space = os.readlink("/proc/self/ns/pid")
    return f"{socket.gethostname()}/{_read('/proc/sys/kernel/random/boot_id')}/{space}"


def birth(pid: int) -> str:
    """When a process of this machine began, in ticks; '' if it is gone or cannot be told."""
    stat = _read(f"/proc/{pid}/stat")
    return stat.rpartition(")")[2].split()[19] if stat else ""


class Claims:
    """The claims of one run. Close it, or use it as a context manager."""

    def __init__(self, folder: Path, lease_s: float = LEASE_S) -> None:
        self.folder = folder
        self.owner = uuid.uuid4().hex
        self._lease_s = lease_s
        self._held: dict[Path, Claim] = {}
        self._lock, self._clock = threading.Lock(), threading.Lock()
        self._stop = threading.Event()
        self._offset: tuple[float, float] | None = None  # (server - monotonic, when measured)
        card = {
            "owner": self.owner,
            "machine": machine(),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "birth": birth(os.getpid()),
            "lease": lease_s,
        }
        with _disk(folder):
            folder.mkdir(parents=True, exist_ok=True)
            # The card is linked into place as the claim: a claim never lacks its owner's name.
            self._card = folder / f".card-{self.owner}"
            self._text = json.dumps(card).encode()
            self._card.write_bytes(self._text)
        self._thread = threading.Thread(target=self._beat, daemon=True, name="claims")
        self._thread.start()

    def __enter__(self) -> Claims:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def take(self, name: str) -> Claim | None:
        """Claim `name`; None while somebody else holds it.

        Raises:
            OutputError: the disk is full or gone.
        """
        mark = hashlib.blake2b(os.fsencode(name), digest_size=16).hexdigest()
        generation = 0
        with _disk(self.folder):
            while True:
                path = self.folder / f"{mark}-{generation}"
                newer = self.folder / f"{mark}-{generation + 1}"
                if self._create(path):
                    # An owner that died while giving back left its newest generation behind.
                    while newer.exists():
                        if not self._stale(newer):
                            path.unlink()
                            return None
                        newer.unlink(missing_ok=True)
                        stem, _, number = newer.name.rpartition("-")
                        newer = newer.with_name(f"{stem}-{int(number) + 1}")
                    claim = Claim(name, path, generation)
                    with self._lock:
                        self._held[path] = claim
                    return claim
                if not newer.exists() and not self._stale(path):
                    return None
                generation += 1

    def holds(self, claim: Claim) -> bool:
        """Whether a claim is still ours: nobody has taken it over."""
        stem, _, generation = claim.path.name.rpartition("-")
        newer = claim.path.with_name(f"{stem}-{int(generation) + 1}")
        with _disk(self.folder):
            ours = self._owner(claim.path).get("owner") == self.owner
            return bool(ours and not newer.exists())

    def release(self, claim: Claim) -> None:
        """Give a claim back; the generations that it took over go too, oldest first."""
        with self._lock:
            self._held.pop(claim.path, None)
        if not self.holds(claim):
            return
        stem = claim.path.name.rpartition("-")[0]
        with _disk(self.folder):
            for generation in range(claim.generation + 1):
                claim.path.with_name(f"{stem}-{generation}").unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove claims of owners that died after their work was done, and those owners' cards."""
        with _disk(self.folder):
            for path in self.folder.iterdir():
                own = path.name.startswith(".") and path.name.endswith(self.owner)
                if not own and self._stale(path):
                    path.unlink(missing_ok=True)

    def ended(self, owner: str) -> bool:
        """Whether an owner is no longer at work: it has closed, died or fallen silent."""
        card = self.folder / f".card-{owner}"
        with _disk(self.folder):
            return not card.exists() or self._stale(card)

    def wait(self, seconds: float = 0.5) -> None:
        """Until somebody else may have come further."""
        self._stop.wait(seconds)

    def close(self) -> None:
        """Give everything back."""
        self._stop.set()
        self._thread.join()
        # The disk may be what made the run end: its claims then grow stale by themselves.
        with contextlib.suppress(OutputError, OSError):
            for claim in list(self._held.values()):
                self.release(claim)
            self._card.unlink(missing_ok=True)

    def _create(self, path: Path) -> bool:
        # The claim's age begins now, not when the card was written.
        try:
            os.utime(self._card)
        except FileNotFoundError:  # swept away while this process or its machine slept
            self._card.write_bytes(self._text)
        try:
            os.link(self._card, path)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
        else:
            return True
        try:
            handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        except FileExistsError:
            return False
        with os.fdopen(handle, "wb") as file:
            file.write(self._text)
        return True

    def _owner(self, path: Path) -> dict[str, Any]:
        try:
            card = json.loads(path.read_bytes())
        except (OSError, ValueError):
            return {}
        return card if isinstance(card, dict) else {}

    def _stale(self, path: Path) -> bool:
        try:
            touched = path.stat().st_mtime
        except FileNotFoundError:
            return False  # just given back: whoever held it is done
        card = self._owner(path)
        if self.now() - touched > card.get("lease", self._lease_s):
            return True
        if card.get("machine") != machine() or not card.get("birth"):
            return False
        return bool(birth(int(card["pid"])) != card["birth"])

    def now(self) -> float:
        """Seconds by the file server's clock, which all who share the folder have in common."""
        here = time.monotonic()
        with self._clock:  # two threads ask
            if self._offset is None or here - self._offset[1] > self._lease_s / 4:
                beacon = self.folder / f".clock-{self.owner}"
                beacon.write_bytes(b"")
                self._offset = (beacon.stat().st_mtime - here, here)
                beacon.unlink()
            return here + self._offset[0]

    def _beat(self) -> None:
        while not self._stop.wait(self._lease_s / 4):
            # A claim that cannot be touched grows stale and is taken over, as it should.
            with contextlib.suppress(OSError):
                os.utime(self._card)
            with self._lock:
                held = list(self._held)
            for path in held:
                with contextlib.suppress(OSError):
                    os.utime(path)


@contextlib.contextmanager
def _disk(folder: Path) -> Any:
    """The system's trouble with the shared folder ends the run, in one message."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{folder}: {error.strerror or error}; the run's folder must be writable for all "
            "who share the work"
        ) from None
