"""What happens to the pixels of a copy: colour, blur, noise, codec loss. In torch, on batches.

    views = degrade(views, Draw(len(views), rng), Strength())      # float (n, 3, h, w), 0..1
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from training.strength import Draw, Strength

_GREY = (0.299, 0.587, 0.114)
_SEPIA = ((0.393, 0.769, 0.189), (0.349, 0.686, 0.168), (0.272, 0.534, 0.131))


def degrade(view: Tensor, draw: Draw, s: Strength) -> Tensor:
    """Colour, blur and codec edits of views (n, 3, size, size) in 0..1."""
    view = recolour(view, draw, s)
    n, _, size, _ = view.shape

    def rand(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=draw.rng, device=draw.device)

    def pick(p: float) -> Tensor:
        return draw.chance(p).nonzero().flatten()

    if len(rows := pick(s.gamma)):
        power = (rand(len(rows), 1, 1, 1) * 1.4 - 0.7).exp()
        view[rows] = view[rows].clamp(min=1e-4) ** power
    if len(rows := pick(s.vignette)):
        t = torch.linspace(-1, 1, size, device=view.device)
        fall = 1 - 0.8 * ((t[None] ** 2 + t[:, None] ** 2) / 2)
        view[rows] = view[rows] * fall
    if len(rows := pick(s.blur)):
        sigma = 0.4 + rand(len(rows)) * 2.2 * size / 112
        view[rows] = gaussian(view[rows], sigma)
    if len(rows := pick(s.motion)):
        length = max(3, int(3 + 7 * rand(1)) | 1)
        x = F.pad(view[rows], (length // 2, length // 2, 0, 0), mode="replicate")
        view[rows] = F.avg_pool2d(x, (1, length), 1)
    if len(rows := pick(s.shrink)):
        small = max(12, int(size * float(0.15 + 0.45 * rand(1))))
        blocky = bool(rand(1) < 0.35)
        x = F.interpolate(view[rows], size=(small, small), mode="area")
        x = F.interpolate(x, size=(size, size), mode="nearest" if blocky else "bilinear")
        view[rows] = x
    if len(rows := pick(s.sharpen)):
        x = view[rows]
        view[rows] = x + 1.5 * (x - gaussian(x, x.new_ones(len(rows))))
    if len(rows := pick(s.noise)):
        sd = 0.02 + 0.12 * rand(len(rows), 1, 1, 1)
        view[rows] += sd * torch.randn(view[rows].shape, generator=draw.rng, device=view.device)
    if len(rows := pick(s.scanlines)):
        view[rows, :, ::2] *= 0.75
    view = view.clamp(0, 1)
    if len(rows := pick(s.jpeg)):
        quality = s.jpeg_low + (s.jpeg_high - s.jpeg_low) * rand(len(rows))
        view[rows] = jpeg(view[rows], quality)
    assert len(view) == n
    return view


def recolour(view: Tensor, draw: Draw, s: Strength) -> Tensor:
    """Brightness, contrast, saturation, hue, grey, sepia, channel order as one affine map."""
    n = len(view)
    grey = view.new_tensor(_GREY)
    to_grey = grey.expand(3, 3)
    eye = torch.eye(3, device=view.device)

    def amount(p: float, by: float) -> Tensor:
        return (draw.uniform(-by, by) * draw.chance(p)).view(-1, 1, 1)

    # Hue: rotation about the grey axis (Rodrigues).
    angle = amount(s.jitter, s.hue * 2 * math.pi * 0.7)
    k = view.new_tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    turn = eye + angle.sin() * k + (1 - angle.cos()) * (k @ k)
    saturate = 1 + amount(s.jitter, s.jitter_by * 1.2)
    saturate = torch.where(draw.chance(s.grey).view(-1, 1, 1), 0.0, saturate)
    m = (to_grey + saturate * (eye - to_grey)) @ turn
    if len(rows := draw.chance(s.sepia).nonzero().flatten()):
        m[rows] = view.new_tensor(_SEPIA) @ m[rows]
    if len(rows := draw.chance(s.channels).nonzero().flatten()):
        m[rows] = m[rows][:, torch.randperm(3, generator=draw.rng, device=draw.device)]
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
    at = torch.arange(-reach, reach + 1, device=x.device)
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
    table = torch.stack([_LUMA, _CHROMA, _CHROMA]).to(x.device) / 255
    dct, to_ycc = _DCT.to(x.device), _YCC.to(x.device)
    step = (table * scale.view(-1, 1, 1, 1)).view(n, 3, 1, 1, 8, 8)
    ycc = (to_ycc @ x.flatten(2)).view(n, 3, h // 8, 8, w // 8, 8).transpose(3, 4)
    waves = dct @ ycc @ dct.T
    waves = (waves / step).round_() * step
    back = (dct.T @ waves @ dct).transpose(3, 4).reshape(n, 3, h * w)
    return (torch.linalg.inv(to_ycc) @ back).view(n, 3, h, w).clamp_(0, 1)
