"""The moments of a library, where the nearest to others are found: an inverted file of faiss
(IVF, 8 bits a number), or a plain product (flat.py) where videos have one or a few rows.

    index = Index.build(source)
    index.near(source, numbers, least, tolerance)      # for each video the nearest others

Moments are cut to their principal components; one like the one before it is not held twice. Where
memory does not suffice, stretches of a video are averaged, down to one row per video.
"""

from __future__ import annotations

import math
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from twinreel.ann.flat import Flat
from twinreel.ann.source import Ints, Source
from twinreel.errors import ExtraMissing
from twinreel.types import Floats

EXACT_CELLS = 2e10  # similarities of moments up to which every pair is looked at (minutes)
DIM = 64
# Fewer rows to a video stand for it alone, and are kept in finer detail.
FEW, FEW_DIM, FLAT_DIM = 4, 256, 128
WIDE = 192  # nearest videos whose full vectors are looked at
HITS, FEW_HITS = 32, 96  # nearest rows that one row asks for; more where a video has few
ALIKE = 0.95  # cosine from which a moment counts as the one before it
INDEX_BYTES = 1 << 30
ROW_BYTES = DIM + 16  # of a row in the index: its code, its number, its owner
BLOCK = 256  # videos whose vectors are read together
PROBES = (8, 16, 32, 64)


def wanted(choice: str, new_rows: int, all_rows: int) -> bool:
    """Whether neighbours are asked for instead of looking at every pair.

    Args:
        choice: 'auto', 'exact' or 'ann'. new_rows, all_rows: moments.

    Raises:
        ExtraMissing: 'ann' is asked for and faiss is not installed.
    """
    if choice == "exact":
        return False
    if choice == "auto" and (new_rows * all_rows < EXACT_CELLS or not installed()):
        return False
    _faiss()
    return True


def installed() -> bool:
    """Whether faiss is there."""
    from importlib.util import find_spec

    return find_spec("faiss") is not None


def _faiss() -> Any:
    try:
        import faiss
    except ImportError:
        raise ExtraMissing(
            "nearest neighbours need faiss: pip install 'twinreel[ann]', or --neighbours exact"
        ) from None
    return faiss


