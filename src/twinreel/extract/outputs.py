"""Feature arrays and what is known of them -> files; and whether a file that is there is the one.

    shelf = Shelf(folder, "npy", "sidecar", owner)
    shelf.find("a/x.mp4.npy", request)        # None: absent; else its metadata, checked
    shelf.put(Result("a/x.mp4.npy", vectors, spans_s, meta))

A name is given to a file only when all of it is on the disk: written under another name, synced,
renamed. 'npy' keeps its metadata in a .json beside it (or in one manifest for all), the other
formats inside. 'parquet' and 'tar' gather many videos in shards of their own.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from twinreel.extract.shards import Shards
from twinreel.extract.whole import Meta, Notes, disk, write_json, write_whole
from twinreel.types import Seconds

FORMATS = {
    "npy": ".npy",
    "npz": ".npz",
    "safetensors": ".safetensors",
    "parquet": ".npy",  # names inside a shard look like files
    "tar": ".npy",
}
SHARDED = ("parquet", "tar")
HIDDEN = ".twinreel"  # folder of a run's own records inside its output folder
# What of the metadata must agree for an output to be the one that is asked for.
REQUEST = ("model", "weights", "preprocessing", "sampling", "output", "start", "end")


class OtherOutput(Exception):
    """A file of that name is there and is not what is asked for; the message says how."""


@dataclass(frozen=True)
class Result:
    """One array, (n, ...) float16 or float32, with the seconds each row saw, (n, 2)."""

    name: str
    vectors: npt.NDArray[Any]
    spans_s: Seconds
    meta: Meta


def npy_header(path: Path) -> tuple[tuple[int, ...], str]:
    """Shape and dtype of a .npy whose size is what its header says. Raises ValueError."""
    with open(path, "rb") as file:
        version = np.lib.format.read_magic(file)
        read = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = read(file)
        wanted = file.tell() + dtype.itemsize * int(np.prod(shape, dtype=np.int64))
        size = os.fstat(file.fileno()).st_size
    if size != wanted:
        raise ValueError(f"{size} bytes, its header promises {wanted}")
    return tuple(shape), str(dtype)


def differences(there: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """What of REQUEST differs, in words."""
    words = []
    for field in REQUEST:
        a, b = there.get(field), asked.get(field)
        if a == b:
            continue
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            parts = [k for k in {**a, **b} if a.get(k) != b.get(k)]
            words += [f"{field}.{k} is {a.get(k)!r}, asked is {b.get(k)!r}" for k in parts]
        else:
            words.append(f"{field} is {a!r}, asked is {b!r}")
    return words


class Shelf:
    """The outputs of a run, in one format. `find` and `put` are all that callers need."""

    def __init__(self, folder: Path, fmt: str, meta: str, owner: str) -> None:
        """fmt: a key of FORMATS. meta: 'sidecar' or 'manifest' (npy only)."""
        if fmt not in FORMATS:
            raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {fmt!r}")
        self.folder, self._fmt, self._owner = folder, fmt, owner
        self.notes = Notes(folder / HIDDEN, "meta", owner) if meta == "manifest" else None
        self._shards = Shards(folder, fmt, owner) if fmt in SHARDED else None

    def find(self, name: str, request: Meta) -> Meta | None:
        """Metadata of the output `name` if it is there and fits; None if it is not there.

        Raises:
            OtherOutput: it is there and does not fit.
        """
        path = self.folder / name
        if self._shards is not None:
            meta = self._shards.find(name)
        elif not path.exists():
            return None
        else:
            meta = self._read(path, name)
        if meta is None:
            return None
        if differing := differences(meta, request):
            raise OtherOutput("; ".join(differing))
        return meta

    def _read(self, path: Path, name: str) -> Meta:
        try:
            if self._fmt == "npz":
                with np.load(path, allow_pickle=False) as file:
                    shape, dtype = file["features"].shape, str(file["features"].dtype)
                    meta: Meta = json.loads(str(file["meta"]))
            elif self._fmt == "safetensors":
                shape, dtype, meta = _read_safetensors(path)
            else:
                shape, dtype = npy_header(path)
                meta = self._npy_meta(path, name)
        except OtherOutput:
            raise
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise OtherOutput(f"not a whole {self._fmt} file: {error}") from None
        if [list(shape), dtype] != [meta.get("shape"), meta.get("dtype")]:
            raise OtherOutput(
                f"holds {list(shape)} {dtype}, its metadata speaks of "
                f"{meta.get('shape')} {meta.get('dtype')}"
            )
        return meta

    def _npy_meta(self, path: Path, name: str) -> Meta:
        if self.notes is not None:
            if found := self.notes.get(name) or self.notes.refresh().get(name):
                return found
        elif (beside := sidecar(path)).exists():
            meta: Meta = json.loads(beside.read_text(encoding="utf-8"))
            return meta
        raise OtherOutput("carries no metadata, so what made it cannot be known")

    def put(self, result: Result) -> None:
        """Write one output whole. In shards it lasts only after `flush`."""
        path = self.folder / result.name
        array = result.vectors
        meta = {**result.meta, "shape": list(array.shape), "dtype": str(array.dtype)}
        if self._shards is not None:
            self._shards.add(result.name, result.vectors, result.spans_s, meta)
            return
        meta["spans_s"] = result.spans_s.round(6).tolist()
        if self._fmt == "npz":
            write_whole(path, lambda f: _write_npz(f, result, meta), self._owner)
        elif self._fmt == "safetensors":
            write_whole(path, lambda f: _write_safetensors(f, result, meta), self._owner)
        else:
            # An old array must not be seen with new words beside it.
            with disk(path):
                path.unlink(missing_ok=True)
            if self.notes is not None:
                self.notes.add({"name": result.name, **meta})
            else:
                write_json(sidecar(path), meta, self._owner)
            write_whole(path, lambda f: np.save(f, result.vectors), self._owner)

    def full(self) -> bool:
        """Whether a shard should be closed now."""
        return self._shards is not None and self._shards.full()

    def flush(self) -> None:
        """Close the open shard, if any: after this everything put lasts."""
        if self._shards is not None:
            self._shards.flush()

    def gather(self) -> None:
        """Write manifest.jsonl, all metadata in one file (only with meta 'manifest')."""
        if self.notes is None:
            return
        lines = [json.dumps(m) for _, m in sorted(self.notes.refresh().items())]
        text = "".join(line + "\n" for line in lines).encode()
        path = self.folder / "manifest.jsonl"
        write_whole(path, lambda file: (file.write(text), None)[1], self._owner)

    def clean(self, name: str) -> None:
        """Remove what a killed owner left of this output."""
        path = self.folder / name
        with disk(path):
            for left in path.parent.glob(f".{_glob_safe(path.name)}*.part-*"):
                left.unlink(missing_ok=True)


def _glob_safe(name: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)


def sidecar(path: Path) -> Path:
    """x.npy -> x.npy.json"""
    return path.with_name(path.name + ".json")


def _write_npz(file: IO[bytes], result: Result, meta: Meta) -> None:
    # Not np.savez: it puts its own suffix behind a name, and pickles text.
    text = np.array(json.dumps(meta))
    np.savez(file, features=result.vectors, spans_s=result.spans_s, meta=text)


def _write_safetensors(file: IO[bytes], result: Result, meta: Meta) -> None:
    from safetensors.numpy import save

    arrays = {"features": np.ascontiguousarray(result.vectors), "spans_s": result.spans_s}
    file.write(save(arrays, metadata={"twinreel": json.dumps(meta)}))


def _read_safetensors(path: Path) -> tuple[tuple[int, ...], str, Meta]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            features = file.get_tensor("features")
            meta: Meta = json.loads(file.metadata()["twinreel"])
    except (SafetensorError, TypeError) as error:
        raise ValueError(str(error)) from None
    return features.shape, str(features.dtype), meta
