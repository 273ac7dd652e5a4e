"""Many videos to a file: shards of Parquet or WebDataset tar, each written whole.

shards = Shards(folder, "tar", owner)
shards.add("a/x.mp4.npy", vectors, spans_s, meta)
shards.flush()                              # what was added lasts from here on
"""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from twinreel.errors import ExtraMissing, OutputError
from twinreel.extract.whole import Meta, write_whole
from twinreel.types import Seconds

SHARD_VIDEOS = 256
SHARD_BYTES = 256 << 20


class Shards:
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
        fill = self._write_tar if self._fmt == "tar" else self._write_parquet
        write_whole(path, fill, self._owner)
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
