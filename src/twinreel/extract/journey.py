"""Videos -> feature arrays: the journey, from a list of jobs to files that are whole.

    summary = extract(from_csv(Path("videos.csv")), ExtractOptions(type="2d"))
    print(summary.line())

Decoding runs in other processes and feeds the network through a bounded queue. Any number of
processes and machines may run the same command on the same folder: see claims.py.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from twinreel import __version__
from twinreel.batches import Batcher
from twinreel.errors import CannotRead, OutputError, VideoError
from twinreel.extract.claims import Claim, Claims
from twinreel.extract.clips import ClipTask, Ended, Rows, work
from twinreel.extract.feed import Feed
from twinreel.extract.forward import Runner
from twinreel.extract.ledger import Ledger
from twinreel.extract.manifest import Job, run_folder
from twinreel.extract.options import ExtractOptions
from twinreel.extract.outputs import HIDDEN, SHARDED, Result, Shelf
from twinreel.extract.plan import Entry, clip_task, merged, note, on_device, plan
from twinreel.extract.projection import settle
from twinreel.extract.sources import source_of, stat_of
from twinreel.extract.status import STOPPED, Listener, Summary, conclude
from twinreel.extract.whole import Meta, Notes, disk
from twinreel.types import Floats
from twinreel.workers import yield_cores

WAITING_VIDEOS = 16  # decoded videos whose last rows wait for a full batch
WAITING_BYTES = 256 << 20
POLL_S = 0.5  # between looks at videos that other processes hold


@dataclass
class Standing:
    """What outlives one call of `extract`: the networks, the claims, what is known of outputs."""

    networks: dict[int, Any] = field(default_factory=dict)
    claims: Claims | None = None
    shelf: Shelf | None = None
    notes: Notes | None = None

    def close(self) -> None:
        """Give the claims back."""
        if self.claims is not None:
            self.claims.close()


def extract(
    jobs: list[Job],
    options: ExtractOptions,
    folder: Path | None = None,
    listener: Listener | None = None,
    *,
    entries: list[Entry] | None = None,
    standing: Standing | None = None,
) -> Summary:
    """Write the features of every job.

    Args:
        folder: where the run keeps its records (default: the outputs' common folder).
        entries: the networks, as `plan` gives them (default: planned from the options).
        standing: what is kept from call to call by a caller who brings jobs by and by; such a
        caller ends with `standing.close()`.

    Raises:
        ModelError: a network cannot be built. A broken video raises nothing; a broken disk ends
        the run, see Summary.stopped.
    """
    yield_cores()
    k, n = options.part()
    run = _Run(
        jobs[k::n], options, folder or run_folder(jobs),
        on_device(entries or plan(options), options), listener or Listener(), standing,
    )  # fmt: skip
    return run.go()


@dataclass
class _Video:
    """A video in work: its claim, and what has come of it so far."""

    job: Job
    claim: Claim | None
    source: Meta
    begun: float
    wanted: list[int]
    rows: dict[int, int] = field(default_factory=Counter)
    given: dict[int, int] = field(default_factory=Counter)
    vectors: dict[int, list[tuple[int, npt.NDArray[Any]]]] = field(default_factory=dict)
    spans: dict[int, list[npt.NDArray[np.float64]]] = field(default_factory=dict)
    ended: Ended | None = None

    def complete(self) -> bool:
        return self.ended is not None and all(self.rows[e] == self.given[e] for e in self.rows)


class _Run:
    """One process's part of a run."""

    def __init__(
        self,
        jobs: list[Job],
        options: ExtractOptions,
        folder: Path,
        entries: list[Entry],
        listener: Listener,
        standing: Standing | None = None,
    ) -> None:
        self._jobs, self._options, self._folder = jobs, options, folder
        self._listener = listener
        self._summary = Summary(folder)
        with disk(folder):
            (folder / HIDDEN).mkdir(parents=True, exist_ok=True)
        self._stands = standing is not None
        kept = standing or Standing()
        if kept.claims is None:
            kept.claims = Claims(folder / HIDDEN / "claims", options.lease)
            owner, clock = kept.claims.owner, kept.claims.now
            kept.shelf = Shelf(folder, options.format, options.meta, owner, clock)
            kept.notes = Notes(folder / HIDDEN, "status", owner, clock)
        assert kept.shelf is not None and kept.notes is not None
        self._claims, self._shelf, self._notes = kept.claims, kept.shelf, kept.notes
        with disk(folder):
            begun = self._claims.now()
        self._open: dict[str, _Video] = {}
        self._written: list[tuple[_Video, Meta]] = []  # in a shard that is still open
        self._later: list[Job] = []
        self._feed: Feed | None = None
        self._write_s = 0.0
        self._runner = Runner(entries, options, listener.say, kept.networks)
        self._entries = self._runner.entries
        self._ledger = Ledger(folder, options, self._shelf, self._notes, self._claims.owner, begun,
                              self._entries, self._tell)  # fmt: skip
        self._samplings, self._owners = merged(self._entries)
        self._batchers = [
            Batcher(self._runner.begin(i), options.batch_size, self._deliver(i), ahead=1)
            for i in range(len(self._entries))
        ]

    # -- what is to be done ---------------------------------------------------------------------

    def _tasks(self, jobs: list[Job]) -> Iterator[ClipTask]:
        """Jobs that are ours to do, claimed one by one as a decoder is free."""
        for job in jobs:
            if (video := self._take(job)) is not None:
                self._open[job.name] = video
                yield clip_task(job, self._wanted(video), self._options)

    def _wanted(self, video: _Video) -> Any:
        """The samplings, without networks whose output is there already."""
        if len(video.wanted) == len(self._entries):
            return self._samplings
        return merged([self._entries[i] for i in video.wanted])[0]

    def _entry_of(self, video: _Video, rows: Rows) -> int:
        if len(video.wanted) == len(self._entries):
            return self._owners[rows.sampling, rows.take]
        owners = merged([self._entries[i] for i in video.wanted])[1]
        return video.wanted[owners[rows.sampling, rows.take]]

    def _take(self, job: Job) -> _Video | None:
        """Claim a job; None if it is done, hopeless, missing, or somebody else's."""
        if self._ledger.settled(job) is None:
            return None
        claim = self._claims.take(job.name) if not self._options.shard else None
        if claim is None and not self._options.shard:
            self._later.append(job)
            return None
        if claim is not None and claim.generation:
            for entry in self._entries:
                self._shelf.clean(self._ledger.name(job, entry))
        # Whoever held the claim before may have finished in between.
        self._notes.refresh()
        self._shelf.refresh()
        wanted = self._ledger.settled(job)
        if wanted is None:
            if claim is not None:
                self._claims.release(claim)
            return None
        source = source_of(job.video)
        if job.url:
            source["path"] = job.url
        self._notes.add({"name": job.name, "video": job.shown, "output": job.output,
                         "state": "started", "by": self._claims.owner})  # fmt: skip
        return _Video(job, claim, source, time.monotonic(), wanted)

    # -- the run --------------------------------------------------------------------------------

    def go(self) -> Summary:
        todo, self._later = self._jobs, []
        feed = Feed(work, self._options.jobs, self._options.stall, len(self._jobs))
        self._feed = feed
        try:
            self._notes.refresh()
            settle(self._runner, self._options, self._jobs, self._folder, self._claims, feed)
            self._entries = self._ledger.entries = self._runner.entries
            feed.waited_s = 0.0
            while todo:
                for event in feed.events(self._tasks(todo), self._runner.load, self._idle):
                    self._handle(event)
                for batcher in self._batchers:
                    batcher.flush()
                self._finish()
                self._close_shard()
                todo, self._later = self._later, []
                if todo:
                    time.sleep(POLL_S)
                    self._notes.refresh()
            if not self._stands:
                self._claims.sweep()
                self._shelf.tidy((job.name for job in self._jobs), self._claims.ended)
                self._shelf.gather()
        except OutputError as error:
            self._summary.stopped = str(error)
        except KeyboardInterrupt:
            self._summary.stopped = STOPPED
            with contextlib.suppress(OutputError):
                self._close_shard()
        finally:
            feed.close()
            self._runner.close()
            self._time()
            conclude(self._summary, self._jobs, "" if self._stands else self._claims.owner)
            if not self._stands:
                self._claims.close()
        return self._summary

    def _tell(self, record: Meta) -> None:
        self._summary.records[record["name"]] = record
        self._time()
        self._listener.on_record(record, self._summary)

    def _time(self) -> None:
        """Bring the summary's shares of time up to date."""
        self._summary.seconds = {
            "decode": self._feed.waited_s if self._feed else 0.0,
            **self._runner.seconds,
            "write": self._write_s,
        }

    def _handle(self, event: Any) -> None:
        video = self._open.get(event.task.name)
        if video is None:
            return
        if event.kind == "failed":
            self._fail(video, event.value)
        elif isinstance(event.value, Rows):
            self._add(video, event.value)
        elif isinstance(event.value, Ended):
            video.ended = event.value
            if event.value.refused:
                self._listener.say(
                    f"decoder {self._options.decoder}: {event.value.refused}; "
                    f"going on with decoder {event.value.decoder}"
                )
            self._summary.frames += max(event.value.frames, default=0)
        self._finish()

    def _idle(self) -> bool:
        """While no rows come: run those that wait for a full batch. False if none wait."""
        if not any(batcher.step() for batcher in self._batchers):
            return False
        self._finish()
        return True

    def _add(self, video: _Video, rows: Rows) -> None:
        e = self._entry_of(video, rows)
        first = video.rows[e]
        video.rows[e] += len(rows.pixels)
        video.spans.setdefault(e, []).append(rows.spans_s)
        self._batchers[e].add(video.job.name, first, rows.pixels)

    def _deliver(self, e: int) -> Callable[[str, int, Floats], None]:
        def keep(name: str, first: int, vectors: Floats) -> None:
            video = self._open[name]
            video.given[e] += len(vectors)
            video.vectors.setdefault(e, []).append((first, self._runner.finish(e, vectors)))

        return keep

    def _finish(self) -> None:
        """Write what is complete; keep what waits within bounds."""
        # The feed's thread adds to the open videos meanwhile; a copy is made in one step.
        ended = [v for v in list(self._open.values()) if v.ended is not None]
        waiting = sum(b.nbytes for b in self._batchers)
        if len(ended) > WAITING_VIDEOS or (ended and waiting > WAITING_BYTES):
            for batcher in self._batchers:
                batcher.flush(ended[0].job.name)
        for video in ended:
            if video.complete():
                self._publish(video)

    def _publish(self, video: _Video) -> None:
        since = time.monotonic()
        job, ended = video.job, video.ended
        assert ended is not None
        del self._open[job.name]
        if video.claim is not None and not self._claims.holds(video.claim):
            self._later.append(job)  # somebody thought us dead; see what they make of it
            return
        if stat_of(job.video) != {k: video.source[k] for k in ("size", "mtime_ns")}:
            self._open[job.name] = video
            self._fail(video, CannotRead(job.video, "the file changed while it was read"))
            return
        results: list[Result] = []
        short: _TooShort | None = None
        for e in video.wanted:
            try:
                results.append(self._result(video, e))
            except _TooShort as error:
                short = error  # for this network; the others keep their rows
        for result in results:
            self._shelf.put(result)
        if short is not None:
            record = self._ledger.failure(job, short)
        else:
            record = {
                "state": "partial" if ended.damage else "done", "reason": ended.damage,
                "rows": len(results[0].vectors), "computed": True,
            }  # fmt: skip
        record["seconds"] = round(time.monotonic() - video.begun, 3)
        self._written.append((video, record))
        self._summary.computed += bool(results)
        if self._options.format not in SHARDED or self._shelf.full():
            self._close_shard()
        self._write_s += time.monotonic() - since

    def _result(self, video: _Video, e: int) -> Result:
        """The array of one network, in the order of its rows, and all that is known of it."""
        job, ended, entry = video.job, video.ended, self._entries[e]
        assert ended is not None
        place, take = next(k for k, i in self._place(video).items() if i == e)
        frames, expected = ended.frames[place], ended.expected[place]
        dtype = np.float16 if self._options.half_precision else np.float32
        if not video.rows[e]:
            if not self._options.seed_exact or frames:
                raise _TooShort(job.video, f"shorter than one clip of {entry.take.frames} frames "
                                f"of {entry.spec.name}; pass --tail pad or loop")  # fmt: skip
            vectors = np.zeros((0, self._runner.dim(e)), dtype)
            spans = np.zeros((0, 2))
        else:
            parts = sorted(video.vectors[e], key=lambda part: part[0])
            vectors = np.concatenate([v for _, v in parts])
            spans = np.concatenate(video.spans[e])
        if self._options.seed_exact and entry.take.frames == 1 and len(vectors) == 1:
            raise _TooShort(job.video, "seed_exact: the seed writes nothing for a video of one row")
        meta = {
            "twinreel": __version__,
            **note(entry),
            **entry.request,
            "start": job.start,
            "end": job.end,
            "runner": self._options.runner,
            "identity": self._runner.identity(e),
            "source": video.source,
            "video": {"duration_s": ended.info.duration_s, "width": ended.info.width,
                      "height": ended.info.height, "codec": ended.info.codec,
                      "rotation": ended.info.rotation, "decoder": ended.decoder},
            "frames_expected": expected,
            "frames": frames,
            "frames_in_last_row": ended.last_valid[place][take],
            "damage": ended.damage,
        }  # fmt: skip
        return Result(self._ledger.name(job, entry), vectors, spans, meta)

    def _place(self, video: _Video) -> dict[tuple[int, int], int]:
        owners = merged([self._entries[i] for i in video.wanted])[1]
        return {place: video.wanted[i] for place, i in owners.items()}

    def _close_shard(self) -> None:
        """Make what is written last, then say so: a status never runs ahead of its output."""
        if self._options.format in SHARDED:
            self._withdraw_lost()
        self._shelf.flush()
        written, self._written = self._written, []
        for video, record in written:
            self._ledger.record(video.job, note_it=True, source=video.source, **record)
            if video.claim is not None:
                self._claims.release(video.claim)

    def _withdraw_lost(self) -> None:
        """Keep out of a shard what somebody else has taken over since it was put there."""
        kept = []
        for video, record in self._written:
            if video.claim is None or self._claims.holds(video.claim):
                kept.append((video, record))
                continue
            for e in video.wanted:
                self._shelf.withdraw(self._ledger.name(video.job, self._entries[e]))
            self._later.append(video.job)
        self._written = kept

    def _fail(self, video: _Video, error: VideoError) -> None:
        for batcher in self._batchers:
            batcher.drop(video.job.name)
        del self._open[video.job.name]
        words = self._ledger.failure(video.job, error)
        self._ledger.record(video.job, note_it=True, source=video.source, **words)
        if video.claim is not None:
            self._claims.release(video.claim)


class _TooShort(VideoError):
    """Not enough of the video for one row."""

    stage = "sample"
