"""Decoding on an NVIDIA GPU (NVDEC, through FFmpeg), where it gives the CPU's pictures.

    gpu = chosen(options)                       # '' for the CPU, else the GPU's number
    with decoder(path, container, stream, gpu) as use:
        use.container, use.stream               # to be read; use.where: 'cuda' or 'cpu'

FFmpeg parses the stream as ever, the GPU decodes it, and frames are copied back as they are: all
that follows is the CPU's, so rows are the same. Where the GPU cannot, the CPU does, and
`use.refused` says why.

Note [which videos]: those whose format leaves a decoder no freedom (EXACT), with 4:2:0 pictures:
an MPEG-4 decoded elsewhere has other last bits, and an output would depend on who made it.
"""

from __future__ import annotations

import contextlib
import glob
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
from av.codec.hwaccel import HWAccel

from twinreel.probe import opened, video_stream

CPU, CUDA = "cpu", "cuda"
EXACT = frozenset({"h264", "hevc", "vp8", "vp9", "av1"})
PICTURES = frozenset({"yuv420p", "yuvj420p", "yuv420p10le"})  # what the CPU decodes to
COPIED = frozenset({"nv12", "p010le", "p016le"})  # the same, as it comes from a GPU

# The first context of a device stays open: a new one costs as much as a short video.
_contexts: dict[str, Any] = {}


def gpu_files() -> bool:
    """Whether Linux shows a GPU's device file (dxg: inside Windows; kfd: AMD)."""
    return bool(glob.glob("/dev/nvidia[0-9]*") or glob.glob("/dev/dxg") or glob.glob("/dev/kfd"))


def is_plain_cpu(device: str) -> bool:
    """Whether the network is known to run on a CPU without AMX; False where only torch can tell.
    Loading it takes seconds, for which a run with nothing left to do should not wait."""
    if sys.platform != "linux" or not (device == "cpu" or (device == "auto" and not gpu_files())):
        return False
    try:
        return "amx_tile" not in Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False


def chosen(where: str, device: str) -> str:
    """The number of the GPU that decodes, '' for none.

    Args:
        where: 'cpu' or 'cuda'. device: the network's; 'cuda:1' decodes on GPU 1, too.
    """
    if where == CPU:
        return ""
    kind, _, number = device.partition(":")
    return number if kind == CUDA and number else "0"


@dataclass
class Decoder:
    """Where a video is decoded: 'cpu' or 'cuda'; refused: why not where it was asked for."""

    container: Any
    stream: Any
    where: str = CPU
    refused: str = ""

    def saw(self, frame: Any) -> None:
        """Look at a frame: FFmpeg goes on with the CPU, unasked, where the GPU refuses a video."""
        if self.where == CUDA and frame.format.name not in COPIED:
            self.where = CPU
            self.refused = "the GPU refuses this kind of video (profile or size)"


@contextlib.contextmanager
def decoder(path: str, container: Any, stream: Any, gpu: str) -> Iterator[Decoder]:
    """What decodes the video at `path`, open as `stream` of `container`."""
    refused = refusal(stream, gpu) if gpu else ""
    if not gpu or refused:
        yield Decoder(container, stream, refused=refused)
        return
    with opened(path, _accelerator(gpu)) as other:
        yield Decoder(other, video_stream(other, path), CUDA)


def refusal(stream: Any, gpu: str) -> str:
    """Why a stream is not decoded on the GPU; '' where it is."""
    if words := _fault(gpu):
        return words
    context = stream.codec_context
    name, pictures = context.codec.canonical_name, context.format.name if context.format else "no"
    if name not in EXACT:
        return f"{name} is decoded on the CPU alone: a GPU's last bits may differ"
    if not context.codec.hardware_configs:
        return f"{context.name}, this PyAV's decoder of {name}, knows no GPU"
    if pictures not in PICTURES:
        return f"{name} with {pictures} pictures is decoded on the CPU alone"
    return ""


def _accelerator(gpu: str) -> HWAccel:
    # The primary context is shared with whatever else this process does on the GPU.
    return HWAccel(CUDA, gpu, options={"primary_ctx": "1"})


def _fault(gpu: str) -> str:
    """Why there is no such GPU; '' where there is."""
    if gpu not in _contexts:
        try:
            _contexts[gpu] = av.CodecContext.create("h264", "r", hwaccel=_accelerator(gpu))
        except (av.error.FFmpegError, OSError, ValueError) as error:
            words = getattr(error, "strerror", None) or str(error)
            return f"GPU {gpu} cannot be opened ({words}): no NVIDIA GPU, or no driver, is here"
    return "" if _contexts[gpu].is_hwaccel else "this PyAV was built without CUDA"
