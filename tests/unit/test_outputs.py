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
from twinreel.extract.outputs import NameTooLong, OtherOutput, Result, Shelf, npy_header
from twinreel.extract.whole import Notes, temporary, write_whole

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


@pytest.mark.parametrize("fmt", ["parquet", "tar"])
def test_of_two_entries_of_a_video_the_later_counts(fmt: str, tmp_path: Path) -> None:
    """Whatever the names of their shards, and for a process that knew the earlier one."""
    _shelf(tmp_path, fmt)  # or skips
    sooner = Shelf(tmp_path, fmt, "sidecar", "zz", lambda: 100.0)
    later = Shelf(tmp_path, fmt, "sidecar", "aa", lambda: 101.0)
    _put(sooner)
    knows = _shelf(tmp_path, fmt)
    assert knows.find("a/x.mp4.npy", REQUEST)
    other = {**REQUEST, "weights": "def"}
    later.put(Result("a/x.mp4.npy", ARRAY, SPANS, dict(other)))
    later.flush()
    assert _shelf(tmp_path, fmt).find("a/x.mp4.npy", other)
    knows.refresh()
    assert knows.find("a/x.mp4.npy", other)


@pytest.mark.parametrize("fmt", ["parquet", "tar"])
def test_what_is_withdrawn_from_an_open_shard_is_not_written(fmt: str, tmp_path: Path) -> None:
    shelf = _shelf(tmp_path, fmt)
    for name in ("a.npy", "b.npy"):
        shelf.put(Result(name, ARRAY, SPANS, dict(REQUEST)))
    shelf.withdraw("a.npy")
    shelf.flush()
    fresh = _shelf(tmp_path, fmt)
    assert fresh.find("a.npy", REQUEST) is None and fresh.find("b.npy", REQUEST)


@pytest.mark.parametrize("fmt", ["parquet", "tar"])
def test_a_shard_is_looked_at_for_what_its_metadata_says(fmt: str, tmp_path: Path) -> None:
    shelf = _shelf(tmp_path, fmt)
    assert shelf._shards is not None
    shelf._shards.add("x.npy", ARRAY, SPANS, {**REQUEST, "shape": [9, 4], "dtype": "float16"})
    shelf._shards.add("y.npy", ARRAY, SPANS, {**REQUEST, "shape": [3, 4], "dtype": "float32"})
    shelf.flush()
    for name in ("x.npy", "y.npy"):
        with pytest.raises(OtherOutput, match=r"holds \[3, 4\] float16, its metadata speaks of"):
            _shelf(tmp_path, fmt).find(name, REQUEST)


@pytest.mark.parametrize("fmt", ["parquet", "tar"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.7])
def test_a_damaged_shard_ends_the_run_with_one_message(
    fmt: str, share: float, tmp_path: Path
) -> None:
    _put(_shelf(tmp_path, fmt))
    path = next(tmp_path.glob("shard-*"))
    data = path.read_bytes()
    if fmt == "tar":
        data = data[: data.rindex(b"}")]  # not the zeros at its end
    path.write_bytes(data[: int(len(data) * share)])
    shelf = _shelf(tmp_path, fmt)
    for _ in range(2):  # the next video meets it too
        with pytest.raises(OutputError, match=f"(?s){path.name}.*move it away"):
            shelf.find("b.npy", REQUEST)


@pytest.mark.parametrize("fmt", ["parquet", "tar"])
def test_shards_of_others_are_not_taken_for_ours(fmt: str, tmp_path: Path) -> None:
    shelf = _shelf(tmp_path, fmt)
    path = tmp_path / f"shard-000.{fmt}"
    if fmt == "tar":
        (tmp_path / "a.json").write_text("{}")
        with tarfile.open(path, "w") as tar:
            tar.add(tmp_path / "a.json", "a.json")
    else:
        import pyarrow
        import pyarrow.parquet as parquet

        parquet.write_table(pyarrow.table({"x": [1]}), path)
    with pytest.raises(OutputError, match="no shard of extract"):
        shelf.find("x.npy", REQUEST)


@pytest.mark.parametrize("fmt", ["parquet", "tar"])
def test_shards_take_videos_without_rows_and_any_name(fmt: str, tmp_path: Path) -> None:
    shelf = _shelf(tmp_path, fmt)
    odd = "caf\udce9.mp4.npy"  # as Python reads a name that is not UTF-8
    shelf.put(Result("none.npy", ARRAY[:0], SPANS[:0], dict(REQUEST)))
    shelf.put(Result(odd, ARRAY, SPANS, dict(REQUEST)))
    shelf.put(Result("maps.npy", ARRAY.reshape(3, 2, 2), SPANS, dict(REQUEST)))
    shelf.flush()
    fresh = _shelf(tmp_path, fmt)
    shapes = {"none.npy": [0, 4], odd: [3, 4], "maps.npy": [3, 2, 2]}
    for name, shape in shapes.items():
        meta = fresh.find(name, REQUEST)
        assert meta is not None and meta["shape"] == shape
    if fmt == "parquet":
        import pyarrow.parquet as parquet

        table = parquet.read_table(next(tmp_path.glob("shard-*"))).to_pydict()
        assert table["name"] == ["caf\\xe9.mp4.npy"] * 3 + ["maps.npy"] * 3
        np.testing.assert_array_equal(np.array(table["vector"]), np.concatenate([ARRAY, ARRAY]))


