"""The pictures of docs/how-it-decides.md, drawn from the demo library.

python -m tools.pictures DEMO     # writes docs/images/decide-*.png
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

import twinreel
from twinreel.demo import demo_library

IMAGES = Path(__file__).parents[1] / "docs" / "images"


def looked(path: Path) -> Any:
    """The moments of a video: pictures and times."""
    return twinreel.VideoDataset(path)[0]


def moments(demo: Path) -> None:
    """Steps 2 to 4: one grid for all, borders cut."""
    names = ("originals/station.mp4", "copies/station trimmed.mp4", "copies/orchard letterbox.mp4")
    fig, axes = plt.subplots(3, 8, figsize=(11, 5.2))
    for row, name in zip(axes, names, strict=True):
        video = looked(demo / name)
        for axis, i in zip(row, range(0, 32, 4), strict=True):
            axis.set_axis_off()
            if i < len(video.pixels):
                axis.imshow(video.pixels[i])
                axis.set_title(f"{video.times_s[i]:.2f} s", fontsize=7)
        row[0].text(0, -36, Path(name).name, fontsize=9)
    fig.savefig(IMAGES / "decide-moments.png", dpi=90, bbox_inches="tight")


def alignment(demo: Path, scratch: Path) -> None:
    """Steps 5 to 8: cosines of all moments, and the line that is found among them."""
    network = twinreel.load_model("twin.v1")
    pairs = [
        ("originals/station.mp4", "copies/station trimmed.mp4"),
        ("originals/harbour.mp4", "copies/harbour re-encoded.mkv"),
        ("originals/harbour.mp4", "originals/market.mp4"),
    ]
    fig, axes = plt.subplots(1, 3, figsize=(12, 4))
    for n, (axis, (a, b)) in enumerate(zip(axes, pairs, strict=True)):
        one, two = looked(demo / a), looked(demo / b)
        # The first half of a vector is what the trained network says.
        left, right = (network(v.pixels)[:, :256] for v in (one, two))
        left, right = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (left, right))
        step = float(one.times_s[1])
        extent = (0, len(right) * step, len(left) * step, 0)
        shown = axis.imshow(left @ right.T, vmin=0, vmax=1, extent=extent)
        report = twinreel.find_duplicates(
            [demo / a, demo / b], library=str(scratch / f"{n}.db"), all_matches=True, jobs=1
        )
        match = report.match(str((demo / a).resolve()), str((demo / b).resolve()))
        words = "no candidate"
        if match is not None:
            words = f"{match.relation}, score {match.score:.3f}"
            for s in match.segments:
                axis.plot(s.b, s.a, color="red", linewidth=2)
        axis.set_title(words, fontsize=10)
        axis.set_ylabel(Path(a).name)
        axis.set_xlabel(Path(b).name)
    fig.colorbar(shown, ax=axes, label="cosine", shrink=0.8)
    fig.savefig(IMAGES / "decide-alignment.png", dpi=90, bbox_inches="tight")


def main(demo: Path) -> None:
    demo_library(demo)
    moments(demo)
    with tempfile.TemporaryDirectory() as scratch:
        alignment(demo, Path(scratch))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
