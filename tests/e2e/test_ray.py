"""`--runner ray` on a cluster of two nodes on this machine."""

from __future__ import annotations

import csv
import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from tests import videos
from tests.e2e import unruly
from twinreel.cli import main
from twinreel.extract import journey, ray_runner
from twinreel.extract.manifest import from_files
from twinreel.extract.options import ExtractOptions
from twinreel.extract.ray_runner import Extractor
from twinreel.extract.status import Listener, Summary, read_status

ray = pytest.importorskip("ray", reason="ray is not installed: pip install 'twinreel[ray]'")
pytest.importorskip("ray.data", reason="Ray Data is not installed: pip install 'twinreel[ray]'")
pytestmark = pytest.mark.filterwarnings("ignore")

GRID = "tests.e2e.nets:grid"
COUNT = 17
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """COUNT videos: of four contents, with one that no decoder reads among them."""
    top = tmp_path_factory.mktemp("films")
    made = [
        videos.make(top / f"seed{n}.mp4", seconds=2 + n, seed=n, size=(96, 64), fps=10)
        for n in range(4)
    ]
    place = top / "in"
    place.mkdir()
    for n in range(COUNT - 1):
        shutil.copy(made[n % 4], place / f"v{n:02}.mp4")
    (place / "broken.mp4").write_bytes(b"no video at all" * 100)
    return place


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes of two CPUs each."""
    from ray.cluster_utils import Cluster

    path = os.pathsep.join([str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")])
    ours = {
        "PYTHONPATH": path, "RAY_USAGE_STATS_ENABLED": "0",
        # No processes ahead of need: they cost seconds each.
        "RAY_prestart_worker_first_driver": "0", "RAY_enable_worker_prestart": "0",
        "RAY_worker_niceness": "0",  # 15 else, which starves on a busy machine
    }  # fmt: skip
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    node = {"num_cpus": 2, "object_store_memory": 100 << 20}
    made = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    try:
        made.add_node(**node)
        ray.init(address=made.address, log_to_driver=False)
        yield made
    finally:
        ray.shutdown()
        made.shutdown()
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _run(folder: Path, out: Path, on_record: Any = lambda r, s: None, **options: Any) -> Summary:
    files = sorted(str(p) for p in folder.glob("*.mp4"))
    given = {"model": (GRID,), "jobs": 1, "threads": 1, "runner": "ray", **options}
    jobs = from_files(files, [str(folder)], out)
    return ray_runner.spread_ray(jobs, ExtractOptions(**given), out, Listener(on_record))


def _local(folder: Path, out: Path) -> Summary:
    from twinreel.extract.journey import extract

    files = sorted(str(p) for p in folder.glob("*.mp4"))
    options = ExtractOptions(model=(GRID,), jobs=1, threads=1)
    return extract(from_files(files, [str(folder)], out), options, out)


def test_the_outputs_are_the_local_runners(cluster: Any, folder: Path, tmp_path: Path) -> None:
    there = _run(folder, tmp_path / "ray")
    here = _local(folder, tmp_path / "local")
    assert there.counts == here.counts == {"done": COUNT - 1, "failed": 1}
    assert there.computed == COUNT - 1 and there.exit_code == 1 and not there.stopped
    names = sorted(p.name for p in (tmp_path / "local").glob("*.npy"))
    assert names == sorted(p.name for p in (tmp_path / "ray").glob("*.npy"))
    for name in names:
        np.testing.assert_array_equal(
            np.load(tmp_path / "ray" / name), np.load(tmp_path / "local" / name)
        )
        words = [json.loads((tmp_path / k / f"{name}.json").read_text()) for k in ("ray", "local")]
        assert [w.pop("runner") for w in words] == ["ray", "local"]
        assert words[0] == words[1]
    # The bad video cost one row.
    bad = {n: r for n, r in there.records.items() if r["state"] != "done"}
    assert list(bad) == ["broken.mp4.npy"] and bad["broken.mp4.npy"]["stage"] == "probe"
    with open(tmp_path / "ray" / "extract-status.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == COUNT
    # Nothing is left to do for the local runner.
    assert _local(folder, tmp_path / "ray").computed == 0


def test_a_stopped_run_is_resumed(cluster: Any, folder: Path, tmp_path: Path) -> None:
    def stop(record: Any, summary: Summary) -> None:
        if len(summary.records) == 5:
            raise KeyboardInterrupt

    first = _run(folder, tmp_path, stop)
    assert "goes on from here" in first.stopped and first.not_reached
    time.sleep(2)  # actors end with what they have in hand
    there = len(list(tmp_path.glob("*.npy")))
    second = _run(folder, tmp_path)
    assert second.counts == {"done": COUNT - 1, "failed": 1}
    assert 0 < there < COUNT - 1 and second.computed <= COUNT - 1 - there
    _once(tmp_path)


def _once(out: Path) -> None:
    """Every video was computed once."""
    computed = []
    for path in (out / ".twinreel").glob("status-*.jsonl"):
        lines = [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]
        computed += [r["name"] for r in lines if r.get("computed") and r["state"] == "done"]
    assert len(computed) == len(set(computed))
    assert len(read_status(out)) == COUNT


def test_a_lost_node_costs_nothing(cluster: Any, folder: Path, tmp_path: Path) -> None:
    node = cluster.add_node(num_cpus=2, object_store_memory=100 << 20)
    cluster.wait_for_nodes()
    killed = threading.Event()

    def kill(record: Any, summary: Summary) -> None:
        if not killed.is_set():
            killed.set()
            cluster.remove_node(node, allow_graceful=False)

    summary = _run(folder, tmp_path, kill)
    assert killed.is_set()
    assert summary.counts == {"done": COUNT - 1, "failed": 1} and not summary.stopped
    assert len(list(tmp_path.glob("*.npy"))) == COUNT - 1
    _once(tmp_path)


class Unruly(Extractor):
    """An actor whose decoders crash on some names."""

    def __init__(self, *given: Any) -> None:
        journey.work = unruly.unruly
        super().__init__(*given)


def test_a_crash_of_the_decoder_costs_one_row(
    cluster: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "in"
    place.mkdir()
    for name in ("a.mp4", "b.mp4", "crash.mp4", "d.mp4"):
        shutil.copy(folder / "v00.mp4", place / name)
    monkeypatch.setattr(ray_runner, "Extractor", Unruly)
    summary = _run(place, tmp_path / "out")
    assert summary.counts == {"done": 3, "failed": 1} and not summary.stopped
    (bad,) = (r for r in summary.records.values() if r["state"] == "failed")
    assert bad["name"] == "crash.mp4.npy" and bad["error"] == "WorkerDied"
    assert sorted(p.name for p in (tmp_path / "out").glob("*.npy")) == [
        "a.mp4.npy", "b.mp4.npy", "d.mp4.npy"
    ]  # fmt: skip
    # Not the content's fault: the next run tries it again, and it alone.
    monkeypatch.undo()
    again = _run(place, tmp_path / "out")
    assert again.counts == {"done": 4} and again.computed == 1


def test_a_list_may_be_parquet_and_name_urls(cluster: Any, folder: Path, tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    names = ["v00.mp4", "v01.mp4", "none.mp4"]
    rows = {
        "video_path": [f"file://{folder}/{n}" for n in names],
        "feature_path": [str(tmp_path / "out" / f"{n}.npy") for n in names],
        "start": [None, 1.0, None],
    }
    parquet.write_table(pyarrow.table(rows), tmp_path / "list.parquet")
    command = ["--csv", f"file://{tmp_path}/list.parquet", "--runner", "ray", "-j", "1", "--json",
               "--model", GRID, "-o", str(tmp_path / "out")]  # fmt: skip
    done = CliRunner().invoke(main, ["extract", *command])
    records = {r["name"]: r for r in map(json.loads, done.stdout.splitlines())}
    assert {n: r["state"] for n, r in records.items()} == {
        "v00.mp4.npy": "done", "v01.mp4.npy": "done", "none.mp4.npy": "failed"
    }  # fmt: skip
    assert done.exit_code == 1 and "cannot be fetched" in records["none.mp4.npy"]["reason"]
    words = json.loads((tmp_path / "out" / "v01.mp4.npy.json").read_text())
    assert words["source"]["path"] == rows["video_path"][1] and words["start"] == 1.0
    assert words["shape"][0] == 2
    before = (tmp_path / "out" / "v00.mp4.npy").stat().st_mtime_ns
    again = CliRunner().invoke(main, ["extract", *command])
    assert sum('"state": "done"' in line for line in again.stdout.splitlines()) == 2
    assert (tmp_path / "out" / "v00.mp4.npy").stat().st_mtime_ns == before


def test_duplicates_are_those_of_the_local_runner(
    cluster: Any, folder: Path, tmp_path: Path
) -> None:
    from twinreel import find_duplicates

    mine = tmp_path / "in"
    mine.mkdir()
    for n in range(4):
        shutil.copy(folder / f"v{n:02}.mp4", mine / f"v{n:02}.mp4")
    videos.make(mine / "small.mp4", seconds=5, seed=3, size=(64, 48), fps=10)
    shutil.copy(folder / "broken.mp4", mine / "broken.mp4")
    settings = {"model": "dctgrad.v1", "jobs": 1, "nice": 0}
    here = find_duplicates([mine], library=str(tmp_path / "here.db"), **settings)
    there = find_duplicates([mine], library=str(tmp_path / "there.db"), runner="ray", **settings)
    assert there.options["runner"] == "ray" and here.options["runner"] == "local"
    assert [g.members for g in there.groups] == [g.members for g in here.groups]
    assert [(m.a, m.b, m.score) for m in there.matches] == [
        (m.a, m.b, m.score) for m in here.matches
    ]
    assert [(f.path, f.stage) for f in there.failures] == [(f.path, f.stage) for f in here.failures]
    assert len(here.failures) == 1 and here.groups
