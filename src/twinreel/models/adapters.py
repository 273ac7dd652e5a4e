"""Networks of other libraries and of the user -> records and builders like our own.

    find("timm:vit_small_patch14_dinov2.lvd142m")     # library's weights, from its local cache
    find("torchvision:r2plus1d_18")                   # clips
    find("hf:facebook/dinov2-small"), find("hf:./folder_with_config")
    find("sscd.torchscript.pt"), find("exported.pt2"), find("mypackage.nets:make")
    find("resnet50", layer="layer3")                  # an inner part of any of them

A library is imported only when one of its names is asked for. What a network wants of its input is
read from the library's own record (libraries.py).
"""

from __future__ import annotations

import hashlib
import importlib
import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from twinreel.errors import ModelError, UnknownModel, WeightsMissing
from twinreel.models import FILES, ModelSpec, get, libraries

_BUILDER = libraries.BUILDER


def find(
    name: str, source: str = "", layer: str = "", pool: str = "mean", clip_len: int = 0
) -> ModelSpec:
    """The record of a network.

    Args:
        source: as --weights; with 'random:SEED' or a file no published weights are looked for.
        layer: name of the part whose output is taken, '' for the network's own.
        pool: 'mean' or 'max' over a map's places or tokens, or 'none'.
        clip_len: frames to a row, 0 for the network's own.

    Raises:
        UnknownModel, ExtraMissing, WeightsMissing, ModelError.
    """
    kind, _, ref = name.partition(":")
    if name.endswith(FILES):
        if source:
            raise ModelError(f"weights {source!r}: {name} brings its own; leave --weights out")
        spec = _file(Path(name))
    elif kind in libraries.KINDS:
        spec = libraries.KINDS[kind](ref, source)
    elif ":" in name:
        spec = _factory(name)
    else:
        ours = get(name)
        extra = {**ours.extra, "kind": "ours", "ref": name}
        # What is promised of the vector's first numbers is not true of an inner layer's.
        spec = replace(ours, builder=_BUILDER, nested=(), extra=extra)
    extra = {**spec.extra, "layer": layer, "pool": pool, "random": source.startswith("random:")}
    if clip_len:
        if spec.frames == 1:
            raise ModelError(f"clip_len {clip_len}: {name} looks at single frames; leave it out")
        spec = replace(spec, frames=clip_len)
        extra["clip_len"] = clip_len
    identity = {**extra.get("identity", {}), **({"layer": layer} if layer else {})}
    if clip_len:
        identity["clip_len"] = clip_len
    net = build(replace(spec, extra={**extra, "random": True, "pool": "none"})).eval()
    output = _output(net, spec)
    if layer or output.ndim > 2:  # else there is nothing to pool
        identity["pool"] = pool
    shape = tuple(_row(output, pool).shape[1:])
    spec = replace(spec, extra={**extra, "identity": identity})
    if spec.extra["kind"] == "factory" and not source and spec.weights is None:
        spec = replace(spec, extra={**spec.extra, "state": state_of(net)})
    return replace(spec, dim=math.prod(shape), extra={**spec.extra, "shape": shape})


def build(spec: ModelSpec) -> nn.Module:
    """The network of a record made by `find`, in a Shell."""
    kind, ref = spec.extra["kind"], spec.extra["ref"]
    if kind == "ours":
        module, _, function = get(ref).builder.partition(":")
        inner = getattr(importlib.import_module(module), function)(get(ref))
    else:
        inner = _MAKERS[kind](spec)
    shell = Shell(inner, spec)
    if spec.extra.get("state", "") != "" and state_of(shell) != spec.extra["state"]:
        raise ModelError(
            f"{spec.name} has other weights each time it is made, so its vectors cannot be told "
            "apart; let it set a seed or read a file, or pass --weights PATH or random:SEED"
        )
    return shell


def state_of(net: nn.Module) -> str:
    """sha256 of a network's tensors, 64 hex digits; '' if it has none."""
    found = hashlib.sha256()
    state = net.state_dict()
    for name, tensor in state.items():
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        found.update(flat.view(torch.uint8).numpy().tobytes())
    return found.hexdigest() if state else ""


def _output(net: nn.Module, spec: ModelSpec) -> Tensor:
    """What the network gives for a black input: (1, ...)."""
    clip = (spec.frames,) if spec.frames > 1 else ()
    with torch.inference_mode():
        try:
            output: Tensor = net(torch.zeros(1, 3, *clip, *spec.size))
            return output
        except (RuntimeError, ValueError, TypeError) as error:
            raise ModelError(
                f"{spec.name} does not run on {(*clip, *spec.size)}: {error}; "
                "see its record's size and clip length"
            ) from None


class _Found(Exception):
    """Carries a layer's output out of a network, whose later parts need not run."""

    def __init__(self, output: Any) -> None:
        self.output = output


