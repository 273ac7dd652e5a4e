"""Batches are filled across videos and every row finds its way home."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from twinreel.embed import Batcher, features
from twinreel.types import FrameBatch


def chunk(first: int, n: int) -> tuple[FrameBatch, np.ndarray]:
    """n pictures, each filled with its own number from `first` on."""
    pixels = np.arange(first, first + n, dtype=np.uint8)[:, None, None, None]
    pixels = np.broadcast_to(pixels, (n, 2, 2, 3)).copy()
    return FrameBatch(pixels, np.arange(n) + 100.0 * first), np.zeros(n, bool)


class Forward:
    """Gives each picture's number; remembers the sizes of its batches."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def __call__(self, pixels: Any) -> Any:
        self.sizes.append(len(pixels))
        return pixels[:, 0, 0, :1].astype(np.float32)


def test_batches_are_full_across_videos() -> None:
    forward = Forward()
    batcher = Batcher(forward, 8)
    out = []
    for i in range(5):
        out += batcher.add(f"v{i}", *chunk(10 * i, 5))
        out += batcher.close(f"v{i}", i)
    out += batcher.flush()
    assert forward.sizes == [8, 8, 8, 1]
    assert [name for name, *_ in out] == [f"v{i}" for i in range(5)]
    for i, (_, note, times, blank, vectors) in enumerate(out):
        assert note == i
        assert vectors[:, 0].tolist() == [10 * i + k for k in range(5)]
        assert times.tolist() == [1000.0 * i + k for k in range(5)]
        assert blank.tolist() == [False] * 5


def test_chunks_of_two_videos_interleave() -> None:
    forward = Forward()
    batcher = Batcher(forward, 4)
    out = []
    out += batcher.add("a", *chunk(0, 3))
    out += batcher.add("b", *chunk(50, 3))
    out += batcher.add("a", *chunk(3, 3))
    out += batcher.close("a", "A")
    out += batcher.add("b", *chunk(53, 2))
    out += batcher.close("b", "B")
    out += batcher.flush()
    found = {name: vectors[:, 0].tolist() for name, _, _, _, vectors in out}
    assert found == {"a": [0, 1, 2, 3, 4, 5], "b": [50, 51, 52, 53, 54]}


def test_a_dropped_video_leaves_no_rows() -> None:
    forward = Forward()
    batcher = Batcher(forward, 4)
    out = []
    out += batcher.add("bad", *chunk(0, 3))
    batcher.drop("bad")
    out += batcher.add("good", *chunk(20, 3))
    out += batcher.close("good", None)
    out += batcher.flush()
    assert [name for name, *_ in out] == ["good"]
    assert forward.sizes == [3]


def test_a_video_dropped_after_some_rows_were_run() -> None:
    forward = Forward()
    batcher = Batcher(forward, 4)
    assert list(batcher.add("bad", *chunk(0, 6))) == []  # four of its rows are back
    batcher.drop("bad")
    out = [*batcher.add("good", *chunk(20, 4)), *batcher.close("good", None), *batcher.flush()]
    assert [name for name, *_ in out] == ["good"]
    assert out[0][4][:, 0].tolist() == [20, 21, 22, 23]
    batcher.drop("never seen")


def test_a_video_is_given_once_its_last_row_is_back() -> None:
    batcher = Batcher(Forward(), 4)
    assert list(batcher.add("a", *chunk(0, 2))) == []
    assert list(batcher.close("a", None)) == []
    (done,) = batcher.flush()
    assert done[0] == "a"


def test_spans_reach_to_the_next_moment_and_the_end() -> None:
    f = features(
        "k", "m", "s", np.array([0.0, 2.0, 4.0]), [False, True, False],
        np.eye(3, dtype=np.float64), 5.5,
    )  # fmt: skip
    assert f.spans_s.tolist() == [[0.0, 2.0], [2.0, 4.0], [4.0, 5.5]]
    assert f.vectors.dtype == np.float32 and f.blank.tolist() == [False, True, False]
    # A header that promises less than there was.
    f = features("k", "m", "s", np.array([0.0, 2.0]), [0, 0], np.eye(2), 1.0)
    assert f.spans_s.tolist() == [[0.0, 2.0], [2.0, 2.0]]


def test_rows_must_fit() -> None:
    with pytest.raises(ValueError, match="one span and flag per row"):
        features("k", "m", "s", np.array([0.0]), [False, True], np.eye(1), 1.0)
