"""Every option of `extract`, declared once; the first ones carry the seed extractor's names.

>>> ExtractOptions(fps=0.0)
Traceback (most recent call last):
ValueError: fps must be positive, got 0.0
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from twinreel.options import opt

SAMPLERS = ("fps", "uniform", "keyframes", "all")
TAILS = ("pad", "loop", "drop")
FORMATS = ("npy", "npz", "safetensors", "parquet", "tar")
# What the seed extractor calls --type: the network and how often it looks.
PRESETS = {"howto100m-2d": "resnet152", "howto100m-3d": "resnext101-3d"}
TYPES = {"2d": "howto100m-2d", "3d": "howto100m-3d"}
POOLS = ("mean", "max", "none")


@dataclass(frozen=True)
class ExtractOptions:
    """What to extract, from which moments, and how it is written."""

    type: str = opt("2d", "The seed's name for the presets howto100m-2d and -3d.",
                    choices=("2d", "3d"))  # fmt: skip
    preset: str = opt("", "A network with its sampling.", choices=("", *PRESETS))
    model: tuple[str, ...] = opt(
        (), "Network: a name of `twinreel models`, timm:NAME, torchvision:NAME, hf:NAME, a .pt or "
        ".pt2 file, or module:factory. May be repeated.", metavar="NAME",
    )  # fmt: skip
    weights: tuple[str, ...] = opt(
        (), "Checkpoint file or random:SEED, one per model.", metavar="PATH"
    )
    resnext101_model_path: str = opt(
        "", "Weights of the 3d network (default: model/resnext101.pth, where it lies there).",
        spellings=("--resnext101_model_path",), metavar="PATH",
    )  # fmt: skip
    allow_unverified: bool = opt(False, "Take fetched weights whose sha256 nobody has published.")
    layer: str = opt("", "Take the output of this part of the network.", metavar="NAME")
    pool: str = opt("mean", "How a layer's map becomes a row.", choices=POOLS)
    embedding_size: int = opt(0, "Project rows to N numbers by principal components (0: do not).")
    projection: str = opt("", "A stored projection (default: fitted on the run).", metavar="FILE")
    sampler: str = opt("", "How moments are chosen (default: fps).", choices=("", *SAMPLERS))
    fps: float | None = opt(None, "Frames per second of video time (default: the model's own).")
    num_frames: int = opt(0, "This many frames, evenly over the video (sampler uniform).")
    clip_len: int = opt(0, "Frames to a row (default: the model's own).")
    stride: int = opt(0, "Frames from one row's start to the next (default: the clip's length).")
    tail: str = opt("pad", "Last clip: filled with black, looped, or dropped.", choices=TAILS)
    seed_exact: bool = opt(False, "Repeat the seed extractor's mistakes too (docs/extract.md).")
    l2_normalize: int = opt(1, "Rows of length 1 (0 or 1).", spellings=("--l2_normalize",))
    half_precision: int = opt(1, "Write float16 (1) or float32 (0).",
                              spellings=("--half_precision",))  # fmt: skip
    precision: str = opt("fp32", "Arithmetic of the network.", choices=("fp32", "bf16", "auto"))
    batch_size: int = opt(64, "Rows per forward pass, filled across videos.",
                          spellings=("--batch_size",))  # fmt: skip
    jobs: int = opt(4, "Decoding processes.", short="-j",
                    spellings=("--num_decoding_thread", "--num-decoding-thread"))  # fmt: skip
    threads: int = opt(0, "Threads of the network on a CPU (0: one per core).")
    device: str = opt("auto", "cpu, cuda, cuda:N, mps or auto.")
    decoder: str = opt("cpu", "Where videos are decoded: cuda is an NVIDIA GPU (NVDEC); what it "
                       "cannot decode falls to the CPU.", choices=("cpu", "cuda"))  # fmt: skip
    devices: str = opt("", "Several: 0,1 or cuda:0,cuda:1 (default: all GPUs).", metavar="LIST")
    format: str = opt("npy", "File format.", choices=FORMATS)
    meta: str = opt("sidecar", "Metadata of .npy files: a .json beside each, or one manifest.",
                    choices=("sidecar", "manifest"))  # fmt: skip
    shard: str = opt("", "Do only part K of N, e.g. 2/8.", metavar="K/N")
    retry_failed: bool = opt(False, "Try again what failed in an earlier run.")
    overwrite: bool = opt(False, "Replace outputs that do not fit what is asked for.")
    stall: float = opt(30.0, "Give up on a video after this many seconds without a packet.")
    bad_packets: float = opt(0.05, "Share of undecodable packets that is still tolerated.")
    runner: str = opt("local", "Where the work is done: here, or on a Ray cluster.",
                      choices=("local", "ray"))  # fmt: skip
    address: str = opt("", "Ray cluster (default: the one that is running, else this machine).",
                       metavar="HOST:PORT")  # fmt: skip
    lease: float = opt(60.0, "Seconds after which a silent owner of a video is given up.")

    def __post_init__(self) -> None:
        for name in ("l2_normalize", "half_precision"):
            if getattr(self, name) not in (0, 1):
                raise ValueError(f"{name} must be 0 or 1, got {getattr(self, name)}")
        for name in ("embedding_size", "num_frames", "clip_len", "stride", "threads"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        for name in ("batch_size", "jobs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.fps is not None and self.fps <= 0:
            raise ValueError(f"fps must be positive, got {self.fps}")
        if self.stall <= 0 or self.lease <= 0:
            raise ValueError(f"stall and lease must be positive, got {self.stall}, {self.lease}")
        if not 0 <= self.bad_packets <= 1:
            raise ValueError(f"bad_packets is a share within 0 and 1, got {self.bad_packets}")
        if self.seed_exact and self.decoder != "cpu":
            raise ValueError(
                f"seed_exact is compared with decoding on the CPU, got decoder {self.decoder}: "
                "leave one of them out"
            )
        if self.num_frames and self.fps is not None:
            raise ValueError(
                f"fps ({self.fps:g}) and num_frames ({self.num_frames}) choose the moments in two "
                "ways: give one of them"
            )
        if self.num_frames and self.sampler not in ("", "uniform"):
            raise ValueError(f"num_frames goes with sampler uniform, got {self.sampler!r}")
        if self.sampler == "uniform" and not self.num_frames:
            raise ValueError("sampler uniform needs num_frames: how many moments?")
        if self.projection and not self.embedding_size:
            raise ValueError("projection needs embedding_size: how many of its numbers?")
        if self.meta == "manifest" and self.format != "npy":
            raise ValueError(f"meta manifest is for npy; {self.format} keeps its metadata inside")
        if len(self.weights) > max(1, len(self.model)):
            raise ValueError(f"{len(self.weights)} weights for {max(1, len(self.model))} models")
        self.part()

    def part(self) -> tuple[int, int]:
        """(k, n): this run does rows k, k + n, ... counted from 0."""
        if not self.shard:
            return 0, 1
        match = re.fullmatch(r"(\d+)/(\d+)", self.shard)
        if not match or not 1 <= int(match[1]) <= int(match[2]):
            raise ValueError(f"shard must be K/N with K from 1 to N, got {self.shard!r}")
        return int(match[1]) - 1, int(match[2])