class Shell(nn.Module):
    """Another library's network: takes our input, gives one row per picture or clip."""

    def __init__(self, inner: Any, spec: ModelSpec) -> None:
        super().__init__()
        # An exported program refuses eval() and train(), so it is kept out of their reach.
        self._loose: list[Any] = [inner] if spec.extra["kind"] == "pt2" else []
        self.inner: Any = None if self._loose else inner
        parts: tuple[str, ...] = getattr(self.inner, "fp32_parts", ())  # of one of our own
        self.fp32_parts = tuple(f"inner.{name}" for name in parts)
        self._frames_first = spec.extra.get("frames_first", False)
        self._keyword = spec.extra.get("keyword", "")
        self._options = spec.extra.get("keywords", {})
        self._pool = spec.extra.get("pool", "mean")
        self._layer = spec.extra.get("layer", "")
        if self._layer:
            modules = dict(inner.named_modules())
            if self._layer not in modules:
                some = ", ".join([n for n in modules if n][:20])
                raise ModelError(f"{spec.name} has no layer {self._layer!r}; it has {some}, ...")
            modules[self._layer].register_forward_hook(_raise_found)

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Names are those of the network inside."""
        return self.inner.load_state_dict(state_dict, strict, assign)

    def forward(self, x: Tensor) -> Tensor:
        """float (n, 3, [t,] h, w) -> (n, dim), or (n, ...) with pool 'none'."""
        network = self._loose[0] if self._loose else self.inner
        if self._frames_first and x.ndim == 5:
            x = x.movedim(2, 1)
        try:
            # transformers takes its input by name.
            given = ((), {self._keyword: x, **self._options}) if self._keyword else ((x,), {})
            output = network(*given[0], **given[1])
        except _Found as found:
            output = found.output
        return _row(output, self._pool)


def _raise_found(module: nn.Module, inputs: Any, output: Any) -> None:
    raise _Found(output)


def _row(output: Any, pool: str) -> Tensor:
    """What a network returned -> a tensor of one row per input.

    Maps (n, c, places...) are pooled over their places, tokens (n, tokens, c) over the tokens.
    """
    for name in ("image_embeds", "pooler_output", "last_hidden_state", "logits"):
        if getattr(output, name, None) is not None:
            output = getattr(output, name)
            break
    if isinstance(output, tuple | list):
        output = output[0]
    if not isinstance(output, Tensor):
        raise ModelError(f"the network returned {type(output).__name__}, a tensor is needed")
    if output.ndim <= 2 or pool == "none":
        return output
    over = (1,) if output.ndim == 3 else tuple(range(2, output.ndim))
    return output.amax(dim=over) if pool == "max" else output.mean(dim=over)


def _file(path: Path) -> ModelSpec:
    if not path.is_file():
        raise WeightsMissing(f"model {str(path)!r}: no such file; give a TorchScript or .pt2 file")
    beside = path.with_name(path.name + ".json")
    words = json.loads(beside.read_text(encoding="utf-8")) if beside.is_file() else {}
    kind = "pt2" if path.suffix == ".pt2" else "script"
    extra: dict[str, Any] = {"kind": kind, "ref": str(path), "file": str(path)}
    extra["self_loading"] = True
    if not words:
        extra["assumed"] = f"{path.name}: no {beside.name} beside it, so ImageNet's mean and std, "
        extra["assumed"] += "224 px and a centre crop are assumed"
    return _worded(ModelSpec(path.name, _BUILDER, 0, fit="crop", extra=extra), words)


def _worded(spec: ModelSpec, words: Mapping[str, Any]) -> ModelSpec:
    """A record with the fields that a file or module states of itself."""
    known = {"size", "fit", "frames", "mean", "std", "scale", "licence", "source"}
    more = {"fps", "resize", "interpolation", "frames_first"}
    if unknown := set(words) - known - more:
        raise ModelError(
            f"{spec.name}: unknown field {min(unknown)!r}; known: {', '.join(sorted(known | more))}"
        )
    plain = {k: tuple(v) if isinstance(v, list) else v for k, v in words.items()}
    fields: dict[str, Any] = {k: v for k, v in plain.items() if k in known}
    extra = {**spec.extra, **{k: v for k, v in plain.items() if k in more}}
    return replace(spec, **fields, extra=extra)


def _make_file(spec: ModelSpec) -> Any:
    path = spec.extra["ref"]
    try:
        if spec.extra["kind"] == "pt2":
            return torch.export.load(path).module()
        return torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]
    except (RuntimeError, OSError, ValueError) as error:
        words = str(error).strip().splitlines()[0]
        raise ModelError(
            f"{path}: not a TorchScript or exported program ({words}); a checkpoint goes with "
            "--model NAME --weights PATH"
        ) from None


def _factory(name: str) -> ModelSpec:
    made = _call(name)
    if isinstance(made, ModelSpec):
        return replace(made, extra={"kind": "factory", "ref": name, **made.extra})
    words = getattr(made, "twinreel", {})
    extra: dict[str, Any] = {"kind": "factory", "ref": name}
    if not words:
        extra["assumed"] = f"{name}: its module has no `twinreel` record, so ImageNet's mean and "
        extra["assumed"] += "std, 224 px and a centre crop are assumed"
    return _worded(ModelSpec(name, _BUILDER, 0, fit="crop", extra=extra), words)


def _call(name: str) -> Any:
    module, _, function = name.partition(":")
    try:
        return getattr(importlib.import_module(module), function)()
    except (ImportError, AttributeError) as error:
        raise UnknownModel(
            f"no model {name!r}: {error}; give module:function, or timm:, torchvision:, hf:NAME"
        ) from None


def _make_factory(spec: ModelSpec) -> Any:
    made = _call(spec.extra["ref"])
    if isinstance(made, ModelSpec):
        module, _, function = made.builder.partition(":")
        made = getattr(importlib.import_module(module), function)(made)
    return made


_MAKERS: dict[str, Any] = {
    **libraries.MAKERS,
    "script": _make_file,
    "pt2": _make_file,
    "factory": _make_factory,
}
