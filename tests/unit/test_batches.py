"""Batches are filled across videos and every row comes back to its own."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinreel.batches import Batcher, Begun, aside, at_once
from twinreel.extract.principal import Projection

SHAPES = ((2, 3, 3), (3, 2, 3))


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(1, 9)), max_size=20),
    st.integers(1, 8),
    st.integers(0, 2),
)
def test_every_row_returns_once_in_order(
    pieces: list[tuple[int, int]], size: int, ahead: int
) -> None:
    sent: dict[int, list[int]] = {}
    got: dict[int, list[int]] = {}
    sizes = []

    def run(pixels: np.ndarray) -> np.ndarray:
        sizes.append(len(pixels))
        assert len(pixels) <= size
        return pixels.reshape(len(pixels), -1)[:, :2].astype(np.float32)

    def deliver(video: int, first: int, vectors: np.ndarray) -> None:
        rows = got.setdefault(video, [])
        assert first == len(rows)
        rows.extend((vectors[:, 0] + 256 * vectors[:, 1]).astype(int).tolist())

    batcher = Batcher(at_once(run), size, deliver, ahead)
    number = 0
    for video, count in pieces:
        rows = np.zeros((count, *SHAPES[video % 2]), np.uint8)
        flat = rows.reshape(count, -1)
        flat[:, 0], flat[:, 1] = np.divmod(np.arange(number, number + count), 256)[::-1]
        batcher.add(video, len(sent.setdefault(video, [])), rows)
        sent[video].extend(range(number, number + count))
        number += count
    full = len(sizes)
    assert all(s == size for s in sizes[:full]), "only a flush runs a batch that is not full"
    batcher.flush()
    assert got == sent and batcher.nbytes == 0


def test_a_step_runs_what_waits_and_no_more_than_a_batch() -> None:
    sizes: list[int] = []

    def run(pixels: np.ndarray) -> np.ndarray:
        sizes.append(len(pixels))
        return pixels.reshape(len(pixels), -1)

    batcher = Batcher(at_once(run), 8, lambda video, first, vectors: None)
    assert not batcher.step()
    batcher.add("a", 0, np.zeros((3, 2, 2, 3), np.uint8))
    batcher.add("b", 0, np.zeros((2, 4, 4, 3), np.uint8))
    assert [batcher.step(), batcher.step(), batcher.step()] == [True, True, False]
    assert sizes == [3, 2] and batcher.nbytes == 0


def test_a_failed_video_takes_only_its_own_rows() -> None:
    got = []
    flat = at_once(lambda p: p.reshape(len(p), -1))
    batcher = Batcher(flat, 8, lambda v, f, x: got.append((v, len(x))))
    batcher.add("a", 0, np.zeros((3, 2, 2, 3), np.uint8))
    batcher.add("b", 0, np.zeros((2, 2, 2, 3), np.uint8))
    batcher.drop("a")
    batcher.flush()
    assert got == [("b", 2)]


def test_a_video_that_fails_while_its_rows_are_computed() -> None:
    got = []
    done = []  # the network takes its time

    def slow(pixels: np.ndarray) -> Begun:
        return Begun(lambda: bool(done), lambda: pixels.reshape(len(pixels), -1))

    batcher = Batcher(slow, 4, lambda v, f, x: got.append((v, f, len(x))), ahead=1)
    batcher.add("a", 0, np.zeros((3, 2, 2, 3), np.uint8))
    batcher.add("b", 0, np.zeros((2, 2, 2, 3), np.uint8))
    batcher.drop("a")
    assert not got
    assert batcher.step()  # what waits is begun; of two one must end
    assert got == [("b", 0, 1)] and not batcher.step()
    done.append(True)
    assert [batcher.step(), batcher.step()] == [True, False]
    assert got == [("b", 0, 1), ("b", 1, 1)]


def test_rows_in_a_thread_come_back_in_order_and_an_error_too() -> None:
    got = []

    def network(pixels: np.ndarray) -> np.ndarray:
        if pixels.max() > 9:
            raise ValueError("nine is enough")
        return pixels.reshape(len(pixels), -1).astype(np.float32)

    with ThreadPoolExecutor(1) as thread:
        batcher = Batcher(aside(network, thread), 2, lambda v, f, x: got.append((f, x)), ahead=2)
        for k in range(9):
            batcher.add("a", k, np.full((1, 1, 1, 1), k, np.uint8))
        batcher.flush()
        assert np.concatenate([x for _, x in got]).ravel().tolist() == list(range(9))
        assert [f for f, _ in got] == list(range(9))
        batcher.add("a", 9, np.full((1, 1, 1, 1), 10, np.uint8))
        with pytest.raises(ValueError, match="nine"):
            batcher.flush()


def test_projection_keeps_what_differs_most_and_is_the_same_every_time() -> None:
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(200, 3)) * [9.0, 5.0, 2.0]
    axes = np.linalg.qr(rng.normal(size=(20, 3)))[0].T
    vectors = (hidden @ axes + 7.0).astype(np.float32)
    once, again = Projection.fit(vectors, 3), Projection.fit(vectors[::-1].copy(), 3)
    np.testing.assert_allclose(once.components, again.components, atol=1e-4)
    restored = once(vectors) @ once.components + once.mean
    np.testing.assert_allclose(restored, vectors, atol=1e-3)
    np.testing.assert_allclose(once.components @ once.components.T, np.eye(3), atol=1e-5)


@pytest.mark.parametrize(("rows", "dim"), [(3, 3), (2, 5), (10, 30)])
def test_projection_refuses_too_few_rows(rows: int, dim: int) -> None:
    with pytest.raises(ValueError, match="smaller one"):
        Projection.fit(np.random.default_rng(0).normal(size=(rows, 20)).astype(np.float32), dim)
