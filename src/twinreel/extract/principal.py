"""Principal components: long rows -> short ones, by a file that everybody can use again.

save(Path("p.npz"), Projection.fit(vectors, 64), owner="")      # vectors: float32 (n, 2048)
short = load(Path("p.npz"), 64)(vectors)                        # (n, 64)
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np

from twinreel.errors import BadConfig
from twinreel.extract.whole import Meta, write_whole
from twinreel.types import Floats


class Projection:
    """Principal components: vectors (n, d) -> (n, k), the directions in which they differ most.

    Fitted once and stored; with the same file everybody gets the same numbers. Pearson 1901.
    """

    def __init__(
        self, mean: Floats, components: Floats, rows: int, made_by: Meta | None = None
    ) -> None:
        """mean (d,), components (k, d) with rows of length 1, number of rows it was fitted on.
        made_by: the network of those rows; {} in files that do not say."""
        self.mean, self.components, self.rows = mean, components, rows
        self.made_by: Meta = made_by or {}

    @property
    def dim(self) -> int:
        return len(self.components)

    def __call__(self, vectors: Floats) -> Floats:
        """float32 (n, d) -> float32 (n, k)"""
        projected: Floats = ((vectors - self.mean) @ self.components.T).astype(np.float32)
        return projected

    @classmethod
    def fit(cls, vectors: Floats, dim: int) -> Projection:
        """The first `dim` components of vectors (n, d); raises ValueError if n is too small."""
        n, wide = vectors.shape
        if not 0 < dim <= min(n - 1, wide):
            raise ValueError(
                f"embedding_size {dim} needs more than {dim} rows of more than {dim} numbers to "
                f"be fitted on, got {n} rows of {wide}; ask for a smaller one, or give a stored "
                "one with --projection"
            )
        mean = vectors.mean(axis=0, dtype=np.float64)
        centred = vectors.astype(np.float64) - mean
        _, _, axes = np.linalg.svd(centred, full_matrices=False)
        axes = axes[:dim]
        # Either direction of an axis is right; this picks one.
        signs = np.sign(axes[np.arange(dim), np.abs(axes).argmax(axis=1)])
        return cls(mean.astype(np.float32), (axes * signs[:, None]).astype(np.float32), n)


def load(path: Path, dim: int) -> Projection:
    """The first `dim` components of a stored projection. Raises BadConfig."""
    try:
        # numpy leaves a file open that it finds no zip in.
        with open(path, "rb") as stored, np.load(stored, allow_pickle=False) as file:
            mean, components, rows = file["mean"], file["components"], int(file["rows"])
            made_by = json.loads(str(file["made_by"])) if "made_by" in file else {}
    except (OSError, KeyError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise BadConfig(f"projection {path}: not readable: {error}; fit one with a run") from None
    if dim > len(components):
        raise BadConfig(f"projection {path} has {len(components)} components, asked are {dim}")
    return Projection(mean, components[:dim], rows, made_by)


def save(path: Path, projection: Projection, owner: str) -> None:
    """Write a projection whole."""
    p = projection
    made_by = np.array(json.dumps(p.made_by))  # as text: np.savez would pickle a dict
    write_whole(
        path,
        lambda file: np.savez(
            file, mean=p.mean, components=p.components, rows=p.rows, made_by=made_by
        ),
        owner,
    )
