"""Networks of other libraries, with random weights: they run, and what they want is what is read.

Libraries that are not installed are skipped, saying so.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from twinreel import models
from twinreel.errors import ExtraMissing, ModelError, UnknownModel, WeightsMissing
from twinreel.models import adapters, libraries, weights

_KEEP: list[Any] = []


def _library(name: str) -> Any:
    """The library, or a skip. torchvision's wheel is built for CUDA: two stubs let it load."""
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    if name in ("torchvision", "timm") and torch.version.cuda is None and not _KEEP:
        if importlib.util.find_spec("torchvision") is None:
            pytest.skip("torchvision is not installed")
        stubs = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            stubs.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _KEEP.append(stubs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(name)


def _run(spec: models.ModelSpec, source: str = "random:1") -> np.ndarray:
    """Vectors of three random inputs, made twice in unlike batches."""
    network = models.load(spec, source, "cpu", "fp32")
    clip = (spec.frames,) if spec.frames > 1 else ()
    pixels = np.random.default_rng(0).integers(0, 256, (3, *clip, *spec.size, 3), np.uint8)
    whole = network(pixels)
    assert whole.shape == (3, *spec.extra["shape"]) and whole.dtype == np.float32
    assert np.isfinite(whole).all()
    assert not np.allclose(whole[0], whole[1], rtol=1e-6)
    single = np.concatenate([network(pixels[i : i + 1]) for i in range(3)])
    np.testing.assert_allclose(whole, single, rtol=1e-3, atol=1e-4)
    return whole


def test_torchvision_clips_with_the_library_preprocessing() -> None:
    _library("torchvision")
    recorded = libraries._torchvision("r2plus1d_18", "")
    assert recorded.frames == 16
    spec = adapters.find("torchvision:r2plus1d_18", "random:1", clip_len=2)  # 16 take long
    assert (spec.frames, spec.size, spec.dim) == (2, (112, 112), 512)
    assert spec.mean == (0.43216, 0.394666, 0.37645) and spec.extra["resize"] == (128, 171)
    assert spec.extra["fps"] == 15.0 and spec.extra["interpolation"] == "bilinear"
    assert spec.weights is not None and spec.weights.file == "r2plus1d_18-91a641e6.pth"
    _run(spec)


@pytest.mark.parametrize(
    ("name", "frames", "fps", "resize", "tried"),
    [
        ("r2plus1d_18", 16, 15.0, (128, 171), 0),
        ("s3d", 128, 15.0, (256, 256), 16),
        ("mvit_v2_s", 16, 7.5, (256,), 16),
        ("swin3d_t", 32, 15.0, (256,), 4),
    ],
)
def test_torchvision_clip_networks(
    name: str, frames: int, fps: float, resize: tuple[int, ...], tried: int
) -> None:
    """What each record says of its input, and that the network takes it (`tried` frames)."""
    library = _library("torchvision").models
    recorded = libraries._torchvision(name, "")
    wants = library.get_model_weights(name).DEFAULT.transforms()
    assert (recorded.frames, recorded.extra["fps"]) == (frames, fps)
    assert recorded.extra["resize"] == tuple(wants.resize_size) == resize
    assert recorded.size == tuple(wants.crop_size * (2 // len(wants.crop_size)))
    assert recorded.mean == tuple(wants.mean) and recorded.std == tuple(wants.std)
    assert recorded.extra["interpolation"] == wants.interpolation.value == "bilinear"
    assert recorded.weights is not None and recorded.weights.url.startswith("https://")
    if not tried:
        return  # run above
    spec = adapters.find(f"torchvision:{name}", "random:1", clip_len=tried)
    network = models.load(spec, "random:1", "cpu", "fp32")
    pixels = np.random.default_rng(0).integers(0, 256, (1, tried, *spec.size, 3), np.uint8)
    rows = network(pixels)
    assert rows.shape == (1, spec.dim) and np.isfinite(rows).all() and rows.std() > 0
    # The same network by the library's own hand, on the same tensors.
    torch.manual_seed(1)
    theirs = library.get_model(name, weights=None).eval()
    head, holder = libraries._head(theirs)
    setattr(holder, head.rpartition(".")[2], nn.Identity())
    with torch.inference_mode():
        wanted = theirs(network.prepare(pixels)).numpy()
    np.testing.assert_allclose(rows, wanted, rtol=1e-3, atol=1e-4)


def test_a_clip_length_that_a_network_cannot_take_is_one_message() -> None:
    _library("torchvision")
    with pytest.raises(ModelError, match="mvit_v2_s does not run on.*clip length"):
        adapters.find("torchvision:mvit_v2_s", "random:1", clip_len=6)


@pytest.mark.filterwarnings("ignore")
def test_networks_that_rescale_their_input_do_so() -> None:
    library = _library("torchvision")
    assert not library.models.get_model("googlenet", weights=None).transform_input
    spec = libraries._torchvision("googlenet", "")
    assert libraries._make_torchvision(spec).transform_input is True


def test_torchvision_weights_are_missed_in_one_message(tmp_path: Path, monkeypatch: Any) -> None:
    _library("torchvision")
    monkeypatch.setenv("TWINREEL_WEIGHTS", str(tmp_path))
    spec = adapters.find("torchvision:resnet18")
    with pytest.raises(WeightsMissing) as caught:
        weights.resolve(spec)
    for word in ("resnet18-f37072fd.pth", str(tmp_path), "https://", "fetch torchvision:resnet18"):
        assert word in str(caught.value)


@pytest.mark.parametrize("depth", [18, 50])
def test_our_resnet_is_torchvisions(depth: int, tmp_path: Path) -> None:
    library = _library("torchvision")
    torch.manual_seed(0)
    theirs = library.models.get_model(f"resnet{depth}", weights=None).eval()
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    torch.save(theirs.state_dict(), tmp_path / "r.pth")
    ours = models.load(f"resnet{depth}", str(tmp_path / "r.pth"), "cpu", "fp32")
    theirs.fc = nn.Identity()
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3), np.uint8)
    with torch.inference_mode():
        wanted = theirs(ours.prepare(pixels)).numpy()
    np.testing.assert_allclose(ours(pixels), wanted, rtol=1e-3, atol=1e-4 * np.abs(wanted).max())


def test_timm_with_the_library_preprocessing() -> None:
    _library("timm")
    spec = adapters.find("timm:test_vit", "random:1")
    assert spec.size == (160, 160) and spec.frames == 1
    _run(spec)
    with pytest.raises(UnknownModel):
        adapters.find("timm:no_such_network", "random:1")


def test_timm_never_downloads_by_itself() -> None:
    _library("timm")
    _library("huggingface_hub")
    with pytest.raises(WeightsMissing, match="models fetch timm:test_vit"):
        adapters.find("timm:test_vit")


def _tiny(kind: str) -> tuple[Any, dict[str, Any]]:
    """A small network of transformers, and its preprocessor's record."""
    library = _library("transformers")
    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    wide = {**small, "intermediate_size": 64, "image_size": 32, "patch_size": 8}
    if kind == "dinov2":
        config = library.Dinov2Config(**small, image_size=32, patch_size=8)
        return library.Dinov2Model(config), {
            "image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.2, 0.2], "resample": 3,
            "size": {"shortest_edge": 40}, "crop_size": {"height": 32, "width": 32},
            "do_center_crop": True,
        }  # fmt: skip
    if kind == "clip":
        text = {**small, "intermediate_size": 64, "vocab_size": 99}
        config = library.CLIPConfig(
            vision_config={**wide, "projection_dim": 16}, text_config=text, projection_dim=16
        )
        return library.CLIPModel(config), {}
    if kind == "videomae":
        config = library.VideoMAEConfig(**wide, num_frames=4, tubelet_size=2)
        return library.VideoMAEModel(config), {}
    config = library.VJEPA2Config(
        **small, crop_size=32, patch_size=8, frames_per_clip=4, tubelet_size=2,
        pred_hidden_size=16, pred_num_attention_heads=2, pred_num_hidden_layers=1,
    )  # fmt: skip
    return library.VJEPA2Model(config), {}


@pytest.mark.parametrize(
    ("kind", "frames", "dim"),
    [("dinov2", 1, 32), ("clip", 1, 16), ("videomae", 4, 32), ("vjepa2", 4, 32)],
)
@pytest.mark.filterwarnings("ignore")
def test_transformers(kind: str, frames: int, dim: int, tmp_path: Path) -> None:
    torch.manual_seed(3)
    if importlib.util.find_spec("torchvision"):
        _library("torchvision")  # transformers looks for it, and stumbles over a broken one
    net, wants = _tiny(kind)
    net.save_pretrained(tmp_path)
    if wants:
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(wants))
    spec = adapters.find(f"hf:{tmp_path}")
    assert (spec.frames, spec.dim, spec.size) == (frames, dim, (32, 32))
    if wants:
        assert spec.mean == (0.4, 0.5, 0.6) and spec.extra["resize"] == (40,)
    stored = _run(spec, "")
    assert weights.identify(spec) == weights.sha256_of(tmp_path / "model.safetensors")
    drawn = _run(adapters.find(f"hf:{tmp_path}", "random:5"), "random:5")
    assert not np.allclose(stored, drawn)


