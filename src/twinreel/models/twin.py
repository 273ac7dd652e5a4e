"""Twin: the small copy-detection network trained by this project.

Goes in: frames, float (n, 3, h, w), RGB, normalised with MEAN and STD. Comes out: descriptors,
float32 (n, 256), each of length 1; frames that show the same picture have a cosine near 1.

    net = TwinNet.fused(state)                          # released form, plain 3x3 convolutions
    x = normalise(torch.randint(0, 256, (2, 3, SIZE, SIZE), dtype=torch.uint8))
    z = net(x)                                          # (2, 256)
    short = shorten(z, 64)                              # (2, 64), a descriptor in its own right

Shape of the network: RepVGG (Ding et al. 2021, "RepVGG: Making VGG-style ConvNets Great Again"),
generalised mean pooling (Radenovic et al. 2018), nested descriptors (Kusupati et al. 2022,
"Matryoshka Representation Learning").
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from twinreel.models import ModelSpec

SIZE: Final = 160  # side of the square the frame is resized to, aspect not kept
DIM: Final = 256
NESTED: Final = (64, 128, 256)  # lengths at which the first numbers are descriptors themselves
MEAN: Final = (0.485, 0.456, 0.406)
STD: Final = (0.229, 0.224, 0.225)

_STEM: Final = 32
Shape = tuple[tuple[int, ...], tuple[int, ...]]  # widths, and how many blocks of each
SHAPE: Final[Shape] = ((32, 64, 128, 256), (2, 4, 8, 2))
_GEM_FLOOR: Final = 1e-4


def normalise(pixels: Tensor) -> Tensor:
    """Scale pixels to the range the network was trained on.

    Args:
        pixels: uint8 (n, 3, h, w), RGB.

    Returns:
        float32 (n, 3, h, w), channels last in memory (the fast layout on CPUs).
    """
    mean = torch.tensor(MEAN, device=pixels.device).view(1, 3, 1, 1) * 255
    std = torch.tensor(STD, device=pixels.device).view(1, 3, 1, 1) * 255
    x = (pixels.float() - mean) / std
    return x.contiguous(memory_format=torch.channels_last)


def shorten(z: Tensor, dim: int) -> Tensor:
    """Keep the first numbers of descriptors.

    Args:
        z: float (n, 256), unit length.
        dim: one of NESTED.

    Returns:
        float (n, dim), unit length again.

    Raises:
        ValueError: dim was not trained.
    """
    if dim not in NESTED:
        raise ValueError(f"dim must be one of {NESTED} (the lengths trained), got {dim}")
    return F.normalize(z[:, :dim], dim=1)


def build(spec: ModelSpec) -> nn.Module:
    """The builder named in the record: the released form, weights still to be loaded."""
    if spec.dim != DIM or spec.size != (SIZE, SIZE):
        raise ValueError(
            f"{spec.name}: Twin gives {DIM} numbers from {SIZE} x {SIZE} pixels, the record says "
            f"{spec.dim} from {spec.size}; correct the record"
        )
    return TwinNet(fused=True).eval().requires_grad_(False)


class Block(nn.Module):
    """relu(bn(conv3x3(x)) + x); one 3x3 convolution with bias once fused.

    The skip is taken only where the shape allows it. RepVGG adds a 1x1 branch and normalises the
    skip; both are left out, they cost a fifth of the training rate on a CPU (measured).
    """

    def __init__(self, width_in: int, width_out: int, stride: int, *, fused: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width_in, width_out, 3, stride, 1, bias=fused)
        self.bn = None if fused else nn.BatchNorm2d(width_out)
        self.skip = not fused and width_in == width_out and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        """float (n, width_in, h, w) -> (n, width_out, h / stride, w / stride)."""
        y: Tensor = self.conv(x)
        if self.bn is not None:
            y = self.bn(y)
        if self.skip:
            y = y + x
        return F.relu(y, inplace=True)

    def fuse(self) -> Block:
        """Return the same function as one convolution with bias (computed in float64)."""
        if self.bn is None:
            return self
        bn = self.bn
        if bn.running_mean is None or bn.running_var is None:
            raise ValueError("cannot fuse a batch norm without running statistics")
        gain = bn.weight.double() / (bn.running_var.double() + bn.eps).sqrt()
        kernel = self.conv.weight.double() * gain.view(-1, 1, 1, 1)
        if self.skip:
            width = kernel.shape[0]
            kernel[range(width), range(width), 1, 1] += 1.0
        bias = bn.bias.double() - bn.running_mean.double() * gain
        stride = self.conv.stride[0]
        block = Block(self.conv.in_channels, self.conv.out_channels, stride, fused=True)
        assert block.conv.bias is not None
        with torch.no_grad():
            block.conv.weight.copy_(kernel)
            block.conv.bias.copy_(bias)
        return block


def _released(net: TwinNet) -> TwinNet:
    """Ready to run: nothing is trained any more, channels last in memory."""
    net.eval().requires_grad_(False)
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return net


class TwinNet(nn.Module):
    """Frames in, unit descriptors out. 2.2 M parameters, 0.22 GMAC at 160 px.

    `shape` is another than the released one in comparisons of candidates (training/ablation.py).
    """

    def __init__(self, *, fused: bool = False, shape: Shape = SHAPE) -> None:
        super().__init__()
        self.shape = shape
        blocks = [Block(3, _STEM, 2, fused=fused)]
        width = _STEM
        for width_out, depth in zip(*shape, strict=True):
            for i in range(depth):
                blocks.append(Block(width, width_out, 2 if i == 0 else 1, fused=fused))
                width = width_out
        self.blocks = nn.Sequential(*blocks)
        # Centred and scaled before the head, else all descriptors start out nearly parallel; once
        # fused the head does it.
        self.neck = None if fused else nn.BatchNorm1d(width, affine=False)
        self.head = nn.Linear(width, DIM)

    def forward(self, x: Tensor) -> Tensor:
        """float (n, 3, h, w), see `normalise` -> float32 (n, 256) of unit length."""
        y = self.blocks(x).float().clamp(min=_GEM_FLOOR)
        y = (y * y * y).mean(dim=(2, 3)).pow(1 / 3)  # generalised mean, p = 3: (n, width)
        if self.neck is not None:
            y = self.neck(y)
        # The head is small; float32 keeps low-precision runs close to the reference.
        with torch.autocast(x.device.type, enabled=False):
            z = F.linear(y, self.head.weight.float(), self.head.bias.float())
        return F.normalize(z, dim=1)

    def fuse(self) -> TwinNet:
        """Return the released form: same outputs (to 1e-4), plain 3x3 convolutions, eval mode."""
        net = TwinNet(fused=True, shape=self.shape)
        for i, block in enumerate(self.blocks):
            assert isinstance(block, Block)
            net.blocks[i] = block.fuse()
        weight, bias = self.head.weight.double(), self.head.bias.double()
        if self.neck is not None:
            mean, var = self.neck.running_mean, self.neck.running_var
            assert mean is not None and var is not None
            weight = weight / (var.double() + self.neck.eps).sqrt()
            bias = bias - weight @ mean.double()
        with torch.no_grad():
            net.head.weight.copy_(weight)
            net.head.bias.copy_(bias)
        return _released(net)

    @classmethod
    def fused(cls, state: Mapping[str, Tensor]) -> TwinNet:
        """Build the released form from its tensors.

        Args:
            state: as `TwinNet(...).fuse().state_dict()`; float16 is widened to float32.

        Raises:
            RuntimeError: a tensor is missing, unknown or of another shape (torch names it).
        """
        net = cls(fused=True)
        net.load_state_dict({name: tensor.float() for name, tensor in state.items()})
        return _released(net)
