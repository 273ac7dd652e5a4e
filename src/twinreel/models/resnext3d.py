"""ResNeXt-101 on clips of 16 frames, without the classifier.

Goes in: float (n, 3, 16, 112, 112), values 0..255 less the mean. Comes out: (n, 2048).

Shape of the network: Xie et al. 2016, "Aggregated Residual Transformations for Deep Neural
Networks", in three dimensions as in Hara et al. 2017, "Can Spatiotemporal 3D CNNs Retrace the
History of 2D CNNs and ImageNet?" (cardinality 32, shortcut B). Parts carry the names of the
Kinetics checkpoint, which loads unchanged but for its classifier.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn import functional as F

from twinreel.models.resnet import add_layers, through_layers

if TYPE_CHECKING:
    from twinreel.models import ModelSpec

GROUPS = 32
COUNTS = (3, 4, 23, 3)
_LAST = (1, 4, 4)  # time, height, width of the last map for a clip of 16 x 112 x 112


class Block(nn.Module):
    """1x1x1, grouped 3x3x3 and 1x1x1 convolutions and a shortcut."""

    expansion = 2

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        width_out = width * self.expansion
        self.conv1 = nn.Conv3d(width_in, width, 1, bias=False)
        self.bn1 = nn.BatchNorm3d(width)
        self.conv2 = nn.Conv3d(width, width, 3, stride, 1, groups=GROUPS, bias=False)
        self.bn2 = nn.BatchNorm3d(width)
        self.conv3 = nn.Conv3d(width, width_out, 1, bias=False)
        self.bn3 = nn.BatchNorm3d(width_out)
        self.downsample = None
        if stride != 1 or width_in != width_out:
            self.downsample = nn.Sequential(
                nn.Conv3d(width_in, width_out, 1, stride, bias=False), nn.BatchNorm3d(width_out)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = F.relu(self.bn2(self.conv2(y)), inplace=True)
        y = self.bn3(self.conv3(y))
        y += x if self.downsample is None else self.downsample(x)
        return F.relu(y, inplace=True)


class ResNeXt3D(nn.Module):
    """See the module's docstring. `fp32_parts`: as in ResNet; layer2 rounds little here."""

    fp32_parts = ("conv1", "layer1")

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(3, 64, 7, (1, 2, 2), 3, bias=False)
        self.bn1 = nn.BatchNorm3d(64)
        self.maxpool = nn.MaxPool3d(3, 2, 1)
        add_layers(self, Block, COUNTS, 128)

    def forward(self, x: Tensor) -> Tensor:
        """float (n, 3, 16, 112, 112) -> (n, 2048)"""
        x = self.maxpool(F.relu(self.bn1(self.conv1(x)), inplace=True))
        x = through_layers(self, x)
        if x.shape[2:] != _LAST:
            raise ValueError(
                f"clips must be 16 frames of 112 x 112 px, got a last map of {tuple(x.shape[2:])}"
            )
        return x.mean(dim=(2, 3, 4))  # all of the map; average pooling knows no bf16 on CPUs


def build(spec: ModelSpec) -> nn.Module:
    """The network of the record."""
    return ResNeXt3D()
