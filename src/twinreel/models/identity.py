"""What made a vector, known without loading a network (no torch here)."""

from __future__ import annotations

from twinreel.models import ModelSpec
from twinreel.models.weights import identify


def identity(spec: ModelSpec, weights_sha256: str, embedding_size: int = 0) -> str:
    """'name@hash16', with ':N' when only the first N numbers are used."""
    tail = f":{embedding_size}" if embedding_size else ""
    return f"{spec.name}@{weights_sha256[:16] or 'none'}{tail}"


def weights_sha256(spec: ModelSpec, weights: str = "") -> str:
    """What `resolve` will say identifies the weights: sha256, 'random:SEED' or ''.

    Raises:
        WeightsMissing: a named file is not there.
    """
    return identify(spec, weights)
