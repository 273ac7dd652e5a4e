"""Footage in which little moves, drawn from photographs: what the train split has none of.

    python -m benchmarks.accuracy.drawn --photos DIR --corpus DIR --work OUT [--seed 71]

Heads that lean, speak and blink (a photograph, bent in places), still rooms with one small thing
that moves, windows in which text appears; two takes of each, which are no copies. The set holds the
first takes, edits and compilations of them, and the second takes as hard negatives; with the truth
beside it as in the scoreboard's train set. Closer looks were weighed on it (fit_closer.py).
"""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from benchmarks.accuracy import build, corpus, plan, truth

FPS = 25
KINDS = {"head": 12, "room": 6, "window": 6}
EDITS = ("insert_segment", "clip_in_other", "middle_60", "trim_tail", "speed_105", "speed_150",
         "speed_090", "letterbox_add", "x264_150k", "crop_center_80", "mirror", "down_240p")
WORDS = ("the a of video model what is in this answer please describe scene two people walking on "
         "street near water red car shows that there are not many more than one may think").split()
Floats = npt.NDArray[np.float64]
Rgb = npt.NDArray[np.uint8]


def wander(rng: np.random.Generator, frames: int, hz: float, size: float) -> Floats:
    """Smooth random motion: noise through two poles, of standard deviation `size`."""
    keep = math.exp(-2 * math.pi * hz / FPS)
    out = rng.standard_normal(frames + 100)
    for _ in range(2):
        for i in range(1, len(out)):
            out[i] = keep * out[i - 1] + (1 - keep) * out[i]
    out = out[100:]
    return out / max(float(out.std()), 1e-9) * size


def photograph(rng: np.random.Generator, photos: Sequence[Path], width: int, height: int) -> Rgb:
    """One that shows something, cut to size."""
    while True:
        image = Image.open(photos[rng.integers(len(photos))]).convert("RGB")
        scale = max(width / image.width, height / image.height)
        image = image.resize((math.ceil(image.width * scale), math.ceil(image.height * scale)))
        left, top = (image.width - width) // 2, (image.height - height) // 2
        pixels = np.asarray(image.crop((left, top, left + width, top + height)))
        if pixels.std() > 35:
            return pixels


def head(still: Rgb, look: np.random.Generator, rng: np.random.Generator, frames: int,
         noise: int) -> Iterator[Rgb]:
    """An ellipse that leans, a mouth in it that speaks, eyes that blink."""
    h, w = still.shape[:2]
    y, x = np.mgrid[-1:1:h * 1j, -1:1:w * 1j]
    cx, cy, r = look.uniform(-0.2, 0.2), look.uniform(-0.2, 0.1), look.uniform(0.3, 0.55)
    size = look.uniform(0.006, 0.035)
    face = 1 / (1 + np.exp(-5 * (1 - ((x - cx) / r) ** 2 - ((y - cy) / (1.3 * r)) ** 2)))
    below = y - cy - 0.55 * r
    mouth = np.exp(-((x - cx) / (0.35 * r)) ** 2 - (below / (0.25 * r)) ** 2) * (below > 0) * below
    eyes = np.exp(-((x - cx) / (0.6 * r)) ** 2 - ((y - cy + 0.3 * r) / (0.12 * r)) ** 2)
    right, down, turn = (
        wander(rng, frames, 0.25, size * k) + wander(rng, frames, 1.2, size * 0.2)
        for k in (1.0, 0.6, 1.2)
    )
    right, down = right + rng.normal(0, size), down + rng.normal(0, 0.7 * size)  # sits elsewhere
    opened = np.abs(wander(rng, frames, 2.5, 0.05)) * (wander(rng, frames, 0.4, 1.0) > -0.3)
    shut = np.convolve(rng.random(frames) < 1 / (3.2 * FPS), np.ones(4))[:frames] > 0
    source = still.astype(np.float32)
    for i in range(frames):
        px = (x + face * (right[i] + turn[i] * (y - cy)) + 1) / 2 * (w - 1)
        py = (y + face * (down[i] - turn[i] * (x - cx)) - mouth * opened[i] * 20 + 1) / 2 * (h - 1)
        bent = [ndimage.map_coordinates(source[..., c], [py, px], order=1, mode="nearest")
                for c in range(3)]
        shown = np.stack(bent, -1) * (1 - 0.35 * shut[i] * eyes)[..., None]
        yield _grainy(shown, rng, noise)


