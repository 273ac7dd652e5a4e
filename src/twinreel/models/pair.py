"""Two descriptors in one vector: what the trained network sees, and where exactly.

The network (twin.py) is blind to crops, mirroring and colour on purpose, and so also to small
movements; the gradient descriptor (dctgrad.py) sees those and nothing else. Side by side they are
two witnesses: compare.py hears each for itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from twinreel.models import ModelSpec
from twinreel.models.dctgrad import DctGrad
from twinreel.models.twin import TwinNet

SHARE = 0.9  # of the trained network in whole vectors' cosine: it finds, the other tells apart


def build(spec: ModelSpec) -> nn.Module:
    """The builder named in the record."""
    return Pair(spec)


class Pair(nn.Module):
    """Frames (n, 3, h, w) normalised for the network -> (n, 512) of unit length.

    The first 256 numbers are the network's, scaled so that cosines mix 9 to 1.
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.twin = TwinNet(fused=True)
        self.grad = DctGrad()
        shape = (1, 3, 1, 1)
        # Back to 0..1, which the gradient descriptor reads.
        self._std = torch.tensor(spec.std).view(shape)
        self._mean = torch.tensor(spec.mean).view(shape)

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """The weights are the network's alone."""
        wide = {name: tensor.float() for name, tensor in state_dict.items()}
        return self.twin.load_state_dict(wide, *args, **kwargs)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3, h, w) -> (n, 512)."""
        plain = x.float() * self._std.to(x.device) + self._mean.to(x.device)
        halves = [self.twin(x) * math.sqrt(SHARE), self.grad(plain) * math.sqrt(1 - SHARE)]
        return torch.cat(halves, dim=1)
