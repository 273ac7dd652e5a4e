"""Files that are whole or not there, and are known for what they are."""

from __future__ import annotations

import errno
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from twinreel.errors import OutputError
from twinreel.extract import whole
from twinreel.extract.outputs import OtherOutput, Result, Shelf, npy_header
from twinreel.extract.whole import Notes, write_whole

REQUEST = {"model": {"name": "m"}, "weights": "abc", "preprocessing": {}, "sampling": {"fps": 1.0},
           "output": {"dtype": "float16"}, "start": 0.0, "end": None}  # fmt: skip
ARRAY = np.arange(12, dtype=np.float16).reshape(3, 4)
SPANS = np.array([[0.0, 1.0], [1.0, 2.0], [2.0, 3.0]])


def _shelf(folder: Path, fmt: str, meta: str = "sidecar") -> Shelf:
    if fmt == "parquet":
        pytest.importorskip("pyarrow")
    return Shelf(folder, fmt, meta, "owner")


def _put(shelf: Shelf, name: str = "a/x.mp4.npy") -> None:
    shelf.put(Result(name, ARRAY, SPANS, dict(REQUEST)))
    shelf.flush()


@pytest.mark.parametrize("fmt", ["npy", "npz", "safetensors", "parquet", "tar"])
def test_what_is_put_is_found_by_the_next_process(fmt: str, tmp_path: Path) -> None:
    assert _shelf(tmp_path, fmt).find("a/x.mp4.npy", REQUEST) is None
    _put(_shelf(tmp_path, fmt))
    meta = _shelf(tmp_path, fmt).find("a/x.mp4.npy", REQUEST)
    assert meta is not None and meta["shape"] == [3, 4] and meta["dtype"] == "float16"


@pytest.mark.parametrize("fmt", ["npy", "npz", "safetensors", "parquet", "tar"])
@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("model", {"name": "other"}, "model.name is 'm', asked is 'other'"),
        ("weights", "def", "weights is 'abc'"),
        ("sampling", {"fps": 2.0}, "sampling.fps is 1.0, asked is 2.0"),
        ("end", 4.0, "end is None"),
    ],
)
def test_other_outputs_are_refused(
    fmt: str, field: str, value: Any, words: str, tmp_path: Path
) -> None:
    _put(_shelf(tmp_path, fmt))
    with pytest.raises(OtherOutput) as caught:
        _shelf(tmp_path, fmt).find("a/x.mp4.npy", {**REQUEST, field: value})
    assert words in str(caught.value)


def test_arrays_and_times_can_be_read_without_us(tmp_path: Path) -> None:
    _put(_shelf(tmp_path, "npy"))
    np.testing.assert_array_equal(np.load(tmp_path / "a/x.mp4.npy"), ARRAY)
    words = json.loads((tmp_path / "a/x.mp4.npy.json").read_text())
    assert words["spans_s"] == SPANS.tolist()
    _put(_shelf(tmp_path, "npz"), "b.npz")
    with np.load(tmp_path / "b.npz") as file:
        np.testing.assert_array_equal(file["features"], ARRAY)
        np.testing.assert_array_equal(file["spans_s"], SPANS)
    from safetensors.numpy import load_file

    _put(_shelf(tmp_path, "safetensors"), "c.safetensors")
    np.testing.assert_array_equal(load_file(tmp_path / "c.safetensors")["features"], ARRAY)


def test_parquet_rows(tmp_path: Path) -> None:
    shelf = _shelf(tmp_path, "parquet")
    _put(shelf, "a.npy")
    _put(shelf, "b.npy")
    import pyarrow.parquet as parquet

    shards = sorted(tmp_path.glob("shard-*.parquet"))
    assert len(shards) == 2
    table = parquet.read_table(shards[0]).to_pydict()
    assert table["name"] == ["a.npy"] * 3 and table["row"] == [0, 1, 2]
    assert table["start_s"] == [0.0, 1.0, 2.0]
    np.testing.assert_array_equal(np.array(table["vector"]), ARRAY)


def test_tar_keys_are_webdataset_samples(tmp_path: Path) -> None:
    _put(_shelf(tmp_path, "tar"), "a.b.mp4.npy")
    with tarfile.open(next(tmp_path.glob("shard-*.tar"))) as tar:
        names = tar.getnames()
    assert len(names) == 2 and {n.split(".", 1)[1] for n in names} == {"npy", "json"}
    assert len({n.split(".", 1)[0] for n in names}) == 1


@pytest.mark.parametrize("share", [0.2, 0.5, 0.99])
def test_a_cut_array_is_not_whole(share: float, tmp_path: Path) -> None:
    shelf = _shelf(tmp_path, "npy")
    _put(shelf, "x.npy")
    data = (tmp_path / "x.npy").read_bytes()
    (tmp_path / "x.npy").write_bytes(data[: int(len(data) * share)])
    with pytest.raises(OtherOutput, match="not a whole npy file"):
        shelf.find("x.npy", REQUEST)
    with pytest.raises(ValueError):
        npy_header(tmp_path / "x.npy")


def test_an_array_without_metadata_is_not_trusted(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", ARRAY)
    with pytest.raises(OtherOutput, match="no metadata"):
        _shelf(tmp_path, "npy").find("x.npy", REQUEST)


def test_an_array_of_another_shape_than_its_words_is_refused(tmp_path: Path) -> None:
    _put(_shelf(tmp_path, "npy"), "x.npy")
    np.save(tmp_path / "x.npy", ARRAY[:2])
    with pytest.raises(OtherOutput, match=r"holds \[2, 4\]"):
        _shelf(tmp_path, "npy").find("x.npy", REQUEST)


def test_a_full_disk_leaves_the_old_file_and_no_half_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.npy"
    path.write_bytes(b"old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(whole.os, "fsync", full)
    with pytest.raises(OutputError, match="No space left on device.*goes on where it stopped"):
        write_whole(path, lambda file: np.save(file, ARRAY))
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_notes_are_shared_and_survive_a_cut_line(tmp_path: Path) -> None:
    a, b = Notes(tmp_path, "status", "a"), Notes(tmp_path, "status", "b")
    a.add({"name": "x", "state": "started"})
    b.add({"name": "x", "state": "done"})
    with open(tmp_path / "status-a.jsonl", "ab") as file:
        file.write(b'{"name": "y", "sta')
    assert {n: r["state"] for n, r in a.refresh().items()} == {"x": "done"}
    b.add({"name": "z", "state": "done"})
    assert sorted(a.refresh()) == ["x", "z"]


def test_notes_of_machines_with_unlike_clocks(tmp_path: Path) -> None:
    """The order is that of the clock they share, whatever their own say."""
    server = iter([100.0, 101.0])
    a = Notes(tmp_path, "status", "a", lambda: next(server))
    b = Notes(tmp_path, "status", "b", lambda: next(server))
    a.add({"name": "x", "state": "failed"})
    b.add({"name": "x", "state": "done"})
    assert Notes(tmp_path, "status", "c").refresh()["x"]["state"] == "done"


def test_leftovers_of_a_killed_owner_are_removed(tmp_path: Path) -> None:
    shelf = _shelf(tmp_path, "npy")
    name = "we[ird]*.npy"
    for left in (f".{name}.part-dead", f".{name}.json.part-dead"):
        (tmp_path / left).write_text("half")
    (tmp_path / ".other.npy.part-alive").write_text("half")
    shelf.clean(name)
    assert [p.name for p in tmp_path.iterdir()] == [".other.npy.part-alive"]
