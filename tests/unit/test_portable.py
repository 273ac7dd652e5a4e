"""Vectors out of a library and back."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from twinreel import portable
from twinreel.cli import main
from twinreel.errors import BadConfig, ExtraMissing, InputError, NothingFound
from twinreel.store import Library
from twinreel.types import Features, VideoFile

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:lance.*")


def _features(key: str, rows: int, model: str = "m@1", seed: int = 0) -> Features:
    dice = np.random.default_rng(seed)
    vectors = dice.standard_normal((rows, 16)).astype(np.float16).astype(np.float32)
    edges = np.linspace(0, 3.5, rows + 1)
    return Features(
        key, model, "s", vectors, np.stack([edges[:-1], edges[1:]], axis=1),
        dice.random(rows) < 0.3, 3.5,
    )  # fmt: skip


@pytest.fixture
def library(tmp_path: Path) -> Library:
    kept = Library.open(tmp_path / "one.db")
    for n in range(40):
        kept.put_features(_features(f"key{n:02}", 1 + n % 5, seed=n))
        file = VideoFile(f"/films/{n}.mp4", 1, 1, n, 1, "", f"key{n:02}")
        kept.put_files([file], {}, "")
    return kept


@pytest.mark.parametrize("fmt", ["parquet", "npy", "lance"])
@pytest.mark.parametrize("part", [7, 65_536])
def test_what_goes_out_comes_back(
    fmt: str, part: int, library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyarrow")
    if fmt == "lance":
        pytest.importorskip("lance", reason="pylance is not installed")
    monkeypatch.setattr(portable, "PART_ROWS", part)
    out = tmp_path / f"out.{fmt}"
    counts = portable.write_out(library, out, fmt)
    with Library.open(tmp_path / "two.db") as other:
        assert portable.read_in(other, out) == counts == (40, 120)
        for mine in library.all_features("m@1", "s"):
            theirs = other.features(mine.key, "m@1", "s")
            assert theirs is not None and theirs.duration_s == mine.duration_s
            np.testing.assert_array_equal(theirs.vectors, mine.vectors)
            np.testing.assert_array_equal(theirs.spans_s, mine.spans_s)
            np.testing.assert_array_equal(theirs.blank, mine.blank)
    with pytest.raises(InputError, match="there already"):
        portable.write_out(library, out, fmt)


def test_columns_are_plain(library: Library, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    portable.write_out(library, tmp_path / "a.parquet", "parquet")
    table = parquet.read_table(tmp_path / "a.parquet")
    assert table.column_names == [*portable.COLUMNS, "vector"]
    assert table.column("path")[0].as_py() == "/films/0.mp4"
    assert str(table.schema.field("vector").type) == "fixed_size_list<element: halffloat>[16]"
    portable.write_out(library, tmp_path / "pairs", "npy")
    names = sorted(str(p.relative_to(tmp_path / "pairs")) for p in tmp_path.rglob("pairs/*/*"))
    assert names == ["embeddings/img_emb_00000.npy", "metadata/metadata_00000.parquet"]
    rows = np.load(tmp_path / "pairs" / "embeddings" / "img_emb_00000.npy")
    assert rows.shape == (120, 16) and rows.dtype == np.float16


def test_one_kind_at_a_time(library: Library, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    library.put_features(_features("key00", 2, "other@2"))
    with pytest.raises(BadConfig, match=r"several kinds.*--model"):
        portable.write_out(library, tmp_path / "a.parquet", "parquet")
    assert portable.write_out(library, tmp_path / "a.parquet", "parquet", "other") == (1, 2)
    with pytest.raises(NothingFound, match="no vectors of none"):
        portable.write_out(library, tmp_path / "b.parquet", "parquet", "none")


def test_other_files_are_refused(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    (tmp_path / "text.parquet").write_text("no")
    parquet.write_table(pa.table({"id": ["a"]}), tmp_path / "plain.parquet")
    with Library.open(tmp_path / "l.db") as library:
        for name, words in (("text", "not readable"), ("plain", "which model")):
            with pytest.raises(InputError, match=words):
                portable.read_in(library, tmp_path / f"{name}.parquet")


def test_a_missing_package_is_named(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyarrow")
    monkeypatch.setitem(sys.modules, "lance", None)
    with pytest.raises(ExtraMissing, match=r"twinreel\[lance\]"):
        portable.write_out(library, tmp_path / "a.lance", "lance")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ExtraMissing, match=r"twinreel\[parquet\]"):
        portable.write_out(library, tmp_path / "a.parquet", "parquet")


def test_the_command(library: Library, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    library.close()
    out = str(tmp_path / "x.parquet")
    done = CliRunner().invoke(
        main, ["library", "export", out, "--library", str(tmp_path / "one.db")]
    )
    assert done.output == "40 videos, 120 vectors\n", done.output
    done = CliRunner().invoke(
        main, ["library", "import", out, "--library", str(tmp_path / "new.db")]
    )
    assert done.output == "40 videos, 120 vectors\n", done.output
