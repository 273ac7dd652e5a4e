"""From truth and answers to figures. Pure: no files, no tools.

Which pairs count for what:

- ``whole``: a source's original and a copy of all of it. ``partial``: an original and a file that
  has a part of it, or more than it. Copies of one source among themselves (two edits at once) are
  counted only in ``ap_any_two`` and in the groups.
- Negatives are pairs that share nothing. Pairs that share an intro and outro only are errors where
  they are merged; a match of the intro as a segment is right, so rankings leave them out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from . import metrics
from .metrics import Bootstrap, Ranking, SegmentScore
from .ours import MERGES, RELATIONS, Answer, Outcome
from .truth import FileTruth, Relation, Segment, lost_seconds, relate

__all__ = ["Figure", "Truth", "evaluate_ours", "evaluate_scores", "fit_threshold", "for_parts"]

NONE, IGNORE, SHARED, PARTIAL, WHOLE = range(5)
_CODE = {"none": NONE, "ignore": IGNORE, "shared": SHARED, "partial": PARTIAL, "whole": WHOLE}
# Edits that give different videos the same logo, words, frame, length and size.
TEMPLATES = ("logo_corner", "text_banner", "subtitles_burnt", "watermark_tiled", "meme_top",
             "pillar_blurbg", "screenrec", "equal_size")
LOST_TOLERANCE_S = 0.7  # a re-encode may drop some frames at the ends
BOOTSTRAP = 200
Measure = Callable[[Ranking, "npt.NDArray[np.float64] | None"], float]


@dataclass(frozen=True)
class Figure:
    """A figure with its 95 % interval over source groups and what it was counted on."""

    value: float
    low: float
    high: float
    n: int


class Truth:
    """All pairs of one split. Arrays are (pairs,), in the order of ``np.triu_indices``.

    ``kind`` codes; ``edit`` (index into ``edits``, -1 where no original takes part); ``ga``, ``gb``
    bootstrap columns of the two files.
    """

    def __init__(self, files: Sequence[FileTruth]) -> None:
        self.files = list(files)
        self.names = [f.name for f in files]
        n = len(files)
        self.i, self.j = np.triu_indices(n, 1)
        self.kind = np.zeros(len(self.i), np.int8)
        self.edits = sorted({f.edit for f in files if f.edit})
        self.edit = np.full(len(self.i), -1, np.int16)
        self.original = np.zeros(len(self.i), bool)
        self.gated = np.ones(len(self.i), bool)
        self.composed = np.zeros(len(self.i), bool)
        self.tier = np.zeros(len(self.i), np.int8)
        self.relations: dict[int, Relation] = {}
        self._relate()
        self.boot = Bootstrap.over(f.group for f in files)
        column = self.boot.index([f.group for f in files])
        self.ga, self.gb = column[self.i], column[self.j]
        # What resembles: one person, room or camera, pictures that prove nothing, one template.
        hard = np.array([f.kind in ("hard", "piece", "blank") for f in files])
        likeness = hard[self.i] & hard[self.j]
        for template in TEMPLATES:
            has = np.array([template in (f.edit, *f.also) for f in files])
            likeness |= has[self.i] & has[self.j]
        self.hard = (self.kind == NONE) & likeness | (self.kind == SHARED)

    def _relate(self) -> None:
        holders: dict[str, set[int]] = defaultdict(set)
        for k, f in enumerate(self.files):
            for c in f.content:
                holders[c.source].add(k)
        edit_of = {e: k for k, e in enumerate(self.edits)}
        for a, b in sorted({p for h in holders.values() for p in combinations(sorted(h), 2)}):
            at, x, y = self.at(a, b), self.files[a], self.files[b]
            relation = relate(x.content, y.content, x.duration_s, y.duration_s,
                              piece="piece" in (x.kind, y.kind))
            self.relations[at] = relation
            self.kind[at] = _CODE[relation.kind]
            if "original" in (x.kind, y.kind):
                other = y if x.kind == "original" else x
                self.original[at] = True
                self.edit[at] = edit_of.get(other.edit, -1)
                self.gated[at], self.tier[at] = other.gated, other.tier
                self.composed[at] = bool(other.also)

    def at(self, a: int, b: int) -> int:
        """Index of the pair of files ``a`` < ``b``."""
        n = len(self.files)
        return a * n - a * (a + 1) // 2 + b - a - 1

    def pairs(self, which: npt.NDArray[np.bool_]) -> list[tuple[int, str, str]]:
        """(index, name, name) of the pairs where ``which`` is true."""
        return [(int(k), self.names[self.i[k]], self.names[self.j[k]])
                for k in np.flatnonzero(which)]

    @property
    def whole(self) -> npt.NDArray[np.bool_]:
        return (self.kind == WHOLE) & self.original

    @property
    def partial(self) -> npt.NDArray[np.bool_]:
        return (self.kind == PARTIAL) & self.original

    @property
    def negative(self) -> npt.NDArray[np.bool_]:
        return (self.kind == NONE) | (self.kind == SHARED)


def fit_threshold(truth: Truth, scores: npt.NDArray[np.float64]) -> float:
    """Just above the hardest negative of this (train) split."""
    return float(np.nextafter(scores[truth.negative].max(), np.inf))


def evaluate_scores(truth: Truth, scores: npt.NDArray[np.float64],
                    hits: npt.NDArray[np.bool_], merges: npt.NDArray[np.bool_] | None = None,
                    bootstrap: int = BOOTSTRAP) -> dict[str, Any]:
    """Pair figures of one method.

    Args:
        scores: (pairs,) higher is more alike.
        hits: (pairs,) reported at the default.
        merges: (pairs,) reported as the same video at the default; the hits if not told apart.
    """
    t = truth
    merges = hits if merges is None else merges
    gated = t.gated
    none, both = t.kind == NONE, t.kind >= PARTIAL
    boot = Bootstrap(t.boot.names, t.boot.draws[:bootstrap])

    def recall(which: npt.NDArray[np.bool_], found: npt.NDArray[np.bool_] = hits) -> Figure:
        got, g = found[which], t.ga[which]
        low, high = boot.interval(lambda d: metrics.weighted_mean(got, boot.draws[d][g]))
        return Figure(metrics.weighted_mean(got), low, high, int(which.sum()))

    def ranked(positive: npt.NDArray[np.bool_], measures: Sequence[Measure]) -> list[Figure]:
        use = positive | none
        ranking = Ranking(scores[use], positive[use])
        pairs = boot.pairs(t.ga[use], t.gb[use])[ranking.order]
        drawn = np.array([[measure(ranking, w) for measure in measures]
                          for w in (boot.pair_weights(pairs, d) for d in range(bootstrap))])
        n = int(positive.sum())
        return [Figure(measure(ranking, None), *boot.interval(lambda d, k=k: drawn[d, k]), n)
                for k, measure in enumerate(measures)]

    whole, partial = t.whole & gated, t.partial & gated
    at_one, ap_whole = ranked(whole, (Ranking.recall_at_precision_one, Ranking.average_precision))
    (at_one_2,) = ranked(whole & (t.tier == 2), (Ranking.recall_at_precision_one,))
    (ap_all,) = ranked(whole | partial, (Ranking.average_precision,))
    out: dict[str, Any] = {
        "recall_p1_whole": at_one, "recall_p1_tier2": at_one_2,
        "ap_whole": ap_whole, "ap_all": ap_all,
        "ap_any_two": metrics.average_precision(
            scores[both | none], both[both | none]),
        "recall_whole": recall(whole),
        "recall_partial": recall(partial),
        "recall_composed": recall(whole & t.composed),
        "false_matches": int((hits & none).sum()),
        "false_merges": int((merges & t.negative).sum()),
        "false_merges_hard": int((merges & t.negative & t.hard).sum()),
        "negatives": int(t.negative.sum()),
        "hard_negatives": int((t.negative & t.hard).sum()),
    }
    for tier in (1, 2, 3):
        out[f"recall_tier{tier}"] = recall(whole & (t.tier == tier))
    out["by_edit"] = {
        edit: recall((t.edit == k) & (t.whole | t.partial)) for k, edit in enumerate(t.edits)
        if ((t.edit == k) & (t.whole | t.partial)).any()
    }
    worst = np.argsort(-np.where(none, scores, -np.inf))[:5]
    out["hardest_negatives"] = [
        (describe(t.files[t.i[k]]), describe(t.files[t.j[k]]), round(float(scores[k]), 4))
        for k in worst]
    return out


def describe(f: FileTruth) -> str:
    """Source, kind and edits of a file, in words."""
    return " ".join(w for w in (f.group, f.kind, f.edit, "+".join(f.also)) if w)


def components(truth: Truth, hits: npt.NDArray[np.bool_]) -> npt.NDArray[np.intp]:
    """(files,) connected components of the hits: how a tool without groups would group."""
    labels = np.arange(len(truth.files))

    def root(x: int) -> int:
        while labels[x] != x:
            labels[x] = labels[labels[x]]
            x = int(labels[x])
        return x

    for k in np.flatnonzero(hits):
        labels[root(int(truth.i[k]))] = root(int(truth.j[k]))
    return np.array([root(x) for x in range(len(labels))], dtype=np.intp)


def group_figures(truth: Truth, labels: npt.NDArray[np.intp]) -> dict[str, float]:
    """Pairwise precision, recall and F of a grouping; pairs that share a part are not counted."""
    counts = metrics.group_counts(labels, truth.kind == WHOLE, truth.negative, (truth.i, truth.j))
    return {"precision": counts.precision, "recall": counts.recall, "f": counts.f,
            "wrong_pairs": counts.wrong}


def evaluate_ours(truth: Truth, outcome: Outcome) -> dict[str, Any]:
    """All figures of twinreel: pairs, groups, partial copies."""
    default, everything = outcome.default, outcome.everything
    scores = np.full(len(truth.i), -1.0)
    place = {name: k for k, name in enumerate(truth.names)}
    unknown = 0
    for (a, b), found in everything.matches.items():
        if a not in place or b not in place:
            unknown += 1
            continue
        scores[truth.at(*sorted((place[a], place[b])))] = found.score
    if unknown:
        raise ValueError(f"{unknown} matches name files that are not in the set")
    # Of a part the report only says that it is there; a copy must be one that is proposed.
    parts = _listed(truth, default) & truth.partial
    hits = _listed(truth, default, least=default.min_score) | parts
    out = evaluate_scores(truth, scores, hits, _listed(truth, default, MERGES))
    out["false_matches"] = _false(truth, default)
    out["groups"] = _groups(truth, default)
    if outcome.clips is not None:
        out["partial"] = _partial(truth, outcome.clips, default)
    out["failures"] = list(default.failures)
    out["min_score"] = default.min_score
    out["model"] = default.model
    minutes = sum(f.duration_s for f in truth.files) / 60
    out["cost"] = {} if np.isnan(outcome.cpu_s) else {
        "cpu_s_per_min": outcome.cpu_s / minutes,
        "bytes_per_min": outcome.library_bytes / minutes, "wall_s": outcome.wall_s}
    return out


def _listed(truth: Truth, answer: Answer, relations: Sequence[str] | None = None,
            least: float | None = None) -> npt.NDArray[np.bool_]:
    """(pairs,) matches that the report lists, of at least that score, shared intros aside."""
    least = answer.part_score if least is None else least
    place = {name: k for k, name in enumerate(truth.names)}
    hits = np.zeros(len(truth.i), bool)
    for (a, b), found in answer.matches.items():
        fits = found.relation in relations if relations else found.relation != "shared_intro"
        if found.score >= least and fits:
            hits[truth.at(*sorted((place[a], place[b])))] = True
    return hits


def _false(truth: Truth, answer: Answer) -> int:
    """Pairs with nothing in common that are said to have something, an intro included."""
    return int((_listed(truth, answer, RELATIONS) & (truth.kind == NONE)).sum())


def _groups(truth: Truth, answer: Answer) -> dict[str, Any]:
    """Pairwise figures, and what would be lost if every proposal were followed."""
    place = {name: k for k, name in enumerate(truth.names)}
    labels = np.full(len(truth.files), -1, np.intp)
    wrong: list[tuple[str, str, float]] = []
    looked: list[tuple[str, str, float]] = []
    worse: list[tuple[str, str]] = []
    removed = unasked = 0
    for k, group in enumerate(answer.groups):
        for name in group.members:
            labels[place[name]] = k
        kept = truth.files[place[group.keep]]
        for name in group.members:
            if name == group.keep:
                continue
            gone = truth.files[place[name]]
            removed += 1
            unasked += not group.look
            lost = lost_seconds(gone.content, kept.content)
            if lost > LOST_TOLERANCE_S:
                # Nothing is removed from a group that asks for a look before someone looked.
                losses = looked if group.look else wrong
                losses.append((describe(gone), describe(kept), round(lost, 2)))
            if kept.degraded and not gone.degraded:
                worse.append((describe(gone), describe(kept)))
    figures: dict[str, Any] = dict(group_figures(truth, labels))
    together = (labels[truth.i] == labels[truth.j]) & (labels[truth.i] >= 0)
    hard = set(labels[truth.i[together & truth.negative & truth.hard]])
    hard |= {k for k in range(len(answer.groups))
             if any(truth.files[place[n]].kind in ("hard", "piece", "blank")
                    for n in answer.groups[k].members)}
    figures |= {"groups": len(answer.groups), "removals": removed, "unasked_removals": unasked,
                "wrong_deletions": wrong, "lossy_but_asks_to_look": looked, "kept_worse": worse,
                "groups_with_hard": len(hard)}
    return figures


def for_parts(truth: Truth) -> list[str]:
    """The files that figures of parts are counted on: originals, files that have a part of one,
    and what must not be taken for a part. Whole copies tell nothing of parts, and cost as much."""
    wanted = (truth.partial & truth.gated) | (truth.kind == SHARED)
    chosen = {int(k) for side in (truth.i, truth.j) for k in side[wanted]}
    kinds = ("original", "hard", "piece", "blank")
    return [f.name for k, f in enumerate(truth.files) if k in chosen or f.kind in kinds]


def _partial(truth: Truth, answer: Answer, default: Answer) -> dict[str, Any]:
    """Segments of partial copies, per edit and together, from the run that looks for clips; speed
    and mirror from the ``default`` run, which saw the whole copies, too."""
    hits = _listed(truth, answer)
    which = truth.partial & truth.gated
    boot, g = truth.boot, truth.ga[which]
    found = hits[which]
    low, high = boot.interval(lambda d: metrics.weighted_mean(found, boot.draws[d][g]))
    overlap, within, cuts = SegmentScore(), SegmentScore(), SegmentScore()
    starts: list[float] = []
    by_edit: dict[str, list[bool]] = defaultdict(list)
    for at, a, b in truth.pairs(which):
        edit = truth.edits[truth.edit[at]] if truth.edit[at] >= 0 else "other"
        by_edit[edit].append(bool(hits[at]))
        match = answer.match(a, b) if hits[at] else None
        proposed = match.segments if match else ()
        true = truth.relations[at].segments
        overlap += metrics.segments_f(proposed, true)
        counts, errors = metrics.segments_within(proposed, true)
        within += counts
        if edit in ("trim_head", "trim_tail", "middle_60"):
            cuts += counts
        starts += errors
    return {
        "recall": Figure(metrics.weighted_mean(found), low, high, int(which.sum())),
        "false_matches": _false(truth, answer),
        "by_edit": {e: (sum(v), len(v)) for e, v in sorted(by_edit.items())},
        "overlap": _prf(overlap), "within_1s": _prf(within), "cuts_within_1s": _prf(cuts),
        "start_error_median_s": float(np.median(starts)) if starts else float("nan"),
        "start_error_p90_s": float(np.percentile(starts, 90)) if starts else float("nan"),
        "files": len(for_parts(truth)),
        **_speed_and_mirror(truth, default, _listed(truth, default, least=default.min_score)),
        "shared_intro": _shared(truth, answer),
    }


def _prf(s: SegmentScore) -> dict[str, float]:
    return {"precision": s.precision, "recall": s.recall, "f": s.f}


def _speed_and_mirror(truth: Truth, answer: Answer, hits: npt.NDArray[np.bool_]
                      ) -> dict[str, Any]:
    """Speed within 2 % on speed edits, the mirror flag on all matched originals and copies."""
    speed: list[bool] = []
    flag: dict[bool, list[bool]] = {True: [], False: []}
    for at, a, b in truth.pairs((truth.whole | truth.partial) & hits):
        match, true = answer.match(a, b), truth.relations[at].segments[0]
        if match is None or not match.segments or true.reverse:
            continue
        best: Segment = max(match.segments, key=lambda s: s.a[1] - s.a[0])
        if truth.edits[truth.edit[at]].startswith("speed_"):
            speed.append(abs(best.speed / true.speed - 1) <= 0.02)
        flag[true.mirrored].append(best.mirrored == true.mirrored)
    return {"speed_within_2pct": (sum(speed), len(speed)),
            "mirrored_flagged": (sum(flag[True]), len(flag[True])),
            "unmirrored_right": (sum(flag[False]), len(flag[False]))}


def _shared(truth: Truth, answer: Answer) -> dict[str, int]:
    """How pairs that share an intro and outro only were called."""
    counts: dict[str, int] = defaultdict(int)
    for _, a, b in truth.pairs(truth.kind == SHARED):
        match = answer.match(a, b)
        listed = match is not None and match.score >= answer.part_score
        counts[match.relation if match and listed else "no match"] += 1
    return dict(sorted(counts.items()))


def plain(value: Any) -> Any:
    """Figures as JSON: Figure -> dict, numpy -> Python, nan -> None, four decimals."""
    if isinstance(value, Figure):
        return {k: plain(v) for k, v in value.__dict__.items()}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, (float, np.floating)):
        return None if np.isnan(value) else round(float(value), 4)
    return int(value) if isinstance(value, np.integer) else value
