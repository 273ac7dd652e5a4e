"""Fit a model's Calibration on the train split: evidence of every candidate pair -> probability.

    python -m benchmarks.accuracy.fit --library LIB --model NAME --truth truth_train.json

The library must hold the train set's features (run `twinreel dups SET --clips` first). A logistic
regression with a slight pull to zero; weights that would reward unlikeness are not allowed (set to
zero and fitted again). Prints the Calibration to put into the model's record, and how the train
split is told apart by it. Nothing of the test split is read.
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

from twinreel import compare as c
from twinreel import models
from twinreel.store import Library

SUBSETS = {
    "similarity alone": [0],
    "proof alone": [3],
    "first witness": [0, 1, 2, 3],
    "second witness": [-6, -5, -4, -3],
}


def shared_s(a: dict[str, Any], b: dict[str, Any]) -> float:
    """Seconds of source content that two files of the truth have in common."""
    total = 0.0
    for x in a["content"]:
        for y in b["content"]:
            if x["source"] == y["source"]:
                total += max(0.0, min(x["src"][1], y["src"][1]) - max(x["src"][0], y["src"][0]))
    return total


def collect(library: str, model: str, truth: Path) -> tuple[Any, Any, list[tuple[str, str]]]:
    """(evidence (n, k), labels (n,), names) of every pair of the truth that can be aligned."""
    files = {f["name"]: f for f in json.loads(truth.read_text())["files"]}
    spec = models.get(model)
    calibration = c.Calibration(**spec.extra.get("calibration", {}))
    rows, labels, names = [], [], []
    with Library.open(library) as kept:
        by_key = {f.key: os.path.basename(f.path) for f, _, _ in kept.files()}
        found = [
            (model_id, sampling)
            for model_id, sampling in _made(kept)
            if model_id.startswith(f"{model}@") and not sampling.startswith("uniform")
        ]
        for made in found:
            features = [f for f in kept.all_features(*made) if by_key.get(f.key) in files]
            for a, b in combinations(features, 2):
                fa, fb = files[by_key[a.key]], files[by_key[b.key]]
                if not (fa.get("gated", True) and fb.get("gated", True)):
                    continue
                evidence = c.evidence(a, b, calibration)
                if evidence is None:
                    continue
                seconds = shared_s(fa, fb)
                if 0 < seconds < 1.0:
                    continue  # too little to be asked for, too much to be called different
                rows.append(evidence.vector())
                labels.append(seconds > 0)
                names.append((fa["name"], fb["name"]))
    return np.array(rows), np.array(labels), names


def _made(kept: Library) -> list[tuple[str, str]]:
    """(model identity, sampling) of all that the library holds."""
    return kept._db.execute("SELECT DISTINCT model, sampling FROM features").fetchall()


def fit(x: Any, y: Any) -> tuple[list[float], float]:
    """Weights (none negative) and bias of the logistic function."""
    use = list(range(x.shape[1]))
    while True:
        # Every class counts by its members: false merges weigh as often as they happen.
        found = LogisticRegression(C=100.0, max_iter=5000).fit(x[:, use], y)
        bad = [u for u, w in zip(use, found.coef_[0], strict=True) if w < 0]
        if not bad:
            break
        use = [u for u in use if u not in bad]
    weights = [0.0] * x.shape[1]
    for u, w in zip(use, found.coef_[0], strict=True):
        weights[u] = round(float(w), 3)
    return weights, round(float(found.intercept_[0]), 3)


def main() -> None:
    """Command line."""
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--library", required=True)
    p.add_argument("--model", default=models.default())
    p.add_argument("--truth", type=Path, required=True)
    a = p.parse_args()
    x, y, names = collect(a.library, a.model, a.truth)
    weights, bias = fit(x, y)
    score = 1 / (1 + np.exp(-(x @ np.array(weights) + bias)))
    order = np.argsort(-score)
    print(f"{len(y)} pairs, {int(y.sum())} share content; weights={weights} bias={bias}")
    hardest = score[~y].max()
    print(f"hardest negative {hardest:.4f}; recall above it {(score[y] > hardest).mean():.4f}")
    for t in (0.5, 0.7, 0.8, 0.9, 0.95, 0.99):
        print(f"at {t}: recall {(score[y] >= t).mean():.4f}, false {int((score[~y] >= t).sum())}")
    for name, use in SUBSETS.items():
        found = LogisticRegression(C=100.0, max_iter=5000).fit(x[:, use], y)
        z = found.decision_function(x[:, use])
        print(f"{name}: recall above hardest negative {(z[y] > z[~y].max()).mean():.4f} "
              f"coef {np.round(found.coef_[0], 2)} bias {found.intercept_[0]:.2f}")
    print("worst negatives:")
    for i in [i for i in order if not y[i]][:15]:
        print(f"  {score[i]:.3f}", *names[i], np.round(x[i], 3))
    print("worst positives:")
    for i in [i for i in order[::-1] if y[i]][:15]:
        print(f"  {score[i]:.3f}", *names[i], np.round(x[i], 3))


if __name__ == "__main__":
    main()
