"""The network, its fusing, its released weights, and the pieces of the recipe that made them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from twinreel.models.twin import DIM, NESTED, SIZE, TwinNet, normalise, shorten  # noqa: E402

WEIGHTS = Path(__file__).parents[2] / "src" / "twinreel" / "data" / "twin-v1.safetensors"
released = pytest.mark.skipif(not WEIGHTS.exists(), reason=f"{WEIGHTS.name} is not released yet")


def pictures(n: int, size: int = SIZE, seed: int = 0) -> torch.Tensor:
    """Smooth random pictures: sums of a few waves, uint8 (n, 3, size, size)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:size, 0:size] / size
    out = np.zeros((n, 3, size, size))
    for i in range(n):
        for _ in range(6):
            fx, fy, phase = rng.uniform(-9, 9), rng.uniform(-9, 9), rng.uniform(0, 6.3)
            wave = np.sin(2 * np.pi * (fx * x + fy * y) + phase)
            out[i] += rng.normal(0, 1, (3, 1, 1)) * wave
    out -= out.min(axis=(1, 2, 3), keepdims=True)
    out *= 255 / out.max(axis=(1, 2, 3), keepdims=True)
    return torch.from_numpy(out.astype(np.uint8))


@pytest.fixture(scope="module")
def lived_in() -> TwinNet:
    """An unfused network whose batch norms are far from their start values."""
    torch.manual_seed(3)
    net = TwinNet()
    for m in net.modules():
        if isinstance(m, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(m.weight, 0.5, 1.5)
            torch.nn.init.normal_(m.bias, 0, 0.3)
        if isinstance(m, (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d)):
            torch.nn.init.normal_(m.running_mean, 0, 0.3)
            torch.nn.init.uniform_(m.running_var, 0.5, 2.0)
    return net.eval()


@pytest.fixture(scope="module")
def shipped() -> TwinNet:
    from safetensors.torch import load_file

    return TwinNet.fused(load_file(WEIGHTS))


def test_fused_equals_unfused(lived_in: TwinNet) -> None:
    x = normalise(pictures(3, 96))
    with torch.inference_mode():
        plain, fused = lived_in(x), lived_in.fuse()(x)
    assert plain.std() > 1e-3  # not a constant
    assert (plain - fused).abs().max() < 1e-4


def test_fused_form_is_plain_convolutions(lived_in: TwinNet) -> None:
    kinds = {type(m) for m in lived_in.fuse().modules()} - {TwinNet, torch.nn.Sequential}
    assert {k.__name__ for k in kinds} == {"Block", "Conv2d", "Linear"}
    again = lived_in.fuse().fuse()
    x = normalise(pictures(1, 64))
    assert torch.allclose(again(x), lived_in.fuse()(x), atol=1e-6)


def test_state_round_trip(lived_in: TwinNet) -> None:
    fused = lived_in.fuse()
    x = normalise(pictures(2, 64))
    assert torch.equal(TwinNet.fused(fused.state_dict())(x), fused(x))


@pytest.mark.parametrize("size", [64, 96, SIZE])
def test_output_is_unit_float32(lived_in: TwinNet, size: int) -> None:
    z = lived_in(normalise(pictures(2, size)))
    assert z.shape == (2, DIM) and z.dtype == torch.float32
    assert torch.allclose(z.norm(dim=1), torch.ones(2), atol=1e-5)


def test_batch_size_does_not_matter(lived_in: TwinNet) -> None:
    net, x = lived_in.fuse(), normalise(pictures(5, 64))
    together = net(x)
    alone = torch.cat([net(x[i : i + 1]) for i in range(5)])
    assert (together - alone).abs().max() < 1e-5


def test_shorten() -> None:
    z = torch.nn.functional.normalize(torch.randn(4, DIM), dim=1)
    assert torch.allclose(shorten(z, DIM), z, atol=1e-6)
    short = shorten(z, 64)
    assert short.shape == (4, 64)
    assert torch.allclose(short.norm(dim=1), torch.ones(4), atol=1e-6)
    with pytest.raises(ValueError, match="got 100"):
        shorten(z, 100)


def test_build_refuses_a_record_that_does_not_fit() -> None:
    from twinreel.models import ModelSpec
    from twinreel.models.twin import build

    good = ModelSpec("twin.test", "twinreel.models.twin:build", DIM, size=(SIZE, SIZE))
    assert isinstance(build(good), TwinNet)
    with pytest.raises(ValueError, match="correct the record"):
        build(ModelSpec("twin.test", "twinreel.models.twin:build", 512, size=(SIZE, SIZE)))


@released
def test_released_file_is_small_half_precision_and_says_what_made_it() -> None:
    from safetensors import safe_open

    assert WEIGHTS.stat().st_size <= 5_000_000
    with safe_open(WEIGHTS, "pt") as f:
        about = f.metadata()
        assert {f.get_tensor(k).dtype for k in f.keys()} == {torch.float16}  # noqa: SIM118
    assert about["name"] == "twin.v1"
    for key in ("config_sha256", "data_sha256", "run_sha256"):
        assert len(about[key]) == 64


@released
def test_released_weights_give_the_golden_vector(shipped: TwinNet) -> None:
    """Guards preprocessing, layout and weights at once. New weights: run this file to see the new
    numbers, `python tests/unit/test_twin.py`."""
    assert hashlib.sha256(WEIGHTS.read_bytes()).hexdigest() == GOLDEN_SHA256
    z = shipped(normalise(pictures(1, seed=41)))[0]
    assert np.abs(z[:12].numpy() - np.array(GOLDEN)).max() < 2e-3


@released
def test_released_weights_agree_in_bf16(shipped: TwinNet) -> None:
    x = normalise(pictures(8, seed=5))
    full = shipped(x)
    low = TwinNet.fused(shipped.state_dict()).bfloat16()(x.bfloat16())
    assert torch.nn.functional.cosine_similarity(full, low).min() > 0.999


@released
@pytest.mark.parametrize("dim", NESTED)
def test_released_weights_see_through_edits(shipped: TwinNet, dim: int) -> None:
    x = pictures(24, seed=7)
    dark = (x.float() * 0.7).to(torch.uint8)
    cropped = torch.nn.functional.interpolate(x[:, :, 12:-12, 12:-12].float(), (SIZE, SIZE),
                                              mode="bilinear").to(torch.uint8)
    gallery = shorten(shipped(normalise(x)), dim)
    for edited in (dark, cropped, x.flip(3)):
        cosine = shorten(shipped(normalise(edited)), dim) @ gallery.T
        right = (cosine.argmax(dim=1) == torch.arange(24)).float().mean()
        assert right >= 0.9


# --- the recipe ---------------------------------------------------------------------------------


def test_drawn_pictures_repeat_and_differ() -> None:
    from training.procedural import KINDS, picture

    for seed in range(12):
        assert np.array_equal(picture(seed, 64), picture(seed, 64))
    assert not np.array_equal(picture(1, 64), picture(2, 64))
    assert picture(3, 48).shape == (48, 48, 3)
    assert len(KINDS) >= 6


def test_look_alikes_share_a_scene() -> None:
    from training.data import find_scenes

    a, b = pictures(2, 64, seed=1).numpy()
    pixels = np.stack([a, b, a[..., ::-1], np.clip(a.astype(int) + 9, 0, 255).astype(np.uint8), a])
    scene = find_scenes(pixels, np.array([0, 0, 0, 0, 1]))
    assert scene[0] == scene[2] == scene[3]
    assert scene[1] != scene[0]
    assert scene[4] != scene[0]  # another folder: joined only within folders


def test_same_seed_same_views_and_shapes() -> None:
    from training.augment import Edits
    from training.sprites import draw_sprites
    from training.strength import WEAK, Strength

    pool, sprites = pictures(6, 64), torch.from_numpy(draw_sprites(4, seed=0))
    rows = torch.arange(6).repeat(20)
    for strength in (Strength(), WEAK):
        edits = Edits(pool, sprites, strength)
        one, other = edits(rows, size=48, rng=torch.Generator().manual_seed(2))
        two, _ = edits(rows, size=48, rng=torch.Generator().manual_seed(2))
        assert torch.equal(one, two)
        assert one.shape == (120, 3, 48, 48) and one.min() >= 0 and one.max() <= 1
        assert other.shape == (120,) and other.max() < 6
    plain = Edits(pool, sprites, Strength(**dict.fromkeys(vars(WEAK), 0.0) | {
        "crop_area": 0.5, "paste_min": 0.35, "jpeg_low": 5.0, "jpeg_high": 60.0}))
    views, other = plain(torch.arange(6), size=64, rng=torch.Generator().manual_seed(0))
    assert (other == -1).all()
    assert (views - pool / 255).abs().max() < 1e-4  # nothing asked for, nothing done


def test_quarter_turn_is_exact() -> None:
    from training.augment import _turn, sample

    x = pictures(1, 64).float()
    turned, inside = sample(x, _turn(torch.tensor([np.pi / 2]), torch.ones(1)), 64)
    assert inside.float().mean() > 0.99
    errors = [(turned - torch.rot90(x, k, (2, 3))).abs().mean() for k in (1, 3)]
    assert min(errors) < 0.5


def test_a_part_of_a_photograph_is_a_picture_of_its_own() -> None:
    from training.augment import Edits, parts
    from training.sprites import draw_sprites
    from training.strength import WEAK, Strength

    rng = torch.Generator().manual_seed(4)
    part = parts(200, 0.5, 0.3, rng)
    area = part[:, 0, 0] * part[:, 1, 1]
    whole = (part == torch.eye(3)).all(dim=(1, 2))
    assert 60 < int(whole.sum()) < 140
    assert area.min() > 0.29 and area[~whole].max() <= 1
    corner = part[:, :2, 2].abs() + part.diagonal(dim1=1, dim2=2)[:, :2]
    assert corner.max() < 1 + 1e-5  # nothing of it lies outside

    pool, sprites = pictures(2, 64), torch.from_numpy(draw_sprites(2, seed=0))
    nothing = Strength(**dict.fromkeys(vars(WEAK), 0.0) | {
        "crop_area": 0.5, "paste_min": 0.35, "jpeg_low": 5.0, "jpeg_high": 60.0})
    left_half = torch.tensor([[0.5, 0, -0.5], [0, 1, 0], [0, 0, 1]]).repeat(2, 1, 1)
    views, other = Edits(pool, sprites, nothing)(
        torch.arange(2), size=64, rng=torch.Generator().manual_seed(0), part=left_half)
    wide = torch.nn.functional.interpolate(pool[..., :32] / 255, (64, 64), mode="bilinear")
    assert (views - wide).abs().mean() < 0.01 and (other == -1).all()


def test_jpeg_loses_more_at_low_quality() -> None:
    from training.degrade import jpeg

    x = pictures(4, 64).float() / 255
    low = (jpeg(x, torch.full((4,), 5.0)) - x).abs().mean()
    high = (jpeg(x, torch.full((4,), 95.0)) - x).abs().mean()
    assert high < 0.02 < low


def test_conflicting_pairs_are_no_negatives() -> None:
    from training.loss import conflicts

    scene, other = torch.tensor([0, 1, 2, 3]), torch.tensor([-1, 0, 9, 9])
    banned = conflicts(scene, other, scene, other)
    assert banned.diagonal().all()
    assert banned[0, 1] and banned[1, 0]  # scene 0 is visible in view 1
    assert banned[2, 3]  # the same third picture is visible in both
    assert not banned[0, 2] and not banned[1, 2]


def test_loss_prefers_twins_together_and_others_apart() -> None:
    from training.loss import Memory, copy_loss

    torch.manual_seed(0)
    apart = torch.nn.functional.normalize(torch.randn(8, DIM), dim=1)
    scene, none = torch.arange(8).repeat(2), torch.full((16,), -1)
    settings = {"temperature": 0.05, "spread": 1.0, "nested": {64: 0.5, 256: 1.0}}

    def value(z: torch.Tensor) -> float:
        memory = Memory(32)
        loss, parts = copy_loss(z, scene, none, memory, **settings)
        assert memory.filled == 16 and 0 <= parts["top1"] <= 1
        return float(loss)

    good = value(torch.cat([apart, apart]))
    shuffled = value(torch.cat([apart, apart.roll(1, 0)]))
    collapsed = value(apart[:1].expand(16, -1))
    assert good < shuffled and good < collapsed


def test_memory_overwrites_the_oldest() -> None:
    from training.loss import Memory

    memory = Memory(4, dim=2)
    for i in range(3):
        memory.push(torch.full((2, 2), float(i)), torch.tensor([i, i]), torch.tensor([-1, -1]))
    assert memory.filled == 4 and sorted(memory.scene.tolist()) == [1, 1, 2, 2]
    memory.push(torch.zeros(6, 2), torch.arange(6), torch.full((6,), -1))  # more than it holds
    assert sorted(memory.scene.tolist()) == [2, 3, 4, 5]


def test_training_goes_on_where_it_stopped(tmp_path: Path) -> None:
    from training.data import build_pool
    from training.train import read_config, train

    config = read_config(Path(__file__).parents[2] / "training" / "config.toml")
    config |= {"evaluate_minutes": 1e9, "checkpoint_minutes": 0.0,
               "size": {"until": [1.0], "side": [32]}}
    config["views"]["pairs"] = 4
    config["loss"]["memory"] = 16
    config["data"]["sprites"] = 4
    pool = build_pool(None, size=48, drawn=24, seed=1, held_share=0.2)
    train(config, pool, tmp_path, steps=2)
    first = torch.load(tmp_path / "last.pt", weights_only=True)
    train(config, pool, tmp_path, steps=3)
    second = torch.load(tmp_path / "last.pt", weights_only=True)
    assert (first["step"], second["step"]) == (2, 3)
    moved = [k for k, v in first["net"].items() if not torch.equal(v, second["net"][k])]
    assert len(moved) > 20
    average = torch.load(tmp_path / "average.pt", weights_only=True)  # what a release is made of
    assert average["step"] == 3 and set(average["ema"]) == set(second["ema"])
    assert average["held"] == [n for n, h in zip(pool.names, pool.held, strict=True) if h]
    whole = tmp_path / "whole"
    train(config, pool, whole, steps=2)
    again = torch.load(whole / "last.pt", weights_only=True)
    for name, tensor in first["net"].items():  # same seed, same steps, same weights
        assert torch.equal(tensor, again["net"][name])


GOLDEN_SHA256 = "eeecfb89cae3ba54a03fb43dc0b9ca16360fe1a96dce4f04979ed71671d4f3e8"
GOLDEN = [0.0588, -0.1789, 0.0621, 0.0136, 0.0654, -0.0025, 0.2398, -0.0258, -0.0903, 0.0338,
          0.0132, 0.0073]

if __name__ == "__main__":
    from safetensors.torch import load_file

    print(hashlib.sha256(WEIGHTS.read_bytes()).hexdigest())
    vector = TwinNet.fused(load_file(WEIGHTS))(normalise(pictures(1, seed=41)))[0, :12]
    print([round(float(v), 4) for v in vector])
