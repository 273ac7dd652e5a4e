"""Whatever a report holds, saving and loading it are inverse."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reports import reports
from twinreel.report import Report


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
