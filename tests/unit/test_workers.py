"""Worker processes are never trusted: they hang, crash, raise, and the others' work goes on."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from twinreel import workers
from twinreel.errors import DecodeFailed, Stalled, WorkerDied
from twinreel.workers import Event, Idle, WorkerPool

Emit = Callable[[Any], None]
Beat = Callable[[], None]


def double(task: str, emit: Emit, beat: Beat) -> None:
    """Behaves as its task says: the test double of a decoder."""
    kind, _, rest = task.partition(":")
    if kind == "hang":
        emit("before")
        time.sleep(600)
    elif kind == "hang-in-c":
        ctypes.PyDLL(None).sleep(600)  # holds the interpreter's lock
    elif kind == "beat-for-ever":
        while True:
            beat()
            time.sleep(0.02)
    elif kind == "exit":
        emit("before")
        os._exit(7)
    elif kind == "segv":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif kind == "video-error":
        emit("before")
        raise DecodeFailed(task, "as asked")
    elif kind == "bug":
        raise KeyError("ours")
    elif kind == "memory":
        raise MemoryError
    elif kind == "many":
        for i in range(int(rest)):
            emit((i, bytes(100_000)))
            Path(f"{os.environ['COUNT']}").write_text(str(i))
    elif kind == "nice":
        emit(os.nice(0))
    else:
        emit(f"did {task}")


def run(pool: WorkerPool, tasks: list[str]) -> dict[str, list[Any]]:
    """task -> what was heard of it, values of items and errors."""
    heard: dict[str, list[Any]] = {t: [] for t in tasks}
    for event in pool.run(tasks):
        heard[event.task].append(event.kind if event.kind == "done" else event.value)
    return heard


def test_one_hangs_one_crashes_one_raises_all_others_are_done() -> None:
    tasks = [
        "a", "hang", "b", "exit", "c", "segv", "d", "video-error", "e", "bug", "f", "memory", "g",
    ]  # fmt: skip
    with WorkerPool(double, jobs=2, stall_s=1.0) as pool:
        heard = run(pool, tasks)
    for name in "abcdefg":
        assert heard[name] == [f"did {name}", "done"]
    before, stalled = heard["hang"]
    assert before == "before" and isinstance(stalled, Stalled)
    assert stalled.path == "hang" and stalled.detail == "no packet or frame for 1 s; killed"
    before, died = heard["exit"]
    assert before == "before" and isinstance(died, WorkerDied) and "exit code 7" in died.detail
    (died,) = heard["segv"]
    assert isinstance(died, WorkerDied) and "exit code -11" in died.detail
    before, failed = heard["video-error"]
    assert before == "before" and isinstance(failed, DecodeFailed) and failed.detail == "as asked"
    (bug,) = heard["bug"]
    assert isinstance(bug, WorkerDied) and "KeyError: 'ours'" in bug.detail
    (memory,) = heard["memory"]
    assert isinstance(memory, WorkerDied) and "out of memory" in memory.detail


def test_a_hang_that_holds_the_interpreter_is_killed() -> None:
    with WorkerPool(double, jobs=1, stall_s=1.0) as pool:
        heard = run(pool, ["a", "hang-in-c", "b"])
    assert isinstance(heard["hang-in-c"][0], Stalled)
    assert heard["b"] == ["did b", "done"]


def test_the_total_limit_ends_what_beats_for_ever() -> None:
    with WorkerPool(double, jobs=1, stall_s=5.0, total_s=lambda task: 1.0) as pool:
        heard = run(pool, ["beat-for-ever", "b"])
    (late,) = heard["beat-for-ever"]
    assert isinstance(late, Stalled) and late.detail == "not finished after 1 s; killed"
    assert heard["b"] == ["did b", "done"]


def test_a_slow_caller_is_not_taken_for_a_stall() -> None:
    """The process blocks on a full pipe while the caller is busy: not its fault."""
    kinds = []
    with WorkerPool(double, jobs=1, stall_s=0.5) as pool:
        for i, event in enumerate(pool.run(["a", "b", "c"])):
            kinds.append(event.kind)
            if i in (0, 2):
                time.sleep(1.0)
    assert kinds == ["item", "done"] * 3


def test_back_pressure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not read is not made: a pipe holds one item of 100 kB at most."""
    count = tmp_path / "count"
    monkeypatch.setenv("COUNT", str(count))
    with WorkerPool(double, jobs=1, stall_s=30) as pool:
        events = pool.run(["many:100"])
        for _ in range(3):
            assert next(events).kind == "item"
        time.sleep(0.3)
        assert int(count.read_text()) <= 4
        values = [e.value[0] for e in events if e.kind == "item"]
    assert values == list(range(3, 100))


