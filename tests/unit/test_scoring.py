"""Scoring in pieces: what is in memory at once does not change what is found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from twinreel import models, scoring
from twinreel.discover import Discovery
from twinreel.embed import features
from twinreel.options import DupsOptions, gather
from twinreel.progress import Progress
from twinreel.scoring import Scoring
from twinreel.store import Library
from twinreel.types import VideoFile

DIM = 32


def _fill(run: Scoring, numbers: range, rng: np.random.Generator) -> None:
    """Videos of 8 to 13 s, each followed by its copy: the same moments with a little noise."""
    for n in numbers:
        length = 8 + n // 2 % 6
        rows = np.random.default_rng(n // 2).normal(size=(length, DIM))
        rows += rng.normal(size=rows.shape) * 0.02
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        key = f"{n:032x}"
        times, blank = np.arange(length, dtype=np.float64), np.zeros(length, bool)
        made = features(key, run.model, run.sampling, times, blank, rows, float(length))
        run.library.put_features(made)
        run.files.append(VideoFile(f"/v/{n}.mp4", 1, 1, n, 1, "v", key))


def _scored(folder: Path, pieces: int | None, monkeypatch: pytest.MonkeyPatch) -> set[object]:
    options = gather({"model": "dctgrad.v1", "length_tolerance": "any"}, DupsOptions)
    monkeypatch.setattr(scoring, "PIECE_ROWS", pieces or 65_536)
    folder.mkdir()
    with Library.open(folder / "l.db") as library:
        found = Discovery((), {}, (), ())
        run = Scoring(library, options, found, Progress(False), spec=models.get("dctgrad.v1"))
        run.name_model()
        rng = np.random.default_rng(1)
        for numbers in (range(0, 24), range(24, 30)):  # then some more, beside known ones
            _fill(run, numbers, rng)
            run.score()
        assert library.compared(run.context) == {f.key for f in run.files}
        return {(m.a, m.b, round(m.score, 6), m.relation) for m in library.pairs(run.context)}


def test_pairs_do_not_depend_on_what_is_in_memory_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = _scored(tmp_path / "whole", None, monkeypatch)
    assert len(whole) >= 15
    for rows in (1, 17, 60):
        assert _scored(tmp_path / str(rows), rows, monkeypatch) == whole