def test_a_shard_of_nothing_but_videos_without_rows(tmp_path: Path) -> None:
    shelf = _shelf(tmp_path, "parquet")
    shelf.put(Result("none.npy", ARRAY[:0], SPANS[:0], dict(REQUEST)))
    shelf.flush()
    assert _shelf(tmp_path, "parquet").find("none.npy", REQUEST)


@pytest.mark.parametrize("fmt", ["npz", "safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_cut_file_is_not_whole(fmt: str, share: float, tmp_path: Path) -> None:
    shelf = _shelf(tmp_path, fmt)
    _put(shelf, "x")
    data = (tmp_path / "x").read_bytes()
    (tmp_path / "x").write_bytes(data[: int(len(data) * share)])
    with pytest.raises(OtherOutput, match=f"not a whole {fmt} file"):
        shelf.find("x", REQUEST)


def test_an_array_alone_is_no_npz(tmp_path: Path) -> None:
    with open(tmp_path / "x.npz", "wb") as file:
        np.save(file, ARRAY)
    with pytest.raises(OtherOutput, match="not a whole npz file"):
        _shelf(tmp_path, "npz").find("x.npz", REQUEST)


@pytest.mark.parametrize(
    ("there", "asked", "words"),
    [
        ({}, {"pool": "mean"}, ""),
        ({}, {"pool": "max"}, "model.pool is 'mean', asked is 'max'"),
        ({"pool": "max"}, {"pool": "mean"}, "model.pool is 'max', asked is 'mean'"),
        ({}, {"pool": "mean", "layer": "top"}, "model.layer is None, asked is 'top'"),
    ],
)
def test_outputs_that_do_not_name_their_pooling(
    there: dict[str, str], asked: dict[str, str], words: str, tmp_path: Path
) -> None:
    """Earlier versions named it with a layer only."""
    shelf = _shelf(tmp_path, "npy")
    shelf.put(Result("x.npy", ARRAY, SPANS, {**REQUEST, "model": {"name": "m", **there}}))
    _agrees(shelf, {**REQUEST, "model": {"name": "m", **asked}}, words)


@pytest.mark.parametrize(
    ("there", "asked", "words"),
    [
        ("auto", "bf16", ""),  # of an earlier version
        ("fp32", "fp32", ""),
        ("fp32", "bf16", "output.precision is 'fp32', asked is 'bf16'"),
    ],
)
def test_the_arithmetic_that_was_used_must_be_the_same(
    there: str, asked: str, words: str, tmp_path: Path
) -> None:
    shelf = _shelf(tmp_path, "npy")
    shelf.put(Result("x.npy", ARRAY, SPANS, {**REQUEST, "output": {"precision": there}}))
    _agrees(shelf, {**REQUEST, "output": {"precision": asked}}, words)


def _agrees(shelf: Shelf, request: dict[str, Any], words: str) -> None:
    if not words:
        assert shelf.find("x.npy", request)
        return
    with pytest.raises(OtherOutput) as caught:
        shelf.find("x.npy", request)
    assert str(caught.value) == words


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


def test_long_names_are_written_and_too_long_ones_are_told_before_the_work(tmp_path: Path) -> None:
    shelf = _shelf(tmp_path, "npy")
    longest = "n" * 246 + ".npy"  # with .json behind it: as long as a name may be
    _put(shelf, longest)
    assert shelf.find(longest, REQUEST)
    for more in ("n" * 247, "n" * 252):  # the sidecar's name, the array's own
        with pytest.raises(NameTooLong, match="too long for the output disk"):
            shelf.find(f"{more}.npy", REQUEST)
    assert _shelf(tmp_path, "npz").find("n" * 251 + ".npz", REQUEST) is None


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


def test_what_a_killed_owner_leaves_has_a_short_name_and_is_found_by_the_long_one(
    tmp_path: Path,
) -> None:
    shelf = _shelf(tmp_path, "npy")
    name = "n" * 246 + ".npy"
    for half in (name, f"{name}.json", "other.npy"):
        (tmp_path / f"{temporary(half)}dead").write_text("half")
    shelf.clean(name)
    assert [p.name for p in tmp_path.iterdir()] == [f"{temporary('other.npy')}dead"]


def test_what_killed_owners_left_anywhere_is_removed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    dead, alive = "0" * 32, "1" * 32
    left = [f"{temporary('manifest.jsonl')}{dead}", f"a/{temporary('x.npy')}{dead}"]
    kept = [f"a/{temporary('x.npy')}{alive}", f"{temporary('x.npy')}4711", "shard-0.tar"]
    for name in (*left, *kept):
        (tmp_path / name).write_text("half")
    _shelf(tmp_path, "npy").tidy(["a/x.npy", "b/y.npy"], lambda owner: owner == dead)
    found = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()}
    assert found == set(kept)
