"""Vectors beside a library: append-only shards of float16 rows, read through memory maps.

    shards = Shards(Path("library.db.vectors"))
    shards.write(place, rows)         # float16 (n, d) from row `place` on; then it lasts
    shards.read(place, n, d)          # float32 (n, d)

A shard is a plain .npy of SHARD_ROWS rows that is filled from its start. What is in it is said by
the library alone (store.py): a row that no transaction speaks of is not there, so a kill between
the two loses nothing and repeats nothing.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from twinreel.types import Floats

SHARD_ROWS = 65_536
OPEN_SHARDS = 512  # maps kept open; a map costs address space, not memory
Halves = npt.NDArray[np.float16]


def wide(halves: Halves) -> Floats:
    """Finite float16 numbers as float32, the same numbers; numpy's own way takes six times as long.

    A half's exponent and fraction stand 13 bits lower than a float's, and its exponent counts from
    15 instead of 127: shifted up, sign in its place, it is the number times 2 ** -112.
    """
    bits = halves.view(np.int16).astype(np.int32)
    bits <<= 13
    bits &= np.int32(~0x70001FFF)  # the copies of the sign between, and what came in below
    out: Floats = bits.view(np.float32)
    out *= np.float32(2.0**112)
    return out


class Shards:
    """The shards of one library. Rows of unlike width stand in shards of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open: OrderedDict[Path, Any] = OrderedDict()

    def _path(self, number: int, dim: int) -> Path:
        return self.folder / f"{dim}-{number:05}.npy"

    def write(self, place: int, rows: Halves) -> None:
        """Put float16 rows (n, d) at row `place` of their width, and make them last.

        Raises:
            OSError: the disk is full or gone.
        """
        rows = np.ascontiguousarray(rows, np.float16)
        dim = rows.shape[1]
        while len(rows):
            number, first = divmod(place, SHARD_ROWS)
            part, rows = rows[: SHARD_ROWS - first], rows[SHARD_ROWS - first :]
            path = self._path(number, dim)
            if not path.exists():
                self._make(path, dim)
            with open(path, "r+b") as file:
                version = np.lib.format.read_magic(file)
                assert version == (1, 0), version
                np.lib.format.read_array_header_1_0(file)
                file.seek(file.tell() + first * dim * 2)
                file.write(part.tobytes())
                file.flush()
                os.fsync(file.fileno())
            place += len(part)

    def _make(self, path: Path, dim: int) -> None:
        """A shard of zeros (a sparse file where the disk knows them), there whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.part-{os.getpid()}")
        np.lib.format.open_memmap(temporary, "w+", np.float16, (SHARD_ROWS, dim))
        os.replace(temporary, path)

    def _map(self, number: int, dim: int) -> Any:
        path = self._path(number, dim)
        if path not in self._open:
            self._open[path] = np.asarray(np.load(path, mmap_mode="r"))
            if len(self._open) > OPEN_SHARDS:
                self._open.popitem(last=False)
        self._open.move_to_end(path)
        return self._open[path]

    def read(self, place: int, count: int, dim: int) -> Floats:
        """float32 (count, dim) from row `place` on.

        Raises:
            OSError, ValueError: a shard is gone or is not whole.
        """
        out = np.empty((count, dim), np.float32)
        done = 0
        while done < count:
            number, first = divmod(place + done, SHARD_ROWS)
            take = min(count - done, SHARD_ROWS - first)
            out[done : done + take] = wide(self._map(number, dim)[first : first + take])
            done += take
        return out

    def take(self, rows: npt.NDArray[np.int64], dim: int) -> Floats:
        """float32 (n, dim): the rows at these places, in any order.

        Raises:
            OSError, ValueError: a shard is gone or is not whole.
        """
        out = np.empty((len(rows), dim), np.float32)
        numbers, within = np.divmod(rows, SHARD_ROWS)
        for number in np.unique(numbers).tolist():
            here = numbers == number
            out[here] = wide(self._map(number, dim)[within[here]])
        return out

    def close(self) -> None:
        """Let go of the maps."""
        self._open.clear()