@dataclass
class Index:
    """The moments of all videos.

    rows: faiss's index, or Flat. starts: first row of each video, (n + 1,). axes: (d, DIM), what
    vectors are cut to. most: rows of a video at most. probes: lists that a query looks into.
    """

    rows: Any
    axes: Floats
    starts: Ints
    most: int
    probes: int = PROBES[0]
    words: str = ""

    @classmethod
    def build(cls, source: Source, threads: int = 0, index_bytes: int = INDEX_BYTES) -> Index:
        """Train on a sample, then add every video."""
        faiss = _faiss()
        faiss.omp_set_num_threads(threads or os.cpu_count() or 1)
        count = len(source.keys)
        most = max(1, index_bytes // ROW_BYTES // max(1, count))
        drawn = random.Random(0).sample(range(count), min(count, 20_000))
        whole = _axes(source, drawn[:4000])
        _, counts = _reduced(source, drawn[:2000], whole[:, :DIM], most)
        mean = float(counts.mean())
        if mean < FEW and mean * count * FLAT_DIM * 4 < index_bytes:
            axes = np.ascontiguousarray(whole[:, :FLAT_DIM])
            blocks = [
                _reduced(source, range(n, min(n + BLOCK, count)), axes, most)
                for n in range(0, count, BLOCK)
            ]
            flat = Flat(np.concatenate([rows for rows, _ in blocks]))
            starts = np.append(0, np.cumsum(np.concatenate([counts for _, counts in blocks])))
            words = f"a plain product of {len(flat.rows)} rows of {axes.shape[1]} numbers"
            return cls(flat, axes, starts, most, 0, words)
        axes = np.ascontiguousarray(whole[:, : FEW_DIM if mean < FEW else DIM])
        lists = max(1, min(16_384, round(4 * math.sqrt(mean * count)), int(mean * count / 30)))
        # 40 rows of the sample for each list.
        drawn = random.Random(0).sample(range(count), min(count, round(40 * lists / mean) + 1))
        sample = [
            _reduced(source, drawn[n : n + BLOCK], axes, most)[0]
            for n in range(0, len(drawn), BLOCK)
        ]
        some = np.concatenate(sample)[: 64 * lists]
        del sample
        quantizer = faiss.IndexFlatIP(axes.shape[1])
        index = faiss.IndexIVFScalarQuantizer(
            quantizer, axes.shape[1], lists, faiss.ScalarQuantizer.QT_8bit,
            faiss.METRIC_INNER_PRODUCT, False,
        )  # fmt: skip
        index.cp.niter, index.cp.min_points_per_centroid = 8, 1
        index.train(some)
        starts = np.zeros(count + 1, np.int64)
        for first in range(0, count, BLOCK):
            block = range(first, min(first + BLOCK, count))
            rows, counts = _reduced(source, block, axes, most)
            index.add(rows)
            starts[first + 1 : block.stop + 1] = starts[first] + np.cumsum(counts)
        each = "all unlike moments" if most > 32 else f"at most {most} rows a video"
        words = f"faiss IVF of {index.ntotal} rows ({each}), {lists} lists"
        return cls(index, axes, starts, most, PROBES[0], words)

    def near(
        self,
        source: Source,
        numbers: Sequence[int],
        least: float,
        tolerance: tuple[float, float],
        without: npt.NDArray[np.bool_] | None = None,
    ) -> list[Ints]:
        """For each video the others with the most similar rows, best first, at most WIDE.

        Args:
            least: similarity under which a row is no hit.
            tolerance: of durations, as in compare.length_alike.
            without: videos (n,) that are not to be found.
        """
        asked, counts = _reduced(source, numbers, self.axes, self.most)
        shortest, longest = window(source.durations[list(numbers)], tolerance)
        lo = int(np.searchsorted(source.durations, shortest, side="left"))
        hi = int(np.searchsorted(source.durations, longest, side="right"))
        allowed = None if without is None else np.repeat(~without, np.diff(self.starts))
        first, stop = int(self.starts[lo]), int(self.starts[hi])
        found, at = self._nearest(asked, least, first, stop, allowed)
        owners = np.searchsorted(self.starts, at, side="right") - 1
        out = []
        first = 0
        for number, rows in zip(numbers, counts.tolist(), strict=True):
            part = slice(first, first + rows)
            first += rows
            sims, who = found[part].ravel(), owners[part].ravel()
            good = (at[part].ravel() >= 0) & (sims >= least) & (who != number)
            low, high = window(source.durations[number : number + 1], tolerance)
            lengths = source.durations[who]
            good &= (lengths >= low) & (lengths <= high)
            who, sims = who[good], sims[good]
            order = np.argsort(-sims, kind="stable")
            _, places = np.unique(who[order], return_index=True)
            out.append(who[order][np.sort(places)][:WIDE])
        return out

    def _nearest(
        self,
        asked: Floats,
        least: float,
        first: int,
        stop: int,
        allowed: npt.NDArray[np.bool_] | None,
    ) -> tuple[Floats, Ints]:
        """Similarities and rows of [first, stop) for each asked one; see Flat.search."""
        hits = HITS if self.axes.shape[1] == DIM else FEW_HITS
        if isinstance(self.rows, Flat):
            return self.rows.search(asked, hits, least, first, stop, allowed)
        faiss = _faiss()
        selector: Any = None
        if first > 0 or stop < self.starts[-1]:
            selector = faiss.IDSelectorRange(first, stop)
        if allowed is not None:
            bits = np.packbits(allowed, bitorder="little")
            inside = faiss.IDSelectorBitmap(bits)
            selector = inside if selector is None else faiss.IDSelectorAnd(selector, inside)
        given = faiss.SearchParametersIVF(nprobe=self.probes, sel=selector)
        found, at = self.rows.search(asked, hits, params=given)
        return found, at


def window(
    durations: npt.NDArray[np.float64], tolerance: tuple[float, float]
) -> tuple[float, float]:
    """(shortest, longest) duration that is alike to any of these."""
    low, high = float(durations.min()), float(durations.max())
    seconds, share = tolerance
    if math.isinf(seconds) or share >= 1:
        return -math.inf, math.inf
    return (
        min(low - seconds, low * (1 - share)) - 1e-9,
        max(high + seconds, high / (1 - share)) + 1e-9,
    )


def _axes(source: Source, numbers: Sequence[int]) -> Floats:
    """The directions (d, up to FEW_DIM) that hold most of the vectors' length, these first."""
    rows, _ = source.laid(numbers)
    _, axes = np.linalg.eigh((rows.T @ rows).astype(np.float64))
    kept: Floats = np.ascontiguousarray(axes[:, ::-1][:, :FEW_DIM], np.float32)
    return kept


def _reduced(
    source: Source, numbers: Sequence[int], axes: Floats, most: int
) -> tuple[Floats, Ints]:
    """Rows of videos as they stand in the index, and how many each has.

    Unlike ones, at most `most` a video, cut, of length 1; of a video that shows nothing a zero.
    """
    rows, starts = source.laid(numbers)
    counts = np.diff(np.append(starts, len(rows)))
    if len(rows) > len(counts):
        parts = [_few(rows[a : a + n], most) for a, n in zip(starts, counts, strict=True)]
        rows, counts = np.concatenate(parts), np.array([len(p) for p in parts])
    cut = rows @ axes
    length = np.sqrt(np.einsum("ij,ij->i", cut, cut))[:, None]
    return np.ascontiguousarray(cut / np.maximum(length, 1e-9), np.float32), counts


def _few(rows: Floats, most: int) -> Floats:
    """The unlike ones of a video's rows; means of stretches where there are more than `most`."""
    rows = rows[_unlike(rows)]
    if len(rows) > most:
        cuts = np.linspace(0, len(rows), most + 1).astype(int)[:-1]
        rows = np.add.reduceat(rows, cuts, axis=0)
    return rows


def _unlike(rows: Floats) -> list[int]:
    """The first row, and each that is unlike the last one taken."""
    length = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    step = np.einsum("ij,ij->i", rows[1:], rows[:-1]) / np.maximum(length[1:] * length[:-1], 1e-9)
    if step.size and step.max() < ALIKE:  # nothing stands still
        return list(range(len(rows)))
    taken = [0]
    for i in range(1, len(rows)):
        j = taken[-1]
        if float(rows[i] @ rows[j]) < ALIKE * float(length[i] * length[j]):
            taken.append(i)
    return taken
