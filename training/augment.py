"""Edits that copies of videos go through, applied to whole batches in torch.

Goes in: rows of the pool. Comes out: float (n, 3, size, size) in 0..1 and, for each view, the row
of the other picture that is visible in it (-1 for none), so that the loss does not call the two
different.

    edits = Edits(pool, sprites, Strength())
    views, other = edits(rows, size=112, rng=torch.Generator().manual_seed(1))

Order: geometry, placement over a background, overlays, colour, blur, codec. All lengths are in
shares of a side; coordinates run from -1 to 1 as in `torch.nn.functional.grid_sample`. Operations
that touch few views are applied to those views only.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from training.degrade import degrade
from training.strength import WEAK, Draw, Strength

# Views handled at a time. On a processor their floats stay in the outer cache; a GPU wants many.
_CHUNK = {"cpu": 64, "cuda": 1024}


def _matrix(n: int, device: torch.device) -> Tensor:
    return torch.eye(3, device=device).repeat(n, 1, 1)


def _scale_shift(sx: Tensor, sy: Tensor, tx: Tensor, ty: Tensor) -> Tensor:
    """(n,) each -> (n, 3, 3): x' = sx x + tx, y' = sy y + ty."""
    m = _matrix(len(sx), sx.device)
    m[:, 0, 0], m[:, 1, 1], m[:, 0, 2], m[:, 1, 2] = sx, sy, tx, ty
    return m


def _turn(angle: Tensor, aspect: Tensor) -> Tensor:
    """Rotation by angle (n,) radians of a frame that is `aspect` times wider than high."""
    c, s = angle.cos(), angle.sin()
    m = _matrix(len(angle), angle.device)
    m[:, 0, 0], m[:, 0, 1] = c, -s / aspect
    m[:, 1, 0], m[:, 1, 1] = s * aspect, c
    return m


def _centres(size: int, device: torch.device) -> Tensor:
    """Centres of `size` pixels from -1 to 1."""
    return (torch.arange(size, device=device) * 2 + 1) / size - 1


def _looked_up(matrix: Tensor, size: int) -> Tensor:
    """Where `matrix` (n, 3, 3) sends the pixels of a view: (n, size, size, 2)."""
    t = _centres(size, matrix.device)
    y, x = torch.meshgrid(t, t, indexing="ij")
    points = torch.stack([x.flatten(), y.flatten(), torch.ones_like(x).flatten()])
    at = matrix @ points  # (n, 3, size * size)
    found = (at[:, :2] / at[:, 2:].clamp(min=0.1)).transpose(1, 2)
    return found.reshape(len(matrix), size, size, 2)


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
    grid = _looked_up(matrix, size)
    inside = (grid.abs() <= 1).all(dim=-1).unsqueeze(1)
    # Strong minification reads a source shrunk by averaging first, else it would alias.
    (a, b), (c, d) = ((matrix[:, i, 0], matrix[:, i, 1]) for i in (0, 1))
    area = (a * d - b * c).abs().clamp(min=1e-6)
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
    area = (draw.uniform(math.log(s.crop_area), 0.0)).exp()
    aspect = draw.uniform(-0.6, 0.6).exp()
    w, h = (area * aspect).sqrt().clamp(max=1), (area / aspect).sqrt().clamp(max=1)
    tx, ty = draw.uniform(-1, 1), draw.uniform(-1, 1)
    where = draw.integers(3)
    tx = torch.where(where == 0, tx.sign(), torch.where(where == 1, tx * 0.1, tx))
    ty = torch.where(where == 0, ty.sign(), torch.where(where == 1, ty * 0.1, ty))
    m = _scale_shift(w, h, tx * (1 - w), ty * (1 - h))
    keep = ~draw.chance(s.crop)
    m[keep] = torch.eye(3, device=m.device)
    if s.strip > 0:  # a wide picture made upright for telephones
        strip, narrow = draw.chance(s.strip), draw.uniform(0.28, 0.55)
        zero, one = torch.zeros_like(w), torch.ones_like(w)
        upright = _scale_shift(narrow, one, draw.uniform(-0.5, 0.5) * (1 - narrow), zero)
        m[strip] = upright[strip]
    return m


def _geometry(draw: Draw, s: Strength) -> Tensor:
    """(n, 3, 3): flips, turns, perspective, crop; frame coordinates -> source coordinates."""
    n = draw.n
    flip = 1.0 - 2.0 * draw.chance(s.flip).float()
    vflip = 1.0 - 2.0 * draw.chance(s.vflip).float()
    zero, one = torch.zeros_like(flip), torch.ones_like(flip)
    m = _crop(draw, s) @ _scale_shift(flip, vflip, zero, zero)
    quarter = (draw.integers(3) + 1) * draw.chance(s.quarter_turn)
    m = m @ _turn(quarter * (math.pi / 2), one)
    tilted, anyhow = draw.chance(s.tilt), draw.chance(s.any_turn)
    angle = torch.where(anyhow, draw.uniform(-math.pi, math.pi), draw.uniform(-0.35, 0.35))
    angle = angle * (tilted | anyhow)
    grow = 1 + draw.uniform(0, 0.3) * (tilted | anyhow) * draw.chance(0.5)
    m = m @ _turn(angle, draw.uniform(0.6, 1.8)) @ _scale_shift(grow, grow, zero, zero)
    bent = draw.chance(s.perspective)
    p = _matrix(n, draw.device)
    p[:, 2, 0] = draw.uniform(-0.2, 0.2) * bent
    p[:, 2, 1] = draw.uniform(-0.2, 0.2) * bent
    return m @ p


def _place(draw: Draw, s: Strength) -> tuple[Tensor, Tensor]:
    """Where our picture sits in the view.

    Returns:
        (n, 3, 3) view coordinates -> frame coordinates; bool (n,), True where it is not all of it.
    """
    kind = draw.uniform(0, 1)
    band, paste = kind < s.band, (kind >= s.band) & (kind < s.band + s.paste)
    w, h = torch.ones_like(kind), torch.ones_like(kind)
    tx, ty = torch.zeros_like(kind), torch.zeros_like(kind)
    # Bars: one side full; half of them centred, a quarter at each end.
    share, upright = draw.uniform(0.3, 0.92), draw.chance(0.6)
    end = kind.new_tensor([0.0, 0.0, -1.0, 1.0])[draw.integers(4)]
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


def parts(n: int, share: float, area: float, rng: Generator) -> Tensor:
    """Which part of its photograph each picture is: many pictures out of one.

    Args:
        share: of the pictures that are a part; the others are the whole.
        area: smallest part.

    Returns:
        float (n, 3, 3), coordinates of the part -> of the photograph.
    """
    return _crop(Draw(n, rng), replace(WEAK, crop=share, crop_area=area))


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

    def __call__(self, rows: Tensor, *, size: int, rng: Generator, part: Tensor | None = None,
                 ) -> tuple[Tensor, Tensor]:
        """Edit the pictures.

        Args:
            rows: int64 (n,), which pictures.
            part: float (n, 3, 3), which part of each is the picture, as `parts` draws it; all.
            size: side of the views in pixels, a multiple of 8.

        Returns:
            float32 (n, 3, size, size) in 0..1; int64 (n,), the other picture shown, or -1.
        """
        if part is None:
            part = _matrix(len(rows), rows.device)
        many = _CHUNK[rows.device.type]
        made = [self._chunk(rows[i : i + many], part[i : i + many], size, rng)
                for i in range(0, len(rows), many)]
        return torch.cat([m[0] for m in made]), torch.cat([m[1] for m in made])

    def _chunk(self, rows: Tensor, part: Tensor, size: int, rng: Generator
               ) -> tuple[Tensor, Tensor]:
        s, draw = self.strength, Draw(len(rows), rng)
        source = self.pool[rows].float() / 255
        other = torch.full_like(rows, -1)
        frame = _geometry(draw, s)
        placed, partial = _place(draw, s)
        view, _ = sample(source, part @ frame @ placed, size)
        inside = (_looked_up(frame @ placed, size).abs() <= 1).all(dim=-1).unsqueeze(1)
        inside = self._inside_frame(placed, inside, partial, size)
        self._background(draw, source, view, inside, partial, other, size)
        self._insets(draw, view, other, size)
        self._sprites(draw, view, size)
        return degrade(view, draw, s), other

    @staticmethod
    def _inside_frame(placed: Tensor, inside: Tensor, partial: Tensor, size: int) -> Tensor:
        """Narrow `inside` to the place our frame has in the view."""
        if partial.any():
            t = _centres(size, placed.device)
            m = placed[partial]
            in_x = (m[:, 0, 0, None] * t + m[:, 0, 2, None]).abs() <= 1  # (k, size)
            in_y = (m[:, 1, 1, None] * t + m[:, 1, 2, None]).abs() <= 1
            inside[partial] &= (in_x[:, None, None, :] & in_y[:, None, :, None])
        return inside

    def _others(self, count: int, size: int, rng: Generator) -> tuple[Tensor, Tensor]:
        """Random parts of other pictures: rows (count,), float (count, 3, size, size)."""
        rows = torch.randint(len(self.pool), (count,), generator=rng, device=rng.device)
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
        plain = draw.uniform(0, 1, 3, 1, 1)
        grey = draw.uniform(0, 1)
        dark = (grey < 0.5).view(-1, 1, 1, 1)
        plain = torch.where((grey < 0.85).view(-1, 1, 1, 1), torch.where(dark, 0.0, 1.0), plain)
        behind = plain.expand(-1, -1, size, size).clone()
        own = holes & partial & (kind < self.strength.own)
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
        t = (_centres(size, view.device) + 1) / 2
        in_x = (t >= x[:, None]) & (t <= (x + w)[:, None])
        in_y = (t >= y[:, None]) & (t <= (y + h)[:, None])
        mask = (in_x[:, None, None, :] & in_y[:, None, :, None]).float()
        faint = d.uniform(0.1, 0.3).view(-1, 1, 1, 1).expand_as(mask)
        alpha = torch.where(inset[chosen].view(-1, 1, 1, 1), mask, faint)
        # The inset shows its picture whole: shrink it into its rectangle.
        place = _scale_shift(1 / w, 1 / h, -(2 * x + w - 1) / w, -(2 * y + h - 1) / h)
        place[blend[chosen]] = torch.eye(3, device=place.device)
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
            opacity = torch.where(d.chance(0.4), d.uniform(0.25, 0.7), 1.0)
            alpha = shown[:, 3:] * inside * opacity.view(-1, 1, 1, 1)
            view[chosen] = view[chosen] * (1 - alpha) + shown[:, :3] * alpha
