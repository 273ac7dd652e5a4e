"""Edits that copies of videos go through, applied to whole batches in torch.

Goes in: rows of the pool. Comes out: float (n, 3, size, size) in 0..1 and, for each view, the row
of the other picture that is visible in it (-1 for none), so that the loss does not call the two
different.

    edits = Edits(pool, sprites, strength="strong", **config)
    views, other = edits(rows, size=112, rng=torch.Generator().manual_seed(1))

Order: geometry, placement over a background, overlays, colour, blur, codec. All lengths are in
shares of a side; coordinates run from -1 to 1 as in `torch.nn.functional.grid_sample`. Operations
that touch few views are applied to those views only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

_GREY = (0.299, 0.587, 0.114)
_CHUNK = 64  # views handled at a time: their floats stay in the outer cache


@dataclass(frozen=True)
class Strength:
    """How likely each edit is in one view, and how far it goes."""

    crop: float = 0.7  # share of views that are cropped
    crop_area: float = 0.25  # smallest area kept
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
    """Random numbers for n views, from one generator."""

    def __init__(self, n: int, rng: Generator) -> None:
        self.n = n
        self.rng = rng

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """float (n, *shape) in [low, high)."""
        return low + (high - low) * torch.rand(self.n, *shape, generator=self.rng)

    def chance(self, p: float) -> Tensor:
        """bool (n,), True with probability p."""
        return torch.rand(self.n, generator=self.rng) < p

    def integers(self, high: int) -> Tensor:
        """int64 (n,) in 0 .. high - 1."""
        return torch.randint(high, (self.n,), generator=self.rng)


def _matrix(n: int) -> Tensor:
    return torch.eye(3).repeat(n, 1, 1)


def _scale_shift(sx: Tensor, sy: Tensor, tx: Tensor, ty: Tensor) -> Tensor:
    """(n,) each -> (n, 3, 3): x' = sx x + tx, y' = sy y + ty."""
    m = _matrix(len(sx))
    m[:, 0, 0], m[:, 1, 1], m[:, 0, 2], m[:, 1, 2] = sx, sy, tx, ty
    return m


def _turn(angle: Tensor, aspect: Tensor) -> Tensor:
    """Rotation by angle (n,) radians of a frame that is `aspect` times wider than high."""
    c, s = angle.cos(), angle.sin()
    m = _matrix(len(angle))
    m[:, 0, 0], m[:, 0, 1] = c, -s / aspect
    m[:, 1, 0], m[:, 1, 1] = s * aspect, c
    return m


def sample(source: Tensor, matrix: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Look up `source` at the places where `matrix` sends the output pixels.

    Args:
        source: float (n, c, h, w).
        matrix: float (n, 3, 3), output coordinates -> source coordinates, homogeneous.

    Returns:
        float (n, c, size, size), with the border repeated outside, and bool (n, 1, size, size),
        True inside the source.
    """
    n = len(source)
    t = (torch.arange(size) * 2 + 1) / size - 1
    y, x = torch.meshgrid(t, t, indexing="ij")
    points = torch.stack([x.flatten(), y.flatten(), torch.ones(size * size)])
    at = matrix @ points  # (n, 3, size * size)
    grid = (at[:, :2] / at[:, 2:].clamp(min=0.1)).transpose(1, 2).view(n, size, size, 2)
    inside = (grid.abs() <= 1).all(dim=-1).unsqueeze(1)
    # Strong minification reads a source shrunk by averaging first, else it would alias.
    area = torch.linalg.det(matrix[:, :2, :2]).abs().clamp(min=1e-6)
    ratio = area.sqrt() * source.shape[-1] / size
    out = source.new_empty(n, source.shape[1], size, size)
    level = (ratio / 1.5).log2().round().clamp(0, 3).long()
    for k in level.unique().tolist():
        rows = (level == k).nonzero().flatten()
        part = source[rows]
        if k:
            part = F.avg_pool2d(part, 2**k)
        out[rows] = F.grid_sample(part, grid[rows], padding_mode="border", align_corners=False)
    return out, inside


