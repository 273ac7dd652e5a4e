"""The scoreboard's truth and measures, on hand-made cases with known answers."""

from __future__ import annotations

import json
import math
import pathlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.accuracy import (
    build,
    evaluate,
    metrics,
    ours,
    plan,
    rivals,
    same,
    seed,
    table,
    truth,
)
from benchmarks.accuracy.corpus import Clip
from benchmarks.accuracy.edits import BY_NAME, EDITS, PARTNERS
from benchmarks.accuracy.metrics import Bootstrap, Ranking
from benchmarks.accuracy.truth import Content, Segment, relate


def test_average_precision_by_hand() -> None:
    # Ranking + - +: precision 1 at recall 1/2, 2/3 at recall 1.
    got = metrics.average_precision(np.array([0.9, 0.5, 0.4]), np.array([True, False, True]))
    assert got == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


def test_average_precision_ties_are_one_step() -> None:
    # Two equal scores: which stands first must not matter.
    for truth_ in ([True, False], [False, True]):
        assert metrics.average_precision(np.array([0.5, 0.5]), np.array(truth_)) == 0.5


def test_average_precision_without_positives_is_nan() -> None:
    assert math.isnan(metrics.average_precision(np.array([0.3]), np.array([False])))
    assert math.isnan(metrics.average_precision(np.array([]), np.array([], dtype=bool)))


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=1, max_size=30))
def test_weight_two_is_the_pair_twice(rows: list[tuple[int, bool]]) -> None:
    scores = np.array([r[0] for r in rows], dtype=float)
    positive = np.array([r[1] for r in rows])
    once = metrics.average_precision(scores, positive, np.full(len(rows), 2.0))
    twice = metrics.average_precision(np.tile(scores, 2), np.tile(positive, 2))
    assert once == pytest.approx(twice, nan_ok=True)


def test_recall_at_precision_one_needs_to_pass_the_hardest_negative() -> None:
    ranking = Ranking(np.array([0.5, 0.5, 0.9, 0.1, 0.4]),
                      np.array([True, False, True, False, True]))
    got = ranking.recall_at_precision_one()
    assert got == pytest.approx(1 / 3)  # 0.5 equals the hardest negative: not above it
    # A negative that the bootstrap did not draw holds nothing back; a positive drawn twice counts
    # so.
    drawn = np.array([2.0, 0.0, 1.0, 1.0, 1.0])[ranking.order]
    assert ranking.recall_at_precision_one(drawn) == 1.0
    drawn = np.array([2.0, 1.0, 1.0, 1.0, 1.0])[ranking.order]
    assert ranking.recall_at_precision_one(drawn) == pytest.approx(1 / 4)


def test_bootstrap_draws_groups_not_files() -> None:
    boot = Bootstrap.over(["a", "b", "b", "c"], n=50, seed=3)
    assert boot.draws.shape == (50, 3) and (boot.draws.sum(axis=1) == 3).all()
    same = boot.index(["b", "b"])
    for draw in range(50):
        w = boot.pair_weights(boot.pairs(same, boot.index(["b", "c"])), draw)
        b, c = boot.draws[draw][1], boot.draws[draw][2]
        assert w.tolist() == [b, b * c]
    assert (Bootstrap.over("abc", seed=3).draws == Bootstrap.over("cab", seed=3).draws).all()


def test_bootstrap_interval_holds_the_figure_and_skips_nan() -> None:
    boot = Bootstrap.over(range(40), n=200, seed=0)
    values = np.arange(40) < 30
    lo, hi = boot.interval(lambda i: metrics.weighted_mean(values, boot.draws[i]))
    assert 0.5 < lo < 0.75 < hi < 0.95
    assert boot.interval(lambda i: 0.5 if i else float("nan")) == (0.5, 0.5)


def test_segments_overlap() -> None:
    true = [Segment((0, 10), (5, 15))]
    perfect = metrics.segments_f(true, true)
    assert (perfect.precision, perfect.recall, perfect.f) == (1, 1, 1)
    half = metrics.segments_f([Segment((0, 5), (5, 10))], true)
    assert (half.precision, half.recall) == (1, 0.5)
    # Right rows, wrong columns: nothing found.
    wrong = metrics.segments_f([Segment((0, 10), (20, 30))], true)
    assert (wrong.precision, wrong.recall, wrong.f) == (0, 0, 0)
    assert metrics.segments_f([], true).recall == 0