@pytest.mark.filterwarnings("ignore")
def test_transformers_with_a_named_checkpoint(tmp_path: Path) -> None:
    """--weights is what is loaded, not what lies in the folder."""
    if importlib.util.find_spec("torchvision"):
        _library("torchvision")
    torch.manual_seed(3)
    first, wants = _tiny("dinov2")
    first.save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "preprocessor_config.json").write_text(json.dumps(wants))
    second, _ = _tiny("dinov2")
    other = tmp_path / "other.pth"
    torch.save(second.state_dict(), other)
    name = f"hf:{tmp_path / 'model'}"
    stored, named = _run(adapters.find(name), ""), _run(adapters.find(name, str(other)), str(other))
    assert not np.allclose(stored, named)
    second.save_pretrained(tmp_path / "model")
    np.testing.assert_allclose(_run(adapters.find(name), ""), named, rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("words", "fit", "mean"),
    [
        ({"size": {"height": 32, "width": 32}, "image_mean": [0.5, 0.5, 0.5]}, "stretch", 0.5),
        ({"size": {"shortest_edge": 36}, "image_mean": [0.5, 0.5, 0.5]}, "crop", 0.5),
        ({"do_center_crop": False, "do_normalize": False, "size": {"height": 32}}, "stretch", 0),
        ({}, "crop", 0.485),
    ],
)
def test_transformers_preprocessing(
    words: dict[str, Any], fit: str, mean: float, tmp_path: Path
) -> None:
    if importlib.util.find_spec("torchvision"):
        _library("torchvision")
    net, _ = _tiny("dinov2")
    net.save_pretrained(tmp_path)
    if words:
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(words))
    spec = adapters.find(f"hf:{tmp_path}")
    assert (spec.fit, spec.mean[0]) == (fit, mean)
    assert bool(spec.extra.get("assumed")) == (not words)


