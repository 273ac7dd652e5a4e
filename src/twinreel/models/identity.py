"""What made a vector, known without loading a network (no torch here)."""

from __future__ import annotations

from pathlib import Path

from twinreel.errors import WeightsMissing
from twinreel.models import ModelSpec
from twinreel.models.weights import missing, published, sha256_of


def identity(spec: ModelSpec, weights_sha256: str, embedding_size: int = 0) -> str:
    """'name@hash16', with ':N' when only the first N numbers are used."""
    tail = f":{embedding_size}" if embedding_size else ""
    return f"{spec.name}@{weights_sha256[:16] or 'none'}{tail}"


def weights_sha256(spec: ModelSpec, weights: str = "") -> str:
    """What `resolve` will say identifies the weights: sha256, 'random:SEED' or ''.

    Raises:
        WeightsMissing: a named file is not there.
    """
    if weights.startswith("random:"):
        return weights
    if weights:
        path = Path(weights).expanduser()
        if not path.is_file():
            raise WeightsMissing(f"weights {weights!r}: no such file; give a checkpoint file")
        return sha256_of(path)
    if spec.weights is None or spec.weights.sha256:
        return "" if spec.weights is None else spec.weights.sha256
    path = published(spec) or Path()
    if not path.is_file():
        raise WeightsMissing(missing(spec, spec.weights, path))
    return sha256_of(path)