def _crop(draw: Draw, s: Strength) -> Tensor:
    """(n, 3, 3): a random part of the source; a third sit in a corner, a third in the middle."""
    n = draw.n
    area = (draw.uniform(math.log(s.crop_area), 0.0)).exp()
    aspect = draw.uniform(-0.6, 0.6).exp()
    w, h = (area * aspect).sqrt().clamp(max=1), (area / aspect).sqrt().clamp(max=1)
    tx, ty = draw.uniform(-1, 1), draw.uniform(-1, 1)
    where = draw.integers(3)
    tx = torch.where(where == 0, tx.sign(), torch.where(where == 1, tx * 0.1, tx))
    ty = torch.where(where == 0, ty.sign(), torch.where(where == 1, ty * 0.1, ty))
    m = _scale_shift(w, h, tx * (1 - w), ty * (1 - h))
    keep = ~draw.chance(s.crop)
    m[keep] = torch.eye(3)
    assert len(m) == n
    return m


def _geometry(draw: Draw, s: Strength) -> Tensor:
    """(n, 3, 3): flips, turns, perspective, crop; frame coordinates -> source coordinates."""
    n = draw.n
    flip = 1.0 - 2.0 * draw.chance(s.flip).float()
    vflip = 1.0 - 2.0 * draw.chance(s.vflip).float()
    zero, one = torch.zeros(n), torch.ones(n)
    m = _crop(draw, s) @ _scale_shift(flip, vflip, zero, zero)
    quarter = (draw.integers(3) + 1) * draw.chance(s.quarter_turn)
    m = m @ _turn(quarter * (math.pi / 2), one)
    tilted, anyhow = draw.chance(s.tilt), draw.chance(s.any_turn)
    angle = torch.where(anyhow, draw.uniform(-math.pi, math.pi), draw.uniform(-0.35, 0.35))
    angle = angle * (tilted | anyhow)
    grow = 1 + draw.uniform(0, 0.3) * (tilted | anyhow) * draw.chance(0.5)
    m = m @ _turn(angle, draw.uniform(0.6, 1.8)) @ _scale_shift(grow, grow, zero, zero)
    bent = draw.chance(s.perspective)
    p = _matrix(n)
    p[:, 2, 0] = draw.uniform(-0.2, 0.2) * bent
    p[:, 2, 1] = draw.uniform(-0.2, 0.2) * bent
    return m @ p


def _place(draw: Draw, s: Strength) -> tuple[Tensor, Tensor]:
    """Where our picture sits in the view.

    Returns:
        (n, 3, 3) view coordinates -> frame coordinates; bool (n,), True where it is not all of it.
    """
    n = draw.n
    kind = draw.uniform(0, 1)
    band, paste = kind < s.band, (kind >= s.band) & (kind < s.band + s.paste)
    w, h = torch.ones(n), torch.ones(n)
    tx, ty = torch.zeros(n), torch.zeros(n)
    # Bars: one side full; half of them centred, a quarter at each end.
    share, upright = draw.uniform(0.3, 0.92), draw.chance(0.6)
    end = torch.tensor([0.0, 0.0, -1.0, 1.0])[draw.integers(4)]
    w = torch.where(band & ~upright, share, w)
    h = torch.where(band & upright, share, h)
    tx = torch.where(band & ~upright, end * (1 - share), tx)
    ty = torch.where(band & upright, end * (1 - share), ty)
    wide = draw.uniform(s.paste_min, 0.9)
    tall = (wide * draw.uniform(-0.25, 0.25).exp()).clamp(0.3, 0.95)
    free_x, free_y = draw.uniform(-1, 1) * (1 - wide), draw.uniform(-1, 1) * (1 - tall)
    w, h = torch.where(paste, wide, w), torch.where(paste, tall, h)
    tx, ty = torch.where(paste, free_x, tx), torch.where(paste, free_y, ty)
    return _scale_shift(1 / w, 1 / h, -tx / w, -ty / h), band | paste


