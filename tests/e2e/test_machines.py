"""Two machines that share a disk, as namespaces of this one: neither sees the other's processes.

Each has its own host name, process numbers and network, and its own path to the videos. What a
killed one had begun is taken over when its lease is out; when it starts again, it joins the rest.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests import videos
from twinreel.fill import merge, opened

ROOT = Path(__file__).resolve().parents[2]
COUNT = 24
LEASE = 3.0
FILL = (
    "import sys; from pathlib import Path; from twinreel import fill;"
    "from twinreel.options import DupsOptions, gather; fill.SHARD = 3;"
    "options = gather({'model': 'dctgrad.v1', 'jobs': 1, 'nice': 0}, DupsOptions);"
    f"fill.fill([sys.argv[1]], Path(sys.argv[2]), options, lease_s={LEASE})"
)


def _inside(name: str) -> list[str]:
    """What runs a command as on a machine of this name."""
    return [
        "unshare", "--uts", "--net", "--pid", "--fork", "--kill-child", "--mount-proc",
        "sh", "-c", f'hostname {name} && exec "$@"', name,
    ]  # fmt: skip


def _can() -> bool:
    try:
        return subprocess.run([*_inside("probe"), "true"], capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


pytestmark = pytest.mark.skipif(
    not _can(), reason="namespaces of this machine need root and unshare (util-linux)"
)


class Machines:
    """Two machines, one command each."""

    def __init__(self, roots: list[Path], command: list[str], out: Path, *more: str) -> None:
        self._commands = [
            [*_inside(f"machine{n}"), *command, str(root), str(out), *more]
            for n, root in enumerate(roots)
        ]
        path = os.pathsep.join([str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")])
        self._env = {**os.environ, "PYTHONPATH": path}
        self.running = [self._started(c) for c in self._commands]

    def _started(self, command: list[str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(command, cwd=ROOT, env=self._env)

    def cut(self, n: int) -> None:
        """Power off one machine, all its processes with it, and start it again."""
        self.running[n].kill()
        self.running[n].wait()
        self.running[n] = self._started(self._commands[n])

    def alive(self) -> bool:
        return any(p.poll() is None for p in self.running)


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """COUNT unlike videos, at another path on each machine."""
    top = tmp_path_factory.mktemp("shared")
    one, two = top / "mnt" / "films", top / "media" / "disk"
    for n in range(COUNT):
        made = one / str(n % 3) / f"v{n // 3}.mp4"
        made.parent.mkdir(parents=True, exist_ok=True)
        videos.make(made, seconds=1.2 + n % 3, seed=n, size=(96, 64), fps=8)
        (two / str(n % 3)).mkdir(parents=True, exist_ok=True)
        os.link(made, two / str(n % 3) / made.name)
    return [one, two]


def _cut_in_turn(machines: Machines, done: list[int], count: object) -> None:
    """Power off one machine after the other when so much is done."""
    limit = time.monotonic() + 300
    for n, wanted in enumerate(done):
        while count() < wanted and time.monotonic() < limit:  # type: ignore[operator]
            assert machines.alive(), "the run ended before the last cut"
            time.sleep(0.01)
        machines.cut(n % 2)
    assert [p.wait(300) for p in machines.running] == [0, 0]


def test_extract_on_two_machines(roots: list[Path], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.e2e.extract_child"]
    machines = Machines(roots, command, tmp_path, "--slow", "0.1", "--lease", str(LEASE))
    _cut_in_turn(machines, [5, 10, 15], lambda: len(list(tmp_path.rglob("*.npy"))))
    names = sorted(f"{p.relative_to(roots[0])}.npy" for p in roots[0].rglob("*.mp4"))
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*.npy")) == names
    lines = [
        line
        for path in (tmp_path / ".twinreel").glob("status-*.jsonl")
        for line in path.read_text().splitlines()
        if line.endswith("}")
    ]
    records = [json.loads(line) for line in lines]
    computed = Counter(r["name"] for r in records if r.get("computed"))
    # A cut between an output and its record leaves the output: it is not made again.
    assert set(computed) <= set(names) and max(computed.values()) == 1, "twice"
    assert len({r["by"] for r in records if r.get("computed")}) >= 2
    claims = tmp_path / ".twinreel" / "claims"
    assert not [p for p in claims.iterdir() if not p.name.startswith(".")]


def test_a_library_filled_by_two_machines(roots: list[Path], tmp_path: Path) -> None:
    shards = tmp_path / "shards"
    machines = Machines(roots, [sys.executable, "-c", FILL], shards)
    _cut_in_turn(machines, [2, 4], lambda: len(list(shards.glob("looks-*.db"))))
    looked: Counter[str] = Counter()
    for path in shards.glob("looks-*.db"):
        with opened(path) as library:
            looked.update(library.recall_all("name").values())
    names = [str(p.relative_to(roots[0])) for p in roots[0].rglob("*.mp4")]
    assert looked == Counter(names), "twice, or lost"
    # Both paths lead to the same contents: one library, whichever machine asks.
    here = tmp_path / "here"
    shutil.copytree(roots[1], here)
    assert merge(shards, str(tmp_path / "merged.db"), [str(here)]) == COUNT
