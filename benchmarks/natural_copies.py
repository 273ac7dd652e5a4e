"""What a report found of the corpus's natural copies, what it missed, what it grouped wrongly.

    twinreel dups CORPUS/videos -o report.json --all-matches
    python -m benchmarks.natural_copies report.json CORPUS/videos.csv > natural.md

A natural copy counts as found when it is in one group with another file of its content, and as
partly found when its match stands in the report below the group's rules (a part, an overlap). Files
of role hard_negative, and of unlike groups, must not be together.
"""

from __future__ import annotations

import csv
import json
import os
import sys
from itertools import combinations
from pathlib import Path


def main() -> None:
    """Command line: report, manifest."""
    report = json.loads(Path(sys.argv[1]).read_text())
    with open(sys.argv[2], encoding="utf-8") as rows:
        manifest = {r["file"]: r for r in csv.DictReader(rows)}
    name = os.path.basename
    group_of = {}
    for n, group in enumerate(report["groups"], 1):
        for path in group["members"]:
            group_of[name(path)] = n
    best: dict[str, dict] = {}
    least = report["options"]["min_score"]
    for m in report["matches"]:
        a, b = manifest.get(name(m["a"])), manifest.get(name(m["b"]))
        if a and b and a["group"] == b["group"]:
            for row in (a, b):
                if m["score"] > best.get(row["file"], {"score": -1})["score"]:
                    best[row["file"]] = m
    print(f"Model {report['model']['name']}, min_score {least}.\n")
    print("| natural copy | what it is | result | best match in its group |")
    print("|---|---|---|---|")
    found = parts = missed = 0
    for file, row in sorted(manifest.items()):
        if row["role"] != "natural_copy":
            continue
        mates = [
            f for f, r in manifest.items()
            if f != file and r["group"] == row["group"] and r["role"] != "hard_negative"
        ]
        together = [f for f in mates if group_of.get(f) == group_of.get(file) is not None]
        m = best.get(file)
        words = "none" if m is None else f"{m['score']:.3f} {m['relation']}"
        if together:
            result, found = "found", found + 1
        elif m is not None and m["score"] >= least:
            result, parts = "matched, not grouped", parts + 1
        else:
            result, missed = "missed", missed + 1
        print(f"| {file} | {row['content']} | {result} | {words} |")
    wrong = []
    for group in report["groups"]:
        rows = [manifest[name(p)] for p in group["members"] if name(p) in manifest]
        for a, b in combinations(rows, 2):
            negative = "hard_negative" in (a["role"], b["role"])
            if negative or a["group"] != b["group"]:
                wrong.append((a["file"], b["file"]))
    print(f"\n{found} found, {parts} matched but not grouped, {missed} missed, {len(wrong)} wrong.")
    for a, b in wrong:
        print(f"- wrong: {a} with {b}")


if __name__ == "__main__":
    main()