def test_segments_overlap_counts_doubled_proposals_once() -> None:
    true = [Segment((0, 10), (0, 10))]
    got = metrics.segments_f(true * 3, true)
    assert got.precision == 1 and got.recall == 1


def test_segments_within_a_second_and_start_error() -> None:
    true = [Segment((2, 8), (0, 6)), Segment((20, 25), (10, 15))]
    proposed = [Segment((2.5, 8.2), (0.3, 6)), Segment((20, 22), (10, 12))]
    score, starts = metrics.segments_within(proposed, true)
    assert (score.precision, score.recall) == (0.5, 0.5)
    assert starts == pytest.approx([0.5, 0.0])


def test_groups_counted_by_pairs() -> None:
    i, j = np.triu_indices(4, 1)  # pairs 01 02 03 12 13 23
    positive = np.array([True, True, False, True, False, False])
    negative = np.array([False, False, True, False, True, True])
    got = metrics.group_counts(np.array([0, 0, -1, 0]), positive, negative, (i, j))
    assert (got.right, got.wrong, got.missed) == (1, 2, 2)
    assert got.precision == pytest.approx(1 / 3) and got.recall == pytest.approx(1 / 3)


def test_whole_copy_of_another_speed() -> None:
    a = Content("dog", (0, 10), (0, 10))
    b = Content("dog", (0, 10), (0, 8), mirrored=True)
    got = relate([a], [b], 10, 8)
    assert got.kind == "whole"
    assert got.segments == (Segment((0, 10), (0, 8), pytest.approx(0.8), True),)


def test_cut_gives_offset() -> None:
    a, b = Content("dog", (0, 10), (0, 10)), Content("dog", (4, 10), (0, 6))
    got = relate([a], [b], 10, 6)
    assert got.kind == "partial" and got.segments[0].a == (4, 10) and got.segments[0].b == (0, 6)
    back = relate([b], [a], 6, 10)
    assert back.segments[0].a == (0, 6) and back.segments[0].b == (4, 10)


def test_reversed_segment_runs_backwards() -> None:
    a = Content("dog", (0, 10), (0, 10))
    b = Content("dog", (0, 10), (0, 10), reverse=True)
    part = relate([Content("dog", (0, 4), (0, 4))], [b], 4, 10)
    assert relate([a], [b], 10, 10).kind == "whole"
    assert part.segments[0].b == (6, 10) and part.segments[0].reverse


@pytest.mark.parametrize(
    ("a", "b", "piece", "kind"),
    [
        (Content("x", (0, 9), (0, 9)), Content("y", (0, 9), (0, 9)), False, "none"),
        (Content("x", (0, 4), (0, 4)), Content("x", (5, 9), (0, 4)), False, "ignore"),
        (Content("x", (0, 4), (0, 4)), Content("x", (5, 9), (0, 4)), True, "none"),
        (Content("x", (0, 4), (0, 4)), Content("x", (3, 7), (0, 4)), False, "ignore"),
        (Content("x", (0, 9), (0, 9)), Content("x", (0, 9), (0, 9), role="other"), False,
         "ignore"),
        (Content("x", (0, 3), (0, 3), role="shared"), Content("x", (0, 3), (0, 3), role="shared"),
         False, "shared"),
    ],
)
def test_what_is_no_copy(a: Content, b: Content, piece: bool, kind: str) -> None:
    assert relate([a], [b], 9, 9, piece=piece).kind == kind


def test_lost_seconds() -> None:
    whole, cut = Content("x", (0, 10), (0, 10)), Content("x", (2, 9), (0, 7))
    assert truth.lost_seconds([whole], [cut]) == pytest.approx(3)
    assert truth.lost_seconds([cut], [whole]) == 0
    # A picture in picture of 9 % is an overlay; half a screen is content.
    small = Content("y", (0, 10), (0, 10), role="other", share=0.09)
    half = Content("y", (0, 10), (0, 10), role="other", share=0.5)
    assert truth.lost_seconds([whole, small], [whole]) == 0
    assert truth.lost_seconds([whole, half], [whole]) == pytest.approx(10)


def test_union_of_spans() -> None:
    assert truth.union_s([(0, 2), (1, 3), (5, 6)]) == 4
    assert truth.union_s([]) == 0


def test_truth_round_trip(tmp_path) -> None:  # type: ignore[no-untyped-def]
    item = truth.FileTruth("a.mp4", "edit", "dog", 9.5, 640, 360, "mirror", 2, ("blur",), True,
                           True, (Content("dog", (0, 9.5), (0, 9.5), True),))
    truth.save(tmp_path / "t.json", [item])
    assert truth.load(tmp_path / "t.json") == [item]


