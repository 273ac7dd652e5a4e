"""Feature arrays and what is known of them -> files; and whether a file that is there is the one.

    shelf = Shelf(folder, "npy", "sidecar", owner)
    shelf.find("a/x.mp4.npy", request)        # None: absent; else its metadata, checked
    shelf.put(Result("a/x.mp4.npy", vectors, spans_s, meta))

A name is given to a file only when all of it is on the disk: written under another name, synced,
renamed. 'npy' keeps its metadata in a .json beside it (or in one manifest for all), the other
formats inside. 'parquet' and 'tar' gather many videos in shards of their own.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from twinreel.errors import ExtraMissing, OutputError
from twinreel.types import Seconds

FORMATS = {
    "npy": ".npy",
    "npz": ".npz",
    "safetensors": ".safetensors",
    "parquet": ".npy",  # names inside a shard look like files
    "tar": ".npy",
}
SHARDED = ("parquet", "tar")
SHARD_VIDEOS = 256
SHARD_BYTES = 256 << 20
HIDDEN = ".twinreel"  # folder of a run's own records inside its output folder
# What of the metadata must agree for an output to be the one that is asked for.
REQUEST = ("model", "weights", "preprocessing", "sampling", "output", "start", "end")

Meta = dict[str, Any]


class OtherOutput(Exception):
    """A file of that name is there and is not what is asked for; the message says how."""


@dataclass(frozen=True)
class Result:
    """One array, (n, ...) float16 or float32, with the seconds each row saw, (n, 2)."""

    name: str
    vectors: npt.NDArray[Any]
    spans_s: Seconds
    meta: Meta


@contextlib.contextmanager
def disk(path: Path | str) -> Iterator[None]:
    """The output disk's trouble ends the run, in one message."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{path}: {error.strerror or error}; the run stops here. Make room or bring the disk "
            "back, then start the same command again: it goes on where it stopped"
        ) from None


