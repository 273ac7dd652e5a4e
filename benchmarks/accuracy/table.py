"""accuracy.json -> accuracy.md: the tables, with what is real and what is a surrogate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["markdown", "short"]

KINDS = {"ours": "ours", "run": "run", "recipe": "recipe", "surrogate": "*surrogate*",
         "floor": "floor"}


def markdown(result: Mapping[str, Any]) -> str:
    """The whole page. ``result`` is what run.py wrote, split ``test``."""
    methods = result["methods"]
    parts = [_head(result), _pairs(methods), _tiers(methods), _partial(methods), _groups(methods),
             _by_edit(result), _cost(methods), _notes(result)]
    return "\n\n".join(part for part in parts if part) + "\n"


def short(result: Mapping[str, Any]) -> str:
    """What the README shows: date, commit, and the main figures."""
    rows = [[m["title"], KINDS[m["kind"]], _pct(m["recall_whole"]), str(m["false_merges"]),
             _pct(m["recall_p1_whole"]), _num(m["ap_whole"]["value"])] for m in result["methods"]]
    words = (f"Measured on {result['date']}, commit {result['commit']}: "
             f"{result['counts']['files']} files of the test split, {result['counts']['whole']} "
             "original-copy pairs, per cent. A surrogate is our own writing of a published rule "
             "and says nothing about the product.")
    head = ["", "", "recall at its default", "false merges", "recall at precision 1",
            "average precision"]
    return f"{words}\n\n{_table(head, rows)}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "|".join(["---"] + ["---:"] * (len(head) - 1))
             + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def _pct(figure: Mapping[str, Any] | float | None, interval: bool = False) -> str:
    if figure is None:
        return "-"
    if not isinstance(figure, Mapping):
        return f"{100 * figure:.1f}"
    if figure["value"] is None:
        return "-"
    text = f"{100 * figure['value']:.1f}"
    if interval and figure["low"] is not None:
        text += f" ({100 * figure['low']:.0f} to {100 * figure['high']:.0f})"
    return text


def _num(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _head(r: Mapping[str, Any]) -> str:
    c = r["counts"]
    return (
        f"# Accuracy\n\nWritten by `python -m benchmarks.accuracy.run` on {r['date']}, commit "
        f"{r['commit']}, {r['version'] or 'twinreel'}"
        f"{', quick set' if r['quick'] else ''}. Split *test*: {c['files']} files "
        f"({c['minutes']:.0f} minutes) from {c['originals']} originals; {c['whole']} "
        f"original-copy pairs, {c['partial']} original-part pairs, {c['negatives']} pairs with "
        f"nothing in common, {c['hard_negatives']} of them hard (one person, room, camera, "
        "template, intro, or blank). Rivals stand at their own thresholds (the colour histogram's "
        "fitted on train), twinreel at its default. In brackets: 95 % bootstrap over source groups."
    )


def _pairs(methods: Sequence[Mapping[str, Any]]) -> str:
    rows = [[m["title"], KINDS[m["kind"]], _pct(m["recall_whole"], True), str(m["false_merges"]),
             str(m["false_matches"]), _pct(m["recall_p1_whole"], True),
             _pct(m["ap_whole"], True), _pct(m["ap_all"], True)] for m in methods]
    return ("## Pairs\n\nPer cent. *Recall* and *false* are at each tool's default; *recall at "
            "precision 1* takes the threshold just above the hardest pair with nothing in common; "
            "*AP* is micro average precision over whole copies, and over whole and partial ones."
            "\n\n"
            + _table(["", "", "recall", "false merges", "false matches", "recall at precision 1",
                      "AP whole", "AP whole and partial"], rows))


def _tiers(methods: Sequence[Mapping[str, Any]]) -> str:
    rows = [[m["title"], *(_pct(m[f"recall_tier{t}"], True) for t in (1, 2, 3)),
             _pct(m["recall_p1_tier2"], True), _pct(m["recall_composed"]),
             _pct(m["recall_partial"])] for m in methods]
    return ("## Recall at the default, by tier\n\nTier 1: what collections hold; 2: what uploaders "
            "do (a third composed of two or three edits: *composed*); 3: adversarial. Whole "
            "copies; *partial* is without `--clips` unless the line says so, and counts parts that "
            "are listed as likely. *Tier 2, none false* takes, for "
            "each tool, the threshold above its hardest pair with nothing in common.\n\n"
            + _table(["", "tier 1", "tier 2", "tier 3", "tier 2, none false", "composed",
                      "partial"], rows))


def _partial(methods: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for m in methods:
        if "partial" not in m:
            continue
        p = m["partial"]

        def part(pair: Sequence[int]) -> str:
            return f"{pair[0]} of {pair[1]}"

        edits = p["by_edit"]
        rows.append([m["title"], _pct(p["recall"], True), str(p["false_matches"]),
                     *(_num(p["overlap"][k]) for k in ("precision", "recall", "f")),
                     _num(p["within_1s"]["f"]), _num(p["cuts_within_1s"]["f"]),
                     f"{_num(p['start_error_median_s'], 2)} ({_num(p['start_error_p90_s'], 2)})",
                     part(edits.get("compilation", (0, 0))), part(edits.get("long_10min", (0, 0))),
                     part(p["speed_within_2pct"]), part(p["mirrored_flagged"]),
                     part(p["unmirrored_right"]),
                     ", ".join(f"{v} {k}" for k, v in p["shared_intro"].items())])
    if not rows:
        return ""
    files = next(m["partial"]["files"] for m in methods if "partial" in m)
    return (f"## Parts of videos (`--clips`)\n\nOver the {files} files that parts are counted on: "
            "originals, files with a part of one, hard negatives. Segments by temporal overlap "
            "(precision, recall, F), and F with all four ends within 1 s (all partial copies; "
            "head, tail and middle cuts alone); start error is the median in seconds, in brackets "
            "nine of ten. Speed and mirror are from the run with defaults. The other tools tell "
            "no segments; entries there for comparison are not run with `--clips`.\n\n"
            + _table(["", "recall, %", "false matches", "precision", "recall", "F", "F 1 s",
                      "F 1 s, cuts", "start error", "compilation sources",
                      "sources in the 10 min file", "speed within 2 %", "mirrored flagged",
                      "unmirrored right", "pairs with one intro only"], rows))


def _groups(methods: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for m in methods:
        g = m["groups"]
        own = "removals" in g
        rows.append([m["title"], _num(g["precision"]), _num(g["recall"]), _num(g["f"]),
                     str(g["wrong_pairs"]), str(g["removals"]) if own else "-",
                     str(g["unasked_removals"]) if own else "-",
                     str(len(g["wrong_deletions"])) if own else "-",
                     str(len(g["lossy_but_asks_to_look"])) if own else "-",
                     str(len(g["kept_worse"])) if own else "-",
                     str(g["groups_with_hard"]) if own else "-"])
    return ("## Groups at the default\n\nPairwise over all files. *Wrong pairs* are pairs "
            "with nothing in common in one group: found false, or joined over a third file that "
            "shows something of both. A wrong deletion is a file "
            "proposed for removal that shows seconds which the kept file does not; *asks to "
            "look* are such files in groups that are not removed unseen (*unasked* counts the "
            "removals of all other groups). *Kept worse* are undamaged files for which an edited "
            "one is kept: it lasts longer, shows more beside them, or was taken for better. "
            "Rivals: connected components of their matches, no keep rule.\n\n"
            + _table(["", "precision", "recall", "F", "wrong pairs", "proposed removals",
                      "unasked", "wrong deletions", "asks to look", "kept worse than removed",
                      "groups with hard negatives"], rows))


def _by_edit(result: Mapping[str, Any]) -> str:
    methods = result["methods"]
    parts = ["## Recall by edit, at the default"]
    for tier in (1, 2, 3):
        edits = [e for e, t in result["edits"].items() if t["tier"] == tier]
        rows = []
        for edit in edits:
            n = max((m["by_edit"].get(edit, {"n": 0})["n"] for m in methods), default=0)
            note = "" if result["edits"][edit]["gated"] else " (not gated)"
            rows.append([f"{edit}{note}", str(n),
                         *(_pct(m["by_edit"].get(edit)) for m in methods)])
        picture = f"![recall by edit, tier {tier}](accuracy-tier{tier}.svg)"
        parts.append(f"### Tier {tier}\n\n{picture}\n\n"
                     + _table(["edit", "pairs", *(m["title"] for m in methods)], rows))
    return "\n\n".join(parts)


def _cost(methods: Sequence[Mapping[str, Any]]) -> str:
    rows = [[m["title"], _num(m["cost"]["cpu_s_per_min"], 2),
             f"{m['cost']['bytes_per_min'] / 1000:.1f}"] for m in methods if m.get("cost")]
    return ("## Cost\n\nPer minute of video, decoding included, one cold run on the machine named "
            "in accuracy.json; varies from run to run, unlike the tables above. Ours stores "
            "pictures of the looked-at moments, too.\n\n"
            + _table(["", "CPU s", "kB stored"], rows))


def _notes(result: Mapping[str, Any]) -> str:
    lines = ["## What is what", ""]
    for m in result["methods"]:
        lines.append(f"- **{m['title']}** ({KINDS[m['kind']]}): {m['rule']}."
                     + (f" Could not read {len(m['failed'])} files." if m.get("failed") else ""))
    lines += [
        "- *Surrogates* are our own writing of a published rule and say nothing about the product.",
        "- Not run: Video Duplicate Finder (with its AI pass), czkawka, cbird, Vidupe: no package "
        "for this system; NeMo Curator: needs CUDA.",
        "- reverse, split_screen, blend_15 and natural_beside are in no tier's figure.",
        *[f"- {line}" for line in result["notes"]],
    ]
    for m in result["methods"]:
        if m["kind"] == "ours":
            pairs = "; ".join(f"{a} / {b}: {s}" for a, b, s in m["hardest_negatives"])
            lines.append(f"- Hardest negatives of {m['title']}: {pairs}.")
    return "\n".join(lines)