def test_transformers_never_downloads_by_itself() -> None:
    _library("transformers")
    _library("huggingface_hub")
    with pytest.raises(WeightsMissing, match="models fetch hf:facebook/dinov2-small"):
        adapters.find("hf:facebook/dinov2-small")


def test_what_is_offered_where_transformers_lacks_a_model_works() -> None:
    """Its record is needed whatever the weights are."""
    _library("transformers")
    _library("huggingface_hub")
    for source in ("", "random:0"):
        with pytest.raises(WeightsMissing, match="config.json.*hf:FOLDER") as caught:
            adapters.find("hf:facebook/dinov2-small", source)
        assert "--weights" not in str(caught.value)


class Small(nn.Module):
    """Mean colours through one layer."""

    twinreel = {"size": [24, 32], "fit": "stretch", "mean": [0, 0, 0], "std": [1, 1, 1]}

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(9)
        self.body = nn.Conv2d(3, 7, 5, 2)
        self.top = nn.Linear(7, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.top(torch.relu(self.body(x)).mean(dim=(2, 3)))


def make() -> nn.Module:
    return Small()


@pytest.mark.filterwarnings("ignore")
def test_files_and_factories_give_the_same_rows(tmp_path: Path) -> None:
    net = Small().eval()
    example = torch.zeros(2, 3, 24, 32)
    script, program = tmp_path / "small.pt", tmp_path / "small.pt2"
    torch.jit.trace(net, example).save(str(script))
    batch = torch.export.Dim("n", min=1, max=64)
    torch.export.save(torch.export.export(net, (example,), dynamic_shapes=({0: batch},)), program)
    for path in (script, program):
        path.with_name(path.name + ".json").write_text(json.dumps(Small.twinreel))
    rows = [_run(adapters.find(n), "") for n in (str(script), str(program), f"{__name__}:make")]
    np.testing.assert_allclose(rows[0], rows[1], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(rows[0], rows[2], rtol=1e-4, atol=1e-5)
    assert weights.identify(adapters.find(str(script))) == weights.sha256_of(script)


def make_unseeded() -> nn.Module:
    net = Small()
    nn.init.normal_(net.top.weight, generator=torch.Generator().manual_seed(next(_TURN)))
    return net


_TURN = iter(range(99))


def test_weights_of_functions_are_known_by_their_content(tmp_path: Path) -> None:
    spec = adapters.find(f"{__name__}:make")
    assert len(weights.identify(spec)) == 64
    assert weights.identify(spec) == weights.identify(adapters.find(f"{__name__}:make"))
    # Others at each call: nobody could say what made a vector.
    unsteady = adapters.find(f"{__name__}:make_unseeded")
    with pytest.raises(ModelError, match="other weights each time.*--weights"):
        models.load(unsteady, "", "cpu", "fp32")
    torch.save(Small().state_dict(), tmp_path / "small.pth")
    given = str(tmp_path / "small.pth")
    steady = _run(adapters.find(f"{__name__}:make_unseeded", given), given)
    np.testing.assert_allclose(steady, _run(spec, ""), rtol=1e-5, atol=1e-6)


def test_a_file_that_brings_its_weights_takes_no_others(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="brings its own"):
        adapters.find(str(tmp_path / "small.pt"), "random:0")


@pytest.mark.filterwarnings("ignore")
def test_a_file_without_a_record_says_what_is_assumed(tmp_path: Path) -> None:
    path = tmp_path / "plain.pt"
    torch.jit.trace(Small().eval(), torch.zeros(1, 3, 224, 224)).save(str(path))
    assert "ImageNet" in adapters.find(str(path)).extra["assumed"]


def test_layer_and_pool() -> None:
    mean = _run(adapters.find("resnet18", "random:1", layer="layer2", pool="mean"))
    most = _run(adapters.find("resnet18", "random:1", layer="layer2", pool="max"))
    whole = _run(adapters.find("resnet18", "random:1", layer="layer2", pool="none"))
    assert mean.shape == most.shape == (3, 128) and whole.shape == (3, 128, 28, 28)
    np.testing.assert_allclose(whole.mean(axis=(2, 3)), mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(whole.max(axis=(2, 3)), most, rtol=1e-4, atol=1e-5)
    with pytest.raises(ModelError, match="no layer 'layer9'"):
        adapters.find("resnet18", "random:1", layer="layer9")


def test_a_layer_of_our_own_network_keeps_its_first_parts_in_fp32() -> None:
    found = adapters.find("resnet18", "random:1", layer="layer4", pool="mean")
    module = models.load(found, "random:1", "cpu", "bf16").module
    assert module.inner.conv1.weight.dtype == torch.float32
    assert module.inner.layer4[0].conv1.weight.dtype == torch.bfloat16
    pixels = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), np.uint8)
    full, half = (models.load(found, "random:1", "cpu", p)(pixels) for p in ("fp32", "bf16"))
    cosine = (full * half).sum(1) / np.linalg.norm(full, axis=1) / np.linalg.norm(half, axis=1)
    assert cosine.min() > 0.999


@pytest.mark.parametrize("pool", ["mean", "max", "none"])
def test_how_a_map_is_pooled_is_part_of_what_the_network_is(pool: str) -> None:
    """With or without a layer; where there is no map, it is not."""
    spec = adapters.find("tests.e2e.nets:map_grid", pool=pool)
    assert spec.extra["identity"] == {"pool": pool}
    assert spec.extra["shape"] == ((3, 4, 4) if pool == "none" else (3,))
    assert adapters.find("tests.e2e.nets:grid", pool=pool).extra["identity"] == {}
    inner = adapters.find("resnet18", "random:1", layer="layer1", pool=pool)
    assert inner.extra["identity"] == {"layer": "layer1", "pool": pool}


def test_an_inner_layer_is_not_cut_as_the_network_is() -> None:
    assert models.get("twin.v1").nested
    assert adapters.find("twin.v1", "random:0", layer="twin.blocks").nested == ()


def test_messages(monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    monkeypatch.setitem(sys.modules, "transformers", None)
    for name, extra in (("timm", "timm"), ("transformers", "hf")):
        with pytest.raises(ExtraMissing, match=rf"twinreel\[{extra}\]"):
            libraries._library(name, extra)
    with pytest.raises(UnknownModel, match="module:function"):
        adapters.find("no.such.module:make")
    (tmp_path / "text.pt").write_text("not a network")
    with pytest.raises(ModelError, match="not a TorchScript"):
        models.load(adapters.find(str(tmp_path / "text.pt")))
