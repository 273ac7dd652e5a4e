"""ResNet 18 to 152 on frames, without the classifier.

Goes in: float (n, 3, h, w), normalised, any size from 32 px. Comes out: (n, 512) or (n, 2048), the
mean of the last map over its places.

    net = build(models.get("resnet152"))
    net(torch.zeros(1, 3, 224, 398)).shape     # (1, 2048)

Shape of the network: He et al. 2015, "Deep Residual Learning for Image Recognition", with the
stride in the 3x3 convolution. Parts carry the names of torchvision's checkpoints, which load
unchanged but for their classifier.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from twinreel.models import ModelSpec


class Basic(nn.Module):
    """Two 3x3 convolutions and a shortcut (depths 18 and 34)."""

    expansion = 1

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = shortcut(width_in, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        y += x if self.downsample is None else self.downsample(x)
        return F.relu(y, inplace=True)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a shortcut (depths 50, 101 and 152)."""

    expansion = 4

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, width * 4, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(width * 4)
        self.downsample = shortcut(width_in, width * 4, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = F.relu(self.bn2(self.conv2(y)), inplace=True)
        y = self.bn3(self.conv3(y))
        y += x if self.downsample is None else self.downsample(x)
        return F.relu(y, inplace=True)


def shortcut(width_in: int, width_out: int, stride: int) -> nn.Sequential | None:
    """None where the input passes unchanged, else a 1x1 convolution that makes the shapes fit."""
    if stride == 1 and width_in == width_out:
        return None
    return nn.Sequential(
        nn.Conv2d(width_in, width_out, 1, stride, bias=False), nn.BatchNorm2d(width_out)
    )


def add_layers(net: nn.Module, block: Any, counts: tuple[int, ...], width: int) -> int:
    """Give `net` its layer1, layer2, ... of so many blocks; the width of the last one's map.

    Each layer is twice as wide inside as the one before, and but for the first halves the map.
    """
    width_in = 64
    for i, count in enumerate(counts):
        blocks = []
        for j in range(count):
            blocks.append(block(width_in, width << i, 2 if i and not j else 1))
            width_in = (width << i) * block.expansion
        net.add_module(f"layer{i + 1}", nn.Sequential(*blocks))
    return width_in


def through_layers(net: nn.Module, x: Tensor) -> Tensor:
    """Through layer1 to layer4, each in the arithmetic of its weights."""
    for i in range(1, 5):
        layer = net.get_submodule(f"layer{i}")
        x = layer(x.to(next(layer.parameters()).dtype))
    return x


LAYOUT: dict[int, tuple[type[Basic] | type[Bottleneck], tuple[int, ...]]] = {
    18: (Basic, (2, 2, 2, 2)),
    34: (Basic, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
    152: (Bottleneck, (3, 8, 36, 3)),
}


class ResNet(nn.Module):
    """See the module's docstring. `depth` is a key of LAYOUT.

    fp32_parts: stay fp32 where the rest is bf16. What they round is amplified by all that follow:
    in a ResNet-152 they have a fifth of the arithmetic and made nearly all of the error.
    """

    fp32_parts = ("conv1", "layer1", "layer2")

    def __init__(self, depth: int) -> None:
        super().__init__()
        block, counts = LAYOUT[depth]
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.dim = add_layers(self, block, counts, 64)

    def forward(self, x: Tensor) -> Tensor:
        """float (n, 3, h, w) -> (n, dim)"""
        x = self.maxpool(F.relu(self.bn1(self.conv1(x)), inplace=True))
        return torch.mean(through_layers(self, x), dim=(2, 3))


def build(spec: ModelSpec) -> nn.Module:
    """The network of the record; its depth stands in `extra`."""
    return ResNet(spec.extra["depth"])