class Edits:
    """Makes edited views of pool pictures.

    Args:
        pool: uint8 (n, 3, h, w).
        sprites: uint8 (m, 4, h, w), text and logos with opacity, see `training.sprites`.
        strength: probabilities.
    """

    def __init__(self, pool: Tensor, sprites: Tensor, strength: Strength) -> None:
        self.pool = pool
        self.sprites = sprites
        self.strength = strength

    def __call__(self, rows: Tensor, *, size: int, rng: Generator) -> tuple[Tensor, Tensor]:
        """Edit the pictures.

        Args:
            rows: int64 (n,), which pictures.
            size: side of the views in pixels, a multiple of 8.

        Returns:
            float32 (n, 3, size, size) in 0..1; int64 (n,), the other picture shown, or -1.
        """
        parts = [self._chunk(rows[i : i + _CHUNK], size, rng) for i in range(0, len(rows), _CHUNK)]
        return torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])

    def _chunk(self, rows: Tensor, size: int, rng: Generator) -> tuple[Tensor, Tensor]:
        s, draw = self.strength, Draw(len(rows), rng)
        source = self.pool[rows].float() / 255
        other = torch.full_like(rows, -1)
        frame = _geometry(draw, s)
        placed, partial = _place(draw, s)
        view, inside = sample(source, frame @ placed, size)
        inside = self._inside_frame(placed, inside, partial, size)
        self._background(draw, source, view, inside, partial, other, size)
        self._insets(draw, view, other, size)
        self._sprites(draw, view, size)
        return degrade(view, draw, s), other

    @staticmethod
    def _inside_frame(placed: Tensor, inside: Tensor, partial: Tensor, size: int) -> Tensor:
        """Narrow `inside` to the place our frame has in the view."""
        if partial.any():
            t = (torch.arange(size) * 2 + 1) / size - 1
            m = placed[partial]
            in_x = (m[:, 0, 0, None] * t + m[:, 0, 2, None]).abs() <= 1  # (k, size)
            in_y = (m[:, 1, 1, None] * t + m[:, 1, 2, None]).abs() <= 1
            inside[partial] &= (in_x[:, None, None, :] & in_y[:, None, :, None])
        return inside

    def _others(self, count: int, size: int, rng: Generator) -> tuple[Tensor, Tensor]:
        """Random parts of other pictures: rows (count,), float (count, 3, size, size)."""
        rows = torch.randint(len(self.pool), (count,), generator=rng)
        draw = Draw(count, rng)
        matrix = _crop(draw, replace(WEAK, crop=0.7, crop_area=0.3))
        return rows, sample(self.pool[rows].float() / 255, matrix, size)[0]

    def _background(self, draw: Draw, source: Tensor, view: Tensor, inside: Tensor,
                    partial: Tensor, other: Tensor, size: int) -> None:
        """Fill what our picture leaves free: plain, its own blur, or another picture."""
        holes = ~inside.flatten(1).all(dim=1)
        if not holes.any():
            return
        kind = draw.uniform(0, 1)
        plain = torch.rand(draw.n, 3, 1, 1, generator=draw.rng)
        grey = draw.uniform(0, 1)
        dark = (grey < 0.5).view(-1, 1, 1, 1)
        plain = torch.where((grey < 0.85).view(-1, 1, 1, 1), torch.where(dark, 0.0, 1.0), plain)
        behind = plain.expand(-1, -1, size, size).clone()
        own = holes & partial & (kind < 0.2)
        if own.any():
            zoom = draw.uniform(0.4, 1)[own]
            zero = torch.zeros_like(zoom)
            small = F.avg_pool2d(source[own], source.shape[-1] // 10)
            m = _scale_shift(zoom, torch.ones_like(zoom), zero, zero)
            behind[own] = sample(small, m, size)[0]
        foreign = holes & partial & (kind >= 1 - self.strength.foreign)
        if foreign.any():
            rows, pictures = self._others(int(foreign.sum()), size, draw.rng)
            behind[foreign] = pictures
            other[foreign] = rows
        view[holes] = torch.where(inside[holes], view[holes], behind[holes])

    def _insets(self, draw: Draw, view: Tensor, other: Tensor, size: int) -> None:
        """Another picture over ours, small and opaque or all over and faint."""
        s, kind = self.strength, draw.uniform(0, 1)
        inset, blend = kind < s.inset, kind > 1 - s.blend
        chosen = (inset | blend) & (other < 0)
        if not chosen.any():
            return
        n = int(chosen.sum())
        rows, pictures = self._others(n, size, draw.rng)
        other[chosen] = rows
        d = Draw(n, draw.rng)
        w, h = d.uniform(0.2, 0.45), d.uniform(0.2, 0.45)
        x, y = d.uniform(0, 1) * (1 - w), d.uniform(0, 1) * (1 - h)
        t = (torch.arange(size) + 0.5) / size
        in_x = (t >= x[:, None]) & (t <= (x + w)[:, None])
        in_y = (t >= y[:, None]) & (t <= (y + h)[:, None])
        mask = (in_x[:, None, None, :] & in_y[:, None, :, None]).float()
        faint = d.uniform(0.1, 0.3).view(-1, 1, 1, 1).expand_as(mask)
        alpha = torch.where(inset[chosen].view(-1, 1, 1, 1), mask, faint)
        # The inset shows its picture whole: shrink it into its rectangle.
        place = _scale_shift(1 / w, 1 / h, -(2 * x + w - 1) / w, -(2 * y + h - 1) / h)
        place[blend[chosen]] = torch.eye(3)
        shown = sample(pictures, place, size)[0]
        view[chosen] = view[chosen] * (1 - alpha) + shown * alpha

    def _sprites(self, draw: Draw, view: Tensor, size: int) -> None:
        """Text, logos and shapes over the picture."""
        chosen = draw.chance(self.strength.sprite)
        for again in (1.0, 0.35):
            chosen = chosen & draw.chance(again)
            n = int(chosen.sum())
            if not n:
                return
            d = Draw(n, draw.rng)
            sprite = self.sprites[d.integers(len(self.sprites))].float() / 255
            wide, tall = d.uniform(0.12, 1.0), d.uniform(0.06, 0.3)
            logo = d.chance(0.35)
            wide = torch.where(logo, d.uniform(0.08, 0.4), wide)
            x, y = d.uniform(-1, 1) * (1 - wide), d.uniform(-1, 1)
            y = torch.where(d.chance(0.35), d.uniform(0.6, 0.95), y) * (1 - tall)
            place = _scale_shift(1 / wide, 1 / tall, -x / wide, -y / tall)
            shown, inside = sample(sprite, place, size)
            opacity = torch.where(d.chance(0.4), d.uniform(0.25, 0.7), torch.ones(n))
            alpha = shown[:, 3:] * inside * opacity.view(-1, 1, 1, 1)
            view[chosen] = view[chosen] * (1 - alpha) + shown[:, :3] * alpha


def degrade(view: Tensor, draw: Draw, s: Strength) -> Tensor:
    """Colour, blur and codec edits of views (n, 3, size, size) in 0..1."""
    view = recolour(view, draw, s)
    n, _, size, _ = view.shape

    def pick(p: float) -> Tensor:
        return draw.chance(p).nonzero().flatten()

    if len(rows := pick(s.gamma)):
        power = (torch.rand(len(rows), 1, 1, 1, generator=draw.rng) * 1.4 - 0.7).exp()
        view[rows] = view[rows].clamp(min=1e-4) ** power
    if len(rows := pick(s.vignette)):
        t = torch.linspace(-1, 1, size)
        fall = 1 - 0.8 * ((t[None] ** 2 + t[:, None] ** 2) / 2)
        view[rows] = view[rows] * fall
    if len(rows := pick(s.blur)):
        sigma = 0.4 + torch.rand(len(rows), generator=draw.rng) * 2.2 * size / 112
        view[rows] = gaussian(view[rows], sigma)
    if len(rows := pick(s.motion)):
        length = max(3, int(torch.randint(3, 10, (1,), generator=draw.rng)) | 1)
        x = F.pad(view[rows], (length // 2, length // 2, 0, 0), mode="replicate")
        view[rows] = F.avg_pool2d(x, (1, length), 1)
    if len(rows := pick(s.shrink)):
        small = max(12, int(size * float(0.15 + 0.45 * torch.rand(1, generator=draw.rng))))
        blocky = bool(torch.rand(1, generator=draw.rng) < 0.35)
        x = F.interpolate(view[rows], size=(small, small), mode="area")
        x = F.interpolate(x, size=(size, size), mode="nearest" if blocky else "bilinear")
        view[rows] = x
    if len(rows := pick(s.sharpen)):
        x = view[rows]
        view[rows] = x + 1.5 * (x - gaussian(x, torch.full((len(rows),), 1.0)))
    if len(rows := pick(s.noise)):
        sd = 0.02 + 0.12 * torch.rand(len(rows), 1, 1, 1, generator=draw.rng)
        view[rows] += sd * torch.randn(len(rows), 3, size, size, generator=draw.rng)
    if len(rows := pick(s.scanlines)):
        view[rows, :, ::2] *= 0.75
    view = view.clamp(0, 1)
    if len(rows := pick(s.jpeg)):
        quality = s.jpeg_low + (s.jpeg_high - s.jpeg_low) * torch.rand(
            len(rows), generator=draw.rng)
        view[rows] = jpeg(view[rows], quality)
    assert len(view) == n
    return view


def recolour(view: Tensor, draw: Draw, s: Strength) -> Tensor:
    """Brightness, contrast, saturation, hue, grey, sepia, channel order as one affine map."""
    n = len(view)
    grey = torch.tensor(_GREY)
    to_grey = grey.expand(3, 3)
    eye = torch.eye(3)

    def amount(p: float, by: float) -> Tensor:
        return (draw.uniform(-by, by) * draw.chance(p)).view(-1, 1, 1)

    # Hue: rotation about the grey axis (Rodrigues).
    angle = amount(s.jitter, s.hue * 2 * math.pi * 0.7)
    k = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    turn = eye + angle.sin() * k + (1 - angle.cos()) * (k @ k)
    saturate = 1 + amount(s.jitter, s.jitter_by * 1.2)
    saturate = torch.where(draw.chance(s.grey).view(-1, 1, 1), 0.0, saturate)
    m = (to_grey + saturate * (eye - to_grey)) @ turn
    if len(rows := draw.chance(s.sepia).nonzero().flatten()):
        tone = torch.tensor([[0.393, 0.769, 0.189], [0.349, 0.686, 0.168], [0.272, 0.534, 0.131]])
        m[rows] = tone @ m[rows]
    if len(rows := draw.chance(s.channels).nonzero().flatten()):
        m[rows] = m[rows][:, torch.randperm(3, generator=draw.rng)]
    mean = (view.mean(dim=(2, 3)) @ grey).view(-1, 1, 1)
    contrast = 1 + amount(s.jitter, s.jitter_by)
    light = amount(s.jitter, s.jitter_by * 0.6)
    bright = 1 + amount(s.jitter, s.jitter_by * 0.7)
    m = m * contrast * bright
    offset = mean * (1 - contrast) * bright + light
    flat = torch.baddbmm(offset.expand(n, 3, 1), m, view.flatten(2))
    return flat.view_as(view).clamp_(0, 1)


def gaussian(x: Tensor, sigma: Tensor) -> Tensor:
    """Blur (n, c, h, w) by sigma (n,) pixels, at most 4 sigma taps each way."""
    reach = int(min(8, math.ceil(2.2 * float(sigma.max()))))
    at = torch.arange(-reach, reach + 1)
    taps = torch.exp(-0.5 * (at / sigma[:, None]) ** 2)
    taps = taps / taps.sum(dim=1, keepdim=True)  # (n, 2 reach + 1)
    for pad, axis in (((reach, reach, 0, 0), 3), ((0, 0, reach, reach), 2)):
        wide = F.pad(x, pad, mode="replicate")
        length = x.shape[axis]
        x = sum(  # type: ignore[assignment]
            taps[:, i].view(-1, 1, 1, 1) * wide.narrow(axis, i, length)
            for i in range(2 * reach + 1)
        )
    return x


_LUMA = torch.tensor([
    [16, 11, 10, 16, 24, 40, 51, 61], [12, 12, 14, 19, 26, 58, 60, 55],
    [14, 13, 16, 24, 40, 57, 69, 56], [14, 17, 22, 29, 51, 87, 80, 62],
    [18, 22, 37, 56, 68, 109, 103, 77], [24, 35, 55, 64, 81, 104, 113, 92],
    [49, 64, 78, 87, 103, 121, 120, 101], [72, 92, 95, 98, 112, 100, 103, 99]]).float()
_CHROMA = torch.full((8, 8), 99.0)
_CHROMA[:4, :4] = torch.tensor(
    [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]).float()
_DCT = torch.tensor([[math.sqrt((1 if k == 0 else 2) / 8) * math.cos((2 * i + 1) * k * math.pi / 16)
                      for i in range(8)] for k in range(8)])
_YCC = torch.tensor([[0.299, 0.587, 0.114], [-0.1687, -0.3313, 0.5], [0.5, -0.4187, -0.0813]])


def jpeg(x: Tensor, quality: Tensor) -> Tensor:
    """The loss of JPEG (ITU T.81 annex K tables, no chroma subsampling) as a stand-in for codecs.

    Args:
        x: float (n, 3, h, w) in 0..1, h and w multiples of 8.
        quality: float (n,), 1..100.
    """
    n, _, h, w = x.shape
    scale = torch.where(quality < 50, 50 / quality, 2 - quality / 50).clamp(min=0.02)
    table = torch.stack([_LUMA, _CHROMA, _CHROMA]) / 255
    step = (table * scale.view(-1, 1, 1, 1)).view(n, 3, 1, 1, 8, 8)
    ycc = (_YCC @ x.flatten(2)).view(n, 3, h // 8, 8, w // 8, 8).transpose(3, 4)
    waves = _DCT @ ycc @ _DCT.T
    waves = (waves / step).round_() * step
    back = (_DCT.T @ waves @ _DCT).transpose(3, 4).reshape(n, 3, h * w)
    return (torch.linalg.inv(_YCC) @ back).view(n, 3, h, w).clamp_(0, 1)
