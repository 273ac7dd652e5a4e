"""Whether this machine can run twinreel, and how well: findings, each with its remedy."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass

import click

from twinreel import __version__

EXTRAS = {
    "web": ("starlette", "uvicorn"),
    "torchvision": ("torchvision",),
    "timm": ("timm",),
    "hf": ("transformers",),
    "parquet": ("pyarrow",),
    "ray": ("ray",),
    "ann": ("faiss",),
    "lance": ("lance",),
}
TESTED = (3, 11)
_PACKAGES = {"faiss": "faiss-cpu", "lance": "pylance"}


@dataclass(frozen=True)
class Finding:
    """One thing looked at. level: 'ok', 'note' or 'bad' (twinreel cannot run at all)."""

    what: str
    level: str
    found: str
    remedy: str = ""


def examine(library: str = "") -> list[Finding]:
    """Look at everything that runs depend on."""
    out = [_python(), *_packages(), *_torch(), _torchvision(), *_av()]
    return [*out, _library(library), *_weights(), *_extras()]


def _python() -> Finding:
    found = f"{platform.python_version()} on {platform.platform()}, twinreel {__version__}"
    if sys.version_info[:2] != TESTED:
        found += f"; all tests ran on {'.'.join(map(str, TESTED))} only"
    return Finding("python", "ok", found)


def _packages() -> list[Finding]:
    """Whether all packages are there that twinreel cannot do without (torch and av come later)."""
    modules = (
        "click",
        "jinja2",
        "numpy",
        "PIL",
        "platformdirs",
        "rich",
        "safetensors",
        "scipy",
        "threadpoolctl",
    )
    missing = [m for m in (*modules, "sklearn", "send2trash") if not _is_there(m)]
    if missing:
        words = "missing: " + ", ".join(missing)
        return [Finding("packages", "bad", words, "install twinreel again: pip install twinreel")]
    return []


def _is_there(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _torch() -> list[Finding]:
    try:
        import torch
    except (ImportError, OSError) as error:
        return [Finding("torch", "bad", str(error), "pip install torch (CPU build: see README)")]
    from twinreel.models.network import pick_device, pick_dtype

    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU build"
    if torch.version.hip:
        build = f"ROCm {torch.version.hip}"
    gpus = _gpus()
    words = f"{torch.__version__} ({build})"
    if torch.version.cuda and not torch.cuda.is_available():
        if gpus:
            remedy = "update the NVIDIA driver, or take the torch build for its CUDA version"
            out = [Finding("torch", "note", f"{words}, cannot use {gpus}", remedy)]
        else:
            remedy = "without an NVIDIA GPU the CPU build is smaller by gigabytes: see README"
            out = [Finding("torch", "note", f"{words}, and there is no GPU", remedy)]
    elif gpus and not torch.version.cuda:
        remedy = "to use the GPU: pip install torch (the CUDA build)"
        out = [Finding("torch", "note", f"{words}, beside {gpus}", remedy)]
    else:
        out = [Finding("torch", "ok", words + (f", {gpus}" if gpus else ""))]
    cpu = torch.backends.cpu.get_cpu_capability()
    for device in dict.fromkeys((pick_device("auto"), torch.device("cpu"))):
        dtype = str(pick_dtype("auto", device)).removeprefix("torch.")
        name = f"{cpu}, {torch.get_num_threads()} threads" if device.type == "cpu" else gpus
        out.append(_speed(str(device), f"{name}, {dtype}"))
    return out


def _gpus() -> str:
    """NVIDIA's cards and driver as its own tool tells them, '' where there is none."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ""
    query = [tool, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    return f"{len(lines)} x {lines[0]} (driver)" if done.returncode == 0 and lines else ""


def _speed(device: str, words: str) -> Finding:
    """Whether the default network runs on a device, and its measured frames per second."""
    import numpy as np

    from twinreel import models
    from twinreel.errors import ModelError

    try:
        network = models.load(models.default(), device=device)
        pixels = np.zeros((32, *network.spec.size, 3), np.uint8)
        network(pixels)
        start = time.perf_counter()
        for _ in range(3):
            network(pixels)
    except ModelError as error:
        return Finding(device, "bad", f"{words}: {error}", "install twinreel again")
    except RuntimeError as error:  # a GPU that this torch build has no code for, or that is full
        remedy = "--device cpu, or the torch build that knows this GPU"
        return Finding(device, "note", f"{words}: {str(error).splitlines()[0]}", remedy)
    rate = 96 / (time.perf_counter() - start)
    return Finding(device, "ok", f"{words}, {rate:.0f} frames/s with {network.spec.name}")


def _torchvision() -> Finding:
    if not _is_there("torchvision"):
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
    found = f"{av.__version__}, libavcodec {'.'.join(map(str, av.library_versions['libavcodec']))}"
    found += f", {len(av.codecs_available)} codecs"
    if missing:
        remedy = "videos in these cannot be read; PyAV's own wheel from PyPI has them all"
        out = [Finding("av", "note", f"{found}; lacks {', '.join(missing)}", remedy)]
    else:
        out = [Finding("av", "ok", found)]
    if "libx264" not in av.codecs_available:
        words = "no H.264 encoder: the review page cannot play what the browser cannot"
        out.append(Finding("playing", "note", words, "PyAV's own wheel from PyPI has it"))
    hardware = ", ".join(sorted(hwdevices_available())) or "none"
    words = f"known to this build: {hardware}; not used, videos are decoded on the CPU"
    return [*out, Finding("hardware decoders", "ok", words)]


def _library(path: str) -> Finding:
    from twinreel.errors import StoreError
    from twinreel.store import Library, default_path
    from twinreel.volumes import readers, volume_of

    place = path or str(default_path())
    folder = os.path.dirname(os.path.abspath(place))
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    free = shutil.disk_usage(folder).free
    volume = volume_of(folder)
    network = ":" in volume
    kind = volume.split(":")[0] if network else "rotating" if readers(folder) == 1 else "local"
    words = f"{place}: none yet, the first run makes it"
    if os.path.exists(place):
        try:
            with Library.open(path or None) as library:
                sizes = library.sizes()
        except StoreError as error:
            return Finding("library", "note", str(error), "name another with --library")
        words = f"{place}: {sizes['videos']} videos, {sizes['bytes'] / 1e6:.1f} MB"
    words += f"; {free / 1e9:.1f} GB free, {kind} disk"
    if not os.access(folder, os.W_OK):
        return Finding("library", "note", f"{words}, not writable", "name another with --library")
    if free < 1e9:
        return Finding("library", "note", words, "free some space, or name another --library")
    if network:
        remedy = "SQLite's locks are not safe on every network share: put it on a local disk"
        return Finding("library", "note", words, remedy)
    return Finding("library", "ok", words)


def _weights() -> list[Finding]:
    from twinreel import models
    from twinreel.errors import ModelError
    from twinreel.models.weights import identify, present

    own = [s for s in map(models.get, models.names()) if s.weights is not None]
    out, good = [], []
    for spec in own:
        assert spec.weights is not None
        if not present(spec):
            if spec.weights.packaged:
                words = f"{spec.weights.file} is not in the package"
                out.append(Finding("weights", "bad", words, "install twinreel again"))
            continue
        try:
            identify(spec, allow_unverified=True)
            good.append(spec.name + ("" if spec.weights.sha256 else " (no checksum published)"))
        except ModelError as error:
            level = "bad" if spec.weights.packaged else "note"
            remedy = f"remove the file, then `twinreel models fetch {spec.name}`"
            out.append(Finding("weights", level, str(error), remedy))
    words = f"{len(good)} of {len(own)} present and verified: {', '.join(good) or 'none'}"
    return [Finding("weights", "ok", words), *out]


def _extras() -> list[Finding]:
    out = []
    for extra, modules in EXTRAS.items():
        missing = [m for m in modules if not _is_there(m)]
        if missing:
            words = f"not installed (optional): pip install 'twinreel[{extra}]'"
            out.append(Finding(f"[{extra}]", "ok", words))
            continue
        versions = [f"{m} {_version(_PACKAGES.get(m, m))}" for m in modules]
        out.append(Finding(f"[{extra}]", "ok", ", ".join(versions)))
    return out


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # built by hand, or from another channel
        return "(unknown version)"


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
