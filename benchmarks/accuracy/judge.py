"""Figures of one report on one split, for fitting and for looking at what went wrong.

    twinreel dups WORK/set/train --all-matches --length-tolerance any -o all.json
    python -m benchmarks.accuracy.judge all.json --work WORK --split train

The report may come from any options; with ``--all-matches`` its scores rank all pairs.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from . import build, evaluate, ours, truth
from .evaluate import PARTIAL, WHOLE, Truth, plain

LISTED = 40


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path)
    parser.add_argument("--work", type=Path, default=build.DEFAULT_WORK / "full")
    parser.add_argument("--split", choices=("train", "test"), default="train")
    parser.add_argument("--pairs", type=Path, metavar="CSV",
                        help="write every pair's truth, score, relation and names")
    args = parser.parse_args(argv)
    t = Truth(truth.load(args.work / f"truth_{args.split}.json"))
    answer = ours.read(json.loads(args.report.read_text(encoding="utf-8")))
    outcome = ours.Outcome(answer, answer, answer, 0.0, 0.0, 0, "")
    figures = plain(evaluate.evaluate_ours(t, outcome))
    for noise in ("by_edit", "cost", "hardest_negatives"):
        figures.pop(noise)
    print(json.dumps(figures, indent=1))
    scores = np.full(len(t.i), -1.0)
    for k in range(len(t.i)):
        match = answer.match(t.names[t.i[k]], t.names[t.j[k]])
        if match:
            scores[k] = match.score
    print(f"\nhardest negatives (default {answer.min_score:.4g}):")
    _show(t, answer, scores, np.argsort(-np.where(t.negative, scores, -np.inf))[:LISTED])
    missed = (t.whole | t.partial) & t.gated
    print("\nlowest positives:")
    _show(t, answer, scores, np.argsort(np.where(missed, scores, np.inf))[:LISTED])
    if args.pairs:
        _write(args.pairs, t, answer, scores)
    return 0


def _show(t: Truth, answer: ours.Answer, scores: np.ndarray, which: np.ndarray) -> None:
    for k in which:
        a, b = t.files[t.i[k]], t.files[t.j[k]]
        match = answer.match(a.name, b.name)
        relation = match.relation if match else "not scored"
        print(f"{scores[k]:.4f} {relation:12} {evaluate.describe(a)} | {evaluate.describe(b)}"
              f" | {a.name} {b.name}")


def _write(path: Path, t: Truth, answer: ours.Answer, scores: np.ndarray) -> None:
    kinds = {WHOLE: "whole", PARTIAL: "partial", 0: "none", 1: "ignore", 2: "shared"}
    with path.open("w", encoding="utf-8") as out:
        out.write("truth,original,gated,tier,score,relation,a,b\n")
        for k in range(len(t.i)):
            a, b = t.names[t.i[k]], t.names[t.j[k]]
            match = answer.match(a, b)
            out.write(f"{kinds[int(t.kind[k])]},{int(t.original[k])},{int(t.gated[k])},{t.tier[k]},"
                      f"{scores[k]:.6f},{match.relation if match else ''},{a},{b}\n")


if __name__ == "__main__":
    sys.exit(main())
