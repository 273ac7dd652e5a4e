"""How likely each edit is and how far it goes, and the random numbers that decide.

    Strength(paste=0.3)          # a strong view, with more pasting
    WEAK                         # a mild one
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Generator, Tensor


@dataclass(frozen=True)
class Strength:
    """How likely each edit is in one view, and how far it goes."""

    crop: float = 0.7  # share of views that are cropped
    crop_area: float = 0.25  # smallest area kept
    strip: float = 0.0  # share of views that are an upright strip, full height
    flip: float = 0.5
    vflip: float = 0.05
    quarter_turn: float = 0.15  # 90, 180 or 270 degrees
    tilt: float = 0.12  # rotation up to 20 degrees
    any_turn: float = 0.03  # rotation by any angle
    perspective: float = 0.1
    band: float = 0.2  # bars above and below, or at the sides
    paste: float = 0.2  # shrunk over something else
    paste_min: float = 0.35  # smallest width when shrunk
    foreign: float = 0.45  # share of bands and pastes that lie over another picture
    own: float = 0.2  # share that lie over their own blur
    inset: float = 0.12  # another picture over ours
    blend: float = 0.05  # another picture shines through
    sprite: float = 0.35  # text, logos, shapes
    jitter: float = 0.8
    jitter_by: float = 0.4
    hue: float = 0.15
    grey: float = 0.12
    sepia: float = 0.05
    channels: float = 0.03
    gamma: float = 0.2
    vignette: float = 0.08
    blur: float = 0.2
    motion: float = 0.06
    shrink: float = 0.25  # down and up again
    sharpen: float = 0.08
    noise: float = 0.15
    scanlines: float = 0.04
    jpeg: float = 0.35
    jpeg_low: float = 5.0
    jpeg_high: float = 60.0

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if f.name not in {"jpeg_low", "jpeg_high"} and not 0 <= value <= 1:
                raise ValueError(f"{f.name} must be between 0 and 1, got {value}")


WEAK = replace(
    Strength(), crop=0.5, crop_area=0.75, vflip=0.0, quarter_turn=0.0, tilt=0.0, any_turn=0.0,
    perspective=0.0, band=0.05, paste=0.0, inset=0.0, blend=0.0, sprite=0.08, jitter_by=0.15,
    jitter=0.4, hue=0.02, grey=0.03, sepia=0.0, channels=0.0, gamma=0.05, vignette=0.02, blur=0.1,
    motion=0.0, shrink=0.1, sharpen=0.05, noise=0.05, scanlines=0.01, jpeg=0.25, jpeg_low=40.0,
    jpeg_high=95.0,
)


class Draw:
    """Random numbers for n views, from one generator, on its device."""

    def __init__(self, n: int, rng: Generator) -> None:
        self.n = n
        self.rng = rng
        self.device = rng.device

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """float (n, *shape) in [low, high)."""
        return low + (high - low) * torch.rand(
            self.n, *shape, generator=self.rng, device=self.device)

    def chance(self, p: float) -> Tensor:
        """bool (n,), True with probability p."""
        return torch.rand(self.n, generator=self.rng, device=self.device) < p

    def integers(self, high: int) -> Tensor:
        """int64 (n,) in 0 .. high - 1."""
        return torch.randint(high, (self.n,), generator=self.rng, device=self.device)
