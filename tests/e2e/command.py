"""Runs the command as a user does: another process, its own library, what it printed."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
MODEL = ("--model", "dctgrad.v1")
_DROP = 24  # PR_CAPBSET_DROP
_ROOTS_EYES = (1, 2)  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH: with them chmod 000 hides nothing


def environment(home: Path) -> dict[str, str]:
    """No user's files, no colours, the source tree in front."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("TWINREEL")}
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    one = {"OMP_NUM_THREADS": "1"}  # threads that wait for each other crawl on a busy machine
    return env | one | {"PYTHONPATH": path, "HOME": str(home), "XDG_DATA_HOME": str(home / "data")}


def as_anybody() -> None:
    """Give up root's right to read everything, so that unreadable is unreadable; heed Ctrl-C, which
    a suite that was started in the background ignores, and its children with it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if sys.platform == "linux" and os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        for capability in _ROOTS_EYES:
            libc.prctl(_DROP, capability, 0, 0, 0)


@dataclass(frozen=True)
class Done:
    """How a run ended and what it said."""

    code: int
    out: str
    err: str
    seconds: float

    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out)
        return found


SLOW = (
    "from tests.e2e import command; from twinreel import cli, jobs;"
    "jobs.work = command.slow; cli.main()"
)


def start(
    home: Path, *args: str | os.PathLike[str], program: Sequence[str] = ("-m", "twinreel")
) -> subprocess.Popen[bytes]:
    """The command under way, in a process group of its own."""
    words = [os.fspath(a) for a in args]
    if words[0] == "dups":
        words += ["--library", str(home / "library.db")]
    return subprocess.Popen(
        [sys.executable, *program, *words],
        cwd=home, env=environment(home), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, start_new_session=True, preexec_fn=as_anybody,
    )  # fmt: skip


def finish(child: subprocess.Popen[bytes], begun: float, stdin: bytes = b"") -> Done:
    out, err = child.communicate(stdin, timeout=900)
    return Done(
        child.returncode, out.decode("utf-8", "replace"), err.decode("utf-8", "replace"),
        time.monotonic() - begun,
    )  # fmt: skip


def run(home: Path, *args: str | os.PathLike[str], stdin: bytes = b"", **settings: Any) -> Done:
    """Run to the end."""
    begun = time.monotonic()
    return finish(start(home, *args, **settings), begun, stdin)


def dups(home: Path, *args: str | os.PathLike[str], **settings: Any) -> Done:
    """`twinreel dups` with the model that needs no weights and a library in `home`."""
    return run(home, "dups", *args, *MODEL, "--nice", "0", **settings)


def report(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


# -- decoders that misbehave: importable, so that worker processes can run them -------------------


def misbehave(task: Any, emit: Callable[[Any], None], beat: Callable[[], None]) -> None:
    """The real work, but for files whose names ask for something else."""
    from twinreel.decode import work

    name = os.path.basename(task.path)
    if name.startswith("hangs"):
        time.sleep(600)
    if name.startswith("hangs-in-c"):
        ctypes.PyDLL(None).sleep(600)
    if name.startswith("crashes"):
        os.kill(os.getpid(), signal.SIGSEGV)
    if name.startswith("exits"):
        os._exit(3)
    if name.startswith("deleted"):
        os.unlink(task.path)
    if name.startswith("grows"):
        with open(task.path, "ab") as file:
            file.write(b"more")
    if "unplugs" in name:
        folder = os.path.dirname(task.path)
        os.rename(folder, f"{folder}.unplugged")
    work(task, emit, beat)


def count_looks(task: Any, emit: Callable[[Any], None], beat: Callable[[], None]) -> None:
    """The real work, noted in the file that $LOOKS names."""
    from twinreel.decode import work

    with open(os.environ["LOOKS"], "a") as file:
        file.write(ascii(task.path) + "\n")
    work(task, emit, beat)


def slow(task: Any, emit: Callable[[Any], None], beat: Callable[[], None]) -> None:
    """The real work after a pause, as with a large file."""
    from twinreel.decode import work

    time.sleep(0.4)
    work(task, emit, beat)
