"""The demo library with the network that ships: what `make run` shows a newcomer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from twinreel.cli import main
from twinreel.demo import demo_library


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    home = tmp_path_factory.mktemp("demo")
    demo_library(home / "demo")
    done = CliRunner().invoke(
        main,
        ["dups", str(home / "demo"), "--library", str(home / "lib.db"), "--json", "-j", "2",
         "--nice", "0", "--all-matches"],
    )  # fmt: skip
    assert done.exit_code == 0, done.output + repr(done.exception)
    found: dict[str, Any] = json.loads(done.stdout)
    (home / "report.json").write_text(done.stdout)
    return found | {"at": home / "report.json"}


def test_every_copy_is_grouped_with_its_original_and_nothing_else(report: dict[str, Any]) -> None:
    pairs = {frozenset(Path(p).stem for p in g["members"]) for g in report["groups"]}
    assert pairs == {
        frozenset(("orchard", "orchard letterbox")),
        frozenset(("meadow", "VID_20260412")),
        frozenset(("canyon", "canyon cropped")),
        frozenset(("theatre", "theatre with logo")),
        frozenset(("bridge", "bridge mirrored")),
        frozenset(("market", "market smaller")),
        frozenset(("harbour", "harbour re-encoded")),
    }
    assert all(Path(g["keep"]).parent.name == "originals" for g in report["groups"])


def test_reasons_name_what_decided(report: dict[str, Any]) -> None:
    why = {Path(g["keep"]).stem: g["why"] for g in report["groups"]}
    assert "real detail" in why["market"]
    assert "borders" in why["orchard"]
    assert "cut away" in why["canyon"]
    assert "laid over" in why["theatre"]


def test_the_trimmed_and_the_mirrored_are_told(report: dict[str, Any]) -> None:
    matches = {frozenset((Path(m["a"]).stem, Path(m["b"]).stem)): m for m in report["matches"]}
    trimmed = matches[frozenset(("station", "station trimmed"))]
    longer_first = Path(trimmed["a"]).stem == "station"
    assert trimmed["relation"] == ("contains" if longer_first else "part_of")
    (segment,) = trimmed["segments"]
    start = segment["a" if longer_first else "b"][0]
    assert start == pytest.approx(2.0, abs=0.3), "the first two seconds were cut off"
    mirrored = matches[frozenset(("bridge", "bridge mirrored"))]
    assert all(s["mirrored"] for s in mirrored["segments"])
    plain = matches[frozenset(("market", "market smaller"))]
    assert not any(s["mirrored"] for s in plain["segments"])


def test_another_kept_file_is_compared_anew(report: dict[str, Any]) -> None:
    """`--prefer` the copies: what only the originals show is not given up unasked."""

    def planned(*more: str) -> tuple[set[str], dict[str, str]]:
        words = ["act", "trash", str(report["at"]), "--prefer", "*/copies/*", "--json", *more]
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 0, done.output + repr(done.exception)
        shown = json.loads(done.stdout)["plan"]
        return (
            {Path(s["path"]).stem for s in shown["steps"]},
            {Path(s["path"]).stem: s["reason"] for s in shown["skipped"]},
        )

    steps, stay = planned()
    assert steps == {"orchard", "meadow", "harbour"}  # a border and a lower bitrate lose nothing
    assert "picture area: 28% that is cut away" in stay["canyon"]
    assert "overlay-free picture" in stay["theatre"]
    assert "unmirrored" in stay["bridge"] and "real detail" in stay["market"]
    assert planned("--accept", "overlay")[0] == steps | {"theatre"}


def test_without_the_library_nobody_can_compare(report: dict[str, Any], tmp_path: Path) -> None:
    lost = {k: v for k, v in report.items() if k != "at"} | {"library": str(tmp_path / "no.db")}
    (tmp_path / "r.json").write_text(json.dumps(lost))
    words = ["act", "trash", str(tmp_path / "r.json"), "--prefer", "*/copies/*"]
    shown = CliRunner().invoke(main, words).output
    assert "not compared with this kept file" in shown and "1 files" in shown  # the exact one
