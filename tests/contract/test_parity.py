"""The seed extractor's own output on two videos, number by number.

Needs the parity kit in ../shared/parity and its videos; the checkpoints are seeded ones in the
published key layout, made by the kit's script.
"""

from __future__ import annotations

import csv
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from twinreel import models
from twinreel.extract.clips import ClipTask, Rows, Sampling, Take, unroll
from twinreel.extract.filters import View

SHARED = Path(__file__).resolve().parents[3] / "shared"
KIT, VIDEOS = SHARED / "parity", SHARED / "corpus" / "videos"
NAMES = {
    "bbb": "bower-media-samples__big-buck-bunny-480p-30s__video.mp4",
    "car": "intel-iot-devkit__sample-videos__car-detection.mp4",
}
FRAMES = {
    ("bbb", "2d"): "f1299e1a0ba096b2f9654171ee4a1c41f4fde6179332800148f8eaf441de3d09",
    ("bbb", "3d"): "517b29dd5ff05b71be35f1b1c3060e71044f1d76ce2e6b56c8f5619e42830c15",
    ("car", "2d"): "d60c98d490e8273fb36de0bd1310f8d7a119f22b6a4f8272f90e2a2c600fe342",
    ("car", "3d"): "2d0ebbb2984a268ff9d01c298dd6ed4c6461cae3b5d5f3e1d376489d1f9bc308",
}
SAMPLINGS = (
    Sampling("fps", 1.0, takes=(Take(View((224, 224), "short")),)),
    Sampling("fps", 24.0, takes=(Take(View((112, 112), "crop"), 16, 16),)),
)
COUNTS = {("bbb", "2d"): 30, ("bbb", "3d"): 720, ("car", "2d"): 30, ("car", "3d"): 724}

pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(not KIT.is_dir(), reason="no ../shared/parity beside the repository"),
]


@pytest.mark.parametrize("name", NAMES)
def test_one_decode_gives_the_seed_frames_of_both_types(name: str) -> None:
    digests = [hashlib.sha256(), hashlib.sha256()]
    left = [COUNTS[name, "2d"], COUNTS[name, "3d"]]
    for item in unroll(ClipTask(str(VIDEOS / NAMES[name]), SAMPLINGS)):
        if isinstance(item, Rows):
            # Of the padded last clip only the real frames count.
            frames = item.pixels.reshape(-1, *item.pixels.shape[-3:])[: left[item.sampling]]
            left[item.sampling] -= len(frames)
            digests[item.sampling].update(np.ascontiguousarray(frames).tobytes())
    assert left == [0, 0]
    assert [d.hexdigest() for d in digests] == [FRAMES[name, "2d"], FRAMES[name, "3d"]]


@pytest.mark.parametrize(("kind", "arch"), [("2d", "resnet152"), ("3d", "resnext101")])
def test_the_seed_command_line_gives_the_seed_rows(kind: str, arch: str, tmp_path: Path) -> None:
    checkpoint = tmp_path / "model" / f"{arch}.pth"
    checkpoint.parent.mkdir()
    subprocess.run([sys.executable, KIT / "seeded_weights.py", arch, checkpoint], check=True)
    table = tmp_path / "input.csv"
    with open(table, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["video_path", "feature_path"])
        writer.writerows([VIDEOS / f, tmp_path / "out" / f"{n}.npy"] for n, f in NAMES.items())
    # The 3d weights are found where the seed looks for them; the 2d ones it downloads.
    weights = ["--weights", checkpoint] if kind == "2d" else []
    command = [
        sys.executable, "-m", "twinreel", "extract", f"--csv={table}", f"--type={kind}",
        "--batch_size=64", "--num_decoding_thread=2", "--half_precision=0", "--l2_normalize=0",
        *weights,
    ]  # fmt: skip
    env = {**os.environ, "TWINREEL_WEIGHTS": str(tmp_path / "none")}
    subprocess.run(command, check=True, cwd=tmp_path, env=env)
    for name in NAMES:
        raw = np.load(tmp_path / "out" / f"{name}.npy")
        seed_raw = np.load(KIT / f"{name}_{kind}_raw.npy")
        assert raw.shape == seed_raw.shape and raw.dtype == np.float32
        most = np.abs(seed_raw).max(axis=1, keepdims=True)
        assert np.all(np.abs(raw - seed_raw) <= 1e-4 * most)
        _same_rows(raw, np.load(KIT / f"{name}_{kind}.npy"))


@pytest.mark.parametrize(
    ("kind", "arch", "model"),
    [("2d", "resnet152", "resnet152"), ("3d", "resnext101", "resnext101-3d")],
)
def test_bf16_rows_point_where_the_seed_rows_do(
    kind: str, arch: str, model: str, tmp_path: Path
) -> None:
    """Two at most, as a CPU without bf16 is slow at it; the first picture is nearly black, where
    rounding shows most."""
    checkpoint = tmp_path / f"{arch}.pth"
    subprocess.run([sys.executable, KIT / "seeded_weights.py", arch, checkpoint], check=True)
    which = ("2d", "3d").index(kind)
    task = ClipTask(str(VIDEOS / NAMES["bbb"]), (SAMPLINGS[which],))
    rows = next(item for item in unroll(task) if isinstance(item, Rows)).pixels[:2]
    half = models.load(model, str(checkpoint), "cpu", "bf16")(rows)
    full = np.load(KIT / f"bbb_{kind}_raw.npy")[: len(rows)]
    cosine = (half * full).sum(1) / np.linalg.norm(half, axis=1) / np.linalg.norm(full, axis=1)
    assert cosine.min() >= 0.999


def _same_rows(raw: np.ndarray, seed: np.ndarray) -> None:
    """What the default flags make of the raw rows, against the seed's float16 rows."""
    from twinreel.extract.forward import Runner
    from twinreel.extract.options import ExtractOptions

    rows = Runner([], ExtractOptions(), print).finish(0, raw)
    assert rows.dtype == seed.dtype == np.float16 and rows.shape == seed.shape
    a, b = rows.astype(np.float64), seed.astype(np.float64)
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert cosine.min() >= 0.999999