def test_edits_are_named_once_and_partners_compose() -> None:
    assert len(BY_NAME) == len(EDITS)
    assert all(BY_NAME[p].composable for p in PARTNERS)
    assert {e.tier for e in EDITS} == {1, 2, 3}
    assert {e.name for e in EDITS if not e.gated} == {"reverse", "split_screen", "blend_15"}


def test_every_edit_of_the_corpus_is_dealt() -> None:
    listed = pathlib.Path(__file__).parents[2] / "../shared/corpus/edits.txt"
    if not listed.is_file():
        pytest.skip("no ../shared/corpus")
    names = {line.split("|")[0] for line in listed.read_text().splitlines() if line}
    two = {"intro_outro", "audio_replaced", "pip_over", "insert_segment", "stack2", "pip_small",
           "split_screen", "blend_15"}
    assert len(names) == 58 and not (names | two | {"rot180"}) - BY_NAME.keys()


# -- the deal ----------------------------------------------------------------------------------


def _deal(n: int = 16) -> list[plan.Recipe]:
    """A deal over made-up sources: no files, no ffmpeg."""
    named = {g for part in (plan.DONORS, plan.SHARED) for rows in part.values() for g, _ in rows}
    named |= {g for rows in plan.PIECES.values() for g, _, _ in rows}
    named |= {plan.LONG_CLIP, *plan.LONG_PARTS}
    train = {g for g, _ in plan.DONORS["train"]} | {g for g, _, _ in plan.PIECES["train"]}
    groups = sorted(named) + [f"more_{k}" for k in range(n)]
    clips = [Clip(f"{g}.mp4", g, g, "source", "train" if g in train else "test", 10.0,
                  (0.0, 10.0), "") for g in groups]
    probes = {g: plan.Probe(10.0, 640, 360, "h264", 48000) for g in groups}
    return plan.deal(clips, {}, probes, per_edit={"train": 2, "test": 8}, font="F.ttf")


def test_every_edit_meets_eight_test_sources_and_is_dealt_the_same_twice() -> None:
    recipes = _deal()
    assert recipes == _deal()
    for edit in EDITS:
        met = {r.group for r in recipes if r.edit == edit.name and r.split == "test"}
        assert len(met) == (10 if edit.temporal == "intro" else 8), edit.name
    for name in ("equal_size", "black_60", "fade_black"):
        assert len({r.group for r in recipes if r.edit == name and r.split == "test"}) == 8
    names = [(r.split, r.name) for r in recipes]
    assert len(set(names)) == len(names)


def test_a_third_of_tier_two_is_composed() -> None:
    two = [r for r in _deal() if r.tier == 2 and r.split == "test" and r.kind == "edit"]
    assert 0.28 <= sum(bool(r.also) for r in two) / len(two) <= 0.40


def test_what_a_file_is_said_to_be_composed_of_was_done_to_it() -> None:
    for r in _deal():
        for partner in r.also:
            done = BY_NAME[partner].video.replace("{font}", "F.ttf")
            assert done in " ".join(r.args), (r.key, partner)


def test_no_source_stands_in_both_splits() -> None:
    sources: dict[str, set[str]] = {"train": set(), "test": set()}
    for r in _deal():
        sources[r.split] |= {c.source for c in r.content}
    assert not sources["train"] & sources["test"]


def test_open_content_ends_with_the_file_at_the_nominal_speed() -> None:
    fast = next(r for r in _deal() if r.edit == "speed_150")
    # One frame more than 10 / 1.5 s must not bend the time map.
    (item,) = build._truth_of(fast, plan.Probe(6.73, 640, 360, "h264", 0)).content
    assert item.speed == pytest.approx(1.5) and item.file[1] == pytest.approx(10 / 1.5)


# -- reading twinreel --------------------------------------------------------------------------


def _file(name: str, kind: str, group: str, *content: Content, edit: str = "", tier: int = 0,
          degraded: bool = False) -> truth.FileTruth:
    return truth.FileTruth(name, kind, group, 10, 640, 360, edit, tier, (), True, degraded,
                           content)


FILES = [
    _file("a.mp4", "original", "dog", Content("dog", (0, 10), (0, 10))),
    _file("b.mp4", "edit", "dog", Content("dog", (0, 10), (0, 10), True), edit="mirror", tier=2,
          degraded=True),
    _file("c.mp4", "edit", "dog", Content("dog", (4, 10), (0, 6)), edit="trim_head", tier=1,
          degraded=True),
    _file("d.mp4", "hard", "cat", Content("cat", (0, 10), (0, 10))),
]


