"""`extract --runner ray`: the journey of journey.py on every node of a Ray cluster.

    summary = spread_ray(jobs, ExtractOptions(runner="ray"), folder)

Actors keep their networks and call `extract` on a few jobs at a time; claims and outputs in the
shared folder are those of the local runner, so local and Ray runs may share one, a second run does
only the rest, and what a lost node had begun is taken over. Videos may be URLs that fsspec reads
(s3://...): an actor fetches each beside itself and removes it after.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import traceback
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from twinreel.errors import BadConfig, BadManifest, ExtraMissing, OutputError
from twinreel.extract.journey import Standing, extract
from twinreel.extract.manifest import NEEDED, Job, from_csv
from twinreel.extract.options import ExtractOptions
from twinreel.extract.outputs import FORMATS, SHARDED, OtherOutput, Shelf
from twinreel.extract.plan import Entry, on_device, plan
from twinreel.extract.status import STOPPED, Listener, Summary, conclude
from twinreel.extract.whole import Meta
from twinreel.rays import connected, spread

FETCHED = (
    "fetched"  # stands for the folder of fetched videos in paths, until an actor knows its own
)
SHARD_BLOCK = 64  # videos that share a shard


def spread_ray(
    jobs: list[Job],
    options: ExtractOptions,
    folder: Path,
    listener: Listener | None = None,
) -> Summary:
    """`extract` on a Ray cluster; the summary is of all nodes.

    Raises:
        ExtraMissing: ray is not installed. DeviceUnavailable: no cluster at the address.
        BadConfig: a projection would have to be fitted on jobs that no actor sees together.
    """
    k, n = options.part()
    jobs = jobs[k::n]
    summary, listener = Summary(folder), listener or Listener()
    with connected(options.address):
        entries = plan(options)
        size = options.embedding_size
        if size and not options.projection and any(
            size not in (*e.spec.nested, e.spec.dim) for e in entries
        ):  # fmt: skip
            raise BadConfig(
                f"embedding_size {size}: runner ray does not fit a projection; fit one with a "
                "local run of a few videos and give it with --projection"
            )
        items = [{"job": job} for job in jobs]
        block = SHARD_BLOCK if options.format in SHARDED else 0
        given = (replace(options, shard="", devices=""), folder, entries)
        gpus = options.device == "auto" or options.device.startswith("cuda")
        try:
            with contextlib.closing(
                spread(items, Extractor, given, options.jobs, gpus, block)
            ) as answers:
                for answer in answers:
                    for words in answer["said"]:
                        listener.say(words)
                    summary.frames += answer["frames"]
                    summary.computed += answer["computed"]
                    summary.stopped = summary.stopped or answer["stopped"]
                    if record := answer["record"]:
                        summary.records[record["name"]] = record
                        listener.on_record(record, summary)
        except KeyboardInterrupt:
            summary.stopped = STOPPED
    owner = f"all-{uuid.uuid4().hex}"
    if options.meta == "manifest" and not summary.stopped:
        try:
            Shelf(folder, options.format, options.meta, owner).gather()
        except OutputError as error:
            summary.stopped = str(error)
    conclude(summary, jobs, owner)
    return summary


class Extractor:
    """An actor: jobs in, the record of each out. Keeps networks and claims from call to call."""

    def __init__(self, options: ExtractOptions, folder: Path, entries: list[Entry]) -> None:
        self._options, self._folder = options, folder
        self._entries = on_device(entries, options)
        self._standing = Standing()
        self._said: list[str] = []
        self._shelf: Shelf | None = None

    def __call__(self, items: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        records: dict[str, Meta] = {}
        jobs: list[Job] = [item["job"] for item in items]
        place = Path(tempfile.mkdtemp(prefix="twinreel-"))
        summary = Summary(self._folder)
        try:
            here = []
            for job in jobs:
                try:
                    if is_url(job.video) and (meta := self._there(job)) is not None:
                        records[job.name] = _done(job, meta)
                    else:
                        here.append(_fetched(job, place))
                except Exception as error:
                    records[job.name] = _failed(job, "read", f"cannot be fetched: {error}")
            tell = Listener(
                lambda record, _: records.__setitem__(record["name"], record), self._said.append
            )
            summary = extract(
                here, self._options, self._folder, tell,
                entries=list(self._entries), standing=self._standing,
            )  # fmt: skip
        except OutputError as error:
            summary.stopped = str(error)
        except Exception:
            # Ours, not a video's: still a row for each, with the traceback to report.
            words = traceback.format_exc(limit=-4)
            for job in jobs:
                records.setdefault(job.name, _failed(job, "runner", words))
        finally:
            shutil.rmtree(place, ignore_errors=True)
        said, self._said = self._said, []
        node = os.uname().nodename if hasattr(os, "uname") else ""
        for n, job in enumerate(jobs):
            record = records.get(job.name)
            first = n == 0
            yield {
                "record": {**record, "runner": "ray", "node": node} if record else None,
                "said": said if first else [],
                "frames": summary.frames if first else 0,
                "computed": summary.computed if first else 0,
                "stopped": summary.stopped if first else "",
            }

    def _there(self, job: Job) -> Meta | None:
        """Metadata of a URL's output that is there and fits: it is not fetched again."""
        owner = self._standing.claims.owner if self._standing.claims else "look"
        if self._shelf is None:
            self._shelf = Shelf(self._folder, self._options.format, self._options.meta, owner)
        ending, meta = FORMATS[self._options.format], None
        for entry in self._entries:
            name = job.name.removesuffix(ending) + entry.suffix + ending
            request = {**entry.request, "start": job.start, "end": job.end}
            try:
                meta = self._shelf.find(name, request)
            except OtherOutput:
                return None  # `extract` will say what is wrong with it
            if meta is None:
                return None
        return meta

    def __del__(self) -> None:
        self._standing.close()


