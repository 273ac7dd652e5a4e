"""Whatever a report holds, saving and loading it are inverse."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from twinreel.report import FolderPair, Report
from twinreel.types import (
    RELATIONS,
    Failure,
    Group,
    Match,
    Segment,
    Track,
    Video,
    VideoFile,
    VideoInfo,
)

# Any bytes but NUL and '/' may stand in a name; Python shows what is not UTF-8 as surrogates.
names = st.binary(min_size=1, max_size=12).filter(lambda b: not {0, 47} & set(b))
paths = names.map(lambda b: "/v/" + b.decode("utf-8", "surrogateescape"))
words = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
finite = st.floats(0, 1e6)
share = st.floats(0, 1)
whole = st.integers(0, 2**63 - 1)
spans = st.tuples(finite, finite)

tracks = st.lists(st.builds(Track, words, words, st.integers(0, 8)), max_size=2).map(tuple)
infos = st.builds(
    VideoInfo, finite, whole, whole, whole, whole, words, words, st.none() | finite,
    st.none() | finite, st.sampled_from([0, 90, 180, 270]), st.floats(0.1, 4), whole,
    st.sampled_from([8, 10]), st.sampled_from(["", "pq"]), st.booleans(), tracks, tracks,
)  # fmt: skip
segments = st.builds(Segment, spans, spans, st.floats(0.5, 2), st.booleans())


@st.composite
def reports(draw: st.DrawFn) -> Report:
    at = draw(st.lists(paths, min_size=1, max_size=4, unique=True))
    videos = tuple(
        Video(
            VideoFile(path, *draw(st.tuples(whole, whole, whole, whole, words)),
                      draw(st.none() | words)),
            draw(infos), draw(st.booleans()), draw(words), draw(words), draw(finite),
            draw(st.tuples(share, share, share, share)),
        )
        for path in at
    )  # fmt: skip
    some = st.sampled_from(at)
    matches = st.builds(
        Match, some, some, share, st.sampled_from(RELATIONS),
        st.lists(segments, max_size=2).map(tuple), share, share,
    )  # fmt: skip
    losses = st.dictionaries(some, st.lists(words, max_size=2))
    groups = st.builds(
        lambda members, n, *rest: Group(tuple(members), members[n % len(members)], *rest),
        st.lists(some, min_size=1, max_size=4, unique=True), st.integers(0, 9), words, losses,
        st.sampled_from([None, "accept", "skip", "not_a_match"]), st.booleans(),
    )  # fmt: skip
    failures = st.builds(Failure, paths, words, words, words)
    folders = st.builds(FolderPair, paths, paths, whole, whole, whole, whole)
    options = st.dictionaries(words, st.none() | st.booleans() | whole | words)
    return Report(
        library=draw(words),
        videos=videos,
        matches=draw(st.lists(matches, max_size=3).map(tuple)),
        groups=draw(st.lists(groups, max_size=3).map(tuple)),
        failures=draw(st.lists(failures, max_size=2).map(tuple)),
        folders=draw(st.lists(folders, max_size=2).map(tuple)),
        skipped=draw(st.dictionaries(words, whole)),
        options=draw(options),
        model=draw(options),
        notes=draw(st.lists(words, max_size=2).map(tuple)),
        roots=draw(st.lists(paths, max_size=2).map(tuple)),
        created=draw(words),
        twinreel=draw(words),
        partial=draw(st.booleans()),
    )


@settings(max_examples=60, deadline=None)
@given(reports(), st.sampled_from(["json", "jsonl"]))
def test_saved_and_loaded_is_the_same(report: Report, ending: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = report.save(Path(folder) / f"report.{ending}")
        assert Report.load(path) == report
        path.read_bytes().decode("ascii")  # any editor and any tool takes it


@settings(max_examples=60, deadline=None)
@given(reports())
def test_plain_data_and_back(report: Report) -> None:
    assert Report.from_dict(json.loads(json.dumps(report.to_dict()))) == report


@settings(max_examples=60, deadline=None)
@given(reports())
def test_csv_and_text_can_always_be_written(report: Report) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for ending in ("csv", "txt"):
            report.save(Path(folder) / f"report.{ending}").read_text(encoding="utf-8")
        rows = sum(len(g.members) for g in report.groups)
        assert report.csv().count("\n") >= rows + 1
