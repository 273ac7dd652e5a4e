"""Work on a Ray cluster (extra `ray`): stateful actors under Ray Data, one row back per item.

    with connected(address):
        for row in spread(items, Actor, (settings,), cpus=2): ...

An actor is made once and keeps its network. It answers with a row for every item it was given, bad
ones too: an exception would cost the whole block. When a node goes, Ray gives its blocks to
others.
"""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Generator, Iterator, Sequence
from typing import Any

from twinreel.errors import DeviceUnavailable, ExtraMissing

BLOCK = 8  # items that go to an actor together, and are done again when its node is lost


def package() -> Any:
    """The module ray. Raises ExtraMissing."""
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ExtraMissing(
            f"runner ray needs Ray Data ({error}): pip install 'twinreel[ray]', "
            "or leave --runner out"
        ) from None
    return ray


@contextlib.contextmanager
def connected(address: str = "") -> Iterator[Any]:
    """The module ray, connected: to `address`, else to the running cluster, else to a new one here.

    Raises:
        ExtraMissing: ray is not installed. DeviceUnavailable: nothing answers at the address.
    """
    ray = package()
    if ray.is_initialized():  # the caller's own connection
        yield ray
        return
    try:
        ray.init(address=address or None, log_to_driver=False, include_dashboard=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise DeviceUnavailable(
            f"ray at {address or 'this machine'}: {str(error).splitlines()[0]}; "
            "start one with `ray start --head`, or name another --address"
        ) from None
    try:
        yield ray
    finally:
        ray.shutdown()


def places(nodes: Sequence[dict[str, float]], cpus: int, gpus: bool) -> tuple[int, float, float]:
    """How many actors, and what each takes: (count, CPUs, GPUs).

    One whole CPU of every node stays free: what feeds the actors needs it, and a cluster without
    any waits for ever. On nodes of one CPU the actors therefore claim none.
    """
    total = int(sum(node.get("GPU", 0) for node in nodes))
    if gpus and total:
        return (
            total,
            1.0 if all(node.get("CPU", 0) > node.get("GPU", 0) for node in nodes) else 0.0,
            1.0,
        )
    free = [int(node.get("CPU", 0)) - 1 for node in nodes]
    each = max(1, min([cpus, *(n for n in free if n > 0)]))
    count = sum(n // each for n in free if n > 0)
    return (count, float(each), 0.0) if count else (max(1, len(nodes)), 0.0, 0.0)


def spread(
    items: Sequence[dict[str, Any]],
    actor: type[Any],
    given: tuple[Any, ...],
    cpus: int = 1,
    gpus: bool = True,
    block: int = 0,
) -> Generator[dict[str, Any], None, None]:
    """What `actor(*given)(item)` answers for every item, in any order.

    Items and answers are plain dicts; they travel pickled, so anything picklable may be in them.
    block: items that go to an actor together (0: BLOCK).
    """
    if not items:
        return
    block = block or BLOCK
    ray = package()
    nodes = [n["Resources"] for n in ray.nodes() if n["Alive"]]
    count, each, gpu = places(nodes, cpus, gpus)
    count = min(count, -(-len(items) // block))
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    rows = [{"item": pickle.dumps(item)} for item in items]
    data = ray.data.from_items(rows, override_num_blocks=-(-len(rows) // block))
    answers = data.map_batches(
        _Actor,
        fn_constructor_args=(actor, given),
        compute=ray.data.ActorPoolStrategy(size=count),
        batch_size=block,
        num_cpus=each,
        num_gpus=gpu or None,
    )
    batches = iter(answers.iter_batches(batch_size=None, prefetch_batches=0))
    try:
        for batch in batches:
            for answer in batch["answer"]:
                yield pickle.loads(bytes(answer))
    finally:
        # A reader who leaves early takes the actors with him: their CPUs are wanted elsewhere.
        getattr(batches, "close", lambda: None)()


class _Actor:
    """What Ray keeps alive: pickled items in, pickled answers out."""

    def __init__(self, actor: type[Any], given: tuple[Any, ...]) -> None:
        self._actor = actor(*given)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        items = [pickle.loads(bytes(item)) for item in batch["item"]]
        return {"answer": [pickle.dumps(answer) for answer in self._actor(items)]}
