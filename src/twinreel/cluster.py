"""Matches -> groups of files that show the same thing.

DBSCAN (Ester et al., KDD 1996; scikit-learn's) on the sparse graph of distances 1 - score; then
chains are cut: a group is only proposed where every member matches the kept file itself.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from twinreel.types import Match


def load() -> None:
    """Import what `clusters` needs: some seconds, in which another thread may wait for decoders."""
    import sklearn.cluster  # noqa: F401


def clusters(
    names: Sequence[str],
    matches: Iterable[Match],
    epsilon: float,
    min_samples: int,
    copies: Mapping[str, int] | None = None,
) -> list[list[str]]:
    """Clusters of at least two names, sorted; what DBSCAN calls noise is in none.

    Args:
        names: all videos (keys or paths).
        matches: edges; only those with 1 - score <= epsilon count.
        epsilon: largest distance of neighbours, 0..1.
        min_samples: neighbours (itself included) that make a core point.
        copies: how many files a name stands for (byte-identical ones); 1 when not given.
    """
    order = sorted(names)
    place = {name: i for i, name in enumerate(order)}
    edges = [
        (place[m.a], place[m.b], 1 - m.score)
        for m in matches
        if 1 - m.score <= epsilon + 1e-12 and m.a in place and m.b in place and m.a != m.b
    ]
    if not edges:
        return []
    import numpy as np
    from scipy.sparse import csr_matrix
    from sklearn.cluster import DBSCAN

    # Only videos that have an edge: DBSCAN on a graph of a million lonely points is waste.
    used = sorted({i for a, b, _ in edges for i in (a, b)})
    index = {i: n for n, i in enumerate(used)}
    a = np.array([index[e[0]] for e in edges])
    b = np.array([index[e[1]] for e in edges])
    # A stored zero is an edge for scikit-learn, but scipy drops zeros in places: keep it positive.
    d = np.maximum([e[2] for e in edges], 1e-9)
    n = len(used)
    graph = csr_matrix((np.r_[d, d], (np.r_[a, b], np.r_[b, a])), shape=(n, n))
    labels = DBSCAN(
        eps=max(epsilon, 1e-8), min_samples=min_samples, metric="precomputed"
    ).fit_predict(graph, sample_weight=[(copies or {}).get(order[i], 1) for i in used])
    found: dict[int, list[str]] = defaultdict(list)
    for i, label in zip(used, labels.tolist(), strict=True):
        if label >= 0:
            found[label].append(order[i])
    return sorted(sorted(members) for members in found.values() if len(members) > 1)


def cut_chains(
    members: Sequence[str],
    match: Callable[[str, str], Match | None],
    choose: Callable[[Sequence[str]], str],
    min_score: float,
    relations: frozenset[str],
    settle: Callable[[str, Sequence[str]], bool] = lambda kept, others: False,
) -> list[tuple[str, list[str]]]:
    """(kept, members) of groups in which every member matches the kept one directly.

    The kept file of the whole is chosen first; who does not match it goes into the next round.

    Args:
        choose: names -> the one to keep.
        settle: look closer at a kept file and those that do not match it; whether one does now.
    """

    def tied(kept: str, name: str) -> bool:
        found = match(kept, name)
        return found is not None and found.score >= min_score and found.relation in relations

    def untied(kept: str) -> list[str]:
        return [name for name in left if name != kept and not tied(kept, name)]

    left = sorted(members)
    groups = []
    while len(left) > 1:
        kept = choose(left)
        apart = untied(kept)
        while settle(kept, apart):
            kept, before = choose(left), kept
            apart = untied(kept)
            if kept == before:
                break
        together = sorted(set(left) - set(apart))
        if len(together) > 1:
            groups.append((kept, together))
        left = apart
    return groups
