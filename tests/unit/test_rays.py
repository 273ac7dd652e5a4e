"""What can be said of the Ray runner without a cluster."""

from __future__ import annotations

import sys

import pytest
from click.testing import CliRunner

from twinreel.cli import main
from twinreel.rays import places


@pytest.mark.parametrize("verb", [["extract", "-o", "out"], ["dups", "--library", "l.db"]])
def test_without_the_extra_its_name_is_given(
    verb: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("in")
    (folder / "a.mp4").write_bytes(b"x" * 1000)
    monkeypatch.chdir(folder)
    monkeypatch.setitem(sys.modules, "ray", None)
    command = [verb[0], ".", *verb[1:], "--runner", "ray", "--model", "dctgrad.v1"]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 2 and "pip install 'twinreel[ray]'" in done.output


@pytest.mark.parametrize(
    ("nodes", "cpus", "expected"),
    [
        # One CPU of every node stays free for what feeds the actors.
        ([{"CPU": 2}, {"CPU": 2}], 1, (2, 1.0, 0.0)),
        ([{"CPU": 2}, {"CPU": 2}], 4, (2, 1.0, 0.0)),
        ([{"CPU": 16}], 4, (3, 4.0, 0.0)),
        ([{"CPU": 16}, {"CPU": 9}], 4, (5, 4.0, 0.0)),
        ([{"CPU": 1}, {"CPU": 1}], 1, (2, 0.0, 0.0)),
        ([{"CPU": 1}, {"CPU": 4}], 2, (1, 2.0, 0.0)),
        ([{"CPU": 16, "GPU": 2}], 4, (2, 1.0, 1.0)),
        ([{"CPU": 2, "GPU": 2}], 4, (2, 0.0, 1.0)),
    ],
)
def test_actors_leave_a_cpu_free(nodes: list, cpus: int, expected: tuple) -> None:
    count, each, _ = places(nodes, cpus, gpus=True)
    assert places(nodes, cpus, gpus=True) == expected
    for node in nodes:
        assert node["CPU"] - each * (node["CPU"] // each if each else 0) >= 0
    assert count * each <= sum(node["CPU"] - 1 for node in nodes)
