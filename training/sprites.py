"""Things that get written over videos: lines of text, logos, shapes, with opacity.

    sprites = draw_sprites(256, seed=0)        # uint8 (256, 4, 32, 128), RGB and opacity
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from training.procedural import colour, words

HEIGHT, WIDTH = 32, 128


def draw_sprites(count: int, seed: int) -> np.ndarray:
    """Draw sprites; each fills its rectangle (it is stretched to its place later)."""
    out = np.empty((count, 4, HEIGHT, WIDTH), np.uint8)
    for i in range(count):
        rng = np.random.default_rng([21, seed, i])
        image = Image.new("RGBA", (WIDTH * 2, HEIGHT * 2), (0, 0, 0, 0))
        draw = ImageDraw.Draw(image)
        kind = rng.random()
        if kind < 0.7:
            ground = rng.random() < 0.3
            if ground:
                draw.rectangle((0, 0, WIDTH * 2, HEIGHT * 2), (*colour(rng), 255))
            face = ImageFont.load_default(size=int(rng.integers(12, 52)))
            ink = (255, 255, 255) if rng.random() < 0.6 else colour(rng)
            edge = int(rng.integers(0, 4)) if not ground else 0
            lines = 1 if face.size > 26 else int(rng.integers(1, 4))
            for k in range(lines):
                text = words(rng, int(rng.integers(1, 7)))
                draw.text((3, k * face.size * 1.1), text, (*ink, 255), font=face,
                          stroke_width=edge, stroke_fill=(0, 0, 0, 255))
            box = image.getbbox()
            if box:
                image = image.crop(box)
        elif kind < 0.85:
            draw.rectangle((0, 0, WIDTH * 2, HEIGHT * 2), (*colour(rng), 255))
            for _ in range(int(rng.integers(0, 5))):
                x, y = rng.uniform(0, WIDTH * 2), rng.uniform(0, HEIGHT * 2)
                r = rng.uniform(4, 40)
                draw.ellipse((x - r, y - r, x + r, y + r), (*colour(rng), 255))
        else:
            for _ in range(int(rng.integers(1, 6))):
                x, y = rng.uniform(0, WIDTH * 2), rng.uniform(0, HEIGHT * 2)
                w, h = rng.uniform(8, 120), rng.uniform(8, 50)
                draw.ellipse((x - w, y - h, x + w, y + h), (*colour(rng), 255))
        image = image.resize((WIDTH, HEIGHT), Image.Resampling.BOX)
        out[i] = np.asarray(image).transpose(2, 0, 1)
    return out
