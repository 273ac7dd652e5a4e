"""torchvision, timm and transformers: what their networks want of their input, and how to get one.

A library is imported only when one of its names is asked for. Nothing here downloads but `fetch`.
"""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path
from typing import Any

from torch import nn

from twinreel.errors import ExtraMissing, ModelError, UnknownModel, WeightsMissing
from twinreel.models import ModelSpec, Weights

BUILDER = "twinreel.models.adapters:build"
_HEADS = ("fc", "classifier", "head", "heads")  # where networks keep their classifier
# PIL's numbers -> names of libswscale's filters.
_RESAMPLE = {0: "neighbor", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "bilinear", 5: "area"}


def _library(name: str, extra: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name == name
        words = "is not installed" if missing else f"is installed but cannot load ({error})"
    except RuntimeError as error:  # a torchvision built for another torch
        words = f"is installed but cannot load ({error})"
    raise ExtraMissing(
        f"{name} {words}; install it beside this torch: pip install 'twinreel[{extra}]'"
    )


# -- torchvision ------------------------------------------------------------------------------


def _torchvision(ref: str, source: str) -> ModelSpec:
    library = _library("torchvision", "torchvision").models
    try:
        record = library.get_model_weights(ref).DEFAULT
    except (ValueError, KeyError, AttributeError):
        raise UnknownModel(f"torchvision has no model {ref!r} with weights") from None
    wants = record.transforms()
    docs = record.meta.get("_docs", "")
    clip = re.search(r"clip_len=(\d+)", docs)
    rate = re.search(r"frame_rate=([\d.]+)", docs)
    frames = int(clip[1]) if clip else 16 if "VideoClass" in type(wants).__name__ else 1
    size = list(wants.crop_size) * (2 // len(wants.crop_size))
    starts = re.search(r"-([0-9a-f]{8})\.", record.url)
    head = _head(library.get_model(ref, weights=None))[0]
    return ModelSpec(
        name=f"torchvision:{ref}",
        builder=BUILDER,
        dim=0,
        size=(size[0], size[1]),
        fit="crop",
        frames=frames,
        mean=tuple(wants.mean),
        std=tuple(wants.std),
        weights=Weights(
            file=record.url.rpartition("/")[2],
            url=record.url,
            licence="BSD-3-Clause (torchvision)",
        ),
        licence="BSD-3-Clause (torchvision)",
        source=f"torchvision {record}",
        extra={
            "kind": "torchvision",
            "ref": ref,
            "drop": (f"{head}.",),
            "fps": float(rate[1]) if rate else 1.0,
            "resize": tuple(wants.resize_size),
            "interpolation": wants.interpolation.value,
            "sha256_starts": starts[1] if starts else "",
        },
    )


def _head(net: nn.Module) -> tuple[str, nn.Module]:
    """Name of the classifying layer, and the module that holds it."""
    for attribute in _HEADS:
        part = getattr(net, attribute, None)
        if isinstance(part, nn.Linear):
            return attribute, net
        if isinstance(part, nn.Sequential):
            for name, layer in reversed(list(part.named_children())):
                if isinstance(layer, nn.Linear | nn.Conv2d | nn.Conv3d):
                    return f"{attribute}.{name}", part
    raise ModelError(f"{type(net).__name__} has no classifier that could be taken off; use --layer")


def _make_torchvision(spec: ModelSpec) -> nn.Module:
    net: nn.Module = _library("torchvision", "torchvision").models.get_model(
        spec.extra["ref"], weights=None
    )
    if hasattr(net, "transform_input"):
        # As with its published weights, whose inputs it rescales.
        net.transform_input = True  # type: ignore[assignment]
    name, holder = _head(net)
    setattr(holder, name.rpartition(".")[2], nn.Identity())
    return net


# -- timm -------------------------------------------------------------------------------------


def _timm(ref: str, source: str) -> ModelSpec:
    _library("torchvision", "timm")  # timm needs it, and its trouble should bear its name
    library = _library("timm", "timm")
    try:
        net = library.create_model(ref, pretrained=False, num_classes=0)
    except RuntimeError as error:
        raise UnknownModel(f"timm has no model {ref!r}: {error}") from None
    wants = library.data.resolve_model_data_config(net)
    record = net.pretrained_cfg
    height, width = wants["input_size"][1:]
    heads = record.get("classifier") or "fc"  # two of them in distilled networks
    before = [int(side / wants["crop_pct"]) for side in (height, width)]
    extra: dict[str, Any] = {
        "kind": "timm",
        "ref": ref,
        "drop": tuple(f"{head}." for head in ([heads] if isinstance(heads, str) else heads)),
        "resize": tuple(before) if wants.get("crop_mode") == "squash" else (min(before),),
        "interpolation": wants["interpolation"],
    }
    if not source:
        folder, revision = cached(
            record.get("hf_hub_id") or "", "model.safetensors", f"timm:{ref}",
            "name a checkpoint with --weights PATH, or --weights random:0 for a dry run",
        )  # fmt: skip
        extra["file"] = str(folder / "model.safetensors")
        extra["identity"] = {"revision": revision}
    return ModelSpec(
        name=f"timm:{ref}",
        builder=BUILDER,
        dim=0,
        size=(height, width),
        fit="crop",
        mean=tuple(wants["mean"]),
        std=tuple(wants["std"]),
        licence=record.get("license") or "not stated",
        source=f"timm; weights {record.get('hf_hub_id') or record.get('url') or 'none'}",
        extra=extra,
    )


def _make_timm(spec: ModelSpec) -> Any:
    return _library("timm", "timm").create_model(spec.extra["ref"], pretrained=False, num_classes=0)


# -- transformers -----------------------------------------------------------------------------


def cached(repository: str, file: str, name: str, otherwise: str) -> tuple[Path, str]:
    """Folder of a Hugging Face repository in the local cache, and its revision.

    Args:
        otherwise: what else than fetching it would help, for the message.

    Raises:
        WeightsMissing: it was not fetched.
    """
    hub = _library("huggingface_hub", "hf")
    found = hub.try_to_load_from_cache(repository, file) if repository else None
    if not isinstance(found, str):
        cache = _library("huggingface_hub.constants", "hf").HF_HUB_CACHE
        raise WeightsMissing(
            f"model {name!r} needs {file} of {repository or 'an unknown repository'}, which is not "
            f"in {cache}. Run `twinreel models fetch {name}`, or {otherwise}"
        )
    return Path(found).parent, Path(found).parent.name


def _hf(ref: str, source: str) -> ModelSpec:
    library = _library("transformers", "hf")
    folder, revision = Path(ref), "local"
    if not folder.is_dir():
        folder, revision = cached(
            ref, "config.json", f"hf:{ref}",
            "give a folder that holds it and model.safetensors as hf:FOLDER",
        )  # fmt: skip
    config = library.AutoConfig.from_pretrained(folder, local_files_only=True)
    config = getattr(config, "vision_config", config)
    names = ("model.safetensors", "pytorch_model.bin")
    weights = next((n for n in names if (folder / n).is_file()), "")
    if not source and not weights:
        raise WeightsMissing(f"hf:{ref}: no model.safetensors in {folder}; put it there")
    frames = getattr(config, "num_frames", 0) or getattr(config, "frames_per_clip", 0) or 1
    size, fit, resize, wants = _processor(folder, config)
    normal = wants.get("do_normalize", True)
    jepa = config.model_type == "vjepa2"
    assumed = {}
    if not wants:
        assumed["assumed"] = f"hf:{ref}: no preprocessor_config.json, so ImageNet's mean and std "
        assumed["assumed"] += "and a centre crop are assumed"
    return ModelSpec(
        name=f"hf:{ref}",
        builder=BUILDER,
        dim=0,
        size=size,
        fit=fit,
        frames=frames,
        mean=tuple(wants.get("image_mean") or (0.485, 0.456, 0.406)) if normal else (0, 0, 0),
        std=tuple(wants.get("image_std") or (0.229, 0.224, 0.225)) if normal else (1, 1, 1),
        scale=wants.get("rescale_factor", 1 / 255),
        licence="see the model's card",
        source=f"transformers {library.__version__}, {ref}",
        extra={
            "kind": "hf",
            "ref": str(folder),
            "file": str(folder / weights) if not source else "",
            # transformers maps old names of tensors itself.
            "self_loading": not source,
            "resize": resize,
            "interpolation": _RESAMPLE.get(wants.get("resample", 3), "bicubic"),
            "fps": 8.0 if frames > 1 else 1.0,
            "frames_first": frames > 1,
            "keyword": "pixel_values_videos" if jepa else "pixel_values",
            "keywords": {"skip_predictor": True} if jepa else {},
            "identity": {"revision": revision},
            **assumed,
        },
    )


def _processor(folder: Path, config: Any) -> tuple[tuple[int, int], str, tuple[int, ...], Any]:
    """Input (height, width), fit, size before the crop, and the preprocessor's own record."""
    wants: dict[str, Any] = {}
    for file in ("preprocessor_config.json", "video_preprocessor_config.json"):
        if (folder / file).is_file():
            wants = json.loads((folder / file).read_text(encoding="utf-8"))
    side = getattr(config, "image_size", 0) or getattr(config, "crop_size", 0) or 224
    pair = (side, side) if isinstance(side, int) else (side[0], side[1])
    crop = wants.get("crop_size")
    if wants.get("do_center_crop") and isinstance(crop, dict) and "height" in crop:
        pair = (crop["height"], crop["width"])
    first = wants.get("size")
    resize: tuple[int, ...] = ()
    if isinstance(first, dict):
        resize = (first["shortest_edge"],) if "shortest_edge" in first else ()
    # A size that gives both sides, and no crop: the whole picture, whatever its aspect.
    both = isinstance(first, dict) and "height" in first
    fit = "crop" if wants.get("do_center_crop", not both) else "stretch"
    return pair, fit, resize if resize and resize[0] >= min(pair) else (), wants


def _make_hf(spec: ModelSpec) -> Any:
    library = _library("transformers", "hf")
    folder = spec.extra["ref"]
    config = library.AutoConfig.from_pretrained(folder, local_files_only=True)
    clip = getattr(config, "model_type", "") == "clip"
    kind = library.CLIPVisionModelWithProjection if clip else library.AutoModel
    if spec.extra["random"] or not spec.extra["self_loading"]:
        if clip:
            return kind(config.vision_config)
        return kind.from_config(config)
    return kind.from_pretrained(folder, local_files_only=True)


KINDS: dict[str, Any] = {"torchvision": _torchvision, "timm": _timm, "hf": _hf}
MAKERS: dict[str, Any] = {"torchvision": _make_torchvision, "timm": _make_timm, "hf": _make_hf}


def fetch(name: str) -> tuple[Path, str]:
    """Download a Hugging Face repository's model into its own cache; its folder and revision.

    Raises:
        WeightsMissing: it could not be had.
    """
    kind, _, ref = name.partition(":")
    hub = _library("huggingface_hub", "hf")
    if kind == "timm":
        record = _library("timm", "timm").get_pretrained_cfg(ref)
        ref = (record.hf_hub_id if record else "") or ref
    wanted = ["config.json", "*preprocessor_config.json", "model.safetensors"]
    try:
        folder = Path(hub.snapshot_download(ref, allow_patterns=wanted))
    except Exception as error:  # the hub's errors have no common class
        raise WeightsMissing(f"{name}: not fetched: {error}") from None
    return folder, folder.name
