"""Writing so that a kill, a power cut or a full disk leaves nothing half done.

write_whole(Path("a.npy"), lambda file: np.save(file, array))
notes = Notes(folder, "status", owner)
notes.add({"name": "a.mp4", "state": "done"})       # appended, synced, readable by others
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from twinreel.errors import OutputError

Meta = dict[str, Any]


@contextlib.contextmanager
def disk(path: Path | str) -> Iterator[None]:
    """The output disk's trouble ends the run, in one message."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{path}: {error.strerror or error}; the run stops here. Make room or bring the disk "
            "back, then start the same command again: it goes on where it stopped"
        ) from None


def write_whole(path: Path, fill: Callable[[IO[bytes]], None], owner: str = "") -> None:
    """Write a file so that its name is never seen on half of it.

    Raises:
        OutputError: the disk is full, gone or read-only.
    """
    temp = path.with_name(f"{temporary(path.name)}{owner or os.getpid()}")
    with disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temp, "wb") as file:
                fill(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temp, path)
        except BaseException:
            with contextlib.suppress(OSError):
                temp.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)


def temporary(name: str) -> str:
    """What a half-written file `name` is called, up to its owner: short, however long the name."""
    return f".{hashlib.blake2b(os.fsencode(name), digest_size=8).hexdigest()}.part-"


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut, where the system can."""
    with contextlib.suppress(OSError, AttributeError):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_json(path: Path, value: Any, owner: str = "") -> None:
    """`value` as JSON, whole or not at all."""
    text = json.dumps(value, indent=1).encode()
    write_whole(path, lambda file: (file.write(text), None)[1], owner)


class Notes:
    """Records that several processes append to files of their own and all can read.

    A line is one record with a 'name'; of several with one name the latest 'when' counts. A line
    that a kill cut short is left out. clock: seconds on a clock that all writers share; machines
    of unlike time would else overrule each other.
    """

    def __init__(
        self, folder: Path, kind: str, owner: str, clock: Callable[[], float] = time.time
    ) -> None:
        self._folder, self._kind, self._clock = folder, kind, clock
        self._path = folder / f"{kind}-{owner}.jsonl"
        self._read_to: dict[Path, int] = {}
        self._records: dict[str, Meta] = {}

    def add(self, record: Meta) -> None:
        """Append one record and make it last. Raises OutputError."""
        with disk(self._path):
            record = {**record, "when": self._clock()}
            self._folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
            try:
                line = json.dumps(record).encode() + b"\n"
                if os.write(handle, line) != len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(handle)
            finally:
                os.close(handle)
        self._keep(record)

    def _keep(self, record: Meta) -> None:
        name = record["name"]
        if record["when"] >= self._records.get(name, {}).get("when", 0.0):
            self._records[name] = record

    def get(self, name: str) -> Meta | None:
        """The latest record of that name, as of the last `refresh`."""
        return self._records.get(name)

    def refresh(self) -> dict[str, Meta]:
        """Read what others have added; all latest records by name."""
        with disk(self._folder):
            paths = sorted(self._folder.glob(f"{self._kind}-*.jsonl"))
        for path in paths:
            with disk(path), open(path, "rb") as file:
                file.seek(self._read_to.get(path, 0))
                data = file.read()
            whole = data.rfind(b"\n") + 1
            self._read_to[path] = self._read_to.get(path, 0) + whole
            for line in data[:whole].splitlines():
                with contextlib.suppress(ValueError, KeyError, TypeError):
                    self._keep(json.loads(line))
        return dict(self._records)
