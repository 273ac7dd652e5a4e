"""exact: content keys, and what is byte-identical without decoding anything."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from twinreel.errors import CannotRead
from twinreel.exact import content_key, full_hash, settle
from twinreel.types import VideoFile

LARGE = 2_000_000


def put(path: Path, data: bytes) -> VideoFile:
    path.write_bytes(data)
    about = path.stat()
    return VideoFile(str(path), about.st_size, about.st_mtime_ns, about.st_ino, about.st_dev,
                     key=content_key(str(path)))  # fmt: skip


def changed(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize("size", [0, 1, 64 * 1024, 262_144, 262_145, LARGE])
def test_the_key_follows_the_content_not_the_name(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    a, b = put(tmp_path / "a.mp4", data), put(tmp_path / "b.mp4", data)
    assert a.key == b.key
    assert a.key is not None and len(a.key) == 32
    assert full_hash(a.path) == full_hash(b.path)


@pytest.mark.parametrize("at", [0, 100, LARGE - 1])
def test_head_and_tail_are_in_the_key(tmp_path: Path, at: int) -> None:
    data = os.urandom(LARGE)
    a, b = put(tmp_path / "a.mp4", data), put(tmp_path / "b.mp4", changed(data, at))
    assert a.key != b.key


def test_size_is_in_the_key(tmp_path: Path) -> None:
    a, b = put(tmp_path / "a.mp4", bytes(LARGE)), put(tmp_path / "b.mp4", bytes(LARGE + 1))
    assert a.key != b.key


def test_a_key_reads_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.mp4"
    with open(path, "wb") as file:
        file.truncate(50 * 10**9)  # a hole: takes no room, but would take minutes to read
    assert len(content_key(str(path))) == 32


def test_settle_leaves_true_copies_together(tmp_path: Path) -> None:
    data = os.urandom(LARGE)
    files = [put(tmp_path / f"{n}.mp4", data) for n in "ab"]
    settled, errors = settle(files)
    assert settled == files
    assert errors == []


def test_settle_parts_files_that_only_the_whole_hash_tells_apart(tmp_path: Path) -> None:
    data = os.urandom(LARGE)
    # Between the pieces that the quick key looks at.
    a, b, c = (put(tmp_path / f"{n}.mp4", data) for n in "abc")
    b = put(Path(b.path), changed(data, 200_000))
    assert a.key == b.key == c.key
    settled, errors = settle([a, b, c])
    keys = [f.key for f in settled]
    assert errors == []
    assert keys[0] == keys[2] != keys[1]
    assert all(key is not None and key.startswith(str(a.key)) for key in keys)
    assert [f.path for f in settled] == [a.path, b.path, c.path]


def test_settle_hashes_nothing_that_is_alone(tmp_path: Path) -> None:
    files = [put(tmp_path / f"{n}.mp4", os.urandom(50)) for n in "abc"]

    def never(file: VideoFile) -> str:
        raise AssertionError(f"{file.path} was read whole")

    assert settle(files, never) == (files, [])
    # Two names of one file need no reading either.
    link = replace(files[0], path=str(tmp_path / "link.mp4"))
    assert settle([files[0], link], never)[0] == [files[0], link]


def test_settle_uses_remembered_hashes(tmp_path: Path) -> None:
    data = os.urandom(LARGE)
    files = [put(tmp_path / f"{n}.mp4", data) for n in "ab"]
    asked: list[str] = []

    def remembered(file: VideoFile) -> str:
        asked.append(file.path)
        return "same"

    assert settle(files, remembered)[0] == files
    assert asked == [f.path for f in files]


def test_what_cannot_be_read_is_an_error_with_its_path(tmp_path: Path) -> None:
    gone = str(tmp_path / "gone.mp4")
    for function in (content_key, full_hash):
        with pytest.raises(CannotRead, match="No such file") as caught:
            function(gone)
        assert caught.value.path == gone
        assert caught.value.transient


def test_settle_leaves_out_what_cannot_be_read(tmp_path: Path) -> None:
    data = os.urandom(LARGE)
    a, b = put(tmp_path / "a.mp4", data), put(tmp_path / "b.mp4", data)
    os.unlink(b.path)
    settled, errors = settle([a, b])
    assert [f.path for f in settled] == [a.path]
    assert [e.path for e in errors] == [b.path]
