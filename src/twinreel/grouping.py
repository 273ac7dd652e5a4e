"""Matches by content -> groups of files, each with the one worth keeping.

DBSCAN finds who belongs together (cluster.py), keep/ says which file stays and what the others
have that it lacks. Decisions are remembered: files, scores and rules unchanged, nothing is opened.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, product

import twinreel
from twinreel import keep, large
from twinreel.cluster import clusters, cut_chains
from twinreel.options import DupsOptions, fingerprint
from twinreel.report import FolderPair
from twinreel.store import Library
from twinreel.types import COPIES, Group, Match, Segment, Video

Weight = tuple[str, float, str, float, float]  # other key, score, relation, coverages
Settle = Callable[[Sequence[tuple[str, str]]], list[Match]]  # pairs of keys -> as told by a look

# Equal files make many pairs of few contents: so many are listed for each pair of contents.
PAIRS, ALL_PAIRS = 10, 5_000  # by default, with --all-matches
CONTAINED = frozenset({"exact", "copy", "contains", "part_of"})


@dataclass
class Grouping:
    """What groups are made of. videos: by path; paths: by key; matches: by keys, a < b.

    archived: the paths under --against.
    """

    library: Library
    options: DupsOptions
    videos: dict[str, Video]
    paths: dict[str, list[str]]
    matches: dict[tuple[str, str], Match]
    min_score: float
    archived: frozenset[str] = frozenset()
    crowds: large.Held | None = None  # where pairs were left out, to be scored when asked for
    settle: Settle | None = None
    used: list[Match] = field(default_factory=list)  # every member's with its kept file

    def groups(self) -> Iterator[Group]:
        """Groups of paths, as they are made; afterwards `used` is whole."""
        videos, paths = self.videos, self.paths
        relations = CONTAINED if self.options.compare.contained else COPIES
        edges = [
            m
            for m in self.matches.values()
            if m.score >= self.min_score and m.relation in relations
        ]
        found = self._clusters(edges)
        clustered = {key for members in found for key in members}
        found += [[key] for key, p in paths.items() if len(p) > 1 and key not in clustered]
        found = [keys for keys in found if self._asked(p for key in keys for p in paths[key])]

        @functools.lru_cache(maxsize=256)
        def strips(path: str) -> list[tuple[float, bytes]]:
            return self.library.thumbs(videos[path].file.key or "")

        @functools.lru_cache(maxsize=1)  # the choice among a whole cluster mostly is the group
        def choose(names: tuple[str, ...]) -> Group:
            return keep.choose(
                [videos[n] for n in names], self.match, strips, self.options.keep, views
            )

        def settle(kept: str, others: Sequence[str]) -> bool:
            if not self._settled(kept, others, relations):
                return False
            choose.cache_clear()
            views.forget(kept)
            return True

        for members in found:
            views = keep.Views(self.match, strips)  # the choices among a cluster's parts share them
            names = [p for key in members for p in paths[key]]
            remembered = self._remembered(names)
            fresh = remembered is None
            if remembered is None:
                remembered = []
                for _, together in cut_chains(
                    names,
                    self.match,
                    lambda n: choose(tuple(n)).keep,
                    self.min_score,
                    relations,
                    settle,
                ):
                    group = choose(tuple(together))
                    unseen = any(self._unseen(group.keep, n, views) for n in together)
                    why = f"{group.why}; look: pictures were not compared"
                    remembered.append(replace(group, look=True, why=why) if unseen else group)
            if fresh:
                self._remember(names, remembered)
            for group in remembered:
                if not self._asked(group.members):
                    continue
                for name in group.members:
                    if name != group.keep and (m := self.match(name, group.keep)) is not None:
                        self.used.append(m)
                yield group

    def listed(self, groups: Iterable[Group]) -> list[Match]:
        """The report's matches, each pair of paths once, the best first.

        What ties members to their kept file, every pair of equal files, and every match of contents
        as pairs of their paths. Where one pair of contents makes more than PAIRS (ALL_PAIRS with
        --all-matches), one path stands for each content (a kept one, else the first) and the other
        paths are listed against that: every path can be reached from every other.
        """
        found = {_pair(m.a, m.b): m for m in self.used}
        most = ALL_PAIRS if self.options.compare.all_matches else PAIRS
        kept = {self.videos[g.keep].file.key or "": g.keep for g in groups}
        stands = {key: kept.get(key, p[0]) for key, p in self.paths.items()}

        def add(pairs: Iterable[tuple[str, str]], m: Match | None) -> None:
            for a, b in pairs:
                if _pair(a, b) not in found and self._asked((a, b)):
                    found[_pair(a, b)] = replace(m, a=a, b=b) if m else self._exact(a, b)

        for key, p in self.paths.items():
            few = len(p) * (len(p) - 1) // 2 <= most
            one = stands[key]
            add(combinations(p, 2) if few else ((one, x) for x in p if x != one), None)
        for m in self.matches.values():
            a, b = self.paths[m.a], self.paths[m.b]
            few = len(a) * len(b) <= most
            add(product(a, b) if few else ((stands[m.a], stands[m.b]),), m)
        return sorted(found.values(), key=lambda m: (-m.score, m.a, m.b))

    def _asked(self, paths: Iterable[str]) -> bool:
        """Whether pairs of these files are asked for: with --against, some lie on either side."""
        return not self.options.compare.against or len({p in self.archived for p in paths}) == 2

    def _clusters(self, edges: Sequence[Match]) -> list[list[str]]:
        """DBSCAN's clusters of keys; the same graph is not clustered twice."""
        copies = {key: len(p) for key, p in self.paths.items()}
        min_samples = self.options.compare.min_samples
        plain = sorted((m.a, m.b, m.score) for m in edges)
        name = fingerprint(plain, self.min_score, min_samples, sorted(copies.items()))
        found: list[list[str]] | None = self.library.recall("clusters", name)
        if found is None:
            found = clusters(list(copies), edges, 1 - self.min_score, min_samples, copies)
            self.library.remember("clusters", name, found)
        return found

    def _settled(self, kept: str, others: Sequence[str], relations: frozenset[str]) -> bool:
        """Look closer at doubtful pairs of a kept file; whether one of them is a match now."""
        if self.settle is None:
            return False
        key = self.videos[kept].file.key or ""
        doubtful = {self.videos[n].file.key or "" for n in others} - {key}
        changed = False
        for m in self.settle([_pair(key, k) for k in sorted(doubtful)]):
            if m.score >= self.min_score:
                self.matches[(m.a, m.b)] = m
                self._scores[m.a].append(_weight(m))
                changed |= m.relation in relations
            elif (m.a, m.b) in self.matches:
                self.matches[(m.a, m.b)] = m  # listed all the same
        return changed

    def match(self, a: str, b: str) -> Match | None:
        """The match between two paths, read as 'a RELATION b'; None where none counts."""
        videos = self.videos
        ka, kb = videos[a].file.key or "", videos[b].file.key or ""
        if ka == kb:
            return self._exact(a, b)
        pair = (min(ka, kb), max(ka, kb))
        m = self.matches.get(pair)
        if m is None and self.crowds is not None:
            m = large.one(self.crowds, *pair)
            if m is not None and m.score >= self.min_score:
                self.matches[pair] = m
        if m is None or m.score < self.min_score:
            return None  # listed, no evidence
        m = m if m.a == ka else m.swapped()
        return replace(m, a=a, b=b)

    def _unseen(self, kept: str, name: str, views: keep.Views) -> bool:
        """Whether no pictures of two files could be laid beside each other (none are kept, say)."""
        a, b = self.videos[kept], self.videos[name]
        if kept == name or views.difference(a, b) is not None:
            return False
        return not views.misfit(a, b)

    def _exact(self, a: str, b: str) -> Match:
        """Two files of one content."""
        length = self.videos[a].info.duration_s
        whole = Segment((0.0, length), (0.0, length))
        return Match(a, b, 1.0, "exact", (whole,))

    @functools.cached_property
    def _scores(self) -> defaultdict[str, list[Weight]]:
        """Key -> what counts of its matches."""
        out: defaultdict[str, list[Weight]] = defaultdict(list)
        for m in self.matches.values():
            if m.score >= self.min_score:
                out[m.a].append(_weight(m))
        return out

    def _group_name(self, names: list[str]) -> str:
        """What a decision about these files hangs on."""
        videos = [self.videos[n] for n in sorted(names)]
        plain = [
            [v.path, v.file.key, v.file.mtime_ns, v.file.size, v.offline, v.damage] for v in videos
        ]
        keys = sorted({v.file.key or "" for v in videos})
        scores = [[key, sorted(self._scores.get(key, ()))] for key in keys] if len(keys) > 1 else []
        contained = self.options.compare.contained
        return fingerprint(
            plain, scores, self.options.keep, contained, twinreel.__version__, keep.VERSION
        )

    def _remembered(self, names: list[str]) -> list[Group] | None:
        kept = self.library.recall("group", self._group_name(names))
        if kept is None:
            return None
        return [Group(**{**g, "members": tuple(g["members"])}) for g in kept]

    def _remember(self, names: list[str], groups: list[Group]) -> None:
        name = self._group_name(names)
        self.library.remember("group", name, [dataclasses.asdict(g) for g in groups])