def _report(**more: object) -> dict[str, object]:
    segment = {"a": [0, 10], "b": [0, 10], "speed": 1.0, "mirrored": True}
    tail = {"a": [0.2, 6], "b": [4.2, 10], "speed": 1.0, "mirrored": False}
    return {
        "version": 1, "options": {"min_score": 0.8}, "model": {"name": "m"}, "failures": [],
        "videos": [],
        "matches": [
            {"a": "/x/b.mp4", "b": "/x/a.mp4", "score": 0.9, "relation": "copy",
             "segments": [segment], "coverage_a": 1, "coverage_b": 1},
            {"a": "/x/c.mp4", "b": "/x/a.mp4", "score": 0.85, "relation": "part_of",
             "segments": [tail], "coverage_a": 1, "coverage_b": 0.6},
            {"a": "/x/a.mp4", "b": "/x/d.mp4", "score": 0.3, "relation": "copy", "segments": []},
        ],
        "groups": [{"members": ["/x/a.mp4", "/x/b.mp4"], "losses": {}, "keep": "/x/b.mp4",
                    "why": "", "decision": None}],
        **more,
    }


def _judge(report: dict[str, object]) -> dict[str, object]:
    answer = ours.read(report)
    result = evaluate.evaluate_ours(evaluate.Truth(FILES),
                                    ours.Outcome(answer, answer, answer, 60, 60, 4000, ""))
    return evaluate.plain(result)  # type: ignore[no-any-return]


def test_a_report_is_read_from_either_side() -> None:
    answer = ours.read(_report())
    seen = answer.match("a.mp4", "c.mp4")
    assert seen is not None and seen.relation == "contains"
    assert seen.segments[0].a == (4.2, 10) and seen.segments[0].b == (0.2, 6)


def test_byte_identical_files_share_what_is_said_of_one() -> None:
    videos = [{"path": "/x/a.mp4", "key": "k"}, {"path": "/x/e.mp4", "key": "k"},
              {"path": "/x/b.mp4", "key": "other"}]
    group = {"members": ["/x/a.mp4", "/x/e.mp4"], "keep": "/x/a.mp4"}
    answer = ours.read(_report(videos=videos, groups=[group]))
    copy, same = answer.match("e.mp4", "b.mp4"), answer.match("e.mp4", "a.mp4")
    assert copy is not None and copy.score == 0.9 and copy.segments[0].mirrored
    assert same is not None and same.relation == "exact"
    # Not shown together in a group: nobody was told.
    assert ours.read(_report(videos=videos)).match("e.mp4", "a.mp4") is None


def test_a_report_without_a_threshold_is_refused() -> None:
    with pytest.raises(ValueError, match="min_score"):
        ours.read(_report(options={}))
    with pytest.raises(ValueError, match="version"):
        ours.read(_report(version=2))


def test_figures_of_a_small_report() -> None:
    got = _judge(_report())
    assert got["recall_whole"]["value"] == 1 and got["recall_whole"]["n"] == 1
    assert got["recall_partial"]["value"] == 1
    assert got["false_merges"] == got["false_matches"] == 0
    assert got["recall_p1_whole"]["value"] == got["ap_all"]["value"] == 1
    assert got["recall_p1_tier2"] == {"value": 1, "low": 1, "high": 1, "n": 1}
    assert got["negatives"] == 3
    groups = got["groups"]
    assert groups["wrong_deletions"] == [] and len(groups["kept_worse"]) == 1
    partial = got["partial"]
    assert partial["cuts_within_1s"]["f"] == 1 and partial["start_error_median_s"] == 0.2
    assert partial["mirrored_flagged"] == [1, 1] and partial["unmirrored_right"] == [1, 1]
    assert got["cost"] == {"cpu_s_per_min": 90.0, "bytes_per_min": 6000.0, "wall_s": 60}


def test_a_part_counts_where_it_is_listed_a_copy_where_it_is_proposed() -> None:
    likely = [{"a": "/x/a.mp4", "b": f"/x/{name}.mp4", "score": 0.7, "relation": relation,
               "segments": []}
              for name, relation in (("b", "overlap"), ("c", "contains"), ("d", "overlap"))]
    got = _judge(_report(matches=likely, options={"min_score": 0.8, "part_score": 0.6}))
    assert got["recall_partial"]["value"] == got["partial"]["recall"]["value"] == 1
    assert got["recall_whole"]["value"] == 0
    assert got["false_matches"] == 1
    everything = {"min_score": 0.8, "part_score": 0.6, "all_matches": True}
    got = _judge(_report(matches=likely, options=everything))
    assert got["recall_partial"]["value"] == got["false_matches"] == 0


