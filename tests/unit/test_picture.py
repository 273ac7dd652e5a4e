"""Arithmetic on single pictures, on pictures made for it."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from tests.videos import paint, stamp
from twinreel import picture
from twinreel.picture import WHOLE


def shot(seed: int = 0, t: float = 0.0, size: tuple[int, int] = (320, 240)) -> np.ndarray:
    """A painted picture, uint8 (h, w, 3)."""
    return stamp(paint(seed, t, size), int(t * 10))


def framed(image: np.ndarray, left: int, top: int, right: int, bottom: int, grey: int = 0):
    """A picture scaled into a box of its own frame, `grey` around it."""
    h, w = image.shape[:2]
    out = np.full_like(image, grey)
    inner = Image.fromarray(image).resize((w - left - right, h - top - bottom))
    out[top : h - bottom, left : w - right] = np.asarray(inner)
    return out


@pytest.mark.parametrize("grey", [0, 16, 110, 255])
@pytest.mark.parametrize("box", [(0, 30, 0, 30), (40, 0, 40, 0), (32, 24, 32, 24), (0, 8, 0, 8)])
def test_borders_of_any_colour_on_both_sides(grey: int, box: tuple[int, int, int, int]) -> None:
    frames = [framed(shot(t=t), *box, grey=grey) for t in (0.0, 1.0, 2.0)]
    left, top, right, bottom = box
    want = (left / 320, top / 240, 1 - right / 320, 1 - bottom / 240)
    assert picture.find_picture(frames) == pytest.approx(want, abs=0.02)


@pytest.mark.parametrize("box", [(0, 0, 0, 48), (0, 48, 0, 0), (60, 0, 0, 0), (0, 0, 60, 0)])
def test_one_side_alone_counts_only_when_black(box: tuple[int, int, int, int]) -> None:
    left, top, right, bottom = box
    want = (left / 320, top / 240, 1 - right / 320, 1 - bottom / 240)
    black = [framed(shot(t=t), *box) for t in (0.0, 1.0, 2.0)]
    assert picture.find_picture(black) == pytest.approx(want, abs=0.02)
    wall = [framed(shot(t=t), *box, grey=120) for t in (0.0, 1.0, 2.0)]
    assert picture.find_picture(wall) == WHOLE


def test_what_moves_is_no_border() -> None:
    """A dark sky above in one shot only is part of the picture."""
    frames = [shot(t=0.0), framed(shot(t=1.0), 0, 40, 0, 40), shot(t=2.0)]
    assert picture.find_picture(frames) == WHOLE


def test_blank_frames_say_nothing_of_borders() -> None:
    black = np.zeros((240, 320, 3), np.uint8)
    assert picture.find_picture([black, black]) == WHOLE
    frames = [black, framed(shot(), 0, 30, 0, 30), black]
    assert picture.find_picture(frames) == pytest.approx((0, 0.125, 1, 0.875), abs=0.02)


def test_a_picture_of_a_tenth_is_not_believed() -> None:
    frames = [framed(shot(), 130, 100, 130, 100)]
    assert picture.find_picture(frames) == WHOLE


def test_cut_gives_the_inside_at_the_asked_size() -> None:
    image = shot()
    bars = framed(image, 40, 30, 40, 30)
    inside = picture.cut(bars, (0.125, 0.125, 0.875, 0.875), (120, 160))
    plain = picture.cut(image, WHOLE, (120, 160))
    assert inside.shape == (120, 160, 3) and inside.dtype == np.uint8
    assert np.abs(inside.astype(int) - plain.astype(int)).mean() < 6
    same = picture.cut(image, WHOLE, (240, 320))
    assert np.array_equal(same, image) and same.flags.c_contiguous


def test_blank() -> None:
    assert picture.is_blank(np.zeros((90, 160, 3), np.uint8))
    assert picture.is_blank(np.full((90, 160, 3), 255, np.uint8))
    faint = np.tile(np.linspace(100, 112, 160)[None, :, None], (90, 1, 3)).astype(np.uint8)
    assert picture.is_blank(faint)
    assert not picture.is_blank(shot())
    noise = np.random.default_rng(0).normal(16, 2, (90, 160, 3)).clip(0, 255).astype(np.uint8)
    assert picture.is_blank(noise)  # a dark scene's sensor noise


def fine(size: int) -> np.ndarray:
    """Grey noise with a natural spectrum (amplitude 1/f), uint8 (size, size)."""
    rng = np.random.default_rng(3)
    f = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size)))
    f[0, 0] = 1
    waves = np.fft.ifft2(np.fft.fft2(rng.normal(size=(size, size))) / f).real
    return (128 + 40 * waves / waves.std()).clip(0, 255).astype(np.uint8)


def test_detail_of_an_upscale_stops_where_its_source_stopped() -> None:
    sharp = fine(720)
    small = np.asarray(Image.fromarray(sharp).resize((270, 270), Image.Resampling.BICUBIC))
    up = np.asarray(Image.fromarray(small).resize((720, 720), Image.Resampling.BICUBIC))
    whole = picture.detail([sharp], WHOLE)
    source = picture.detail([small], WHOLE)
    raised = picture.detail([up], WHOLE)
    assert whole > 300 and source > 110
    assert raised < 0.7 * whole


def test_detail_of_frames_is_the_largest_and_of_tiny_ones_unknown() -> None:
    sharp = fine(256)
    flat = np.full((256, 256), 90, np.uint8)
    assert picture.detail([flat, sharp], WHOLE) == picture.detail([sharp], WHOLE) > 0
    assert picture.detail([flat], WHOLE) == 0.0
    assert picture.detail([flat], WHOLE, before=7.0) == 7.0
    assert picture.detail([sharp[:40]], WHOLE) == 0.0


def test_noise_is_no_detail() -> None:
    soft = np.array(Image.fromarray(fine(270)).resize((720, 720), Image.Resampling.BICUBIC))
    soft[:, :300] = np.linspace(60, 200, 720)[:, None]  # a sky
    random = np.random.default_rng(4)
    noisy = (soft + random.normal(0, 6, soft.shape)).clip(0, 255).astype(np.uint8)
    assert not picture.noise(soft, WHOLE).any()
    assert not picture.noise(fine(720), WHOLE).any()  # as fine as can be, but falling
    hiss = picture.noise(noisy, WHOLE)
    assert hiss.shape == (33,) and hiss[16:].mean() == pytest.approx(36, rel=0.35)
    clean = picture.detail([soft], WHOLE)
    assert picture.detail([noisy], WHOLE) > 1.3 * clean  # unless the noise is known
    assert picture.detail([noisy], WHOLE, hiss=hiss) <= 1.1 * clean
    assert not picture.noise(np.full((720, 720), 255, np.uint8), WHOLE).any()
    assert not picture.noise(noisy[:40], WHOLE).any()


def test_colour_is_told_from_grey() -> None:
    image = shot()
    grey = np.repeat(np.asarray(Image.fromarray(image).convert("L"))[..., None], 3, axis=2)
    through = [picture.from_jpeg(picture.jpeg(p, 25)) for p in (image, grey)]
    assert picture.colour(through[:1]) > 4
    assert picture.colour(through[1:]) < 0.1


def test_jpeg_at_a_quarter_is_the_picture_made_small() -> None:
    image = shot()
    data = picture.jpeg(image, 60)
    small = picture.from_jpeg(data, image.shape[0] // 4)
    assert small.shape == (image.shape[0] // 4, image.shape[1] // 4, 3)
    meant = Image.fromarray(picture.from_jpeg(data)).reduce(4)
    assert np.abs(small.astype(int) - np.asarray(meant)).mean() < 6


def test_jpeg_there_and_back() -> None:
    image = shot()
    data = picture.jpeg(image, 90)
    assert Image.open(io.BytesIO(data)).format == "JPEG"
    back = picture.from_jpeg(data)
    assert back.shape == image.shape and back.dtype == np.uint8
    assert np.abs(back.astype(int) - image.astype(int)).mean() < 4


def test_thumbs_are_thinned_evenly_and_bounded() -> None:
    thumbs: list[tuple[float, np.ndarray]] = []
    image = shot(size=(32, 32))
    most = 0
    for i in range(1000):
        picture.add_thumb(thumbs, float(i), image)
        most = max(most, len(thumbs))
    assert most <= 129
    times = [t for t, _ in thumbs]
    assert times[0] == 0.0 and times == sorted(times)


def test_fit_thumbs_keeps_what_fits_and_coarsens_before_it_thins() -> None:
    small = [(float(i), shot(size=(64, 64))) for i in range(4)]
    assert picture.fit_thumbs(small) == tuple((t, picture.jpeg(p)) for t, p in small)
    rng = np.random.default_rng(1)
    rough = [(float(i), fine_colour(rng)) for i in range(32)]
    fitted = picture.fit_thumbs(rough)
    assert 50_000 < sum(len(d) for _, d in fitted) <= picture.THUMBS_LIMIT
    assert [t for t, _ in fitted] == [t for t, _ in rough]  # every moment is still there
    noise = [(float(i), rng.integers(0, 255, (200, 200, 3), np.uint8)) for i in range(32)]
    fitted = picture.fit_thumbs(noise)
    assert sum(len(d) for _, d in fitted) <= picture.THUMBS_LIMIT
    assert fitted[0][0] == 0.0 and 4 <= len(fitted) < 32
    assert picture.fit_thumbs([]) == ()


def fine_colour(rng: np.random.Generator) -> np.ndarray:
    """A busy picture of 160 x 160: more than 100 kB for 32 of them at the first quality."""
    picture = shot(size=(160, 160)).astype(int) + rng.integers(-25, 26, (160, 160, 3))
    return picture.clip(0, 255).astype(np.uint8)
