"""A surrogate of the first seed: features of a frame a second, flattened, compared at exact length.

Written from what iamirmasoud/video_deduplicator was seen to do: frames by ffmpeg's fps filter, the
short side fixed, a ResNet, rows of length 1 in float16, DBSCAN over flattened rows of files with
the same number of rows, epsilon 0.001. Not the seed's are the weights, random for ImageNet's, which
cannot be had here, and, to fit the hour, the ResNet's 18 layers for 152 and 112 lines for 224.
Runs in twinreel's own environment, for torch.
"""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .build import probe

__all__ = ["DEPTH", "NEVER", "SIDE", "rows", "scores"]

DEPTH = 18
SIDE = 112
BATCH = 64
NEVER = -1.0


def rows(path: str) -> npt.NDArray[np.float16]:
    """(seconds, 512) unit rows of a file.

    Raises:
        ValueError: fewer than two frames; the seed leaves such files out.
    """
    import torch

    torch.set_num_threads(1)
    net = _network()
    frames = torch.from_numpy(_frames(path))
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (
        (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    found = []
    with torch.inference_mode():
        for batch in frames.split(BATCH):  # of one file alone, so that equal frames give equal rows
            x = (batch.permute(0, 3, 1, 2).float() / 255 - mean) / (std + 1e-8)  # channels last
            found.append(torch.nn.functional.normalize(net(x), dim=1).half().numpy())
    return np.concatenate(found)


@functools.cache
def _network():  # type: ignore[no-untyped-def]
    import torch

    from twinreel.models.resnet import ResNet

    torch.manual_seed(0)
    return ResNet(DEPTH).eval().to(memory_format=torch.channels_last)


def _frames(path: str) -> npt.NDArray[np.uint8]:
    """(seconds, h, w, 3) a frame a second; sides from the coded size, the short one SIDE."""
    p = probe(Path(path))
    if p.height >= p.width:
        width, height = SIDE, int(p.height * SIDE / p.width)
    else:
        width, height = int(p.width * SIDE / p.height), SIDE
    raw = subprocess.run(
        ["ffmpeg", "-nostdin", "-v", "error", "-threads", "1", "-i", path, "-filter_complex",
         f"[0]fps=fps=1[a];[a]scale={width}:{height}[v]", "-map", "[v]", "-f", "rawvideo",
         "-pix_fmt", "rgb24", "pipe:"], capture_output=True, check=True).stdout
    frames = np.frombuffer(raw, np.uint8).reshape(-1, height, width, 3)
    if len(frames) < 2:
        raise ValueError(f"{len(frames)} frames at one a second; the seed leaves such files out")
    return frames.copy()


def scores(features: Sequence[npt.NDArray[np.float16]]) -> npt.NDArray[np.float32]:
    """(n, n) 1 / (1 + euclidean distance) of flattened rows; files of other lengths never meet."""
    n = len(features)
    out = np.full((n, n), NEVER, np.float32)
    length = np.array([len(f) for f in features])
    for count in np.unique(length):
        at = np.flatnonzero(length == count)
        flat = np.stack([features[k].ravel() for k in at]).astype(np.float64)
        for k, mine in zip(at, flat, strict=True):
            out[k, at] = 1 / (1 + np.sqrt(((flat - mine) ** 2).sum(axis=1)))
    return out
