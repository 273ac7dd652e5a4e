"""Pictures drawn by code, to widen what the network sees beyond the photographs.

Goes in: a seed. Comes out: uint8 (size, size, 3), RGB. The same seed gives the same picture.

    pixels = picture(7, size=160)

Kinds: dead leaves (Lee, Mumford, Huang 2001), noise with a 1/f^a spectrum (both known to work for
contrastive learning, Baradad et al. 2021, "Learning to See by Looking at Noise"), shapes on
gradients, pages of text, slides, screens with windows, charts, simple scenes.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageFilter, ImageFont

Colour = tuple[int, int, int]

_LETTERS = "etaoinshrdlucmfwypvbgkjqxz"
_FACES = [ImageFont.load_default(size=size) for size in (7, 9, 11, 13, 16, 20, 26, 34, 44)]


def picture(seed: int, size: int = 160) -> np.ndarray:
    """Draw one picture; the kind is chosen by the seed."""
    rng = np.random.default_rng([20, seed])
    kinds = list(KINDS)
    weights = np.array([KINDS[kind][1] for kind in kinds])
    kind = kinds[rng.choice(len(kinds), p=weights / weights.sum())]
    image = KINDS[kind][0](rng, size)
    if rng.random() < 0.15:
        image = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.4, 1.6))))
    return np.asarray(image.convert("RGB").resize((size, size)), dtype=np.uint8)


def words(rng: Generator, count: int) -> str:
    """Pseudo-words with the letter rate of English."""
    rate = 1 / (np.arange(len(_LETTERS)) + 4)
    out = []
    for _ in range(count):
        n = int(rng.integers(1, 10))
        word = "".join(rng.choice(list(_LETTERS), size=n, p=rate / rate.sum()))
        out.append(word.capitalize() if rng.random() < 0.2 else word)
    if rng.random() < 0.3:
        out[int(rng.integers(count))] = str(rng.integers(1, 100000))
    return " ".join(out)


def colour(rng: Generator, palette: list[Colour] | None = None) -> Colour:
    """One colour, from the palette when there is one."""
    if palette:
        return palette[int(rng.integers(len(palette)))]
    h, s, v = rng.random(), rng.beta(1.2, 1.4), rng.beta(1.6, 1.1)
    r, g, b = colorsys.hsv_to_rgb(float(h), float(s), float(v))
    return int(r * 255), int(g * 255), int(b * 255)


def _palette(rng: Generator) -> list[Colour]:
    return [colour(rng) for _ in range(int(rng.integers(2, 8)))]


def _gradient(rng: Generator, size: int) -> Image.Image:
    a, b = np.array(colour(rng), float), np.array(colour(rng), float)
    y, x = np.mgrid[0:size, 0:size] / size
    angle = rng.uniform(0, 2 * np.pi)
    if rng.random() < 0.3:
        t = np.hypot(x - rng.random(), y - rng.random())
    else:
        t = x * np.cos(angle) + y * np.sin(angle)
    t = (t - t.min()) / (np.ptp(t) + 1e-9)
    return Image.fromarray((a + (b - a) * t[..., None]).astype(np.uint8))


def _blob(draw: ImageDraw.ImageDraw, rng: Generator, x: float, y: float, r: float,
          fill: Colour | None, outline: Colour | None = None) -> None:
    """One shape around a point."""
    kind = int(rng.integers(5))
    width = int(max(1, r * rng.uniform(0.05, 0.25))) if outline else 1
    if kind == 0:
        draw.ellipse((x - r, y - r, x + r, y + r), fill, outline, width)
    elif kind == 1:
        q = r * rng.uniform(0.3, 1)
        draw.rectangle((x - r, y - q, x + r, y + q), fill, outline, width)
    elif kind == 2:
        q = r * rng.uniform(0.3, 1)
        draw.ellipse((x - q, y - r, x + q, y + r), fill, outline, width)
    else:
        n = int(rng.integers(3, 9))
        turn = np.sort(rng.uniform(0, 2 * np.pi, n))
        far = r * (rng.uniform(0.4, 1, n) if kind == 3 else np.ones(n))
        points = [(x + f * np.cos(t), y + f * np.sin(t)) for f, t in zip(far, turn, strict=True)]
        draw.polygon(points, fill, outline)


def _leaves(rng: Generator, size: int) -> Image.Image:
    """Dead leaves: shapes with power-law sizes that cover each other."""
    big = size * 2
    image = Image.new("RGB", (big, big), colour(rng))
    draw = ImageDraw.Draw(image)
    palette = _palette(rng) if rng.random() < 0.6 else None
    low = rng.uniform(0.015, 0.06)
    for _ in range(int(rng.integers(60, 420))):
        r = big * min(low / np.sqrt(rng.random() + 1e-3), 0.35)
        base = colour(rng, palette)
        fill = tuple(int(np.clip(c + rng.normal(0, 14), 0, 255)) for c in base)
        _blob(draw, rng, rng.uniform(0, big), rng.uniform(0, big), r, fill)  # type: ignore[arg-type]
    return image.resize((size, size), Image.Resampling.BOX)


def _spectrum(rng: Generator, size: int) -> np.ndarray:
    """One plane of noise with a 1/f^a spectrum, 0..1."""
    stretch = rng.uniform(0.5, 2)
    f = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :] * stretch)
    f[0, 0] = 1
    plane = np.fft.rfft2(rng.normal(size=(size, size))) / f ** rng.uniform(0.8, 2.2)
    plane[0, 0] = 0
    x = np.fft.irfft2(plane, s=(size, size))
    return (x - x.min()) / (np.ptp(x) + 1e-9)


def _noise(rng: Generator, size: int) -> Image.Image:
    """Clouds, veins, bands and camouflage out of 1/f noise."""
    x = _spectrum(rng, size)
    style = int(rng.integers(4))
    if style == 0:
        x = np.abs(np.sin(x * rng.uniform(3, 30)))
    elif style == 1:
        x = np.floor(x * rng.integers(3, 9)) / 8
    stops = np.array(_palette(rng) + [colour(rng)], float)
    at = np.clip(x, 0, 1) * (len(stops) - 1)
    low = np.clip(np.floor(at).astype(int), 0, len(stops) - 2)
    t = (at - low)[..., None]
    rgb = stops[low] * (1 - t) + stops[low + 1] * t
    if style == 3:
        rgb = np.stack([_spectrum(rng, size) for _ in range(3)], -1) * 255
    return Image.fromarray(np.clip(rgb, 0, 255).astype(np.uint8))


def _shapes(rng: Generator, size: int) -> Image.Image:
    image = _gradient(rng, size)
    draw = ImageDraw.Draw(image)
    palette = _palette(rng)
    for _ in range(int(rng.integers(2, 18))):
        r = size * rng.uniform(0.03, 0.35)
        fill = colour(rng, palette) if rng.random() < 0.8 else None
        _blob(draw, rng, rng.uniform(0, size), rng.uniform(0, size), r, fill,
              colour(rng) if fill is None else None)
    return image


def _text(rng: Generator, size: int) -> Image.Image:
    """A page or a poster of text."""
    light = rng.random() < 0.6
    paper: Colour = (250, 250, 248) if light else (24, 26, 30)
    image = Image.new("RGB", (size, size), paper if rng.random() < 0.6 else colour(rng))
    draw = ImageDraw.Draw(image)
    y = rng.uniform(0, size * 0.2)
    face = _FACES[int(rng.integers(len(_FACES)))]
    ink: Colour = (20, 20, 24) if light else (235, 235, 235)
    x = rng.uniform(2, size * 0.3)
    while y < size:
        if rng.random() < 0.15:
            face = _FACES[int(rng.integers(len(_FACES)))]
            ink = colour(rng)
        draw.text((x, y), words(rng, int(rng.integers(1, 9))), ink, font=face)
        y += face.size * rng.uniform(1.05, 2)
    return image


def _slide(rng: Generator, size: int) -> Image.Image:
    """Title, bullets and a picture or chart, as in recorded talks."""
    ground: Colour = (255, 255, 255) if rng.random() < 0.5 else colour(rng)
    image = Image.new("RGB", (size, size), ground)
    draw = ImageDraw.Draw(image)
    dark = sum(ground) < 380
    ink: Colour = (240, 240, 240) if dark else (30, 30, 34)
    accent = colour(rng)
    head = int(size * rng.uniform(0.1, 0.25))
    if rng.random() < 0.6:
        draw.rectangle((0, 0, size, head), accent)
    draw.text((6, head * 0.2), words(rng, 3), ink, font=_FACES[int(rng.integers(4, 7))])
    split = rng.uniform(0.35, 1.0)
    y = head + 8.0
    while y < size * 0.9:
        draw.ellipse((6, y + 3, 10, y + 7), accent)
        line = words(rng, int(max(1, 6 * split)))
        draw.text((14, y), line, ink, font=_FACES[int(rng.integers(1, 4))])
        y += rng.uniform(12, 28)
    if split < 0.8:
        kind = str(rng.choice(["leaves", "noise", "shapes", "chart", "scene"]))
        inner = KINDS[kind][0](rng, size)
        width = int(size * (0.95 - split))
        height = int(size * rng.uniform(0.3, 0.6))
        image.paste(inner.resize((width, height)), (int(size * split), int(head + size * 0.05)))
    return image


def _chart(rng: Generator, size: int) -> Image.Image:
    image = Image.new("RGB", (size, size), (255, 255, 255) if rng.random() < 0.7 else colour(rng))
    draw = ImageDraw.Draw(image)
    ink = colour(rng)
    n = int(rng.integers(3, 24))
    tall = rng.random(n) * size * 0.75
    step = size * 0.9 / n
    if rng.random() < 0.5:
        for i, h in enumerate(tall):
            x = size * 0.07 + i * step
            draw.rectangle((x, size * 0.92 - h, x + step * 0.7, size * 0.92), ink)
    else:
        for _ in range(int(rng.integers(1, 4))):
            walk = size / 2 + np.cumsum(rng.normal(0, size / 14, n))
            points = [(size * 0.07 + i * step, float(h)) for i, h in enumerate(walk)]
            draw.line(points, colour(rng), int(rng.integers(1, 4)))
    draw.line((size * 0.06, 0, size * 0.06, size * 0.92, size, size * 0.92), (60, 60, 60))
    return image


def _screen(rng: Generator, size: int) -> Image.Image:
    """A desktop or a web page: bars, panels, lines of text, pictures."""
    dark = rng.random() < 0.5
    back: Colour = (30, 32, 36) if dark else (240, 241, 243)
    if rng.random() < 0.4:
        image = KINDS[str(rng.choice(["noise", "shapes", "leaves", "scene"]))][0](rng, size)
        image = image.resize((size, size))
    else:
        image = Image.new("RGB", (size, size), back)
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(1, 5))):
        w, h = rng.uniform(0.25, 1, 2) * size
        x, y = rng.uniform(-0.1, 0.7, 2) * size
        panel = tuple(int(np.clip(c + rng.normal(0, 18), 0, 255)) for c in back)
        draw.rectangle((x, y, x + w, y + h), panel)  # type: ignore[arg-type]
        bar = rng.uniform(6, 14)
        draw.rectangle((x, y, x + w, y + bar), colour(rng))
        for k in range(3):
            draw.ellipse((x + 3 + 6 * k, y + 2, x + 7 + 6 * k, y + 6), colour(rng))
        line = y + bar + 3
        while line < y + h - 8:
            ink: Colour = (210, 210, 210) if dark else (50, 50, 60)
            face = _FACES[int(rng.integers(0, 3))]
            draw.text((x + 4 + rng.choice([0, 8]), line), words(rng, 3), ink, font=face)
            line += rng.uniform(8, 20)
        if rng.random() < 0.4 and w > 30 and h > 30:
            inner = KINDS[str(rng.choice(["leaves", "noise", "chart", "scene"]))][0](rng, size)
            inner = inner.resize((max(4, int(w * 0.5)), max(4, int(h * 0.5))))
            image.paste(inner, (int(x + w * 0.4), int(y + h * 0.35)))
    return image


def _scene(rng: Generator, size: int) -> Image.Image:
    """Sky, ground, ridges, boxes and round things: a coarse outdoor or indoor view."""
    image = _gradient(rng, size)
    draw = ImageDraw.Draw(image)
    for depth in range(int(rng.integers(1, 4))):
        base = size * (0.4 + 0.18 * depth)
        ridge = base + np.cumsum(rng.normal(0, size / 50, 17))
        points = [(i * size / 16, float(h)) for i, h in enumerate(ridge)]
        draw.polygon([(0, size), *points, (size, size)], colour(rng))
    for _ in range(int(rng.integers(1, 9))):
        x, y = rng.uniform(0, size), rng.uniform(size * 0.3, size)
        w, h = size * rng.uniform(0.04, 0.25), size * rng.uniform(0.05, 0.5)
        tone = colour(rng)
        if rng.random() < 0.6:
            draw.rectangle((x, y - h, x + w, y), tone)
            for k in range(int(rng.integers(0, 12))):
                u, v = x + w * (0.15 + 0.3 * (k % 3)), y - h + 4 + 8 * (k // 3)
                draw.rectangle((u, v, u + w * 0.15, v + 4), colour(rng))
        else:
            draw.ellipse((x, y - h, x + w, y), tone)
            draw.rectangle((x + w * 0.3, y, x + w * 0.7, y + h), colour(rng))
    if rng.random() < 0.5:  # film grain, so that flat colour is not the mark of a drawing
        noisy = np.asarray(image, float) + rng.normal(0, rng.uniform(2, 12), (size, size, 1))
        image = Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))
    return image


KINDS: dict[str, tuple[Callable[[Generator, int], Image.Image], float]] = {
    "leaves": (_leaves, 3.0),
    "noise": (_noise, 2.0),
    "shapes": (_shapes, 2.0),
    "text": (_text, 1.0),
    "slide": (_slide, 2.0),
    "chart": (_chart, 0.7),
    "screen": (_screen, 2.0),
    "scene": (_scene, 3.0),
}