def write_whole(path: Path, fill: Callable[[IO[bytes]], None], owner: str = "") -> None:
    """Write a file so that its name is never seen on half of it.

    Raises:
        OutputError: the disk is full, gone or read-only.
    """
    temp = path.with_name(f".{path.name}.part-{owner or os.getpid()}")
    with disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temp, "wb") as file:
                fill(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temp, path)
        except BaseException:
            with contextlib.suppress(OSError):
                temp.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut, where the system can."""
    with contextlib.suppress(OSError, AttributeError):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_json(path: Path, value: Any, owner: str = "") -> None:
    """`value` as JSON, whole or not at all."""
    text = json.dumps(value, indent=1).encode()
    write_whole(path, lambda file: (file.write(text), None)[1], owner)


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
        self._shards = _Shards(folder, fmt, owner) if fmt in SHARDED else None

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
        meta = {**result.meta, "shape": list(result.vectors.shape), "dtype": str(result.vectors.dtype)}
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


class Notes:
    """Records that several processes append to files of their own and all can read.

    A line is one record with a 'name'; of several with one name the latest 'when' counts. A line
    that a kill cut short is left out.
    """

    def __init__(self, folder: Path, kind: str, owner: str) -> None:
        self._folder, self._kind = folder, kind
        self._path = folder / f"{kind}-{owner}.jsonl"
        self._read_to: dict[Path, int] = {}
        self._records: dict[str, Meta] = {}

    def add(self, record: Meta) -> None:
        """Append one record and make it last. Raises OutputError."""
        record = {**record, "when": time.time()}
        with disk(self._path):
            self._folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
            try:
                os.write(handle, json.dumps(record).encode() + b"\n")
                os.fsync(handle)
            finally:
                os.close(handle)
        self._keep(record)

    def _keep(self, record: Meta) -> None:
        name = record["name"]
        if record["when"] >= self._records.get(name, {}).get("when", 0.0):
            self._records[name] = record

    def get(self, name: str) -> Meta | None:
        """The latest record of that name, as of the last `refresh`."""
        return self._records.get(name)

    def refresh(self) -> dict[str, Meta]:
        """Read what others have added; all latest records by name."""
        for path in sorted(self._folder.glob(f"{self._kind}-*.jsonl")):
            with disk(path), open(path, "rb") as file:
                file.seek(self._read_to.get(path, 0))
                data = file.read()
            whole = data.rfind(b"\n") + 1
            self._read_to[path] = self._read_to.get(path, 0) + whole
            for line in data[:whole].splitlines():
                with contextlib.suppress(ValueError, KeyError, TypeError):
                    self._keep(json.loads(line))
        return dict(self._records)


class _Shards:
    """Many videos to a file: shard-OWNER-N.parquet or .tar, each written whole."""

    def __init__(self, folder: Path, fmt: str, owner: str) -> None:
        self._folder, self._fmt, self._owner = folder, fmt, owner
        self._open: list[tuple[str, npt.NDArray[Any], Seconds, Meta]] = []
        self._count = 0
        self._known: dict[str, Meta] = {}
        self._seen: set[Path] = set()
        if fmt == "parquet":
            _arrow()

    def find(self, name: str) -> Meta | None:
        if name not in self._known:
            for path in sorted(self._folder.glob(f"shard-*.{self._fmt}")):
                if path not in self._seen:
                    self._seen.add(path)
                    self._known.update(self._index(path))
        return self._known.get(name)

    def _index(self, path: Path) -> dict[str, Meta]:
        if self._fmt == "tar":
            with tarfile.open(path) as tar:
                metas = [
                    json.loads(tar.extractfile(m).read())  # type: ignore[union-attr]
                    for m in tar
                    if m.name.endswith(".json")
                ]
        else:
            _, parquet = _arrow()
            column = parquet.read_table(path, columns=["meta"]).column("meta")
            metas = [json.loads(text) for text in column.to_pylist() if text]
        return {m["name"]: m for m in metas}

    def add(self, name: str, vectors: npt.NDArray[Any], spans_s: Seconds, meta: Meta) -> None:
        self._open.append((name, vectors, spans_s, {**meta, "name": name}))

    def full(self) -> bool:
        size = sum(v.nbytes for _, v, _, _ in self._open)
        return len(self._open) >= SHARD_VIDEOS or size >= SHARD_BYTES

    def flush(self) -> None:
        if not self._open:
            return
        path = self._folder / f"shard-{self._owner[:12]}-{self._count:05d}.{self._fmt}"
        write_whole(path, self._write_tar if self._fmt == "tar" else self._write_parquet, self._owner)
        self._seen.add(path)
        self._known.update({name: meta for name, _, _, meta in self._open})
        self._count += 1
        self._open = []

    def _write_tar(self, file: IO[bytes]) -> None:
        with tarfile.open(fileobj=file, mode="w") as tar:
            for number, (_, vectors, spans_s, meta) in enumerate(self._open):
                array = io.BytesIO()
                np.save(array, vectors)
                words = json.dumps({**meta, "spans_s": spans_s.round(6).tolist()}).encode()
                # WebDataset takes what stands before the first dot as the sample's key.
                key = f"{self._owner[:12]}-{self._count:05d}-{number:05d}"
                for ending, data in (("npy", array.getvalue()), ("json", words)):
                    info = tarfile.TarInfo(f"{key}.{ending}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))

    def _write_parquet(self, file: IO[bytes]) -> None:
        arrow, parquet = _arrow()
        tables = []
        for name, vectors, spans_s, meta in self._open:
            n = len(vectors)
            flat = np.ascontiguousarray(vectors).reshape(n, -1)
            values = arrow.array(flat.reshape(-1), type=arrow.from_numpy_dtype(flat.dtype))
            columns = {
                "name": arrow.array([name] * n, arrow.string()),
                "row": arrow.array(np.arange(n), arrow.int32()),
                "start_s": arrow.array(spans_s[:, 0], arrow.float64()),
                "end_s": arrow.array(spans_s[:, 1], arrow.float64()),
                "vector": arrow.FixedSizeListArray.from_arrays(values, flat.shape[1]),
                # Once per video, on its first row.
                "meta": arrow.array([json.dumps(meta)] + [None] * (n - 1), arrow.string()),
            }
            tables.append(arrow.table(columns))
        try:
            table = arrow.concat_tables(tables)
        except arrow.ArrowInvalid as error:
            raise OutputError(
                f"parquet: vectors of unlike length cannot share a file ({error}); "
                "use one model to a run, or another --format"
            ) from None
        parquet.write_table(table, file, compression="zstd")


def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ImportError:
        raise ExtraMissing(
            "format parquet needs pyarrow: pip install 'twinreel[parquet]'"
        ) from None
    return pyarrow, parquet