def _done(job: Job, meta: Meta) -> Meta:
    return {
        "name": job.name, "video": job.video, "output": job.output, "rows": meta["shape"][0],
        "state": "partial" if meta.get("damage") else "done", "reason": meta.get("damage", ""),
    }  # fmt: skip


def _failed(job: Job, stage: str, reason: str) -> Meta:
    return {
        "name": job.name, "video": job.video, "output": job.output, "state": "failed",
        "stage": stage, "reason": reason, "transient": True,
    }  # fmt: skip


# -- lists and videos by URL --------------------------------------------------------------------


def _fsspec() -> Any:
    try:
        import fsspec
    except ImportError:
        raise ExtraMissing("URLs need fsspec: pip install 'twinreel[ray]'") from None
    return fsspec


def is_url(text: str) -> bool:
    """Whether a path is one that fsspec reads: 's3://bucket/x.mp4'."""
    return "://" in text


def read_list(source: str, suffix: str, root: Path | None) -> list[Job]:
    """Jobs of a CSV or Parquet table with the columns video_path,feature_path[,start,end].

    Args:
        source: a path or a URL. Video paths in it may be URLs.

    Raises:
        BadManifest.
    """
    import csv

    with tempfile.TemporaryDirectory(prefix="twinreel-") as folder:
        local = Path(source)
        if is_url(source):
            local = Path(folder) / os.path.basename(source)
            try:
                with _fsspec().open(source, "rb") as there, open(local, "wb") as here:
                    shutil.copyfileobj(there, here)
            except (OSError, ValueError) as error:
                raise BadManifest(f"{source}: {error}; give a readable table") from None
        if local.suffix == ".parquet":
            local = _as_csv(local, Path(folder) / "table.csv", source)
        with open(local, newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            rows = list(csv.reader(file, skipinitialspace=True))
        column = rows[0].index("video_path") if rows and "video_path" in rows[0] else 0
        # The list's own checks know paths only: a URL goes through them under a name of its own.
        urls = {}
        for row in rows[1:]:
            if len(row) > column and is_url(row[column]):
                stands = os.path.abspath(
                    f"{FETCHED}-{hashlib.sha1(row[column].encode()).hexdigest()}"
                )
                urls[stands], row[column] = row[column], stands
        if urls:
            local = Path(folder) / "local.csv"
            with open(local, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
                csv.writer(file).writerows(rows)
        return [replace(job, video=urls.get(job.video, job.video))
                for job in from_csv(local, suffix, root)]  # fmt: skip


def _as_csv(parquet: Path, target: Path, name: str) -> Path:
    import csv

    try:
        from pyarrow import ArrowException
        from pyarrow import parquet as reader
    except ImportError:
        raise ExtraMissing(
            "a Parquet list needs pyarrow: pip install 'twinreel[parquet]'"
        ) from None
    try:
        table = reader.read_table(parquet)
    except (OSError, ArrowException) as error:
        raise BadManifest(f"{name}: {error}; give a readable Parquet table") from None
    if lacking := [c for c in NEEDED if c not in table.column_names]:
        raise BadManifest(f"{name}: no column {lacking[0]}; columns {','.join(NEEDED)} are needed")
    columns = [c for c in (*NEEDED, "start", "end") if c in table.column_names]
    with open(target, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for row in table.select(columns).to_pylist():
            writer.writerow(["" if row[c] is None else row[c] for c in columns])
    return target


def _fetched(job: Job, place: Path) -> Job:
    """The job with its video on this node."""
    if not is_url(job.video):
        return job
    ending = os.path.splitext(job.video.split("?")[0])[1]
    name = hashlib.sha1(job.video.encode()).hexdigest() + ending
    with _fsspec().open(job.video, "rb") as there, open(place / name, "wb") as here:
        shutil.copyfileobj(there, here)
    return replace(job, video=str(place / name), url=job.video)
