"""A record of the zoo -> a network that runs: uint8 pictures in, float32 vectors out."""

from __future__ import annotations

import importlib
import platform
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from twinreel.errors import DeviceUnavailable, ModelError, UnknownModel, WeightsCorrupt
from twinreel.models import ModelSpec
from twinreel.models.identity import identity
from twinreel.models.weights import resolve
from twinreel.types import Floats


class Network:
    """A network with its weights on a device.

    Calling it takes uint8 pictures, (n, h, w, 3) or clips (n, t, h, w, 3), and gives float32
    (n, dim). Normalisation happens on the device. `identity` is 'name@hash' (and ':N' when only
    the first N numbers are used): vectors of unlike identity must never meet.
    """

    def __init__(
        self,
        spec: ModelSpec,
        module: nn.Module,
        weights_sha256: str,
        device: torch.device,
        dtype: torch.dtype,
        embedding_size: int = 0,
    ) -> None:
        self.spec = spec
        self.device = device
        self.dtype = dtype
        self.weights_sha256 = weights_sha256
        self.embedding_size = embedding_size
        self.dim = embedding_size or spec.dim
        self.module = _rounded(module.to(device=device), dtype).eval()
        self._takes = torch.float32 if _fp32_parts(module) else dtype
        if spec.frames == 1:
            self.module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        shape = (1, 3) + (1,) * (2 if spec.frames == 1 else 3)
        self._gain = torch.tensor([spec.scale / s for s in spec.std], device=device).view(shape)
        bias = [-m / s for m, s in zip(spec.mean, spec.std, strict=True)]
        self._bias = torch.tensor(bias, device=device).view(shape)

    @property
    def identity(self) -> str:
        """'name@hash': what made a vector."""
        return identity(self.spec, self.weights_sha256, self.embedding_size)

    @property
    def is_emulated(self) -> bool:
        """Whether it is bf16 on a CPU for which PyTorch has no fast bf16: a reference path computes
        it, some ten times as slowly as fp32 (3d, AVX2)."""
        return (
            self.dtype == torch.bfloat16
            and self.device.type == "cpu"
            and platform.machine().lower() in ("x86_64", "amd64")
            and not torch.ops.mkldnn._is_mkldnn_bf16_supported()
        )

    def prepare(self, pixels: npt.NDArray[np.uint8] | torch.Tensor) -> torch.Tensor:
        """uint8 (n, [t,] h, w, 3) -> normalised floats (n, 3, [t,] h, w) on the device."""
        x = torch.as_tensor(pixels).to(self.device, non_blocking=True)
        if x.dtype != torch.uint8 or x.shape[-1] != 3 or x.ndim != (4, 5)[self.spec.frames > 1]:
            raise ModelError(
                f"{self.spec.name} takes uint8 RGB pictures, got {x.dtype} {tuple(x.shape)}"
            )
        x = x.movedim(-1, 1).to(torch.float32)
        return torch.addcmul(self._bias, x, self._gain).to(self._takes)

    @torch.inference_mode()
    def __call__(self, pixels: npt.NDArray[np.uint8] | torch.Tensor) -> Floats:
        """uint8 (n, h, w, 3) or (n, t, h, w, 3) -> float32 (n, dim)."""
        x = self.prepare(pixels)
        if self.spec.frames == 1:
            x = x.contiguous(memory_format=torch.channels_last)
        out = self.module(x).float()
        if self.embedding_size:
            out = nn.functional.normalize(out[:, : self.embedding_size], dim=1)
        return cast(Floats, out.cpu().numpy())


def build(
    spec: ModelSpec, weights: str, device: str, precision: str, embedding_size: int
) -> Network:
    """See twinreel.models.load."""
    if embedding_size and embedding_size not in (*spec.nested, spec.dim):
        sizes = ", ".join(map(str, (*spec.nested, spec.dim)))
        raise ModelError(
            f"embedding_size {embedding_size} of {spec.name}: its vectors can be cut to {sizes}"
        )
    place = pick_device(device)
    state, digest = resolve(spec, weights)
    if digest.startswith("random:"):
        torch.manual_seed(int(digest.removeprefix("random:")))
    module = _builder(spec.builder)(spec)
    if state is not None:
        try:
            module.load_state_dict(state)
        except RuntimeError as error:
            raise WeightsCorrupt(f"weights of {spec.name} do not fit its layout: {error}") from None
    # All of the vector is the same as no cut.
    cut = 0 if embedding_size == spec.dim else embedding_size
    dtype = pick_dtype(precision, place)
    if place.type == "cuda":
        full_fp32()
    return Network(spec, module, digest, place, dtype, cut)


def full_fp32() -> None:
    """Have GPUs compute fp32 as fp32, in all of this process: by default torch convolves in TF32,
    which keeps 10 of its 23 bits."""
    cudnn: Any = torch.backends.cudnn
    matmul = torch.backends.cuda.matmul
    if hasattr(cudnn, "conv"):  # torch 2.9: from there on the older switches warn
        for part in (cudnn.conv, matmul):
            part.fp32_precision = "ieee"
    else:
        cudnn.allow_tf32 = matmul.allow_tf32 = False


def _rounded(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    """The module in that arithmetic, but for its fp32_parts and for batch normalisation, whose
    statistics scale whole channels: rounded, they are wrong the same way in every row."""
    if dtype == torch.float32 or isinstance(module, torch.jit.ScriptModule):
        return module.to(dtype=dtype)
    kept = _fp32_parts(module)
    kept += [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    states = [{name: t.clone() for name, t in m.state_dict().items()} for m in kept]
    module.to(dtype=dtype)
    for part, state in zip(kept, states, strict=True):
        part.float().load_state_dict(state)
    return module


def _fp32_parts(module: nn.Module) -> list[nn.Module]:
    """The first parts of a network that stay fp32 whatever it computes in (see ResNet)."""
    return [module.get_submodule(name) for name in getattr(module, "fp32_parts", ())]


def _builder(dotted: str) -> Any:
    """'module:function' -> the function."""
    module, _, name = dotted.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UnknownModel(f"builder {dotted!r} cannot be imported: {error}") from error


def pick_device(name: str) -> torch.device:
    """'auto' -> CUDA, else MPS, else CPU; a named device that is not there is an error."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        mps = getattr(torch.backends, "mps", None)
        return torch.device("mps" if mps is not None and mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        words = str(error).splitlines()[0]
        raise DeviceUnavailable(
            f"device {name!r} cannot be used: {words}; try --device cpu"
        ) from None
    return device


def pick_dtype(precision: str, device: torch.device) -> torch.dtype:
    """bf16 where the CPU multiplies it in hardware tiles (AMX), else fp32; always as told."""
    if precision == "bf16":
        return torch.bfloat16
    if precision == "auto" and device.type == "cpu" and _amx():
        return torch.bfloat16
    return torch.float32


def _amx() -> bool:
    """Whether the CPU has AMX tiles; elsewhere bf16 measured no faster than fp32 on small nets."""
    probe = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return bool(probe and probe())
