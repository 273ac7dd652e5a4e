"""What `extract` is asked for -> which networks, with which weights, see which moments.

    entries = plan(ExtractOptions(type="3d"))
    entries[0].spec.name, entries[0].take.frames           # 'resnext101-3d', 16

The first option set is the seed's; the rest adds to it. Nothing here opens a video or a network.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from twinreel import models
from twinreel.errors import BadConfig
from twinreel.extract import hardware
from twinreel.extract.clips import ClipTask, Sampling, Take
from twinreel.extract.filters import View
from twinreel.extract.manifest import Job
from twinreel.extract.options import PRESETS, TYPES, ExtractOptions
from twinreel.extract.whole import Meta
from twinreel.models import ModelSpec, weights

SEEDS_RESNEXT = Path("model/resnext101.pth")  # where the seed looks for it


@dataclass(frozen=True)
class Entry:
    """One network of a run.

    request: what its outputs must say of themselves to count as done. suffix: put before an
    output's ending where a run has several networks.
    """

    spec: ModelSpec
    weights: str
    sha256: str
    sampling: Sampling
    request: Meta
    suffix: str = ""

    @property
    def take(self) -> Take:
        return self.sampling.takes[0]


def plan(options: ExtractOptions) -> list[Entry]:
    """The networks of a run.

    Raises:
        UnknownModel, WeightsMissing, WeightsCorrupt, ExtraMissing, BadConfig.
    """
    names = list(options.model) or [PRESETS[options.preset or TYPES[options.type]]]
    given = list(options.weights) + [""] * (len(names) - len(options.weights))
    if twice := {n for n in names if names.count(n) > 1}:
        raise BadConfig(f"model {min(twice)} is named twice: once is enough")
    entries = []
    for name, source in zip(names, given, strict=True):
        if name == PRESETS["howto100m-3d"] and not source:
            source = options.resnext101_model_path
            if not source and SEEDS_RESNEXT.is_file():
                source = str(SEEDS_RESNEXT)
        spec = find(name, source, options)
        if not source and options.allow_unverified and spec.weights is not None:
            sha256 = weights.identify(spec, "", allow_unverified=True)
            source = str(weights.located(spec))
        else:
            sha256 = weights.identify(spec, source)
        sampling = sampling_of(spec, options)
        suffix = "." + re.sub(r"[^A-Za-z0-9_.-]+", "_", name) if len(names) > 1 else ""
        request = requested(spec, sha256, sampling, options)
        entries.append(Entry(spec, source, sha256, sampling, request, suffix))
    _check_rows([entry.spec for entry in entries], options)
    return entries


def _check_rows(specs: list[ModelSpec], options: ExtractOptions) -> None:
    """Raise BadConfig where rows would not have the form that is asked for."""
    size = options.embedding_size
    for spec in specs:
        if size and len(shape := spec.extra.get("shape", ())) > 1:
            raise BadConfig(
                f"embedding_size {size}: rows of {spec.name} are maps of shape {shape}, which "
                "cannot be projected; take --pool mean or max"
            )
    if options.format == "parquet" and not size and len({spec.dim for spec in specs}) > 1:
        shown = ", ".join(f"{spec.name} {spec.dim}" for spec in specs)
        raise BadConfig(
            f"format parquet: rows of unlike length cannot share a file ({shown}); use one model "
            "to a run, or another --format"
        )


def find(name: str, source: str, options: ExtractOptions) -> ModelSpec:
    """The record of a model: ours, or read from the library that has it."""
    if models.is_foreign(name) or options.layer:
        from twinreel.models import adapters

        return adapters.find(name, source, options.layer, options.pool, options.clip_len)
    spec = models.get(name)
    if options.clip_len and options.clip_len != spec.frames:
        raise BadConfig(
            f"clip_len {options.clip_len}: {name} takes {spec.frames} frames to a row; leave it "
            "out or choose another model"
        )
    return spec


def sampling_of(spec: ModelSpec, options: ExtractOptions) -> Sampling:
    """Which moments a network looks at, and how its pictures are made."""
    view = View(
        size=spec.size,
        fit=spec.fit,
        resize=tuple(spec.extra.get("resize", ())),
        interpolation=spec.extra.get("interpolation", "bicubic"),
        seed_exact=options.seed_exact,
    )
    take = Take(view, spec.frames, options.stride or spec.frames, options.tail)
    sampler = options.sampler or ("uniform" if options.num_frames else "fps")
    fps = options.fps or spec.extra.get("fps", 1.0)
    return Sampling(
        sampler,
        fps if sampler == "fps" else 0.0,
        options.num_frames,
        options.seed_exact,
        (take,),
    )


def requested(spec: ModelSpec, sha256: str, sampling: Sampling, options: ExtractOptions) -> Meta:
    """What identifies an output: anything that changes its numbers."""
    take = sampling.takes[0]
    request = {
        "model": {"name": spec.name, **spec.extra.get("identity", {})},
        "weights": sha256 or "none",
        "preprocessing": {
            **asdict(take.view), "mean": spec.mean, "std": spec.std, "scale": spec.scale
        },
        "sampling": {
            "sampler": sampling.sampler, "fps": sampling.fps, "count": sampling.count,
            "frames": take.frames, "stride": take.stride, "tail": take.tail,
        },
        "output": {
            "dtype": "float16" if options.half_precision else "float32",
            "l2": bool(options.l2_normalize), "precision": options.precision,
            "embedding_size": options.embedding_size, "projection": "",
        },
    }  # fmt: skip
    plain: Meta = json.loads(json.dumps(request))
    return plain


def on_device(entries: list[Entry], options: ExtractOptions) -> list[Entry]:
    """The entries with the arithmetic that 'auto' comes to here: it is part of what outputs are.

    Raises:
        DeviceUnavailable.
    """
    if options.precision != "auto":
        return entries
    used = "fp32"
    if not hardware.is_plain_cpu(options.device):
        from twinreel.models.network import pick_device, pick_dtype

        dtype = pick_dtype("auto", pick_device(options.device))
        used = "bf16" if str(dtype) == "torch.bfloat16" else "fp32"
    return [
        replace(e, request={**e.request, "output": {**e.request["output"], "precision": used}})
        for e in entries
    ]


def merged(entries: list[Entry]) -> tuple[tuple[Sampling, ...], dict[tuple[int, int], int]]:
    """Samplings for one decode; (sampling, take) -> index of the entry it is for.

    Entries that look at the same moments share a sampling.
    """
    samplings: list[Sampling] = []
    owners: dict[tuple[int, int], int] = {}
    for number, entry in enumerate(entries):
        bare = replace(entry.sampling, takes=())
        bares = [replace(s, takes=()) for s in samplings]
        place = bares.index(bare) if bare in bares else len(samplings)
        if place == len(samplings):
            samplings.append(bare)
        takes = (*samplings[place].takes, entry.take)
        samplings[place] = replace(bare, takes=takes)
        owners[place, len(takes) - 1] = number
    return tuple(samplings), owners


def clip_task(job: Job, samplings: tuple[Sampling, ...], options: ExtractOptions) -> ClipTask:
    """What a decoder is told of a job."""
    return ClipTask(
        job.video, samplings, job.start, job.end, options.bad_packets, name=job.name,
        gpu=hardware.chosen(options.decoder, options.device),
    )  # fmt: skip


def note(entry: Entry) -> dict[str, Any]:
    """Words for an output's metadata that nobody should overlook."""
    words = {}
    if entry.sha256.startswith("random:"):
        words["warning"] = f"RANDOM WEIGHTS ({entry.sha256}): these numbers mean nothing"
    if assumed := entry.spec.extra.get("assumed"):
        words["assumed"] = assumed
    return words
