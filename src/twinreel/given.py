"""`dups --features DIR`: Features out of arrays that `extract` wrote, without decoding.

take(run, Path("features"))     # puts them into the run's library, under their own identity

An array belongs to the videos whose content key stands in its metadata, whatever they are called
now. Arrays of one network, weights, preprocessing and sampling at a time: others never meet.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from twinreel import models
from twinreel.compare import Calibration
from twinreel.embed import unit
from twinreel.errors import BadConfig, NothingFound, UnknownModel
from twinreel.inventory import quick
from twinreel.options import DupsOptions, fingerprint
from twinreel.store import Facts, Library
from twinreel.types import Failure, Features, Floats, VideoFile, VideoInfo

Meta = dict[str, Any]


class Run(Protocol):
    """What is asked of, and told to, a run of pipeline.py."""

    options: DupsOptions
    library: Library
    files: list[VideoFile]
    failures: list[Failure]
    spec: models.ModelSpec
    model: str
    sampling: str
    weights_sha256: str
    calibration: Calibration
    min_score: float


@dataclass(frozen=True)
class Array:
    """An output of `extract`: where it is and what it says of itself."""

    path: Path
    meta: Meta
    row: int = 0  # its first row, in a shard of Parquet

    @property
    def key(self) -> str:
        return str(self.meta.get("source", {}).get("key", ""))

    @property
    def identity(self) -> str:
        return str(self.meta["identity"])

    @property
    def sampling(self) -> str:
        """The fingerprint of all that makes its numbers but the network."""
        parts = [self.meta.get(k) for k in ("preprocessing", "sampling", "output")]
        return f"extract-{fingerprint(*parts)}"

    def vectors(self) -> Floats:
        """float32 (n, d), rows of length 1."""
        rows = _read(self)
        return unit(rows.reshape(len(rows), -1).astype(np.float32))


def arrays(folder: Path) -> Iterator[Array]:
    """Every array of whole videos under a folder, of any format but tar."""
    for path in sorted(folder.rglob("*.npy.json")):
        yield Array(path.with_suffix(""), json.loads(path.read_text(encoding="utf-8")))
    for path in sorted(folder.rglob("manifest.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            meta = json.loads(line)
            yield Array(path.parent / meta["name"], meta)
    for path in sorted(folder.rglob("*.npz")):
        with np.load(path, allow_pickle=False) as file:
            if "meta" in file:
                yield Array(path, json.loads(str(file["meta"])))
    for path in sorted(folder.rglob("*.safetensors")):
        from safetensors import safe_open

        with safe_open(path, framework="numpy") as file:
            if (file.metadata() or {}).get("twinreel"):
                yield Array(path, json.loads(file.metadata()["twinreel"]))
    shards = sorted(folder.rglob("shard-*.parquet"))
    for path in shards:
        table = _parquet().read_table(path, columns=["meta", "row"])
        for at, text in enumerate(table.column("meta").to_pylist()):
            if text:
                yield Array(path, json.loads(text), at)
    if not shards and next(folder.rglob("shard-*.tar"), None):
        raise BadConfig(f"{folder}: tar shards cannot be read back; extract with another --format")


def _parquet() -> Any:
    from twinreel.portable import arrow

    return arrow().parquet


def _read(array: Array) -> Any:
    path, meta = array.path, array.meta
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            return file["features"]
    if path.suffix == ".safetensors":
        from safetensors.numpy import load_file

        return load_file(path)["features"]
    if path.suffix == ".parquet":
        table = _parquet().read_table(path, columns=["vector", "start_s", "end_s"])
        part = table.slice(array.row, meta["shape"][0])
        meta["spans_s"] = list(
            zip(part.column("start_s").to_pylist(), part.column("end_s").to_pylist(), strict=True)
        )
        return np.array(part.column("vector").to_pylist(), np.float32)
    return np.load(path, allow_pickle=False)


def take(run: Run, folder: Path) -> None:
    """Give a run the arrays of its videos; a video without one is a failure of it.

    Raises:
        NothingFound: no array with metadata there. BadConfig: of several networks or samplings.
    """
    wanted = run.options.model.model
    found = [a for a in arrays(folder) if "identity" in a.meta and a.key]
    whole = [a for a in found if not a.meta.get("start") and a.meta.get("end") is None]
    if wanted:
        whole = [a for a in whole if a.meta["model"]["name"] == wanted]
    if not whole:
        of = f" of model {wanted}" if wanted else ""
        raise NothingFound(f"{folder}: no arrays{of} with their metadata; `twinreel extract` them")
    kinds = {(a.identity, a.sampling) for a in whole}
    if len(kinds) > 1:
        names = sorted({a.identity for a in whole})
        raise BadConfig(
            f"{folder}: arrays made in {len(kinds)} ways ({', '.join(names)}) never meet in one "
            "comparison; choose one with --model, or name a folder of one kind"
        )
    run.model, run.sampling = kinds.pop()
    _adopt(run, whole[0].meta)
    by_key = {a.key: a for a in whole}
    known = run.library.known(run.model, run.sampling)
    for file in run.files:
        key, name = file.key or "", quick(file.key)
        if key in known:
            continue
        if name not in by_key:
            words = f"no array under {folder} is of this content; extract it"
            run.failures.append(Failure(file.path, "features", "NotGiven", words))
            continue
        known.add(key)
        array = by_key[name]
        run.library.put_look(_facts(array.meta), _features(array, key, run), (), run.sampling)


def _adopt(run: Run, meta: Meta) -> None:
    """The run's network is the arrays' one; its calibration where somebody has fitted one."""
    name = meta["model"]["name"]
    try:
        spec = models.get(name)
    except UnknownModel:
        spec = replace(run.spec, name=name, licence="", min_score=None, extra={})
    run.spec, run.weights_sha256 = spec, str(meta.get("weights", ""))
    run.calibration = Calibration(**spec.extra.get("calibration", {}))
    run.min_score = run.options.compare.threshold(
        spec.min_score if spec.min_score is not None else 0.9
    )


def _features(array: Array, key: str, run: Run) -> Features:
    vectors = array.vectors()
    spans = np.array(array.meta["spans_s"], np.float64).reshape(-1, 2)
    length = float(array.meta["video"]["duration_s"]) or float(spans[-1, 1] if len(spans) else 0)
    # Whether a row shows anything was not written down: rows of one value do not.
    blank = np.zeros(len(vectors), bool)
    return Features(key, run.model, run.sampling, vectors, spans, blank, length)


def _facts(meta: Meta) -> Facts:
    video = meta["video"]
    info = VideoInfo(
        float(video["duration_s"]), video["width"], video["height"], video["width"],
        video["height"], video["codec"], rotation=video["rotation"],
    )  # fmt: skip
    step = 1 / meta["sampling"]["fps"] if meta["sampling"].get("fps") else 0.0
    return Facts(info, step, meta["frames_expected"], meta["frames"], meta.get("damage", ""))