def test_many_tasks_few_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each task once; processes are replaced after their share, and none is left behind."""
    monkeypatch.setattr(workers, "TASKS_PER_PROCESS", 150)
    tasks = [f"t{i}" for i in range(400)]
    begun = []

    def given() -> Any:
        for task in tasks:
            begun.append(task)
            yield task

    with WorkerPool(double, jobs=2, stall_s=30) as pool:
        done = []
        for event in pool.run(given()):
            if event.kind == "done":
                done.append(event.task)
            assert len(begun) - len(done) <= 3  # tasks are not drawn ahead
        processes = [w.process for w in pool._workers]
    assert sorted(done) == sorted(tasks)
    assert not any(p.is_alive() for p in processes)


def test_leaving_in_the_middle_kills_what_is_in_flight() -> None:
    with WorkerPool(double, jobs=2, stall_s=60) as pool:
        events = pool.run(["hang", "hang:2"])
        assert next(events).value == "before"
        processes = [w.process for w in pool._workers]
        started = time.monotonic()
        events.close()
    assert time.monotonic() - started < 5
    assert not any(p.is_alive() for p in processes)


def test_processes_are_nice() -> None:
    with WorkerPool(double, jobs=1, nice=3) as pool:
        value = run(pool, ["nice"])["nice"][0]
    assert value == min(19, os.nice(0) + 3)


def which(task: str, emit: Emit, beat: Beat) -> None:
    emit((task, os.getpid(), os.environ["OMP_NUM_THREADS"]))


def test_one_pools_processes_serve_the_next() -> None:
    with Idle() as idle:
        with WorkerPool(which, jobs=1, idle=idle) as pool:
            first = run(pool, ["a"])["a"][0]
        (worker,) = idle.workers
        with WorkerPool(double, jobs=1, idle=idle) as pool:
            assert run(pool, ["b"])["b"] == ["did b", "done"]
        with WorkerPool(which, jobs=1, idle=idle) as pool:
            assert run(pool, ["a"])["a"][0] == first == ("a", worker.process.pid, "1")
        os.kill(worker.process.pid, signal.SIGTERM)
        worker.process.join(5)
        with WorkerPool(which, jobs=1, idle=idle) as pool:  # one that died is not given out
            assert run(pool, ["a"])["a"][0] != first
    assert not idle.workers and not worker.process.is_alive()


def test_no_task_no_process() -> None:
    with WorkerPool(double, jobs=2) as pool:
        assert list(pool.run([])) == []


def test_events_are_records() -> None:
    assert Event("a", "done") == Event("a", "done", None)


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="signals")
def test_ctrl_c_does_not_reach_a_process_that_still_loads(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with WorkerPool(double, jobs=2) as pool:
        pool.start()
        for worker in pool._workers:
            os.kill(worker.process.pid or 0, signal.SIGINT)
        assert run(pool, ["a", "b"]) == {"a": ["did a", "done"], "b": ["did b", "done"]}
    assert "Traceback" not in capfd.readouterr().err
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_ctrl_c_ends_the_caller_and_leaves_no_process(tmp_path: Path) -> None:
    """A real SIGINT to the whole process group, as a terminal sends it."""
    script = (
        "import signal\n"
        "from tests.unit.test_workers import double\n"
        "from twinreel.workers import WorkerPool\n"
        "if __name__ == '__main__':\n"
        # A suite that was started in the background ignores the signal, and its children with it.
        "    signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "    with WorkerPool(double, jobs=2, stall_s=60) as pool:\n"
        "        try:\n"
        "            for event in pool.run(['hang', 'hang:2']):\n"
        "                pids = [w.process.pid for w in pool._workers]\n"
        "                print(*pids, flush=True)\n"
        "        except KeyboardInterrupt:\n"
        "            print('stopped', flush=True)\n"
    )
    (tmp_path / "main.py").write_text(script)
    root = Path(__file__).parents[2]
    child = subprocess.Popen(
        [sys.executable, str(tmp_path / "main.py")],
        env={**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{root / 'src'}"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert child.stdout
    pids = [int(p) for p in child.stdout.readline().split()]
    child.stdout.readline()  # both have begun
    os.killpg(child.pid, signal.SIGINT)
    out, err = child.communicate(timeout=20)
    assert out.strip().endswith("stopped"), err
    assert "Traceback" not in err
    for pid in pids:
        assert not _runs(pid), "a worker survived"


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not state.exists() or state.read_text().split(") ")[1][0] != "Z"
