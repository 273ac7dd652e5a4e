"""Whatever is registered keeps the promises of its record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from twinreel import models
from twinreel.errors import UnknownModel, WeightsMissing
from twinreel.models import network, weights

# Large networks get few and small inputs here: the promise is the same.
_MANY, _FEW, _SMALL = 64, 3, 32


def _pixels(spec: models.ModelSpec) -> np.ndarray:
    count = _FEW if spec.frames > 1 else _MANY
    size = (_SMALL, _SMALL + 16) if spec.fit == "short" else spec.size
    clip = (spec.frames,) if spec.frames > 1 else ()
    return np.random.default_rng(5).integers(0, 256, (count, *clip, *size, 3), np.uint8)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize("name", models.names())
def test_shape_type_and_the_same_rows_in_any_batch(name: str) -> None:
    spec = models.get(name)
    network = models.load(name, "random:7" if spec.weights else "", "cpu", "fp32")
    pixels = _pixels(spec)
    whole = network(pixels)
    assert whole.shape == (len(pixels), spec.dim) and whole.dtype == np.float32
    assert np.isfinite(whole).all() and whole.any()
    some = range(0, len(pixels), max(1, len(pixels) // 4))
    single = np.concatenate([network(pixels[i : i + 1]) for i in some])
    scale = np.abs(whole).max()
    np.testing.assert_allclose(single, whole[list(some)], rtol=1e-3, atol=1e-4 * scale)


@pytest.mark.parametrize("name", ["resnet18", "resnext101-3d"])
def test_bf16_rows_point_where_fp32_rows_do(name: str) -> None:
    spec = models.get(name)
    pixels = _pixels(spec)[:2]
    full, half = (models.load(name, "random:7", "cpu", p)(pixels) for p in ("fp32", "bf16"))
    cosine = (full * half).sum(1) / np.linalg.norm(full, axis=1) / np.linalg.norm(half, axis=1)
    assert half.dtype == np.float32 and cosine.min() >= 0.999


def test_bf16_leaves_the_statistics_of_normalisation_as_they_are() -> None:
    full, half = (models.load("resnet18", "random:7", "cpu", p).module for p in ("fp32", "bf16"))
    full, half = full.layer4[1], half.layer4[1]
    assert half.conv1.weight.dtype == torch.bfloat16
    for name in ("weight", "bias", "running_mean", "running_var"):
        assert torch.equal(getattr(half.bn1, name), getattr(full.bn1, name))


@pytest.mark.parametrize("name", ["resnet18", "resnext101-3d"])
def test_bf16_leaves_the_first_parts_of_a_residual_network_as_they_are(name: str) -> None:
    full, half = (models.load(name, "random:7", "cpu", p).module for p in ("fp32", "bf16"))
    assert {"conv1", "layer1"} <= set(half.fp32_parts)
    kept = {k: v for k, v in half.state_dict().items() if k.split(".")[0] in half.fp32_parts}
    assert all(torch.equal(v, full.state_dict()[k]) for k, v in kept.items())
    rest = {v.dtype for k, v in half.state_dict().items() if v.ndim > 1 and k not in kept}
    assert rest == {torch.bfloat16}


def test_fp32_is_not_tf32() -> None:
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    name, on, off = "allow_tf32", True, False
    parts: tuple[Any, ...] = (cudnn, matmul)
    if hasattr(cudnn, "conv"):
        name, on, off = "fp32_precision", "tf32", "ieee"  # type: ignore[assignment]
        parts = (cudnn.conv, matmul)
    before = [getattr(part, name) for part in parts]
    try:
        for part in parts:
            setattr(part, name, on)
        network.full_fp32()
        assert [getattr(part, name) for part in parts] == [off, off]
    finally:
        for part, value in zip(parts, before, strict=True):
            setattr(part, name, value)


@pytest.mark.parametrize(
    ("device", "precision", "calls"), [("cuda", "fp32", 1), ("cuda", "bf16", 1), ("cpu", "fp32", 0)]
)
def test_a_gpu_is_told_that_fp32_is_not_tf32(
    device: str, precision: str, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[bool] = []
    monkeypatch.setattr(network, "full_fp32", lambda: called.append(True))
    monkeypatch.setattr(network, "pick_device", torch.device)  # as if it were there
    monkeypatch.setattr(network, "Network", lambda *args: args)  # nothing is moved to it
    models.load("dctgrad.v1", "", device, precision)
    assert len(called) == calls


@pytest.mark.parametrize("name", [n for n in models.names() if models.get(n).weights])
def test_missing_weights_are_one_message(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = models.get(name)
    assert spec.weights is not None
    if spec.weights.packaged:
        pytest.skip("its weights come with the package")
    monkeypatch.setenv("TWINREEL_WEIGHTS", str(tmp_path))
    assert not weights.present(spec)
    with pytest.raises(WeightsMissing) as caught:
        models.load(name, "", "cpu", "fp32")
    expected = (spec.weights.file, str(tmp_path), spec.weights.url, f"models fetch {name}")
    for word in (*expected, spec.weights.sha256 or "not published"):
        assert word in str(caught.value)


@pytest.mark.parametrize("name", models.names())
def test_the_record_is_complete(name: str) -> None:
    spec = models.get(name)
    assert spec.licence and spec.source and spec.dim > 0 and spec.frames > 0
    if spec.weights:
        assert spec.weights.licence
        assert spec.weights.packaged or spec.weights.url.startswith("https://")
        assert len(spec.weights.sha256) in (0, 64)


def test_a_near_name_is_not_guessed() -> None:
    with pytest.raises(UnknownModel, match="resnet50"):
        models.get("resnet51")
