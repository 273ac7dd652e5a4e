"""Whether this machine can run twinreel, and how well: findings, each with its remedy."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import sys
import time
from dataclasses import asdict, dataclass

import click


@dataclass(frozen=True)
class Finding:
    """One thing looked at. level: 'ok', 'note' or 'bad' (twinreel cannot run at all)."""

    what: str
    level: str
    found: str
    remedy: str = ""


def examine(library: str = "") -> list[Finding]:
    """Look at everything that runs depend on."""
    out = [Finding("python", "ok", f"{platform.python_version()} on {platform.platform()}")]
    out += [_torch(), _torchvision(), *_av(), _library(library), *_weights(), *_extras()]
    return out


def _torch() -> Finding:
    try:
        import torch
    except (ImportError, OSError) as error:
        return Finding("torch", "bad", str(error), "pip install torch (CPU build: see README)")
    features = torch.backends.cpu.get_cpu_capability()
    from twinreel.models.network import pick_device, pick_dtype

    device = pick_device("auto")
    dtype = str(pick_dtype("auto", device)).removeprefix("torch.")
    found = f"{torch.__version__}, device {device}, {features}, {dtype}, {_rate()}"
    if torch.version.cuda and not torch.cuda.is_available():
        return Finding(
            "torch",
            "note",
            f"{found}; built for CUDA {torch.version.cuda}, no GPU usable",
            "without an NVIDIA GPU the CPU build is 20 times smaller: see README",
        )
    return Finding("torch", "ok", found)


def _rate() -> str:
    """Measured frames per second of the default network."""
    import numpy as np

    from twinreel import models
    from twinreel.errors import ModelError

    try:
        network = models.load(models.default())
    except ModelError as error:
        return f"default network not loadable ({error})"
    pixels = np.zeros((32, *network.spec.size, 3), np.uint8)
    network(pixels)
    start = time.perf_counter()
    for _ in range(3):
        network(pixels)
    return f"{96 / (time.perf_counter() - start):.0f} frames/s with {network.spec.name}"


def _torchvision() -> Finding:
    if importlib.util.find_spec("torchvision") is None:
        return Finding(
            "torchvision", "ok", "not installed (needed for torchvision: and timm: models)"
        )
    try:
        import torchvision
    except Exception as error:
        return Finding(
            "torchvision",
            "note",
            f"installed but cannot load: {error}",
            "install the torchvision that belongs to your torch build, or remove it",
        )
    return Finding("torchvision", "ok", torchvision.__version__)


def _av() -> list[Finding]:
    try:
        import av
        from av.codec.hwaccel import hwdevices_available
    except (ImportError, OSError) as error:
        return [Finding("av", "bad", str(error), "pip install 'av>=18.1,<20'")]
    wanted = ("h264", "hevc", "vp9", "av1", "mpeg4", "mpeg2video", "wmv3", "vc1", "prores", "gif")
    missing = [c for c in wanted if c not in av.codecs_available]
    found = f"{av.__version__}, {len(av.codecs_available)} codecs"
    hardware = ", ".join(sorted(hwdevices_available())) or "none"
    return [
        Finding(
            "av", "note" if missing else "ok", found + (f"; lacks {missing}" if missing else "")
        ),
        Finding("hardware decoders", "ok", f"known to this build: {hardware}; not used by default"),
    ]


def _library(path: str) -> Finding:
    from twinreel.errors import StoreError
    from twinreel.store import Library, default_path

    place = path or str(default_path())
    if not os.path.exists(place):
        return Finding("library", "ok", f"none yet; the first run makes {place}")
    try:
        with Library.open(path or None) as library:
            sizes = library.sizes()
    except StoreError as error:
        return Finding("library", "note", str(error), "name another with --library")
    free = shutil.disk_usage(os.path.dirname(place) or ".").free
    words = f"{place}: {sizes['videos']} videos, {sizes['bytes'] / 1e6:.1f} MB"
    words += f", {free / 1e9:.1f} GB free"
    if free < 1e9:
        return Finding("library", "note", words, "free some space, or name another --library")
    return Finding("library", "ok", words)


def _weights() -> list[Finding]:
    from twinreel import models
    from twinreel.models.weights import present

    names = [n for n in models.names() if models.get(n).weights is not None]
    there = [n for n in names if present(models.get(n))]
    return [Finding("weights", "ok", f"{len(there)} of {len(names)} present: {', '.join(there)}")]


def _extras() -> list[Finding]:
    out = []
    for extra, module in (
        ("timm", "timm"),
        ("hf", "transformers"),
        ("parquet", "pyarrow"),
        ("ray", "ray"),
        ("ann", "faiss"),
    ):
        if importlib.util.find_spec(module) is None:
            out.append(Finding(f"[{extra}]", "ok", "not installed (optional)"))
        else:
            version = importlib.metadata.version("faiss-cpu" if module == "faiss" else module)
            out.append(Finding(f"[{extra}]", "ok", f"{module} {version}"))
    return out


@click.command("doctor")
@click.option("--library", default="", help="Library file to look at.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def doctor_command(library: str, as_json: bool) -> None:
    """Look at this machine: what is there, what is broken, and the remedy.

    Exit code 0 unless twinreel cannot run at all.
    """
    findings = examine(library)
    if as_json:
        click.echo(json.dumps([asdict(f) for f in findings]))
    else:
        for f in findings:
            mark = {"ok": "ok  ", "note": "note", "bad": "BAD "}[f.level]
            click.echo(f"{mark}  {f.what}: {f.found}")
            if f.remedy:
                click.echo(f"      remedy: {f.remedy}")
    sys.exit(1 if any(f.level == "bad" for f in findings) else 0)
