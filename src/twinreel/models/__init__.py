"""The networks twinreel knows: a record for each, and how to get one running.

A record is data and loads no torch, so that listing models and re-reading a finished library stay
instant. `load` builds the network and its weights.

    network = models.load("twin.v1")
    vectors = network(pixels)       # uint8 (n, h, w, 3) -> float32 (n, dim)

A new model is one `ModelSpec` in zoo.py (or `register` from your own code) and one builder, named
as 'module:function', that takes the record and returns a torch.nn.Module.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from twinreel.errors import ModelError, UnknownModel

if TYPE_CHECKING:
    from twinreel.models.network import Network


@dataclass(frozen=True)
class Weights:
    """A checkpoint file: where it comes from and how it is known to be the right one.

    `sha256` '' means that nobody has published one: such weights need an explicit flag.
    `packaged` files lie inside the package.
    """

    file: str
    sha256: str = ""
    url: str = ""
    size: int = 0  # bytes; 0 = unknown
    licence: str = ""
    packaged: bool = False


@dataclass(frozen=True)
class ModelSpec:
    """What is known of a network without loading it.

    size: (height, width) of its input. fit: 'stretch' (the whole picture onto size, aspect
    ignored), 'short' (short side scaled to size[0], aspect kept, no crop) or 'crop' (short side,
    then the centre). mean and std apply after multiplying 0..255 values by `scale`.
    frames: pictures per row (1: an image network; 16: clips). nested: prefixes of the vector that
    are descriptors of their own. min_score: the match score above which copies lie (measured, see
    docs/accuracy.md), None where it is not known.
    """

    name: str
    builder: str
    dim: int
    size: tuple[int, int] = (224, 224)
    fit: str = "stretch"
    frames: int = 1
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    scale: float = 1 / 255
    weights: Weights | None = None
    licence: str = ""
    source: str = ""
    nested: tuple[int, ...] = ()
    min_score: float | None = None
    extra: dict[str, Any] = field(default_factory=dict)


FILES = (".pt", ".pt2", ".pth", ".torchscript")  # networks that bring their weights
_REGISTRY: dict[str, ModelSpec] = {}


def register(spec: ModelSpec) -> ModelSpec:
    """Make a model known under its name; a name is taken once."""
    if spec.name in _REGISTRY and _REGISTRY[spec.name] != spec:
        raise ValueError(f"model {spec.name!r} is registered already: choose another name")
    _REGISTRY[spec.name] = spec
    return spec


def names() -> list[str]:
    """Every registered model's name, sorted."""
    from twinreel.models import zoo  # noqa: F401  (fills the registry)

    return sorted(_REGISTRY)


def default() -> str:
    """Name of the descriptor that `dups` uses unless told otherwise."""
    from twinreel.models import zoo

    return zoo.DEFAULT


def get(name: str) -> ModelSpec:
    """The record of a registered model. Raises UnknownModel, never guesses a near name."""
    known = names()
    if name not in _REGISTRY:
        near = difflib.get_close_matches(name, known, 3)
        hint = f"; close to it: {', '.join(near)}" if near else ""
        raise UnknownModel(f"no model is called {name!r}{hint}; `twinreel models` lists them")
    return _REGISTRY[name]


def find(name: str, weights: str = "") -> ModelSpec:
    """The record of a descriptor of single pictures: a registered one, or (imports torch) one of
    another library, a file or a function, see `adapters.find`.

    Raises:
        UnknownModel, ExtraMissing, WeightsMissing; ModelError: it looks at clips.
    """
    spec = get(name) if not is_foreign(name) else _foreign(name, weights)
    if spec.frames > 1:
        raise ModelError(
            f"model {name!r} looks at {spec.frames} pictures at a time, and pictures are compared: "
            "choose another, or extract its features and compare these (dups --features FOLDER)"
        )
    return spec


def is_foreign(name: str) -> bool:
    """Whether a name stands for a network of another library, a file or a function."""
    return ":" in name or name.endswith(FILES)


def _foreign(name: str, weights: str) -> ModelSpec:
    from twinreel.models import adapters

    return adapters.find(name, weights)


def load(
    name: str | ModelSpec,
    weights: str = "",
    device: str = "auto",
    precision: str = "auto",
    embedding_size: int = 0,
) -> Network:
    """Build a network with its weights on a device (imports torch).

    Args:
        name: a registered name or a record.
        weights: a checkpoint file, 'random:SEED', or '' for the published weights.
        embedding_size: use the first N numbers, re-normalised; N must be in the record's `nested`.

    Raises:
        UnknownModel, WeightsMissing, WeightsCorrupt, DeviceUnavailable, ExtraMissing.
    """
    from twinreel.models.network import build

    spec = get(name) if isinstance(name, str) else name
    return build(spec, weights, device, precision, embedding_size)
