"""Vectors of a library to other tools and back: Parquet, .npy beside Parquet, Lance.

    write_out(library, Path("moments.parquet"), "parquet")
    read_in(library, Path("moments.parquet"))

A row is a moment: id (the content key), path, start_s, end_s, blank, duration_s, vector (float16;
Lance: float32, which its index wants). The table's metadata says model and sampling. 'npy' is a
folder of embeddings/img_emb_N.npy and metadata/metadata_N.parquet in the same order, which
embedding-reader (file_format='parquet_npy') and autofaiss read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from twinreel.errors import BadConfig, ExtraMissing, InputError, NothingFound
from twinreel.extract.whole import write_whole
from twinreel.store import Library
from twinreel.types import Features

PART_ROWS = 65_536  # rows that are held at a time, and of a pair of files
COLUMNS = ("id", "path", "start_s", "end_s", "blank", "duration_s")
_ABOUT = b"twinreel"


def arrow() -> SimpleNamespace:
    """pyarrow as `.pa`, its Parquet as `.parquet`. Raises ExtraMissing."""
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise ExtraMissing("this needs pyarrow: pip install 'twinreel[parquet]'") from None
    return SimpleNamespace(pa=pa, parquet=parquet)


def _lance() -> Any:
    try:
        import lance
    except ImportError:
        raise ExtraMissing("format lance needs pylance: pip install 'twinreel[lance]'") from None
    return lance


def _kind(library: Library, model: str) -> tuple[str, str]:
    """The one model and sampling that is meant. Raises NothingFound, BadConfig."""
    kinds = [k for k in library.kinds() if not model or model in (k[0], k[0].split("@")[0])]
    if not kinds:
        raise NothingFound(f"{library.path}: no vectors of {model or 'any model'} in it")
    if len(kinds) > 1:
        named = ", ".join(f"{m} ({s})" for m, s in kinds)
        raise BadConfig(f"{library.path} holds several kinds of vectors: {named}; give --model")
    return kinds[0]


def _batches(library: Library, model: str, sampling: str) -> Iterator[list[Features]]:
    """Features, as many at a time as make PART_ROWS rows."""
    some: list[Features] = []
    rows = 0
    for features in library.all_features(model, sampling):
        some.append(features)
        rows += len(features.vectors)
        if rows >= PART_ROWS:
            yield some
            some, rows = [], 0
    if some:
        yield some


def _words(some: list[Features], paths: dict[str, str]) -> dict[str, Any]:
    """Columns of some Features but for the vectors."""
    each = [len(f.vectors) for f in some]
    spans = np.concatenate([f.spans_s for f in some])
    return {
        "id": np.repeat([f.key for f in some], each),
        "path": np.repeat([paths.get(f.key, "") for f in some], each),
        "start_s": spans[:, 0],
        "end_s": spans[:, 1],
        "blank": np.concatenate([f.blank for f in some]),
        "duration_s": np.repeat([f.duration_s for f in some], each),
    }


def write_out(library: Library, out: Path, fmt: str, model: str = "") -> tuple[int, int]:
    """Write every vector of one model; (videos, rows). Memory is bounded.

    Args:
        fmt: 'parquet' (a file), 'npy' (a folder of pairs) or 'lance' (a data set).

    Raises:
        InputError: `out` is there already. ExtraMissing, NothingFound, BadConfig, OutputError.
    """
    if out.exists():
        raise InputError(f"{out} is there already; name another")
    name, sampling = _kind(library, model)
    paths: dict[str, str] = {}
    for file, _, _ in library.files():
        text = file.path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        paths.setdefault(file.key or "", text)
    about = {_ABOUT: json.dumps({"model": name, "sampling": sampling}).encode()}
    pa = arrow().pa
    counts = [0, 0]

    def tables(kind: Any) -> Iterator[Any]:
        for some in _batches(library, name, sampling):
            flat = np.concatenate([f.vectors for f in some]).astype(kind)
            columns = {k: pa.array(v) for k, v in _words(some, paths).items()}
            values = pa.array(flat.reshape(-1))
            columns["vector"] = pa.FixedSizeListArray.from_arrays(values, flat.shape[1])
            counts[0] += len(some)
            counts[1] += len(flat)
            yield pa.table(columns).replace_schema_metadata(about)

    if fmt == "parquet":
        parquet = arrow().parquet

        def fill(file: Any) -> None:
            writer = None
            for table in tables(np.float16):
                writer = writer or parquet.ParquetWriter(file, table.schema, compression="zstd")
                writer.write_table(table)
            if writer is not None:
                writer.close()

        write_whole(out, fill)
    elif fmt == "lance":
        lance = _lance()
        for table in tables(np.float32):
            lance.write_dataset(table, str(out), mode="append" if out.exists() else "create")
    else:
        _write_pairs(library, out, name, sampling, paths, about, counts)
    return counts[0], counts[1]


def _write_pairs(
    library: Library,
    out: Path,
    name: str,
    sampling: str,
    paths: dict[str, str],
    about: dict[bytes, bytes],
    counts: list[int],
) -> None:
    pa, parquet = arrow().pa, arrow().parquet
    for number, some in enumerate(_batches(library, name, sampling)):
        flat = np.concatenate([f.vectors for f in some]).astype(np.float16)
        table = pa.table({k: pa.array(v) for k, v in _words(some, paths).items()})
        table = table.replace_schema_metadata(about)
        pair = f"{number:05}"
        write_whole(out / "embeddings" / f"img_emb_{pair}.npy", lambda f, a=flat: np.save(f, a))  # type: ignore[misc]
        write_whole(
            out / "metadata" / f"metadata_{pair}.parquet",
            lambda f, t=table: parquet.write_table(t, f, compression="zstd"),  # type: ignore[misc]
        )
        counts[0] += len(some)
        counts[1] += len(flat)


def read_in(library: Library, source: Path) -> tuple[int, int]:
    """Take in what `write_out` wrote; (videos, rows).

    Raises:
        InputError: not such a file. ExtraMissing.
    """
    videos = rows = 0
    held: tuple[str, list[Any]] | None = None  # a video may go on in the next part
    kind = ("", "")
    for about, words, vectors in _parts(source):
        kind = (about["model"], about["sampling"])
        ids = np.asarray(words["id"])
        cuts = np.nonzero(ids[1:] != ids[:-1])[0] + 1
        for first, last in zip([0, *cuts], [*cuts, len(ids)], strict=True):
            if first == last:
                continue
            piece = [
                vectors[first:last],
                np.stack([words["start_s"][first:last], words["end_s"][first:last]], axis=1),
                words["blank"][first:last],
                float(words["duration_s"][first]),
            ]
            if held is not None and held[0] == ids[first]:
                old = held[1]
                piece = [np.concatenate([old[n], piece[n]]) for n in range(3)] + [piece[3]]
            elif held is not None:
                videos, rows = videos + 1, rows + _put(library, held, kind)
            held = (str(ids[first]), piece)
    if held is None:
        raise InputError(f"{source}: no vectors in it; give what `library export` wrote")
    return videos + 1, rows + _put(library, held, kind)


def _put(library: Library, held: tuple[str, list[Any]], kind: tuple[str, str]) -> int:
    key, (vectors, spans, blank, length) = held
    library.put_features(
        Features(
            key, kind[0], kind[1], np.ascontiguousarray(vectors, np.float32),
            np.asarray(spans, np.float64), np.asarray(blank, bool), length,
        )
    )  # fmt: skip
    return len(vectors)


def _parts(source: Path) -> Iterator[tuple[dict[str, str], dict[str, Any], Any]]:
    """(about, columns, vectors) of each part of an export."""
    parquet = arrow().parquet
    if source.is_file():
        try:
            file = parquet.ParquetFile(source)
        except (OSError, ValueError) as error:
            raise InputError(f"{source}: not readable as Parquet: {error}") from None
        about = _about(file.schema_arrow.metadata, source)
        for batch in file.iter_batches(PART_ROWS):
            yield about, _columns(batch, source), _vectors(batch)
    elif (source / "embeddings").is_dir():
        for path in sorted((source / "metadata").glob("metadata_*.parquet")):
            table = parquet.read_table(path)
            number = path.stem.removeprefix("metadata_")
            vectors = np.load(source / "embeddings" / f"img_emb_{number}.npy", allow_pickle=False)
            if len(vectors) != len(table):
                raise InputError(
                    f"{source}: pair {number} is of {len(vectors)} and {len(table)} rows"
                )
            yield _about(table.schema.metadata, path), _columns(table, path), vectors
    else:
        data = _lance().dataset(str(source))
        about = _about(data.schema.metadata, source)
        for batch in data.to_batches(batch_size=PART_ROWS):
            yield about, _columns(batch, source), _vectors(batch)


def _about(metadata: dict[bytes, bytes] | None, path: Path) -> dict[str, str]:
    text = (metadata or {}).get(_ABOUT)
    if text is None:
        raise InputError(
            f"{path}: does not say which model made its vectors; give what `library export` wrote"
        )
    about: dict[str, str] = json.loads(text)
    return about


def _columns(table: Any, path: Path) -> dict[str, Any]:
    if lacking := [c for c in COLUMNS if c not in table.schema.names]:
        raise InputError(f"{path}: no column {lacking[0]}; give what `library export` wrote")
    return {c: np.asarray(table.column(c).to_numpy(zero_copy_only=False))
            if hasattr(table.column(c), "type") and not hasattr(table.column(c), "chunks")
            else table.column(c).to_numpy() for c in COLUMNS}  # fmt: skip


def _vectors(batch: Any) -> Any:
    column = batch.column("vector")
    width = column.type.list_size
    return column.flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
