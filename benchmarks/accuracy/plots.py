"""accuracy.json -> one SVG a tier: recall by edit, ours beside the rivals.

    python -m benchmarks.accuracy.plots benchmarks/results/accuracy.json

Needs matplotlib (in the rivals' environment). The same JSON gives the same bytes.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

STYLE = {"ours": ("o", 9), "run": ("s", 6), "recipe": ("D", 6), "surrogate": ("x", 6),
         "floor": (".", 6)}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("json", type=Path)
    args = parser.parse_args(argv)
    result = json.loads(args.json.read_text(encoding="utf-8"))
    for tier in (1, 2, 3):
        _plot(result, tier, args.json.with_name(f"accuracy-tier{tier}.svg"))
    return 0


def _plot(result: dict[str, Any], tier: int, out: Path) -> None:
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "twinreel"
    from matplotlib import pyplot

    methods = result["methods"]
    best = next((m for m in methods if m["kind"] == "ours"), methods[0])
    edits = [e for e, t in result["edits"].items()
             if t["tier"] == tier and best["by_edit"].get(e, {}).get("value") is not None]

    def mean_of_rivals(edit: str) -> float:
        values = [m["by_edit"][edit]["value"] for m in methods
                  if m["kind"] not in ("ours", "floor") and edit in m["by_edit"]]
        return sum(values) / len(values) if values else 0.0

    edits.sort(key=lambda e: (mean_of_rivals(e), e))
    figure, axes = pyplot.subplots(figsize=(9, 0.26 * len(edits) + 1.8))
    for number, m in enumerate(methods):
        marker, size = STYLE[m["kind"]]
        values = [100 * m["by_edit"][e]["value"] for e in edits]
        # Equal values would hide one another: each method has its own lane in a row.
        lane = 0.6 * (number / max(1, len(methods) - 1) - 0.5)
        axes.plot(values, [k + lane for k in range(len(edits))], linestyle="", marker=marker,
                  markersize=size, label=m["title"], zorder=3 if m["kind"] == "ours" else 2)
    axes.set_yticks(range(len(edits)), edits)
    axes.set_xlim(-4, 104)
    axes.set_xlabel("recall at the default, per cent")
    axes.set_title(f"Tier {tier}: recall by edit")
    axes.grid(axis="y", alpha=0.3)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize="small")
    temporary = out.with_suffix(".part")
    figure.savefig(temporary, format="svg", bbox_inches="tight", metadata={"Date": None})
    temporary.replace(out)
    pyplot.close(figure)


if __name__ == "__main__":
    sys.exit(main())
