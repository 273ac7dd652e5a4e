"""What is asked for -> the networks of a run; what cannot be is said before any work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from twinreel.errors import BadConfig, WeightsMissing
from twinreel.extract import hardware
from twinreel.extract.options import ExtractOptions
from twinreel.extract.plan import note, on_device, plan
from twinreel.models import network, weights


def test_maps_are_not_projected() -> None:
    given = {"model": ("resnet18",), "weights": ("random:0",), "layer": "layer4"}
    with pytest.raises(BadConfig, match="resnet18 are maps of shape.*--pool mean or max"):
        plan(ExtractOptions(**given, pool="none", embedding_size=8))  # type: ignore[arg-type]


def test_rows_of_unlike_length_share_no_parquet_file() -> None:
    given = {"model": ("resnet18", "resnet50"), "weights": ("random:0",) * 2}
    with pytest.raises(BadConfig, match="unlike length.*resnet18 512, resnet50 2048"):
        plan(ExtractOptions(**given, format="parquet"))  # type: ignore[arg-type]
    for fine in ({"format": "tar"}, {"format": "parquet", "embedding_size": 64}):
        assert len(plan(ExtractOptions(**given, **fine))) == 2  # type: ignore[arg-type]


def test_the_seeds_path_of_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWINREEL_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.chdir(tmp_path)
    typo = str(tmp_path / "resnxt101.pth")
    with pytest.raises(WeightsMissing, match="resnxt101.pth.*no such file"):
        plan(ExtractOptions(type="3d", resnext101_model_path=typo))
    lies = tmp_path / "model" / "resnext101.pth"
    lies.parent.mkdir()
    lies.write_bytes(b"weights")
    # Without the flag the seed's own place is looked at.
    assert plan(ExtractOptions(type="3d"))[0].sha256 == weights.sha256_of(lies)
    with pytest.raises(WeightsMissing, match="resnxt101.pth"):
        plan(ExtractOptions(type="3d", resnext101_model_path=typo))


@pytest.mark.parametrize(("dtype", "used"), [(torch.float32, "fp32"), (torch.bfloat16, "bf16")])
def test_what_auto_comes_to_is_what_outputs_say(
    dtype: torch.dtype, used: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "is_plain_cpu", lambda device: False)
    monkeypatch.setattr(network, "pick_dtype", lambda precision, device: dtype)
    given = {"model": ("resnet18",), "weights": ("random:0",), "device": "cpu"}
    options = ExtractOptions(**given, precision="auto")  # type: ignore[arg-type]
    entries = on_device(plan(options), options)
    assert entries[0].request["output"]["precision"] == used
    assert on_device(entries, options) == entries
    told = ExtractOptions(**given, precision="bf16")  # type: ignore[arg-type]
    assert on_device(plan(told), told)[0].request["output"]["precision"] == "bf16"


def test_metadata_says_what_was_assumed() -> None:
    bare = plan(ExtractOptions(model=("tests.e2e.nets:bare",)))[0]
    assert "no `twinreel` record" in note(bare)["assumed"]
    drawn = plan(ExtractOptions(model=("tests.e2e.nets:grid",), weights=("random:3",)))[0]
    assert list(note(drawn)) == ["warning"]


def test_on_a_plain_cpu_nobody_waits_for_torch() -> None:
    code = """
import sys
from twinreel.extract import plan
from twinreel.extract.options import ExtractOptions
plan.hardware.is_plain_cpu = lambda device: True
options = ExtractOptions(model=("dctgrad.v1",))
(entry,) = plan.on_device(plan.plan(options), options)
print(entry.request["output"]["precision"], "torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["fp32", "False"]


def test_where_torch_must_be_asked_what_auto_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "gpu_files", lambda: True)
    assert not hardware.is_plain_cpu("auto")
    assert not hardware.is_plain_cpu("cuda:0") and not hardware.is_plain_cpu("mps")