def room(still: Rgb, thing: Rgb, look: np.random.Generator, rng: np.random.Generator, frames: int,
         noise: int) -> Iterator[Rgb]:
    """A still room in which something small moves about in a small place."""
    side, left, top = int(look.integers(50, 90)), look.uniform(100, 480), look.uniform(120, 240)
    sprite = Image.fromarray(thing).resize((side, side))
    mask = Image.new("L", (side, side), 0)
    ImageDraw.Draw(mask).ellipse((1, 1, side - 2, side - 2), fill=255)
    x, y, turn = (wander(rng, frames, hz, s) for hz, s in ((0.2, 18), (0.2, 10), (0.3, 12)))
    for i in range(frames):
        shown = Image.fromarray(still)
        shown.paste(sprite.rotate(turn[i], Image.Resampling.BILINEAR),
                    (int(left + x[i]), int(top + y[i])), mask)
        yield _grainy(np.asarray(shown), rng, noise)


def window(look: np.random.Generator, rng: np.random.Generator, frames: int,
           font: Any) -> Iterator[Rgb]:
    """A window in which text appears, and a pointer."""
    w, h = 544, 480
    dark, side, boxes = look.random() < 0.5, int(look.integers(90, 190)), int(look.integers(2, 6))
    ground, ink, panel = (
        ((30, 32, 36), (220, 220, 220), (50, 54, 60)) if dark
        else ((250, 250, 250), (30, 30, 30), (225, 230, 240))
    )
    base = Image.new("RGB", (w, h), ground)
    draw = ImageDraw.Draw(base)
    draw.rectangle((0, 0, side, h), fill=panel)
    draw.rectangle((0, 0, w, 34), fill=panel)
    for n in range(boxes):
        draw.rectangle((8, 50 + 60 * n, side - 8, 95 + 60 * n), outline=ink)
        draw.text((14, 60 + 60 * n), WORDS[(7 * n + boxes) % len(WORDS)], font=font, fill=ink)
    draw.text((side + 14, 50), " ".join(rng.choice(WORDS, 6)), font=font, fill=ink)
    words, rate, start = rng.choice(WORDS, 140), rng.uniform(1.2, 2.8), rng.uniform(0.3, 1.2)
    lines = [words[n : n + 7] for n in range(0, len(words), 7)]
    x, y = wander(rng, frames, 0.15, 40) + 0.6 * w, wander(rng, frames, 0.15, 40) + 0.7 * h
    rests = wander(rng, frames, 0.2, 1.0) > 0
    at = 0
    for i in range(frames):
        shown = base.copy()
        draw = ImageDraw.Draw(shown)
        said = int(max(0.0, i / FPS - start) * rate)
        for n, line in enumerate(lines):
            draw.text((side + 14, 84 + 19 * n), " ".join(line[: max(0, said - 7 * n)]), font=font,
                      fill=ink)
        at = at if rests[i] else i
        px, py = x[at], y[at]
        draw.polygon([(px, py), (px + 9, py + 9), (px, py + 13)], fill=ink)
        yield np.asarray(shown)


def _grainy(pixels: Any, rng: np.random.Generator, noise: int) -> Rgb:
    grain = rng.normal(0, noise, (*pixels.shape[:2], 1)) if noise else 0.0
    out: Rgb = np.clip(pixels + grain, 0, 255).astype(np.uint8)
    return out


def write(path: Path, frames: Iterator[Rgb], crf: int) -> None:
    """h264, `FPS` frames a second."""
    with av.open(path, "w") as out:
        stream: Any = None
        for pixels in frames:
            if stream is None:
                options = {"crf": str(crf), "preset": "veryfast"}
                stream = out.add_stream("libx264", rate=FPS, options=options)
                stream.height, stream.width = pixels.shape[:2]
                stream.pix_fmt = "yuv420p"
            out.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        out.mux(stream.encode())


