"""Small networks for the tests of `extract`."""

from __future__ import annotations

import torch
from torch import nn


class Grid(nn.Module):
    """Mean colours of a 4 x 4 grid, of the first and last frame of clips."""

    twinreel = {"size": [32, 48], "fit": "stretch", "mean": [0, 0, 0], "std": [1, 1, 1]}

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.ndim == 5:
            x = torch.cat([x[:, :, 0], x[:, :, -1]], dim=1)
        return self.scale * nn.functional.adaptive_avg_pool2d(x, 4).flatten(1)


def grid() -> nn.Module:
    return Grid()


def wide_grid() -> nn.Module:
    """The same on larger pictures."""
    net = Grid()
    net.twinreel = {**Grid.twinreel, "size": [48, 64]}  # type: ignore[misc]
    return net


def clip_grid() -> nn.Module:
    """Clips of eight frames, twelve a second."""
    net = Grid()
    net.twinreel = {**Grid.twinreel, "frames": 8, "fps": 12.0}  # type: ignore[misc]
    return net


class Map(Grid):
    """The same, not yet a row: (n, 3, 4, 4)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scale * nn.functional.adaptive_avg_pool2d(x, 4)


def map_grid() -> nn.Module:
    return Map()


def bare() -> nn.Module:
    """Says nothing of its input."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten())
