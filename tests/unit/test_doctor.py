"""doctor: what is broken is found and comes with a remedy; only what stops twinreel fails."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner

from twinreel import doctor
from twinreel.cli import main

Patch = pytest.MonkeyPatch


@pytest.fixture(autouse=True)
def quick(tmp_path: Path, monkeypatch: Patch) -> None:
    """A home of its own, no GPU tool, and no measuring."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("TWINREEL_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(doctor, "_speed", lambda d, w: doctor.Finding(d, "ok", w))
    # What the registries give beside a CPU build of torch cannot be imported.
    stub = ModuleType("torchvision")
    stub.__spec__, stub.__dict__["__version__"] = ModuleSpec("torchvision", None), "0.0"
    monkeypatch.setitem(sys.modules, "torchvision", stub)


def findings(*words: str) -> tuple[int, dict[str, dict[str, Any]]]:
    done = CliRunner().invoke(main, ["doctor", "--json", *words])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    told = json.loads(done.stdout)
    for f in told:
        assert f["remedy"] or f["level"] == "ok", f
    return done.exit_code, {f["what"]: f for f in told if f["what"] != "weights" or f["remedy"]} | {
        "all weights": next(f for f in told if f["what"] == "weights")
    }


def test_a_sound_machine() -> None:
    code, found = findings()
    assert code == 0
    assert all(f["level"] == "ok" for f in found.values()), found
    assert {"python", "torch", "cpu", "torchvision", "av", "hardware decoders", "library"} <= set(
        found
    )
    assert {f"[{extra}]" for extra in doctor.EXTRAS} <= set(found)
    assert "twin.v1" in found["all weights"]["found"]


def test_the_rate_is_measured(monkeypatch: Patch) -> None:
    monkeypatch.undo()
    measured = doctor._speed("cpu", "some CPU")
    rate = float(measured.found.split(", ")[1].split(" ")[0])
    assert measured.level == "ok" and rate > 0


def broken_torchvision(tmp_path: Path, monkeypatch: Patch) -> str:
    folder = tmp_path / "torchvision"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise RuntimeError('operator nms does not exist')")
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    return "torchvision"


def gpu_without_cuda(tmp_path: Path, monkeypatch: Patch) -> str:
    tool = tmp_path / "bin" / "nvidia-smi"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\necho 'NVIDIA Some Card, 570.1'\n")
    tool.chmod(0o755)
    monkeypatch.setattr("torch.version.cuda", None)
    return "torch"


def cuda_without_gpu(tmp_path: Path, monkeypatch: Patch) -> str:
    monkeypatch.setattr("torch.version.cuda", "12.8")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    return "torch"


def lacking_codec(tmp_path: Path, monkeypatch: Patch) -> str:
    import av

    monkeypatch.setattr(av, "codecs_available", av.codecs_available - {"hevc"})
    return "av"


def corrupt_weights(tmp_path: Path, monkeypatch: Patch) -> str:
    path = tmp_path / "weights" / "resnet18-f37072fd.pth"
    path.parent.mkdir()
    path.write_bytes(b"not what was published")
    return "weights"


def strange_library(tmp_path: Path, monkeypatch: Patch) -> str:
    path = tmp_path / "data" / "twinreel" / "library.db"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"no database at all " * 100)
    return "library"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (broken_torchvision, "operator nms does not exist"),
        (gpu_without_cuda, "NVIDIA Some Card"),
        (cuda_without_gpu, "there is no GPU"),
        (lacking_codec, "lacks hevc"),
        (corrupt_weights, "sha256"),
        (strange_library, "library.db"),
    ],
)
def test_what_can_be_worked_with_is_a_note(
    make: Callable[[Path, Patch], str], words: str, tmp_path: Path, monkeypatch: Patch
) -> None:
    what = make(tmp_path, monkeypatch)
    code, found = findings()
    assert code == 0
    assert found[what]["level"] == "note" and words in found[what]["found"], found[what]
    assert [f["what"] for f in found.values() if f["level"] != "ok"] == [what]


@pytest.mark.parametrize("module", ["torch", "av", "scipy"])
def test_what_stops_twinreel_is_bad(module: str, monkeypatch: Patch) -> None:
    real = doctor._is_there
    monkeypatch.setattr(doctor, "_is_there", lambda m: m != module and real(m))
    if module != "scipy":
        monkeypatch.setitem(sys.modules, module, None)
    code, found = findings()
    assert code == 1
    bad = [f for f in found.values() if f["level"] == "bad"]
    assert len(bad) == 1 and module in bad[0]["found"] and "install" in bad[0]["remedy"]
