"""Feature arrays and what is known of them -> files; and whether a file that is there is the one.

    shelf = Shelf(folder, "npy", "sidecar", owner)
    shelf.find("a/x.mp4.npy", request)        # None: absent; else its metadata, checked
    shelf.put(Result("a/x.mp4.npy", vectors, spans_s, meta))

A name is given to a file only when all of it is on the disk: written under another name, synced,
renamed. 'npy' keeps its metadata in a .json beside it (or in one manifest for all), the other
formats inside. 'parquet' and 'tar' gather many videos in shards of their own.
"""

from __future__ import annotations

import errno
import json
import os
import re
import time
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from twinreel.extract.shards import Found, Shards, header_of
from twinreel.extract.whole import Meta, Notes, disk, temporary, write_json, write_whole
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


class NameTooLong(OtherOutput):
    """The output disk has no files of so long a name."""


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
        return header_of(file, os.fstat(file.fileno()).st_size)


def differences(
    there: Mapping[str, Any], asked: Mapping[str, Any], fields: Sequence[str] = REQUEST
) -> list[str]:
    """What of these fields differs, in words."""
    words = []
    for field in fields:
        a, b = there.get(field), asked.get(field)
        if a == b:
            continue
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            a = _meant(a, b)
            parts = [k for k in {**a, **b} if a.get(k) != b.get(k)]
            words += [f"{field}.{k} is {a.get(k)!r}, asked is {b.get(k)!r}" for k in parts]
        else:
            words.append(f"{field} is {a!r}, asked is {b!r}")
    return words


def _meant(there: Mapping[str, Any], asked: Mapping[str, Any]) -> Mapping[str, Any]:
    """What an output of an earlier version says, which left open what is asked for now."""
    if "pool" in asked:  # without a layer it was not named: the default's is assumed
        return {"pool": "mean", **there}
    if there.get("precision") == "auto":  # what that came to was not kept
        return {**there, "precision": asked.get("precision")}
    return there


class Shelf:
    """The outputs of a run, in one format. `find` and `put` are all that callers need."""

    def __init__(
        self,
        folder: Path,
        fmt: str,
        meta: str,
        owner: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """fmt: a key of FORMATS. meta: 'sidecar' or 'manifest' (npy only). clock: seconds on a
        clock that all writers share; of two records of a video the later one counts."""
        if fmt not in FORMATS:
            raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {fmt!r}")
        self.folder, self._fmt, self._owner = folder, fmt, owner
        self.notes = Notes(folder / HIDDEN, "meta", owner, clock) if meta == "manifest" else None
        self._shards = Shards(folder, fmt, owner, clock) if fmt in SHARDED else None

    def find(self, name: str, request: Meta) -> Meta | None:
        """Metadata of the output `name` if it is there and fits; None if it is not there.

        Raises:
            OtherOutput: it is there and does not fit.
            NameTooLong: it can never be there.
            OutputError: the disk is gone, or a shard on it damaged.
        """
        path = self.folder / name
        if self._shards is not None:
            found = self._shards.find(name)
        elif _exists(path):
            found = self._read(path, name)
        else:
            if self._fmt == "npy" and self.notes is None:
                _exists(sidecar(path))  # its name may be too long where the array's is not
            return None
        if found is None:
            return None
        shape, dtype, meta = found
        if [list(shape), dtype] != [meta.get("shape"), meta.get("dtype")]:
            raise OtherOutput(
                f"holds {list(shape)} {dtype}, its metadata speaks of "
                f"{meta.get('shape')} {meta.get('dtype')}"
            )
        if differing := differences(meta, request):
            raise OtherOutput("; ".join(differing))
        return meta

    def refresh(self) -> None:
        """Read what others have added to a format that gathers many videos."""
        if self._shards is not None:
            self._shards.refresh()

    def _read(self, path: Path, name: str) -> Found:
        try:
            if self._fmt == "npz":
                # numpy leaves a file open that it finds no zip in.
                with open(path, "rb") as stored, np.load(stored, allow_pickle=False) as file:
                    shape, dtype = file["features"].shape, str(file["features"].dtype)
                    meta: Meta = json.loads(str(file["meta"]))
            elif self._fmt == "safetensors":
                shape, dtype, meta = _read_safetensors(path)
            else:
                shape, dtype = npy_header(path)
                meta = self._npy_meta(path, name)
        except OtherOutput:
            raise
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise OtherOutput(f"not a whole {self._fmt} file: {error}") from None
        return shape, dtype, meta

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

    def withdraw(self, name: str) -> None:
        """Take back what was put in a shard that is still open."""
        if self._shards is not None:
            self._shards.drop(name)

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
        # With earlier versions the name itself stood in it.
        begins = (temporary(path.name), temporary(sidecar(path).name), f".{path.name}")
        with disk(path):
            for left in path.parent.glob(".*.part-*"):
                if left.name.startswith(begins):
                    left.unlink(missing_ok=True)

    def tidy(self, names: Iterable[str], ended: Callable[[str], bool]) -> None:
        """Remove what killed owners left half written in the run's folder and beside these outputs.

        Args:
            ended: whether the owner of that name is no longer at work.
        """
        for place in {self.folder, *((self.folder / name).parent for name in names)}:
            with disk(place):
                for left in place.glob(".*.part-*"):
                    owner = left.name.rpartition(".part-")[2]
                    # Who is no owner of claims (a process number) cannot be told to have ended.
                    if re.fullmatch("[0-9a-f]{32}", owner) and ended(owner):
                        left.unlink(missing_ok=True)


def _exists(path: Path) -> bool:
    """Whether an output is there. Raises NameTooLong, OutputError."""
    with disk(path):
        try:
            os.stat(path)
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                raise NameTooLong(
                    f"{path}: its name is too long for the output disk; rename the video, or give "
                    "its output another name with --csv, or try --format tar"
                ) from None
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                return False
            raise
    return True


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
