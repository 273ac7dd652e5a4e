"""Many videos to a file: shards of Parquet or WebDataset tar, each written whole.

shards = Shards(folder, "tar", owner)
shards.add("a/x.mp4.npy", vectors, spans_s, meta)
shards.flush()                              # what was added lasts from here on
"""

from __future__ import annotations

import io
import json
import math
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from twinreel.errors import ExtraMissing, OutputError
from twinreel.extract.whole import Meta, disk, write_whole
from twinreel.types import Seconds

SHARD_VIDEOS = 256
SHARD_BYTES = 256 << 20
Found = tuple[tuple[int, ...], str, Meta]  # an array's shape, its type, what is said of it
_EMPTY = b"twinreel.empty"  # of a Parquet file: the metadata of videos without a row
# What reading a file raises that is no shard of ours.
_BROKEN = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    tarfile.TarError,
)


class Shards:
    """Many videos to a file: shard-OWNER-N.parquet or .tar, each written whole."""

    def __init__(
        self, folder: Path, fmt: str, owner: str, clock: Callable[[], float] = time.time
    ) -> None:
        self._folder, self._fmt, self._owner, self._clock = folder, fmt, owner, clock
        self._open: list[tuple[str, npt.NDArray[Any], Seconds, Meta]] = []
        self._count = 0
        self._known: dict[str, Found] = {}
        self._seen: set[Path] = set()
        if fmt == "parquet":
            _arrow()

    def find(self, name: str) -> Found | None:
        """A video's array as the shards have it.

        Raises:
            OutputError: the disk is gone, or a shard damaged.
        """
        if name not in self._known:
            self.refresh()
        return self._known.get(name)

    def refresh(self) -> None:
        """Read the shards that others have closed."""
        with disk(self._folder):
            paths = sorted(self._folder.glob(f"shard-*.{self._fmt}"))
        for path in paths:
            if path not in self._seen:
                self._read(path)
                self._seen.add(path)

    def _keep(self, found: Found) -> None:
        """A video that was made anew stands in two shards: the later one counts."""
        name, when = found[2]["name"], found[2].get("when", 0.0)
        if name not in self._known or when >= self._known[name][2].get("when", 0.0):
            self._known[name] = found

    def _read(self, path: Path) -> None:
        index = _index_tar if self._fmt == "tar" else _index_parquet
        with disk(path):
            try:
                for found in index(path):
                    self._keep(found)
            except _BROKEN as error:
                if isinstance(error, OSError) and error.errno:
                    raise  # the disk's trouble, not the file's
                raise OutputError(
                    f"{path}: damaged, or no shard of extract ({error}); move it away and start "
                    "the same command again: what it held is then made anew"
                ) from None

    def add(self, name: str, vectors: npt.NDArray[Any], spans_s: Seconds, meta: Meta) -> None:
        with disk(self._folder):
            when = self._clock()
        self._open.append((name, vectors, spans_s, {**meta, "name": name, "when": when}))

    def drop(self, name: str) -> None:
        """Take back what was added since the last `flush`."""
        self._open = [video for video in self._open if video[0] != name]

    def full(self) -> bool:
        size = sum(v.nbytes for _, v, _, _ in self._open)
        return len(self._open) >= SHARD_VIDEOS or size >= SHARD_BYTES

    def flush(self) -> None:
        if not self._open:
            return
        path = self._folder / f"shard-{self._owner[:12]}-{self._count:05d}.{self._fmt}"
        fill = self._write_tar if self._fmt == "tar" else self._write_parquet
        write_whole(path, fill, self._owner)
        self._seen.add(path)
        for _, vectors, _, meta in self._open:
            self._keep((vectors.shape, str(vectors.dtype), meta))
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
            flat = np.ascontiguousarray(vectors).reshape(-1)
            values = arrow.array(flat, type=arrow.from_numpy_dtype(flat.dtype))
            width = math.prod(vectors.shape[1:])
            columns = {
                "name": arrow.array([_printable(name)] * n, arrow.string()),
                "row": arrow.array(np.arange(n), arrow.int32()),
                "start_s": arrow.array(spans_s[:, 0], arrow.float64()),
                "end_s": arrow.array(spans_s[:, 1], arrow.float64()),
                "vector": arrow.FixedSizeListArray.from_arrays(values, width),
                # Once per video, on its first row.
                "meta": arrow.array(([json.dumps(meta)] + [None] * n)[:n], arrow.string()),
            }
            tables.append(arrow.table(columns))
        try:
            table = arrow.concat_tables(tables)
        except arrow.ArrowInvalid as error:
            raise OutputError(
                f"parquet: vectors of unlike length cannot share a file ({error}); "
                "use one model to a run, or another --format"
            ) from None
        if empty := [meta for _, vectors, _, meta in self._open if not len(vectors)]:
            table = table.replace_schema_metadata({_EMPTY: json.dumps(empty)})
        parquet.write_table(table, file, compression="zstd")


def header_of(file: IO[bytes], size: int) -> tuple[tuple[int, ...], str]:
    """Shape and dtype of a .npy of so many bytes; ValueError if its header promises others."""
    version = np.lib.format.read_magic(file)
    read = (
        np.lib.format.read_array_header_1_0
        if version == (1, 0)
        else np.lib.format.read_array_header_2_0
    )
    shape, _, dtype = read(file)
    wanted = file.tell() + dtype.itemsize * int(np.prod(shape, dtype=np.int64))
    if size != wanted:
        raise ValueError(f"{size} bytes, its header promises {wanted}")
    return tuple(shape), str(dtype)


def _index_tar(path: Path) -> list[Found]:
    arrays: dict[str, tuple[tuple[int, ...], str]] = {}
    found: list[Found] = []
    with tarfile.open(path) as tar:
        for member in tar:
            key, _, ending = member.name.partition(".")
            file: Any = tar.extractfile(member)
            if ending == "npy":
                arrays[key] = header_of(file, member.size)
            elif ending == "json":
                found.append((*arrays[key], json.loads(file.read())))
    # tarfile takes a header that is cut short for the end.
    if len(found) != len(arrays) or path.stat().st_size % tarfile.RECORDSIZE:
        raise ValueError("its end is missing")
    return found


def _index_parquet(path: Path) -> list[Found]:
    _, parquet = _arrow()
    with parquet.ParquetFile(path) as file:
        schema = file.schema_arrow
        texts = file.read(columns=["meta"]).column("meta").to_pylist()
    kind = schema.field("vector").type
    width, dtype = kind.list_size, str(np.dtype(kind.value_type.to_pandas_dtype()))
    metas = json.loads((schema.metadata or {}).get(_EMPTY, b"[]"))
    found: list[Found] = [(tuple(meta["shape"]), dtype, meta) for meta in metas]
    starts = [at for at, text in enumerate(texts) if text]
    for at, end in zip(starts, [*starts, len(texts)][1:], strict=True):
        meta = json.loads(texts[at])
        inner = meta["shape"][1:]  # rows of more than one dimension lie flat in the file
        if math.prod(inner) != width:
            inner = [width]
        found.append(((end - at, *inner), dtype, meta))
    return found


def _printable(name: str) -> str:
    r"""A name that is not UTF-8 with its bytes as \xNN; the metadata has the name itself."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ImportError:
        raise ExtraMissing(
            "format parquet needs pyarrow: pip install 'twinreel[parquet]'"
        ) from None
    return pyarrow, parquet
