"""Checkpoints in every published layout load; wrong, forged and missing ones are refused."""

from __future__ import annotations

import hashlib
import os
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from twinreel import models
from twinreel.errors import ModelError, WeightsCorrupt, WeightsMissing
from twinreel.models import Weights, weights
from twinreel.models.resnet import ResNet


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWINREEL_WEIGHTS", str(tmp_path / "weights"))


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    full = dict(ResNet(18).state_dict())
    return {**full, "fc.weight": torch.zeros(10, 512), "fc.bias": torch.zeros(10)}


def _prefixed(state: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {prefix + k: v for k, v in state.items()}


@pytest.mark.parametrize(
    "layout", ["flat", "nested", "module", "twice", "legacy", "no_counts", "safetensors"]
)
def test_layouts(layout: str, state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    path = tmp_path / ("w.safetensors" if layout == "safetensors" else "w.pth")
    if layout == "nested":
        inside = _prefixed(state, "module.")
        torch.save({"epoch": 3, "arch": "x", "optimizer": {}, "state_dict": inside}, path)
    elif layout in ("module", "twice"):
        torch.save(_prefixed(state, "module." * (1 + (layout == "twice"))), path)
    elif layout == "no_counts":
        torch.save({k: v for k, v in state.items() if "num_batches" not in k}, path)
    elif layout == "safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=layout != "legacy")
    found, digest = weights.resolve(models.get("resnet18"), str(path))
    assert found is not None and digest == hashlib.sha256(path.read_bytes()).hexdigest()
    net = ResNet(18)
    net.load_state_dict(found)
    torch.testing.assert_close(net.layer4[1].conv2.weight, state["layer4.1.conv2.weight"])


def test_tensors_tagged_for_a_gpu_load_on_the_cpu(tmp_path: Path) -> None:
    path = tmp_path / "cuda.pth"
    torch.save({"a": torch.arange(4.0)}, path, _use_new_zipfile_serialization=False)
    data = path.read_bytes()
    # The location of a storage stands in the pickle as a short string.
    assert data.count(b"X\x03\x00\x00\x00cpu") == 1
    path.write_bytes(data.replace(b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0"))
    assert weights.read(path)["a"].tolist() == [0, 1, 2, 3]


def test_no_code_is_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "harm"),)

    path = tmp_path / "evil.pth"
    path.write_bytes(pickle.dumps({"state_dict": Evil()}))
    with pytest.raises(WeightsCorrupt):
        weights.read(path)
    torch.save({"a": torch.zeros(1), "b": Evil()}, path)
    with pytest.raises(WeightsCorrupt):
        weights.read(path)
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04 broken"])
def test_what_is_no_checkpoint(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    with pytest.raises(WeightsCorrupt, match="not readable as a checkpoint"):
        weights.read(path)
    torch.save({"a": 1}, path)
    with pytest.raises(WeightsCorrupt, match="no tensors"):
        weights.read(path)


def _published(tmp_path: Path, sha256: str, content: bytes = b"data") -> models.ModelSpec:
    path = tmp_path / "weights" / "w.pth"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    record = Weights("w.pth", sha256, path.as_uri(), len(content), "none")
    return replace(models.get("resnet18"), name="test", weights=record)


def test_a_flipped_byte_is_noticed_after_the_verdict_was_cached(
    state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    torch.save(state, tmp_path / "good.pth")
    content = (tmp_path / "good.pth").read_bytes()
    spec = _published(tmp_path, hashlib.sha256(content).hexdigest(), content)
    path = tmp_path / "weights" / "w.pth"
    assert weights.resolve(spec)[1] == spec.weights.sha256  # type: ignore[union-attr]
    assert (tmp_path / "weights" / "verified.json").is_file()
    path.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    with pytest.raises(WeightsCorrupt, match="must be"):
        weights.resolve(spec)


def test_the_cached_verdict_saves_the_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.pth"
    path.write_bytes(b"x" * 1000)
    once = weights.sha256_of(path)
    monkeypatch.setattr(weights.hashlib, "sha256", None)  # reading again would fail
    assert weights.sha256_of(path) == once


def test_an_unknown_sha256_needs_the_flag(tmp_path: Path) -> None:
    spec = _published(tmp_path, "")
    with pytest.raises(WeightsCorrupt, match="--allow-unverified"):
        weights.identify(spec)
    assert weights.identify(spec, allow_unverified=True) == hashlib.sha256(b"data").hexdigest()
    partly = replace(spec, extra={"sha256_starts": "00000000"})
    with pytest.raises(WeightsCorrupt, match="must begin with 00000000"):
        weights.identify(partly, allow_unverified=True)


def test_a_path_wins_and_random_is_said(tmp_path: Path) -> None:
    spec = _published(tmp_path, "0" * 64)
    mine = tmp_path / "mine.pth"
    torch.save({"a": torch.zeros(1)}, mine)
    assert weights.resolve(spec, str(mine))[1] == weights.sha256_of(mine)
    assert weights.resolve(spec, "random:7") == (None, "random:7")
    with pytest.raises(ModelError, match="whole number"):
        weights.resolve(spec, "random:x")
    with pytest.raises(WeightsMissing, match="no such file"):
        weights.resolve(spec, str(tmp_path / "none.pth"))


def test_what_cannot_be_verified_is_not_fetched_unasked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "server.bin"
    source.write_bytes(b"published bytes")
    record = Weights("w.pth", "", source.as_uri(), 0, "none")
    spec = replace(models.get("resnet18"), name="test", weights=record)
    with monkeypatch.context() as patch:
        patch.setattr("urllib.request.urlopen", None)  # not even begun
        with pytest.raises(WeightsCorrupt, match=r"server\.bin: nobody.*--allow-unverified"):
            weights.fetch(spec)
    assert not (tmp_path / "weights").exists()
    assert weights.fetch(spec, allow_unverified=True).read_bytes() == b"published bytes"


@pytest.mark.parametrize(("sha256", "starts"), [("0" * 64, ""), ("", "00000000")])
def test_a_wrong_file_is_called_by_its_address(sha256: str, starts: str, tmp_path: Path) -> None:
    """Not by that of the temporary file, which is gone when the message is read."""
    source = tmp_path / "server.bin"
    source.write_bytes(b"other bytes")
    record = Weights("w.pth", sha256, source.as_uri(), 0, "none")
    extra = {"sha256_starts": starts}
    spec = replace(models.get("resnet18"), name="test", weights=record, extra=extra)
    with pytest.raises(WeightsCorrupt, match="another file came.*must b") as caught:
        weights.fetch(spec, allow_unverified=True)
    assert source.as_uri() in str(caught.value) and ".w.pth-" not in str(caught.value)


def test_fetching_is_whole_and_checked(tmp_path: Path) -> None:
    content = b"published bytes"
    source = tmp_path / "server.bin"
    source.write_bytes(content)
    good = Weights("w.pth", hashlib.sha256(content).hexdigest(), source.as_uri(), 0, "none")
    spec = replace(models.get("resnet18"), name="test", weights=good)
    path = weights.fetch(spec)
    assert path == tmp_path / "weights" / "w.pth" and path.read_bytes() == content
    assert weights.fetch(spec) == path
    path.unlink()
    with pytest.raises(WeightsCorrupt):
        weights.fetch(replace(spec, weights=replace(good, sha256="0" * 64)))
    gone = replace(spec, weights=replace(good, url=(tmp_path / "gone").as_uri()))
    with pytest.raises(WeightsMissing, match="not fetched"):
        weights.fetch(gone)
    left = [p.name for p in path.parent.iterdir() if p.name != "verified.json"]
    assert left == []
