"""Scoring in pieces: what is in memory at once does not change what is found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from twinreel import doubt, models, scoring
from twinreel.discover import Discovery
from twinreel.doubt import WHOLES
from twinreel.embed import features
from twinreel.inventory import quick
from twinreel.options import DupsOptions, gather
from twinreel.progress import Progress
from twinreel.scoring import Scoring
from twinreel.store import Library
from twinreel.types import Match, VideoFile

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


def test_what_proposes_no_removal_is_listed_once_a_look_made_it_likely(tmp_path: Path) -> None:
    with Library.open(tmp_path / "l.db") as library:

        def listed(**given: object) -> set[tuple[str, str]]:
            options = gather({"model": "dctgrad.v1", **given}, DupsOptions)
            found = Discovery((), {}, (), ())
            run = Scoring(library, options, found, Progress(False), spec=models.get("dctgrad.v1"))
            run.name_model()
            run.min_score = 0.9
            _fill(run, range(6), np.random.default_rng(1))
            film, *others = (f.key or "" for f in run.files)
            told = ((0.7, "contains"), (0.7, "copy"), (0.55, "contains"), (0.95, "copy"))
            pairs = [Match(film, k, s, r) for k, (s, r) in zip(others, told, strict=False)]
            for m in pairs:
                run._doubts._remember(m)
            run._doubts._remember(Match(others[0], others[4], 0.01, "contains"))
            told_otherwise = Match(others[0], others[4], 0.7, "contains")
            unseen = [Match(film, others[4], 0.7, "contains"), told_otherwise]
            library.put_pairs(run.context, [film, *others], [*pairs, *unseen])
            run.select()
            names = {key: str(n) for n, key in enumerate(others)}
            return {(names[m.b], m.relation) for m in run.matches.values()} | (
                {("again", m.relation) for m in run.matches.values() if m.a == others[0]}
            )

        sure = ("3", "copy")
        assert listed() == {("0", "contains"), sure}
        assert listed(part_score=0.5) == {("0", "contains"), ("2", "contains"), sure}
        assert listed(part_score=0.8) == listed(closer=False) == {sure}
        assert len(listed(all_matches=True)) == 6


def test_a_group_asks_for_the_doubtful_pairs_it_hangs_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not for those that are hopeless, were looked at before or were said not to match."""
    asked = []

    def looked(tasks: list[tuple[str, Match]], *_: object) -> Iterator[tuple[Match, str]]:
        for _, m in tasks:
            asked.append((m.a, m.b))
            yield replace(m, score=scores_told.pop(0) if scores_told else 0.97), ""

    scores_told: list[float] = []

    monkeypatch.setattr(doubt, "_task", lambda m, name, look: (name, m))
    monkeypatch.setattr(doubt, "_looked", looked)
    options = gather({"model": "dctgrad.v1"}, DupsOptions)
    with Library.open(tmp_path / "l.db") as library:
        found = Discovery((), {}, (), ())
        run = Scoring(library, options, found, Progress(False), spec=models.get("dctgrad.v1"))
        run.name_model()
        run.calibration = replace(run.calibration, closer_weights=(1.0, 1.0))
        _fill(run, range(7), np.random.default_rng(1))
        kept, *others = (f.key or "" for f in run.files)
        scores = (0.5, 0.6, WHOLES.least / 2, 0.4)
        pairs = [Match(kept, k, s, "copy") for k, s in zip(others, scores, strict=False)]
        library.put_pairs(run.context, [kept, *others], pairs)
        library.remember("unmatched", " ".join(sorted((quick(kept), quick(others[3])))), {})
        told = run.settle([(m.a, m.b) for m in pairs])
        assert asked == [(kept, others[1]), (kept, others[0])]  # the likeliest first
        assert {(m.b, m.score) for m in told} == {(others[0], 0.97), (others[1], 0.97)}
        for m in told:
            assert library.pair(run.context, m.a, m.b) == m
        assert run.matches == {}
        assert run.settle([(m.a, m.b) for m in pairs]) == [] and len(asked) == 2
        # A part that is only likely is listed in this run already.
        run.min_score = 0.9
        scores_told[:] = [0.7, 0.5]
        parts = [Match(kept, k, 0.4, "contains") for k in others[4:]]
        library.put_pairs(run.context, (), parts)
        run.settle([(m.a, m.b) for m in parts])
        assert {(m.b, m.score) for m in run.matches.values()} == {(others[4], 0.7)}
        run.partial = True  # after Ctrl-C nothing more is begun
        library.put_pairs(run.context, (), pairs)
        assert run.settle([(m.a, m.b) for m in pairs]) == []
