"""Two machines fill one library: separate roots, a shared folder, kills; and `dups --features`."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from tests import videos
from twinreel import find_duplicates
from twinreel.cli import main
from twinreel.fill import inside, merge, opened
from twinreel.store import Library

ROOT = Path(__file__).resolve().parents[2]
COUNT = 18
SETTINGS = {"model": "dctgrad.v1", "jobs": 1, "nice": 0}


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """COUNT unlike contents in three folders, and one broken file."""
    top = tmp_path_factory.mktemp("films")
    for n in range(COUNT):
        place = top / str(n % 3)
        place.mkdir(exist_ok=True)
        videos.make(place / f"v{n // 3}.mp4", seconds=1.2 + n % 4, seed=n, size=(96, 64), fps=8)
    (top / "0" / "broken.mp4").write_bytes(b"nothing" * 200)
    return top


def _start(root: Path, shards: Path) -> subprocess.Popen[bytes]:
    code = (
        "import sys; from pathlib import Path; from twinreel import fill;"
        "from twinreel.options import DupsOptions, gather;"
        f"fill.SHARD = 3; options = gather({SETTINGS!r}, DupsOptions);"
        f"fill.fill([{str(root)!r}], Path({str(shards)!r}), options, lease_s=4)"
    )
    path = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path})


def _looked(shards: Path) -> Counter[str]:
    """How often each video stands in a shard."""
    names: Counter[str] = Counter()
    for path in shards.glob("looks-*.db"):
        with opened(path) as library:
            names.update(library.recall_all("name").values())
    return names


def test_two_machines_killed_and_started_again(films: Path, tmp_path: Path) -> None:
    one, two, shards = tmp_path / "one", tmp_path / "two", tmp_path / "shards"
    one.symlink_to(films, target_is_directory=True)  # the same disk under two names
    two.mkdir()
    for path in films.rglob("*.mp4"):
        target = two / path.relative_to(films)
        target.parent.mkdir(exist_ok=True)
        os.link(path, target)
    running = [_start(one / ".", shards), _start(two, shards)]
    kills = 0
    limit = time.monotonic() + 240
    while kills < 3 and time.monotonic() < limit and any(p.poll() is None for p in running):
        time.sleep(0.02)
        if len(list(shards.glob("looks-*.db"))) > kills:
            victim = kills % 2
            if running[victim].poll() is None:
                running[victim].send_signal(signal.SIGKILL)
                running[victim].wait()
                running[victim] = _start((one / ".", two)[victim], shards)
            kills += 1
    assert [p.wait(240) for p in running] == [0, 0] and kills == 3
    names = _looked(shards)
    wanted = {str(p.relative_to(films)) for p in films.rglob("*.mp4")}
    assert set(names) == wanted, "lost"
    assert set(names.values()) == {1}, "twice"
    assert not [p for p in (shards / "claims").iterdir() if not p.name.startswith(".")]
    # Nothing is left to do.
    before = {p.name: p.stat().st_mtime_ns for p in shards.glob("*.db")}
    assert _start(two, shards).wait(120) == 0
    assert {p.name: p.stat().st_mtime_ns for p in shards.glob("*.db")} == before
    # Merged, the library is what one machine would have made; nothing is decoded for it.
    assert merge(shards, str(tmp_path / "merged.db"), [str(two)]) == COUNT + 1
    assert merge(shards, str(tmp_path / "merged.db"), [str(two)]) == 0
    alone = find_duplicates([two], library=str(tmp_path / "alone.db"), **SETTINGS)
    with Library.open(tmp_path / "merged.db") as a, Library.open(tmp_path / "alone.db") as b:
        (kind,) = a.kinds()
        mine, theirs = ({f.key: f for f in x.all_features(*kind)} for x in (a, b))
        assert mine.keys() == theirs.keys() and len(mine) == COUNT
        for key, features in mine.items():
            np.testing.assert_array_equal(features.vectors, theirs[key].vectors)
        assert {f.path: f.key for f, _, _ in a.files()} == {f.path: f.key for f, _, _ in b.files()}
    merged = find_duplicates([two], library=str(tmp_path / "merged.db"), **SETTINGS)
    assert merged.groups == alone.groups
    assert [f.path for f in merged.failures] == [f.path for f in alone.failures] != []


def test_the_commands(films: Path, tmp_path: Path) -> None:
    root = tmp_path / "in"
    root.mkdir()
    shutil.copy(films / "1" / "v0.mp4", root / "a.mp4")
    shards, library = str(tmp_path / "shards"), str(tmp_path / "l.db")
    command = ["library", "fill", str(root), "--into", shards, "--model", "dctgrad.v1", "-j", "1"]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0 and "1 looked at, 0 done before, 1 shards" in done.output
    done = CliRunner().invoke(main, command)
    assert "0 looked at, 1 done before, 0 shards" in done.output
    done = CliRunner().invoke(main, ["library", "merge", shards, "--library", library])
    assert done.exit_code == 0 and done.output.endswith("1 videos brought\n")
    done = CliRunner().invoke(main, ["library", "merge", str(root), "--library", library])
    assert done.exit_code == 2 and "no shards there" in done.output


def test_names_inside_roots() -> None:
    assert inside("/a/b/c.mp4", ["/a", "/a/b"]) == "c.mp4"
    assert inside("/a/b/c.mp4", ["/a"]) == "b/c.mp4"
    assert inside("/x/c.mp4", ["/a"]) == "c.mp4"


@pytest.mark.parametrize("fmt", ["npy", "npz", "safetensors", "parquet"])
def test_duplicates_from_extracted_arrays(fmt: str, films: Path, tmp_path: Path) -> None:
    if fmt == "parquet":
        pytest.importorskip("pyarrow")
    from twinreel.errors import BadConfig, NothingFound
    from twinreel.extract.journey import extract
    from twinreel.extract.manifest import from_files
    from twinreel.extract.options import ExtractOptions
    from twinreel.workers import WorkerPool

    root, out = tmp_path / "in", tmp_path / "features"
    root.mkdir()
    for n in range(3):
        shutil.copy(films / str(n) / "v3.mp4", root / f"v{n}.mp4")
    videos.make(root / "copy.mp4", seconds=1.2 + 11 % 4, seed=11, size=(80, 60), fps=8)
    files = sorted(str(p) for p in root.glob("*.mp4"))
    suffix = {"parquet": ".npy"}.get(fmt, f".{fmt}")
    options = ExtractOptions(model=("dctgrad.v1",), jobs=1, fps=4.0, format=fmt)
    assert extract(from_files(files, [str(root)], out, suffix), options, out).exit_code == 0
    shutil.copy(films / "0" / "v0.mp4", root / "later.mp4")
    os.rename(root / "v0.mp4", root / "renamed.mp4")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WorkerPool, "start", None)  # nothing may be decoded
        report = find_duplicates(
            [root], library=str(tmp_path / "l.db"), features=str(out), sound=False
        )
    assert [sorted(Path(m).name for m in g.members) for g in report.groups] == [
        ["copy.mp4", "v2.mp4"]
    ]
    assert report.model["name"] == "dctgrad.v1" and report.model["sampling"].startswith("extract-")
    (failure,) = report.failures
    assert Path(failure.path).name == "later.mp4" and "extract it" in failure.detail
    with pytest.raises(NothingFound, match="no arrays"):
        find_duplicates([root], library=str(tmp_path / "l.db"), features=str(root))
    if fmt == "npy":
        more = ExtractOptions(model=("dctgrad.v1",), jobs=1, fps=2.0)
        extract(from_files(files[1:], [str(root)], tmp_path / "features" / "x"), more, out / "x")
        with pytest.raises(BadConfig, match="made in 2 ways"):
            find_duplicates([root], library=str(tmp_path / "l.db"), features=str(out))
