"""Groups out of matches: DBSCAN's answer, then chains cut."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from twinreel.cluster import clusters, cut_chains
from twinreel.types import Match

COPIES = frozenset({"exact", "copy"})


def m(a: str, b: str, score: float = 0.95, relation: str = "copy") -> Match:
    return Match(a, b, score, relation)


def test_pairs_and_components() -> None:
    found = clusters("abcdef", [m("a", "b"), m("b", "c"), m("e", "f")], 0.1, 2)
    assert found == [["a", "b", "c"], ["e", "f"]]
    assert clusters("abc", [], 0.1, 2) == []


def test_the_threshold_is_inclusive() -> None:
    assert clusters("ab", [m("a", "b", 0.9)], 0.1, 2) == [["a", "b"]]
    assert clusters("ab", [m("a", "b", 0.8999)], 0.1, 2) == []
    assert clusters("ab", [m("a", "b", 1.0)], 0.0, 2) == [["a", "b"]]  # epsilon 0: only the same
    assert clusters("ab", [m("a", "b", 0.999)], 0.0, 2) == []


def test_names_that_are_not_asked_for_and_self_matches_count_for_nothing() -> None:
    assert clusters("ab", [m("a", "z"), m("z", "b"), m("a", "a")], 0.1, 2) == []


def test_min_samples_needs_company() -> None:
    """DBSCAN: a core point has min_samples neighbours, itself included."""
    pair = [m("a", "b")]
    assert clusters("ab", pair, 0.1, 3) == []
    assert clusters("ab", pair, 0.1, 3, {"a": 2, "b": 1}) == [["a", "b"]]  # a stands for two files
    star = [m("a", "b"), m("a", "c")]
    assert clusters("abc", star, 0.1, 3) == [["a", "b", "c"]]
    assert clusters("abc", star, 0.1, 4) == []


def test_the_same_as_scikit_learn_on_the_full_matrix() -> None:
    import numpy as np
    from sklearn.cluster import DBSCAN

    rng = np.random.default_rng(0)
    names = [f"v{i:02}" for i in range(40)]
    for trial in range(20):
        full = np.ones((40, 40))
        matches = []
        for _ in range(60):
            i, j = rng.choice(40, 2, replace=False)
            score = float(rng.uniform(0.7, 1.0))
            full[i, j] = full[j, i] = 1 - score
            matches = [x for x in matches if {x.a, x.b} != {names[i], names[j]}]
            matches.append(m(names[i], names[j], score))
        np.fill_diagonal(full, 0)
        samples = 2 + trial % 3
        labels = DBSCAN(eps=0.2, min_samples=samples, metric="precomputed").fit_predict(full)
        want = sorted(
            sorted(n for n, x in zip(names, labels, strict=True) if x == label)
            for label in set(labels) - {-1}
        )
        got = clusters(names, matches, 0.2, samples)
        assert got == [g for g in want if len(g) > 1]


def cut(
    members: str,
    matches: Sequence[Match],
    keep: str,
    least: float = 0.9,
    seen: Sequence[Match] = (),
):
    """`seen`: what a closer look says of pairs."""
    table = {frozenset((x.a, x.b)): x for x in matches}

    def match(a: str, b: str) -> Match | None:
        found = table.get(frozenset((a, b)))
        return found if found is None or found.a == a else found.swapped()

    def choose(names: Sequence[str]) -> str:
        return min(names, key=lambda n: (keep + members).index(n))

    def settle(kept: str, others: Sequence[str]) -> bool:
        told = [x for x in seen if {x.a, x.b} in [{kept, o} for o in others]]
        table.update({frozenset((x.a, x.b)): x for x in told})
        return any(x.score >= least for x in told)

    return cut_chains(members, match, choose, least, COPIES, settle)


def test_a_closer_look_mends_a_chain() -> None:
    chain, far = [m("a", "b"), m("b", "c"), m("c", "d")], m("a", "c")
    assert cut("abcd", chain, keep="a", seen=[far]) == [("a", ["a", "b", "c"])]
    assert cut("abcd", chain, keep="a", seen=[far, m("a", "d", 0.5)]) == [("a", ["a", "b", "c"])]
    assert cut("abcd", chain, keep="a", seen=[far, m("a", "d")]) == [("a", ["a", "b", "c", "d"])]


def test_a_chain_is_cut_at_the_kept_file() -> None:
    chain = [m("a", "b"), m("b", "c"), m("c", "d")]
    assert cut("abcd", chain, keep="b") == [("b", ["a", "b", "c"])]
    # Kept at its end, the rest of the chain makes a group of its own.
    assert cut("abcd", chain, keep="a") == [("a", ["a", "b"]), ("c", ["c", "d"])]


def test_a_match_below_the_score_or_of_another_kind_joins_nothing() -> None:
    assert cut("ab", [m("a", "b", 0.85)], keep="a") == []
    assert cut("ab", [m("a", "b", 0.99, "contains")], keep="a") == []
    found = cut("abc", [m("a", "b"), m("a", "c", 0.5), m("b", "c")], keep="a")
    assert found == [("a", ["a", "b"])]


@pytest.mark.parametrize("members", ["", "a"])
def test_nothing_to_cut(members: str) -> None:
    assert cut(members, [], keep="a") == []


def test_scikit_learn_loads_beside_a_torch_that_is_being_loaded(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("import time\ntime.sleep(2)\nclass Tensor: pass\n")
    code = (
        "import sys, threading, time\n"
        "threading.Thread(target=__import__, args=('torch',)).start()\n"
        "time.sleep(0.5)\n"
        "from twinreel import cluster, jobs\n"
        "jobs.load_beside(cluster.load).join()\n"
        "assert 'sklearn.cluster' in sys.modules\n"
    )
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
