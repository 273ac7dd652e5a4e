"""The networks of a run on their device: pixels in, finished rows out.

Loaded when there is something to do, while the decoders start. Batches that do not fit the
device's memory are halved, which is said once. On a CPU a batch is run in small pieces: that is as
fast, and the memory stays small.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from twinreel import models
from twinreel.extract.batches import Pixels, Projection
from twinreel.extract.options import ExtractOptions
from twinreel.extract.plan import Entry
from twinreel.types import Floats

CPU_PIXELS = 800_000  # of one piece, all frames together
L2_LEAST = 1e-12  # a row of zeros stays one


class Runner:
    """Runs entry i of a run: `run(i)` on pixels, then `finish(i)` on its vectors."""

    def __init__(
        self, entries: list[Entry], options: ExtractOptions, say: Callable[[str], None]
    ) -> None:
        self.entries = entries
        self._options, self._say = options, say
        self._networks: dict[int, Any] = {}
        self._limit: dict[int, int] = {}
        self.projections: dict[int, Projection] = {}
        self.seconds = {"transfer": 0.0, "model": 0.0}

    def project(self, i: int, projection: Projection, digest: str) -> None:
        """Put a projection behind entry i; it becomes part of what its outputs are."""
        self.projections[i] = projection
        entry = self.entries[i]
        output = {**entry.request["output"], "projection": digest}
        self.entries[i] = replace(entry, request={**entry.request, "output": output})

    def network(self, i: int) -> Any:
        """The network of entry i, loaded at its first use."""
        if i not in self._networks:
            import torch

            torch.set_num_threads(self._options.threads or os.cpu_count() or 1)
            entry = self.entries[i]
            network = models.load(
                entry.spec, entry.weights, self._options.device, self._options.precision
            )
            if "random:" in entry.sha256:
                self._say(
                    f"{entry.spec.name}: RANDOM WEIGHTS ({entry.sha256}); the numbers mean nothing"
                )
            if assumed := entry.spec.extra.get("assumed"):
                self._say(assumed)
            self._networks[i] = network
        return self._networks[i]

    def load(self) -> None:
        """Load every network now."""
        for i in range(len(self.entries)):
            self.network(i)

    def identity(self, i: int) -> str:
        """'name@hash' of entry i."""
        from twinreel.models.identity import identity

        return identity(self.entries[i].spec, self.entries[i].sha256)

    def dim(self, i: int) -> int:
        """Numbers in a row of entry i."""
        if i in self.projections:
            return self.projections[i].dim
        return self.cut(i) or self.entries[i].spec.dim

    def cut(self, i: int) -> int:
        """First numbers that are used alone: only of networks trained for that; else 0."""
        size = self._options.embedding_size
        return size if self.entries and size in self.entries[i].spec.nested else 0

    def run(self, i: int) -> Callable[[Pixels], Floats]:
        """A function: uint8 (n, ...) -> float32 (n, ...), for any n."""

        def forward(pixels: Pixels) -> Floats:
            network = self.network(i)
            if i not in self._limit:
                self._limit[i] = self._piece(network, pixels)
            done: list[Floats] = []
            at = 0
            while at < len(pixels):
                part = pixels[at : at + self._limit[i]]
                vectors = self._try(i, network, part)
                if vectors is not None:
                    done.append(vectors)
                    at += len(part)
            return np.concatenate(done)

        return forward

    def _piece(self, network: Any, pixels: Pixels) -> int:
        if network.device.type != "cpu":
            return self._options.batch_size
        area = int(np.prod(pixels.shape[1:-1]))
        return max(1, min(self._options.batch_size, CPU_PIXELS // area))

    def _try(self, i: int, network: Any, pixels: Pixels) -> Floats | None:
        """Vectors, or None if the memory was too small and the pieces are now smaller."""
        import torch

        since = time.monotonic()
        try:
            with torch.inference_mode():
                x = network.prepare(pixels)
                ready = time.monotonic()
                vectors = _compute(network, x)
        except torch.OutOfMemoryError:
            if self._limit[i] == 1:
                raise
            first = self._limit[i] == self._options.batch_size
            self._limit[i] = max(1, min(len(pixels), self._limit[i]) // 2)
            if first:
                self._say(
                    f"{network.device}: out of memory with batches of {len(pixels)}; "
                    f"going on with {self._limit[i]} (and less, if need be)"
                )
            torch.cuda.empty_cache()
            return None
        self.seconds["transfer"] += ready - since
        self.seconds["model"] += time.monotonic() - ready
        return vectors

    def finish(self, i: int, vectors: Floats) -> npt.NDArray[Any]:
        """Projection, rows of length 1, then the written type: in this order, as the seed does."""
        if i in self.projections:
            vectors = self.projections[i](vectors)
        elif cut := self.cut(i):
            vectors = vectors[:, :cut]
        if self._options.l2_normalize:
            flat = vectors.reshape(len(vectors), -1)
            length = np.sqrt(np.square(flat).sum(axis=1, keepdims=True))
            vectors = (flat / np.maximum(length, L2_LEAST)).reshape(vectors.shape)
        return vectors.astype(np.float16 if self._options.half_precision else np.float32)


def _compute(network: Any, x: Any) -> Floats:
    """Normalised floats on the device -> float32 (n, ...)."""
    import torch

    if network.spec.frames == 1:
        x = x.contiguous(memory_format=torch.channels_last)
    vectors: Floats = network.module(x).float().cpu().numpy()
    return vectors


def digest(path: Path) -> str:
    """sha256 of a stored projection, 64 hex digits."""
    from twinreel.models.weights import sha256_of

    return sha256_of(path)
