"""Stored projections: what they say of themselves, and that they meet the right network only."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from twinreel.errors import BadConfig
from twinreel.extract.options import ExtractOptions
from twinreel.extract.principal import Projection, load, save
from twinreel.extract.projection import settle

MADE_BY = {"model": {"name": "m"}, "weights": "abc", "preprocessing": {"fit": "crop"}}


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWINREEL_WEIGHTS", str(tmp_path / "weights"))  # digests are kept there


def _stored(path: Path, made_by: dict[str, Any] | None = None) -> Path:
    made = Projection.fit(np.random.default_rng(0).normal(size=(9, 6)).astype(np.float32), 3)
    made.made_by = made_by or {}
    save(path, made, "owner")
    return path


def _settle(path: Path, request: dict[str, Any]) -> list[str]:
    """Digests of the projections that a run with this network is given."""
    given: list[str] = []
    entry = SimpleNamespace(spec=SimpleNamespace(dim=6, name="m"), request=request, suffix="")
    runner: Any = SimpleNamespace(
        entries=[entry], cut=lambda i: 0, project=lambda i, projection, digest: given.append(digest)
    )
    options, unused = ExtractOptions(embedding_size=2, projection=str(path)), SimpleNamespace()
    settle(runner, options, [unused], path.parent, unused, unused)  # type: ignore[arg-type,list-item]
    return given


def test_a_stored_projection_says_what_made_it(tmp_path: Path) -> None:
    path = _stored(tmp_path / "p.npz", MADE_BY)
    found = load(path, 2)
    assert found.made_by == MADE_BY and found.dim == 2
    assert len(_settle(path, MADE_BY)) == 1


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"weights": "random:0"}, "weights is 'abc', asked is 'random:0'"),
        ({"model": {"name": "m", "layer": "x"}}, "model.layer is None, asked is 'x'"),
        ({"preprocessing": {"fit": "short"}}, "preprocessing.fit is 'crop', asked is 'short'"),
    ],
)
def test_a_projection_of_another_network_is_refused(
    other: dict[str, Any], words: str, tmp_path: Path
) -> None:
    path = _stored(tmp_path / "p.npz", MADE_BY)
    with pytest.raises(BadConfig, match="another network.*move it away") as caught:
        _settle(path, {**MADE_BY, **other})
    assert words in str(caught.value)


def test_files_of_earlier_versions_are_taken_at_their_word(tmp_path: Path) -> None:
    made = load(_stored(tmp_path / "new.npz", MADE_BY), 3)
    path = tmp_path / "old.npz"
    np.savez(path, mean=made.mean, components=made.components, rows=made.rows)
    assert load(path, 3).made_by == {} and len(_settle(path, MADE_BY)) == 1


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_damaged_one_is_one_message(share: float, tmp_path: Path) -> None:
    path = _stored(tmp_path / "p.npz", MADE_BY)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(BadConfig, match="not readable"):
        load(path, 2)
    with open(path, "wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(BadConfig, match="not readable"):
        load(path, 2)
