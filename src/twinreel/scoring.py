"""Features in the library -> the matches of a run's videos.

Third stage of a run, after looking.py: pairs that were not scored before are scored, doubtful ones
are looked at again, and those that this run asks for are picked out of all that the library holds.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from twinreel import ann, large, still
from twinreel.aligned import at_same_moments, beside, gap, is_mirrored
from twinreel.candidates import Shelf, compare_all, longest_like
from twinreel.compare import VERSION as COMPARE_VERSION
from twinreel.doubt import PIECES, WHOLES, Doubts, Look, Patience
from twinreel.doubt import VERSION as DOUBT_VERSION
from twinreel.inventory import quick
from twinreel.looking import Looking
from twinreel.options import fingerprint
from twinreel.picture import Rect, from_jpeg
from twinreel.types import COPIES, Features, Match

TOLD_BY = 4  # moments that tell which way round a match is
TOLD_AT = 40  # pixels of the pictures' sides
PIECE_ROWS = 65_536  # moments: 128 MB of vectors of 512 numbers
MOST_SETTLED = 64  # looks at a time for one kept file
INSET_SCORE = 0.5  # of a match with a picture inside the picture, at most
STILL_SCORE = 0.4  # the same where hardly anything moves in one of the two
HOPELESS = 1e-5  # the same where hardly anything moves in either: no look could show more
_INNER = " inner"  # no key ends so
LEAST_TOLD = 0.3  # below this score nobody asks which way round a match is


@dataclass(kw_only=True)
class Scoring(Looking):
    """Contents with features, and their `matches` after `score`, `look_again` and `select`."""

    matches: dict[tuple[str, str], Match] = field(default_factory=dict)  # by keys, a < b
    crowds: large.Held | None = None
    _moving: dict[str, bool] = field(default_factory=dict)  # by key
    _settled: bool = False  # whether a group asked for a closer look

    @property
    def context(self) -> str:
        """What pairs must agree in to be kept together."""
        tolerance = self.options.compare.tolerance()
        plain = [str(t) for t in tolerance]
        # Looks replace the scores of the pairs they settle.
        rules = (COMPARE_VERSION, DOUBT_VERSION)
        return fingerprint(self.model, self.sampling, plain, rules, self.calibration)

    def score(self) -> None:
        """Score pairs that have not been scored before: k new videos against all known ones."""
        if not self.model:
            self.name_model()
        active = {f.key for f in self.files} | {f.key for f in self.offline()}
        removed = self.library.recall_all("removed")
        known = self.library.known(self.model, self.sampling)
        done = self.library.compared(self.context)
        new = {k for k in active if k in known} - done
        if new:
            keys = sorted(done | new | (removed.keys() & known))
            tolerance = self.options.compare.tolerance()
            with self.progress.stage("compare", None):
                jobs = self.options.decode.jobs or os.cpu_count() or 1
                if self._is_large(len(new) / len(keys)):
                    held, least = self._held(), self.options.compare.min_samples
                    say = self.notes.append
                    large.score(held, keys, new, tolerance, least, jobs, say)
                    return
                old = self._pieces(set(keys) - new)
                for piece in self._pieces(new):
                    scored = self._score(piece, old, tolerance, jobs)
                    told = (self.touched(m).ordered() for m in scored)
                    self.library.put_pairs(self.context, (), told)
                    old.append(piece)
                    self._score_insets(old, set(piece), tolerance, jobs)
                    # Only now: who is stopped before loses none of these pairs.
                    self.library.put_pairs(self.context, piece, ())

    def _pieces(self, keys: set[str]) -> list[list[str]]:
        """The keys in lists of about PIECE_ROWS moments, by duration: what is in memory at once."""
        held = self.library.extents(self.model, self.sampling)
        pieces: list[list[str]] = []
        left = 0
        for key in sorted(keys & held.keys(), key=lambda k: (held[k], k)):
            if left <= 0:
                pieces.append([])
                left = PIECE_ROWS
            pieces[-1].append(key)
            left -= held[key][1]
        return pieces

    def _score(
        self, new: list[str], old: list[list[str]], tolerance: tuple[float, float], jobs: int
    ) -> Iterator[Match]:
        """New videos beside each other and beside every piece of the old ones."""

        def read(keys: Iterable[str]) -> list[Features]:
            return list(self.library.all_features(self.model, self.sampling, list(keys)))

        fresh, names = read(new), set(new)
        yield from compare_all(Shelf(fresh), names, tolerance, self.calibration, jobs)
        shortest, longest = fresh[0].duration_s, fresh[-1].duration_s
        for piece in old:
            beside = read(piece)
            # Both by duration: no pair of like length where even the nearest two are not.
            if beside[0].duration_s > longest_like(longest, tolerance):
                continue
            if longest_like(beside[-1].duration_s, tolerance) < shortest:
                continue
            both = Shelf([*fresh, *beside])
            yield from compare_all(both, names, tolerance, self.calibration, jobs, across=True)

    def _score_insets(
        self, pieces: list[list[str]], new: set[str], tolerance: tuple[float, float], jobs: int
    ) -> None:
        """Pictures inside pictures beside all videos. What matches so is doubtful at best: laid on
        each other, the whole pictures have to show it."""
        insets = list(self.library.insets(self.model, self.sampling))
        for piece in pieces if insets else ():
            here = [f for f in insets if f.key in new or new.issuperset(piece)]
            if not here:
                continue
            held = {f.key + _INNER: replace(f, key=f.key + _INNER) for f in here}
            read = self.library.all_features(self.model, self.sampling, piece)
            shelf = Shelf([*read, *held.values()])
            found = compare_all(shelf, set(held), tolerance, self.calibration, jobs, across=True)
            told = []
            for m in found:
                a, b = (key.removesuffix(_INNER) for key in (m.a, m.b))
                score = min(m.score, INSET_SCORE)
                known = self.library.pair(self.context, *sorted((a, b)))
                if a != b and (known is None or known.score < score):
                    told.append(replace(m, a=a, b=b, score=score).ordered())
            self.library.put_pairs(self.context, (), told)

    def look_again(self) -> None:
        """Settle doubtful pairs by laying their pictures on each other."""
        if not self.options.compare.closer:
            return
        left = 0
        for m, why in self._doubts.settle(self._likely(), self.progress):
            if why:
                left += 1
            else:
                self.library.put_pairs(self.context, (), [m])
        if left:
            self.notes.append(f"{left} doubtful pairs could not be looked at again")

    def _likely(self) -> Iterator[Match]:
        """Pairs of this run's files, and of what was removed, that are not hopeless."""
        path = {f.key for f in self.files if f.key}
        removed = self.library.recall_all("removed")
        known = path | removed.keys()
        for m in self.library.pairs(self.context, self._patience.least):
            if (m.a in path and m.b in known) or (m.b in path and m.a in removed):
                yield m

    @functools.cached_property
    def _doubts(self) -> Doubts:
        path = {f.key: f.path for f in self.files if f.key}
        return Doubts(self.look_with(path, self._held().read, self._picture))

    def settle(self, pairs: Sequence[tuple[str, str]]) -> list[Match]:
        """Look at pairs of keys (a < b) on which a group hangs: what was told of each.

        At most MOST_SETTLED of them, the likeliest first. What was looked at before is not again.
        """
        if self.partial or not self.options.compare.closer:
            return []
        scored = (self.library.pair(self.context, *pair) for pair in pairs if self._wanted(*pair))
        doubtful = [
            m for m in scored if m is not None and self._patience.least <= m.score < self.min_score
        ]
        doubtful.sort(key=lambda m: (-m.score, m.a, m.b))
        found = []
        with self.interruptible():
            for m, why in self._doubts.settle_all(doubtful[:MOST_SETTLED], self.progress):
                if not why:
                    self.library.put_pairs(self.context, (), [m])
                    found.append(m)
                    if m.score < self.min_score and self._is_listed(m):
                        self.matches[(m.a, m.b)] = m
        self._settled |= bool(found)
        return found

    def spread(self) -> None:
        """What was seen of a kept file, said of those that show the very same pictures, too."""
        if not self._settled:
            return
        told = list(self._doubts.known(self._likely()))
        self.library.put_pairs(self.context, (), told)
        here = {f.key for f in self.files}
        for m in told:
            if self._is_listed(m) and m.a in here and m.b in here and self._wanted(m.a, m.b):
                self.matches[(m.a, m.b)] = m

    def look_with(
        self, path: dict[str, str], read: Callable[[str], Features], picture: Callable[[str], Rect]
    ) -> Look:
        """What closer looks of this run need; `path`: which contents may be opened where."""
        from twinreel.jobs import job_count

        return Look(
            self.library,
            self.calibration,
            self.spec.min_score or 1.0,
            fingerprint(self.model, self.sampling, self.calibration),
            read,
            picture,
            path,
            self.spec.size,
            job_count(self.options.decode.jobs, self.files),
            self.idle,
            self._patience,
        )

    @property
    def _patience(self) -> Patience:
        return PIECES if self.options.compare.clips else WHOLES

    def _picture(self, key: str) -> Rect:
        return self.library.facts({key})[key].picture

    def _is_large(self, share: float) -> bool:
        """Whether nearest neighbours are asked for; share: of new videos."""
        rows = self.library.rows(self.model, self.sampling)
        return ann.wanted(self.options.compare.neighbours, round(share * rows), rows)

    def _held(self) -> large.Held:
        return large.Held(
            self.library, self.model, self.sampling, self.context, self.calibration, self.min_score,
            self.touched,
        )  # fmt: skip

    def select(self) -> None:
        """The matches of this run's videos, out of all that the library holds."""
        if not self.model:
            self.name_model()
        active = {f.key for f in self.files} | {f.key for f in self.offline()}
        removed = self.library.recall_all("removed")
        ask = self.options.compare
        least = 0.0 if ask.all_matches else min(self.min_score, ask.part_score)
        self.crowds = self._held()
        large.complete(self.crowds, {key for key in active if key is not None})
        for m in self.library.pairs(self.context, least):
            if m.a in active and m.b in active:
                if self._is_listed(m) and self._wanted(m.a, m.b):
                    self.matches[(m.a, m.b)] = m
            elif self._apart(m.a, m.b):
                continue
            elif m.score >= self.min_score and m.relation == "copy":
                seen, gone = (m.a, m.b) if m.a in active else (m.b, m.a)
                if seen in active and gone in removed:
                    self._seen_before(seen, removed[gone])
        for file in self.files:
            if file.key in removed and removed[file.key]["path"] != file.path:
                self._seen_before(file.key, removed[file.key])

    def _is_listed(self, m: Match) -> bool:
        """Whether the report has a match: those that count, and of what proposes no removal also
        what a closer look has shown to be likelier than not."""
        ask = self.options.compare
        if ask.all_matches or m.score >= self.min_score:
            return True
        if m.relation in COPIES or m.score < ask.part_score:
            return False
        sure = m.score >= (self.spec.min_score or 1.0)  # nobody looks at those
        return sure or (ask.closer and self._doubts.has_seen(m))

    def _wanted(self, a: str, b: str) -> bool:
        """Whether this run asks for a pair of its keys: with --against, only of one from each."""
        old, new = self._sides
        asked = (a in old and b in new) or (a in new and b in old)
        return (asked or not self.options.compare.against) and not self._apart(a, b)

    def _apart(self, a: str, b: str) -> bool:
        """Whether somebody said that these do not match."""
        return " ".join(sorted((quick(a), quick(b)))) in self._unmatched

    @functools.cached_property
    def _unmatched(self) -> dict[str, Any]:
        return self.library.recall_all("unmatched")

    @functools.cached_property
    def _sides(self) -> tuple[set[str | None], set[str | None]]:
        """Keys under --against, and the others."""
        here = [*self.files, *self.offline()]
        old = {f.key for f in here if self._archived(f.path)}
        return old, {f.key for f in here if not self._archived(f.path)}

    def _seen_before(self, key: str, removal: dict[str, str]) -> None:
        """Say that a video shows what was removed once."""
        for file in self.files:
            if file.key == key:
                self.notes.append(
                    f"{file.path} shows what you removed on {removal['at'][:10]} "
                    f"({removal['path']}; kept: {removal['keep']})"
                )

    def _archived(self, path: str) -> bool:
        """Whether a path lies under one of --against."""
        return any(path == r or path.startswith(r.rstrip(os.sep) + os.sep) for r in self._against)

    @functools.cached_property
    def _against(self) -> list[str]:
        return [os.path.realpath(os.path.expanduser(r)) for r in self.options.compare.against]

    def touched(self, m: Match) -> Match:
        """The match as kept pictures have it: not sure where hardly anything moves, for slides that
        share a ticker are alike to the network whatever is written on them, unless they show the
        same in every place; its segments marked where one video mirrors the other."""
        if m.score < LEAST_TOLD:
            return m
        a, b = (self.library.thumbs(key) for key in (m.a, m.b))
        if a and a == b:
            return m  # the same packets in another container
        moving = [self._moves(key) for key in (m.a, m.b)]
        if not all(moving) and not still.same_print(a, b, m.segments):
            m = replace(m, score=min(m.score, STILL_SCORE if any(moving) else HOPELESS))
        if not a or not b:
            return m
        apart = 0.6 * max(gap(a), gap(b))
        # A few pictures say it, and small ones.
        few_a, few_b = (
            [(t, from_jpeg(data, TOLD_AT)) for t, data in strip]
            for strip in beside(a, b, m.segments, TOLD_BY, apart)
        )
        pictures = at_same_moments(few_a, few_b, m.segments, apart)
        if not is_mirrored(*pictures):
            return m
        return replace(m, segments=tuple(replace(s, mirrored=True) for s in m.segments))

    def _moves(self, key: str) -> bool:
        """Whether a video changes in more than a corner, as its kept pictures show it."""
        if key not in self._moving:
            self._moving[key] = still.moves(self.library.thumbs(key))
        return self._moving[key]
