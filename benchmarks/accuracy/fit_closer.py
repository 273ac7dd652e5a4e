"""Fit the weights of a closer look (doubt.py) on the train split.

    python -m benchmarks.accuracy.fit_closer --set LIB truth_train.json [--set LIB2 TRUTH2 ...]

A library must hold its set's features and pictures (run `twinreel dups SET --clips` first; the
files must still be there): of the train set, of footage in which little moves (drawn.py). Looked at
again are the pairs that share content, and of the others the likeliest of those that are doubtful
under the model's Calibration. A logistic regression of (correlation, detail) of the pictures,
without the true pairs that were laid at a wrong place (they correlate less than PLACED): what such
a look shows is not what a copy looks like. Nothing of the test split is read.
"""

from __future__ import annotations

import argparse
import json
import os
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

from benchmarks.accuracy.fit import _made, shared_s
from twinreel import compare as c
from twinreel import models
from twinreel.candidates import best_moments
from twinreel.closer import CloserTask, look_closer
from twinreel.doubt import PIECES, REACH_S, possible_lines
from twinreel.errors import VideoError
from twinreel.store import Library

PLACED = 0.75


def collect(library: str, model: str, truth: Path, negatives: int) -> list[dict[str, Any]]:
    """One row per pair looked at: names, label, score before, evidence, and what was seen."""
    files = {f["name"]: f for f in json.loads(truth.read_text())["files"]}
    spec = models.get(model)
    calibration = c.Calibration(**spec.extra["calibration"])
    sure = spec.min_score or 1.0
    asked: list[tuple[bool, c.Match]] = []
    rows = []
    with Library.open(library) as kept:
        paths = {f.key: f.path for f, _, _ in kept.files() if f.key}
        name = {k: os.path.basename(p) for k, p in paths.items()}
        (made,) = [m for m in _made(kept) if m[0].startswith(f"{model}@") and "dense" in m[1]]
        features = {f.key: f for f in kept.all_features(*made) if name.get(f.key) in files}
        for a, b in combinations(sorted(features), 2):
            fa, fb = files[name[a]], files[name[b]]
            seconds = shared_s(fa, fb)
            if not (fa.get("gated", True) and fb.get("gated", True)) or 0 < seconds < 1.0:
                continue
            if "original" not in (fa["kind"], fb["kind"]) and seconds:
                continue  # copies among themselves would outweigh the rest
            if best_moments(features[a], features[b]) < calibration.candidate:
                continue
            m = c.compare(features[a], features[b], calibration)
            # Copies that nobody doubts show what a closer look of a true pair is like, too.
            if m is not None and m.score >= PIECES.least and (seconds or m.score < sure):
                asked.append((seconds > 0, m))
        true = [m for label, m in asked if label]
        false = sorted((m for label, m in asked if not label), key=lambda m: -m.score)
        doubtful = sum(m.score < sure for m in true)
        print(f"{len(true)} share content ({doubtful} doubtful), {len(false)} do not")
        for m in [*true, *false[:negatives]]:
            a, b = features[m.a], features[m.b]
            reach = min(0.6 * max(c.step_of(a), c.step_of(b)), REACH_S)
            picture = kept.facts({m.b})[m.b].picture
            strip = tuple(kept.thumbs(m.a))
            lines = possible_lines(m, a, b)
            try:
                # Without a calibration no half is asked: the weights are those of wholes.
                seen = look_closer(CloserTask(paths[m.b], strip, lines, reach, picture))
            except VideoError:
                continue
            if seen is not None:
                rows.append(
                    {
                        "names": (name[m.a], name[m.b]),
                        "label": m in true,
                        "before": m.score,
                        "evidence": c.evidence(a, b, calibration).vector(),
                        "x": (seen.agreement.correlation, seen.agreement.detail),
                        "seen": (seen.fit, seen.moments, seen.line.speed),
                    }
                )
    return rows


def main() -> None:
    """Command line."""
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--set", nargs=2, action="append", required=True, metavar=("LIBRARY", "TRUTH"))
    p.add_argument("--model", default=models.default())
    p.add_argument("--negatives", type=int, default=150)
    a = p.parse_args()
    rows = [
        row
        for library, truth in a.set
        for row in collect(library, a.model, Path(truth), a.negatives)
    ]
    x, y = np.array([r["x"] for r in rows]), np.array([r["label"] for r in rows])
    placed = ~y | (x[:, 0] >= PLACED)
    found = LogisticRegression(C=10.0, max_iter=5000).fit(x[placed], y[placed])
    weights = tuple(round(float(w), 3) for w in found.coef_[0])
    print(f"closer_weights={weights} closer_bias={found.intercept_[0]:.3f}")
    score = found.predict_proba(x)[:, 1]
    before = np.array([r["before"] for r in rows])
    for t in (0.5, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99):
        print(
            f"at {t}: of {y.sum()} found {(score[y] >= t).sum()} (before {(before[y] >= t).sum()}),"
            f" false {(score[~y] >= t).sum()} (before {(before[~y] >= t).sum()})"
        )
    order = np.argsort(score)
    for title, chosen in (("worst positives", [i for i in order if y[i]]),
                          ("worst negatives", [i for i in order[::-1] if not y[i]])):
        print(title)
        for i in chosen[:12]:
            r = rows[i]
            print(f"  {score[i]:.3f} before {r['before']:.3f}", *r["names"], np.round(r["x"], 2),
                  np.round(r["seen"], 3))


if __name__ == "__main__":
    main()
