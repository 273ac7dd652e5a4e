"""One `extract` process for the kill tests: the whole journey, with a stand-in for the network.

    python -m tests.e2e.extract_child FOLDER OUT [--slow SECONDS] [more flags of ExtractOptions]

Without torch a process starts fast enough to be killed many times. A process that ends by itself
leaves a file `ended-OWNER`, so that the killed ones are known.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

import numpy as np

from twinreel.batches import at_once
from twinreel.extract import journey
from twinreel.extract.forward import Runner
from twinreel.extract.manifest import from_files
from twinreel.extract.options import ExtractOptions
from twinreel.extract.status import Listener


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--slow", type=float, default=0.0)
    parser.add_argument("--lease", type=float, default=60.0)
    parser.add_argument("--format", default="npy")
    parser.add_argument("--meta", default="sidecar")
    given = parser.parse_args()

    def stand_in(self: Runner, i: int):  # type: ignore[no-untyped-def]
        def run(pixels: np.ndarray) -> np.ndarray:
            time.sleep(given.slow)
            return pixels.reshape(len(pixels), -1)[:, : 3 * 100 : 3].astype(np.float32)

        return at_once(run)

    Runner.begin = stand_in  # type: ignore[method-assign]
    Runner.load = lambda self: None  # type: ignore[method-assign]
    files = sorted(str(p) for p in given.folder.rglob("*.mp4"))
    jobs = from_files(files, [str(given.folder)], given.out)
    options = ExtractOptions(
        model=("resnet18",), weights=("random:0",), jobs=1, batch_size=4,
        format=given.format, meta=given.meta, lease=given.lease,
    )  # fmt: skip
    owners: list[str] = []
    journey.extract(jobs, options, given.out, Listener(lambda r, s: owners.append(r["by"])))
    for owner in set(owners):
        (given.out / f"ended-{owner}").touch()
    assert "torch" not in sys.modules, "the stand-in should not need torch"
    os._exit(0)


if __name__ == "__main__":
    main()
