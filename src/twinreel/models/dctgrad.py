"""A descriptor without weights: low frequencies and gradient directions of the grey picture.

An honest floor for the trained network, and what the tests run on. 256 numbers: 7 x 7 cells of 4
gradient directions (196; after Dalal and Triggs, CVPR 2005) and the 60 lowest coefficients of the
cosine transform without the mean (as perceptual hashes use, here as floats).
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

from twinreel.models import ModelSpec

_SIDE = 56
_CELLS = 7
_DIRECTIONS = 4
_LOW = 60


def build(spec: ModelSpec) -> nn.Module:
    """The builder named in the record."""
    return DctGrad()


class DctGrad(nn.Module):
    """Frames (n, 3, h, w) in 0..1 -> (n, 256), each half L2-normalised."""

    def __init__(self) -> None:
        super().__init__()
        side = torch.arange(_SIDE, dtype=torch.float64)
        order = torch.arange(12, dtype=torch.float64)
        basis = torch.cos(math.pi / _SIDE * (side[None] + 0.5) * order[:, None])  # (12, side)
        self.register_buffer("basis", basis.float())
        u, v = torch.meshgrid(torch.arange(12), torch.arange(12), indexing="ij")
        zigzag = torch.argsort((u + v).flatten() * 100 + u.flatten())[1 : _LOW + 1]
        self.register_buffer("zigzag", zigzag)
        self.basis: torch.Tensor
        self.zigzag: torch.Tensor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, 3, h, w) -> (n, 256) of unit length."""
        x = x.float()
        grey = 0.299 * x[:, 0] + 0.587 * x[:, 1] + 0.114 * x[:, 2]
        grey = F.interpolate(grey[:, None], (_SIDE, _SIDE), mode="area")[:, 0]
        grey = grey - grey.mean(dim=(1, 2), keepdim=True)
        grey = grey / (grey.std(dim=(1, 2), keepdim=True) + 1e-3)
        low = self.basis @ grey @ self.basis.T  # (n, 12, 12)
        low = low.flatten(1)[:, self.zigzag]
        low = torch.sign(low) * low.abs().sqrt()  # no single coefficient rules the vector
        dy = F.pad(grey[:, 2:, 1:-1] - grey[:, :-2, 1:-1], (1, 1, 1, 1))
        dx = F.pad(grey[:, 1:-1, 2:] - grey[:, 1:-1, :-2], (1, 1, 1, 1))
        strength = torch.sqrt(dx * dx + dy * dy)
        # Direction without sign, so that a brighter or inverted edge counts the same.
        angle = torch.atan2(dy, dx) % math.pi * (_DIRECTIONS / math.pi)
        bins = torch.arange(_DIRECTIONS, device=x.device).view(1, -1, 1, 1)
        gap = (angle[:, None] - bins).abs()
        share = (1 - torch.minimum(gap, _DIRECTIONS - gap)).clamp_min(0)
        cells = F.adaptive_avg_pool2d(share * strength[:, None], _CELLS).flatten(1).sqrt()
        cells = cells - cells.mean(dim=1, keepdim=True)
        halves = [F.normalize(cells, dim=1), F.normalize(low, dim=1)]
        return torch.cat(halves, dim=1) / math.sqrt(2)