def _weight(m: Match) -> Weight:
    return m.b, m.score, m.relation, round(m.coverage_a, 4), round(m.coverage_b, 4)


def _pair(a: str, b: str) -> tuple[str, str]:
    """Two paths, whichever comes first."""
    return (a, b) if a <= b else (b, a)


def folder_pairs(videos: dict[str, Video], groups: Iterable[Group]) -> list[FolderPair]:
    """Which folders hold the same videos, the largest overlap first; at least two shared."""
    total: dict[str, int] = defaultdict(int)
    for path in videos:
        total[os.path.dirname(path)] += 1
    shared: dict[tuple[str, str], set[str]] = defaultdict(set)
    for group in groups:
        folders = defaultdict(list)
        for path in group.members:
            folders[os.path.dirname(path)].append(path)
        if len(folders) > 50:
            continue  # every folder with every other would say nothing
        for a in folders:
            for b in folders:
                if a != b:
                    shared[(a, b)].update(folders[a])
    out = []
    for (a, b), held in shared.items():
        back = shared[(b, a)]
        # From the folder that is more fully contained in the other.
        if len(held) < 2 or (len(held) / total[a], b) < (len(back) / total[b], a):
            continue
        out.append(FolderPair(a, b, len(held), total[a], total[b], total[b] - len(back)))
    return sorted(out, key=lambda f: (-f.shared, f.a, f.b))[:50]