def test_a_wrong_group_costs() -> None:
    wrong = {"members": ["/x/c.mp4", "/x/a.mp4", "/x/d.mp4"], "keep": "/x/c.mp4", "why": "",
             "losses": {}, "decision": None}
    got = _judge(_report(groups=[wrong]))["groups"]
    lost = {(gone, seconds) for gone, _, seconds in got["wrong_deletions"]}
    assert lost == {("dog original", 4.0), ("cat hard", 10.0)}
    assert got["wrong_pairs"] == 2 and got["groups_with_hard"] == 1
    got = _judge(_report(groups=[{**wrong, "look": True}]))["groups"]
    assert got["wrong_deletions"] == [] and len(got["lossy_but_asks_to_look"]) == 2


def test_a_shared_intro_told_of_videos_with_nothing_in_common_is_false() -> None:
    row = {"a": "/x/a.mp4", "b": "/x/d.mp4", "score": 0.95, "relation": "shared_intro",
           "segments": []}
    got = _judge(_report(matches=[row]))
    assert got["false_matches"] == got["partial"]["false_matches"] == 1
    assert got["false_merges"] == 0


def test_a_hard_pair_in_a_group_is_told_though_its_files_are_edits() -> None:
    logo = [_file("a.mp4", "edit", "dog", Content("dog", (0, 10), (0, 10)), edit="logo_corner"),
            _file("d.mp4", "edit", "cow", Content("cow", (0, 10), (0, 10)), edit="logo_corner")]
    group = ours.Grouped(("a.mp4", "d.mp4"), "a.mp4", True)
    answer = ours.Answer({}, (group,), (), 0.5, "m")
    got = evaluate.evaluate_ours(evaluate.Truth(logo),
                                 ours.Outcome(answer, answer, None, 60, 60, 4000, ""))["groups"]
    assert got["groups_with_hard"] == 1 and got["removals"] == 1 and got["unasked_removals"] == 0


def test_matches_of_strangers_are_refused() -> None:
    row = {"a": "/x/a.mp4", "b": "/x/z.mp4", "score": 0.1, "relation": "copy", "segments": []}
    with pytest.raises((ValueError, KeyError)):
        _judge(_report(matches=[row]))


def test_a_row_for_each_method_stands_in_every_table() -> None:
    small = evaluate.Truth(FILES)
    row = {"title": "us", "kind": "ours", "rule": "r", **_judge(_report())}
    scores = np.where(small.kind >= evaluate.PARTIAL, 0.9, 0.1)
    rival = evaluate.plain({
        "title": "them", "kind": "surrogate", "rule": "r",
        **evaluate.evaluate_scores(small, scores, scores > 0.5),
        "groups": evaluate.group_figures(small, evaluate.components(small, scores > 0.5)),
        "cost": {"cpu_s_per_min": 1.0, "bytes_per_min": 8.0}})
    result = {"methods": [row, rival], "quick": False, "notes": [], "date": "D", "commit": "C",
              "version": "V", "edits": {"mirror": {"tier": 2, "gated": True},
                                        "trim_head": {"tier": 1, "gated": True}},
              "counts": {"files": 4, "minutes": 0.6, "originals": 1, "whole": 1, "partial": 1,
                         "negatives": 3, "hard_negatives": 0}}
    page = table.markdown(result)
    assert page.count("\n| us |") == 5 and page.count("\n| them |") == 4
    assert "| mirror | 1 | 100.0 | 100.0 |" in page
    short = table.short(result)
    assert "| them | *surrogate* |" in short and "on D, commit C: 4 files" in short


def test_a_row_without_clips_is_in_every_table_but_that_of_parts() -> None:
    answer = ours.read(_report())
    row = evaluate.plain(evaluate.evaluate_ours(
        evaluate.Truth(FILES), ours.Outcome(answer, answer, None, 60, 60, 4000, "")))
    assert "partial" not in row and row["recall_whole"]["value"] == 1


def test_parts_are_counted_on_originals_parts_and_what_is_no_part() -> None:
    assert evaluate.for_parts(evaluate.Truth(FILES)) == ["a.mp4", "c.mp4", "d.mp4"]


