"""The networks of a run on their device: pixels in, finished rows out.

Loaded when there is something to do, while the decoders start. Batches that do not fit the
device's memory are halved, which is said once. On a CPU a batch is run in small pieces, one on
each core: that is as fast, the memory stays small, and a decoder holds up only the core it is on.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from twinreel import models
from twinreel.batches import Begin, Begun, at_once
from twinreel.errors import DeviceUnavailable
from twinreel.extract.options import ExtractOptions
from twinreel.extract.plan import Entry
from twinreel.extract.principal import Projection
from twinreel.models import ModelSpec
from twinreel.types import Floats, Pixels

CPU_PIXELS = 800_000  # of all pieces that are run at once, all frames together
L2_LEAST = 1e-12  # a row of zeros stays one


class Runner:
    """Runs entry i of a run: `run(i)` on pixels, then `finish(i)` on its vectors."""

    def __init__(
        self,
        entries: list[Entry],
        options: ExtractOptions,
        say: Callable[[str], None],
        networks: dict[int, Any] | None = None,
    ) -> None:
        """networks: loaded ones by entry, which a caller keeps from run to run."""
        self.entries = entries
        self._options, self._say = options, say
        self._networks: dict[int, Any] = {} if networks is None else networks
        self._threads = options.threads or os.cpu_count() or 1
        self._pools: dict[int, ThreadPoolExecutor] = {}
        self._limit: dict[int, int] = {}  # rows that fit a device's memory, by entry
        self._halved: set[int] = set()
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

            torch.set_num_threads(self._threads)
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
            if network.is_emulated:
                self._say("this CPU has no bf16 arithmetic: --precision fp32 is far faster here")
            self._networks[i] = network
        return self._networks[i]

    def load(self) -> None:
        """Load every network now."""
        for i in range(len(self.entries)):
            self.network(i)

    def close(self) -> None:
        """Give up what was begun and nobody waits for: a run that is stopped ends soon."""
        for pool in self._pools.values():
            pool.shutdown(wait=False, cancel_futures=True)
        self._pools.clear()

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
        """A function: uint8 (n, ...) -> float32 (n, ...), for any n.

        It raises DeviceUnavailable where not even one row fits the device's memory.
        """
        begin = self.begin(i)
        return lambda pixels: begin(pixels).vectors()

    def begin(self, i: int) -> Begin:
        """As `run`, in two steps: it begins, and gives what waits for the vectors."""

        def forward(pixels: Pixels) -> Begun:
            network = self.network(i)
            if network.device.type == "cpu":
                return self._on_cores(network, pixels)
            return at_once(lambda rows: self._on_device(i, network, rows))(pixels)

        return forward

    def _on_cores(self, network: Any, pixels: Pixels) -> Begun:
        """Small pieces, as many at once as there are threads.

        Cores that share a layer wait for the slowest of them, which a decoder may hold up; cores
        that have a piece each do not. The pieces are as fast as large ones, down to single rows.
        """
        area = int(np.prod(pixels.shape[1:-1]))
        size = max(1, CPU_PIXELS // area)
        cores = self._threads if _shareable(network.spec) else 1
        if cores > 1:
            size = max(1, min(size // cores, len(pixels) // (4 * cores)))
        parts = [pixels[at : at + size] for at in range(0, len(pixels), size)]

        pool = self._cores(cores)
        futures = [pool.submit(_compute, network, part) for part in parts]

        def wait() -> Floats:
            begun = time.monotonic()
            done = [future.result() for future in futures]
            took = time.monotonic() - begun
            # Cores have begun before anybody waits for them.
            prepared = min(took, sum(seconds for _, seconds in done) / cores)
            self.seconds["transfer"] += prepared
            self.seconds["model"] += took - prepared
            return np.concatenate([vectors for vectors, _ in done])

        return Begun(lambda: all(future.done() for future in futures), wait)

    def _cores(self, cores: int) -> ThreadPoolExecutor:
        """A thread for each core; one for a network that wants all of them for itself."""
        if cores not in self._pools:
            import torch

            self._pools[cores] = ThreadPoolExecutor(
                cores, "network", initializer=torch.set_num_threads,
                initargs=(self._threads // cores,),
            )  # fmt: skip
        return self._pools[cores]

    def _on_device(self, i: int, network: Any, pixels: Pixels) -> Floats:
        """Whole batches, halved for good where the device's memory is too small for them."""
        import torch

        done: list[Floats] = []
        at = 0
        while at < len(pixels):
            limit = self._limit.setdefault(i, self._options.batch_size)
            part = pixels[at : at + limit]
            begun = time.monotonic()
            try:
                vectors, prepared = _compute(network, part)
            except torch.OutOfMemoryError:
                vectors = None
            if vectors is None:
                # Out of the handler: the error holds on to the memory.
                self._halve(i, network, len(part))
                torch.cuda.empty_cache()
                continue
            done.append(vectors)
            at += len(part)
            self.seconds["transfer"] += prepared
            self.seconds["model"] += time.monotonic() - begun - prepared
        return np.concatenate(done)

    def _halve(self, i: int, network: Any, rows: int) -> None:
        if rows == 1:
            raise DeviceUnavailable(
                f"{network.device}: its memory does not hold {network.spec.name} and one row; free "
                "some of it, or try --device cpu"
            )
        self._limit[i] = rows // 2
        if i not in self._halved:
            self._halved.add(i)
            self._say(
                f"{network.device}: out of memory with batches of {rows}; going on with "
                f"{rows // 2} (and less, if need be)"
            )

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


def _shareable(spec: ModelSpec) -> bool:
    """Whether threads may run it side by side: ours keep nothing from call to call, others may."""
    ours = spec.builder.startswith("twinreel.models.")
    return ours and spec.extra.get("kind", "ours") == "ours"


def _compute(network: Any, pixels: Pixels) -> tuple[Floats, float]:
    """uint8 (n, ...) -> float32 (n, ...), and the seconds it took to bring the pixels in place."""
    import torch

    begun = time.monotonic()
    with torch.inference_mode():
        x = network.prepare(pixels)
        if network.spec.frames == 1:
            x = x.contiguous(memory_format=torch.channels_last)
        ready = time.monotonic()
        vectors: Floats = network.module(x).float().cpu().numpy()
    return vectors, ready - begun


def digest(path: Path) -> str:
    """sha256 of a stored projection, 64 hex digits."""
    from twinreel.models.weights import sha256_of

    return sha256_of(path)