def draw(photos: Sequence[Path], folder: Path, font: Any, seed: int) -> None:
    """Two takes of every scene, A and B: the same still picture, other movements."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, (kind, count) in enumerate(KINDS.items()):
        for n in range(count):
            for take in "AB":
                # What both takes share is drawn from the scene, what happens from the take.
                scene, happens = (np.random.default_rng([seed, *key]) for key in (
                    (number, n), (number, n, ord(take))))
                frames, noise = int(scene.uniform(7, 14) * FPS), int(scene.integers(0, 3))
                crf = int(scene.integers(20, 29))
                if kind == "head":
                    still = photograph(scene, photos, 480, 480)
                    shown = head(still, scene, happens, frames, noise)
                elif kind == "room":
                    still = photograph(scene, photos, 640, 360)
                    thing = photograph(scene, photos, 96, 96)
                    shown = room(still, thing, scene, happens, frames, noise)
                else:
                    shown = window(scene, happens, frames, font)
                write(folder / f"{kind}{n:02d}_{take}.mp4", shown, crf)


def recipes(mine: Sequence[corpus.Clip], given: Sequence[corpus.Clip], maker: Any,
            videos: Path, font: str) -> list[plan.Recipe]:
    """The originals, their edits and compilations, and the second takes as they are."""
    first = [c for c in mine if c.is_source]
    by_group = {c.group: c for c in (*given, *first) if c.is_source}
    sizes = {c.file: (p.width, p.height) for c in first for p in [build.probe(videos / c.file)]}
    originals = plan.originals(first, sizes)
    maker.make_all(originals)
    probes = {r.group: maker.probes[r.key] for r in originals}
    groups = [c.group for c in first]
    out = []
    for name in EDITS:
        edit = plan.BY_NAME[name]
        able = [g for g in groups if plan._fits(edit, probes[g])]
        for place, group in enumerate(able if edit.temporal in ("insert", "within") else able[::3]):
            out.append(plan._edited(edit, (), by_group[group], probes[group], "train", place, font,
                                    by_group))
    out += plan._compilations("train", groups, by_group, probes, 24)
    out += plan._equal_sized("train", groups, by_group, probes, 6)
    for clip in mine:
        out += plan._as_found(clip, {}, by_group, {"train": 8})
    maker.make_all(out)
    return [*originals, *out]


def main() -> None:
    """Command line."""
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--photos", type=Path, required=True)
    p.add_argument("--corpus", type=Path, required=True)
    p.add_argument("--work", type=Path, required=True)
    p.add_argument("--seed", type=int, default=71)
    a = p.parse_args()
    plan.SEED = a.seed  # which seconds are cut
    font = str(build._tools(None))
    kinds = {".webp", ".jpg", ".jpeg", ".png"}
    photos = sorted(f for f in a.photos.rglob("*") if f.suffix.lower() in kinds)
    videos = a.work / "corpus" / "videos"
    draw(photos, videos, ImageFont.truetype(font, 13), a.seed)
    mine = []
    for file in sorted(videos.glob("*_[AB].mp4")):
        seconds = build.probe(file).duration_s
        role = "source" if file.stem.endswith("A") else "hard_negative"
        mine.append(corpus.Clip(file.name, f"drawn_{file.stem}", file.stem[:-2], role, "train",
                                seconds, (0.0, min(seconds, corpus.MAX_ORIGINAL_S)), ""))
    for file in (a.corpus / "videos").iterdir():  # donors of what is put in and laid around
        if not (videos / file.name).exists():
            os.symlink(file.resolve(), videos / file.name)
    maker = build._Maker(a.work / "corpus", a.work)
    made = recipes(mine, corpus.load(a.corpus), maker, videos, font)
    files = [build._truth_of(r, maker.probes[r.key]) for r in made]
    build.show(a.work / "files" / "train", a.work / "set" / "train", {f.name for f in files})
    truth.save(a.work / "truth_train.json", files)
    print(f"{len(files)} files in {a.work / 'set' / 'train'}")


if __name__ == "__main__":
    main()
