"""Networks on a device whose memory is small."""

from __future__ import annotations

import threading
import time
from concurrent.futures import CancelledError
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests import videos
from twinreel import models
from twinreel.errors import DeviceUnavailable
from twinreel.extract import devices, forward
from twinreel.extract.forward import Runner
from twinreel.extract.options import ExtractOptions
from twinreel.extract.plan import plan


class _Small:
    """Takes `room` rows at once; counts what it is given."""

    def __init__(self, room: int) -> None:
        self.room, self.sizes = room, []
        self.device = torch.device("meta")
        self.spec = models.get("resnet18")
        self.module = self._run

    def prepare(self, pixels: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(pixels).float().movedim(-1, 1)

    def _run(self, x: torch.Tensor) -> torch.Tensor:
        if len(x) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.sizes.append(len(x))
        return x.mean(dim=(2, 3))


def _runner(room: int) -> tuple[Runner, _Small, list[str]]:
    said: list[str] = []
    options = ExtractOptions(model=("resnet18",), weights=("random:0",), batch_size=16)
    runner = Runner(plan(options), options, said.append)
    runner._networks[0] = _Small(room)
    return runner, runner._networks[0], said


def test_too_large_batches_are_halved_and_said_once() -> None:
    runner, network, said = _runner(room=3)
    pixels = np.random.default_rng(0).integers(0, 256, (16, 4, 4, 3), np.uint8)
    for _ in range(2):
        np.testing.assert_allclose(runner.run(0)(pixels), pixels.mean(axis=(1, 2)), rtol=1e-5)
    assert set(network.sizes) == {2} and len(said) == 1
    assert "out of memory with batches of 16" in said[0] and "going on with 8" in said[0]


def test_a_single_row_that_does_not_fit_is_an_error() -> None:
    runner, _, said = _runner(room=0)
    with pytest.raises(DeviceUnavailable, match="resnet18 and one row.*--device cpu"):
        runner.run(0)(np.zeros((4, 4, 4, 3), np.uint8))
    assert len(said) == 1


@pytest.mark.parametrize("emulated", [True, False])
def test_bf16_on_a_cpu_that_only_emulates_it_is_said(
    emulated: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: not emulated)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    said: list[str] = []
    options = ExtractOptions(model=("resnet18",), weights=("random:0",), precision="bf16")
    Runner(plan(options), options, said.append).load()
    assert any("no bf16" in words and "fp32" in words for words in said) == emulated


@pytest.mark.parametrize("count", [1, 2, 7, 16])
def test_pieces_on_several_cores_give_the_same_rows(count: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (count, 40, 48, 3), np.uint8)
    rows = {}
    for threads in (1, 3):
        options = ExtractOptions(model=("resnet18",), weights=("random:0",), device="cpu",
                                 threads=threads)  # fmt: skip
        runner = Runner(plan(options), options, lambda words: None)
        rows[threads] = runner.run(0)(pixels)
        assert list(runner._pools) == [threads]
        # Where the cores are done before anybody waits, nothing is left for the model.
        assert sum(runner.seconds.values()) > 0
    torch.set_num_threads(1)
    assert rows[1].shape == (count, 512)
    np.testing.assert_allclose(rows[1], rows[3], rtol=1e-4, atol=1e-5)


def test_a_run_that_is_stopped_does_not_compute_what_it_had_begun(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun, go = [], threading.Event()

    def slow(network: object, pixels: np.ndarray) -> tuple[np.ndarray, float]:
        begun.append(len(pixels))
        go.wait(10)
        return np.zeros((len(pixels), 512), np.float32), 0.0

    monkeypatch.setattr(forward, "_compute", slow)
    options = ExtractOptions(model=("resnet18",), weights=("random:0",), device="cpu", threads=2)
    runner = Runner(plan(options), options, lambda words: None)
    batch = runner.begin(0)(np.zeros((20, 40, 48, 3), np.uint8))
    until = time.monotonic() + 10
    while len(begun) < 2 and time.monotonic() < until:
        time.sleep(0.01)
    assert not batch.ready()
    runner.close()
    go.set()
    with pytest.raises(CancelledError):
        batch.vectors()
    assert len(begun) == 2  # one on each core; the rest was given up
    torch.set_num_threads(1)


def test_networks_that_may_remember_run_one_piece_at_a_time() -> None:
    options = ExtractOptions(model=("tests.e2e.nets:grid",), device="cpu", threads=3)
    runner = Runner(plan(options), options, lambda words: None)
    runner.run(0)(np.zeros((9, 32, 48, 3), np.uint8))
    torch.set_num_threads(1)
    assert list(runner._pools) == [1]


def test_rows_are_cut_where_the_network_is_trained_for_it() -> None:
    entry = SimpleNamespace(spec=SimpleNamespace(nested=(2,), dim=4), request={})
    runner = Runner([entry], ExtractOptions(embedding_size=2, half_precision=0), print)  # type: ignore[list-item]
    rows = runner.finish(0, np.array([[3.0, 4.0, 9.0, 9.0], [0.0, 0.0, 1.0, 0.0]], np.float32))
    np.testing.assert_allclose(rows, [[0.6, 0.8], [0.0, 0.0]])
    assert runner.dim(0) == 2


def test_devices_are_those_named_else_all_gpus_else_auto(monkeypatch: pytest.MonkeyPatch) -> None:
    assert devices.chosen(ExtractOptions(devices="0, cuda:2,cpu")) == ["cuda:0", "cuda:2", "cpu"]
    assert devices.chosen(ExtractOptions(device="cuda:1")) == ["cuda:1"]
    monkeypatch.setattr(devices, "gpu_files", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for count, names in ((1, ["auto"]), (3, ["cuda:0", "cuda:1", "cuda:2"])):
        monkeypatch.setattr(torch.cuda, "device_count", lambda n=count: n)
        assert devices.chosen(ExtractOptions()) == names
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert devices.chosen(ExtractOptions()) == ["auto"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_the_benchmark_gives_no_figure_in_the_name_of_a_gpu_that_is_not_there(
    tmp_path: Path,
) -> None:
    from benchmarks.extract_speed import NotHere, _decode

    video = str(videos.make(tmp_path / "a.mp4", seconds=1))
    options = ExtractOptions(model=("dctgrad.v1",))
    entry = plan(options)[0]
    seconds, core_seconds, rows = _decode(video, entry, options, None)
    assert seconds > 0 and core_seconds >= 0 and sum(map(len, rows)) == 1
    with pytest.raises(NotHere, match="GPU 0 cannot be opened"):
        _decode(video, entry, replace(options, decoder="cuda"), None)