def test_one_logo_on_two_videos_is_a_hard_negative() -> None:
    logo = [_file("e.mp4", "edit", "dog", Content("dog", (0, 10), (0, 10)), edit="logo_corner"),
            _file("f.mp4", "edit", "cow", Content("cow", (0, 10), (0, 10)), edit="logo_corner"),
            _file("g.mp4", "edit", "owl", Content("owl", (0, 10), (0, 10)), edit="blur")]
    assert evaluate.Truth(logo).hard.tolist() == [True, False, False]


# -- two runs, one table -----------------------------------------------------------------------


def test_two_runs_are_the_same_but_for_the_clock() -> None:
    a = {"date": "Monday", "machine": "m", "stages_s": {"rivals": 1},
         "methods": [{"title": "us", "recall": 0.5, "cost": {"cpu_s_per_min": 1}}]}
    b = {**a, "date": "Tuesday",
         "methods": [{"title": "us", "recall": 0.5, "cost": {"cpu_s_per_min": 2}}]}
    assert list(same.differences(a, b)) == []
    b = {**a, "extra": 1, "methods": [{"title": "us", "recall": 0.6}]}
    assert list(same.differences(a, b)) == ["/extra: only in the second",
                                            "/methods/us/recall: 0.5, 0.6"]
    assert list(same.differences({"methods": [1]}, {"methods": []})) == ["/methods: [1], []"]


# -- the rivals --------------------------------------------------------------------------------


def test_a_rival_hashes_each_file_once_and_counts_what_it_cannot_read(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "set" / "test"
    folder.mkdir(parents=True)
    for name, content in (("a.mp4", "one"), ("b.mp4", "one"), ("c.mp4", "two"), ("d.mp4", "bad")):
        (folder / name).write_text(content)
    truth.save(tmp_path / "truth_test.json", FILES)

    def read(path: str) -> str:
        text = pathlib.Path(path).read_text()
        if text == "bad":
            raise OSError("cannot read this")
        return text

    monkeypatch.setitem(rivals.BY_NAME, "exact", replace(rivals.BY_NAME["exact"], hash=read))
    run = ["--work", str(tmp_path), "--only", "exact", "--jobs", "1"]
    assert rivals.main(run) == 0 and "4 of 4 files hashed" in capsys.readouterr().out
    scores = np.load(tmp_path / "rivals/test/exact_scores.npy")
    assert scores[0, 1] == 1 and scores[0, 2] == 0 and (scores[3] == seed.NEVER).all()
    note = json.loads((tmp_path / "rivals/test/exact.json").read_text())
    assert note["failed"] == [["d.mp4", "OSError: cannot read this"]]
    # What failed or changed is tried again, and nothing else.
    (folder / "d.mp4").write_text("two")
    assert rivals.main(run) == 0 and "1 of 1 files hashed" in capsys.readouterr().out
    (folder / "c.mp4").write_text("six")  # of the same length
    assert rivals.main(run) == 0 and "1 of 1 files hashed" in capsys.readouterr().out
    assert np.load(tmp_path / "rivals/test/exact_scores.npy")[2, 3] == 0
    (folder / "c.mp4").write_text("two")  # known, so it is scored alone
    assert rivals.main(run) == 0 and "hashed" not in capsys.readouterr().out
    assert np.load(tmp_path / "rivals/test/exact_scores.npy")[2, 3] == 1
    assert rivals.main(run) == 0 and capsys.readouterr().out == ""


def test_stash_holds_lengths_against_each_other() -> None:
    pairs = {name: rivals.BY_NAME[name].score([5, 5, 5], [10.0, 10.9, 11.1])
             for name in ("stash", "stash_any")}
    assert pairs["stash"][0].tolist() == [1, 1, seed.NEVER]
    assert pairs["stash_any"][0].tolist() == [1, 1, 1]


# -- the first seed's surrogate ----------------------------------------------------------------


def test_the_seed_compares_flattened_rows_of_equal_length_alone() -> None:
    one = np.eye(4, dtype=np.float16)[:3]
    near, short = one.copy(), one[:2]
    near[0, 1] = 0.25
    scores = seed.scores([one, one, near, short])
    assert scores[0, 1] == 1 >= rivals.BY_NAME["seed"].threshold > scores[0, 2]
    assert scores[0, 2] == pytest.approx(1 / 1.25)
    assert (scores[:3, 3] == seed.NEVER).all() and scores[3, 3] == 1


def test_surrogates_are_named_so_wherever_their_title_stands() -> None:
    for rival in rivals.RIVALS:
        assert ("surrogate" in rival.title) == (rival.kind == "surrogate")
