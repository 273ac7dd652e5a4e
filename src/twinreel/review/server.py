"""The review page with playback and buttons, served to one person.

    app, guard = make_app(Desk(report, "report.json"), Guard())

Addresses name groups and videos by their number in the report, never by path: nothing outside the
report can be asked for. What the buttons do is `twinreel.actions`: the plan that was shown is the
very object that is applied, and the journal is the one that `twinreel undo` reads.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import stat
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import (
    FileResponse,
    HTMLResponse,
    JSONResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Route

from twinreel.actions import (
    ActOptions,
    Disk,
    Outcome,
    Plan,
    apply,
    history,
    memory,
    plan,
    settle,
    survey,
)
from twinreel.actions import journal as journals
from twinreel.actions import undo as take_back
from twinreel.actions.cli import alone
from twinreel.actions.losses import judging
from twinreel.errors import BadReport, InputError, TwinreelError, VideoError
from twinreel.report import Report
from twinreel.review.choices import Choice, decided, read_choices, told_apart
from twinreel.review.guard import Guard, Guarded
from twinreel.review.page import find_library, policy, render, script_and_style
from twinreel.review.pictures import STYLES, group_pictures
from twinreel.review.playback import Frames, how, stream_command
from twinreel.store import Library
from twinreel.types import Group, Video

ACTIONS = ("trash", "move", "hardlink", "symlink", "reflink")  # what can be taken back
LARGEST_BODY = 32_000_000
CHUNK = 256 * 1024
MOST_STREAMS = 4  # converting at a time: each takes a core


@dataclass
class Desk:
    """What one run of the server works on. source: the report's file; saved: where decisions go."""

    report: Report
    source: str
    saved: str = ""
    library: str = ""
    frames: Frames = field(default_factory=Frames)
    busy: threading.Lock = field(default_factory=threading.Lock)
    plans: dict[str, Plan] = field(default_factory=dict)
    told: set[str] = field(default_factory=set)  # pairs that this run told apart
    wrote: bool = False  # the saved report is this run's own
    streams: int = 0
    progress: tuple[int, int] = (0, 0)  # steps taken, of how many

    def __post_init__(self) -> None:
        found, self.note = find_library(self.report, self.library)
        self.library = str(found or "")
        self.saved = self.saved or free_name(self.source)

    @property
    def name(self) -> str:
        """The report's name in journals, as `act` writes it."""
        return str(Path(self.source).resolve())

    @property
    def _report(self) -> Report:
        """The report with the library that is used here: `act` leaves its notes there."""
        return replace(self.report, library=self.library)

    def video(self, number: int) -> Video:
        """A video of the report that is still the file it was. Raises HTTPException."""
        if not 0 <= number < len(self.report.videos):
            raise HTTPException(404, f"the report has {len(self.report.videos)} videos")
        video = self.report.videos[number]
        try:
            now = os.lstat(video.path)
        except OSError as error:
            raise HTTPException(410, f"not there: {error.strerror}") from None
        same = (now.st_size, now.st_mtime_ns) == (video.file.size, video.file.mtime_ns)
        if not stat.S_ISREG(now.st_mode) or not same:
            raise HTTPException(410, "not the file of the report any more; run `dups` again")
        return video

    # -- decisions ------------------------------------------------------------------------------

    def save(self, choices: dict[int, Choice]) -> dict[str, Any]:
        """Write the decided report, and what was told apart into the library."""
        if not self.wrote and Path(self.saved).exists():
            self.saved = free_name(self.source)  # another page of this report saved first
        path = decided(self.report, choices).save(self.saved)
        self.wrote = True
        kept = 0
        if self.library:
            pairs = {
                " ".join(sorted((a.file.key or "", b.file.key or ""))): [a.path, b.path]
                for a, b in told_apart(self.report, choices)
            }
            with Library.open(self.library) as library:
                for pair in self.told - set(pairs):
                    library.forget("unmatched", pair)
                for pair, paths in pairs.items():
                    library.remember("unmatched", pair, paths)
            self.told, kept = set(pairs), len(pairs)
        return {"path": str(path), "apart": kept, "library": bool(self.library)}

    # -- acting ---------------------------------------------------------------------------------

    def plan(self, asked: dict[str, Any]) -> dict[str, Any]:
        """What an action would do now. Only groups that a person accepted, unless asked for all."""
        action = asked.get("action")
        if action not in ACTIONS:
            raise InputError(f"action is one of {ACTIONS}, got {action!r}")
        report = decided(self.report, read_choices(asked.get("choices", {}), self.report))
        if not asked.get("all"):
            report = replace(report, groups=tuple(_waiting(g) for g in report.groups))
        accept = asked.get("accept") or []
        if not isinstance(accept, list) or not all(isinstance(w, str) for w in accept):
            raise InputError(f"accept is a list of losses, got {accept!r}")
        options = ActOptions(accept=tuple(accept), sidecars=asked.get("sidecars", "leave"))
        with judging(report) as judge:
            planned = survey(plan(report, action, options, name=self.name, judge=judge))
        number = secrets.token_hex(8)
        self.plans = {number: planned}  # only the plan that is on the screen can be done
        return {"id": number, "action": action, **_shown(planned)}

    def apply(self, number: str) -> dict[str, Any]:
        """Do the plan that was shown."""
        planned = self.plans.pop(number, None)
        if planned is None:
            raise InputError("this plan is done or was replaced by a newer one; look at it again")
        with self._alone():
            settled = [s.path for outcome in settle() for s in outcome.done]
            self.progress = (0, len(planned.steps))

            def count(*_: Any) -> None:
                self.progress = (self.progress[0] + 1, self.progress[1])

            with alone():
                outcome = apply(planned, progress=count)
            memory.remember(self._report, outcome.done)
        return {**_told(outcome), "settled": settled, "gone": self.gone(), **self.past()}

    def undo(self, journal: str) -> dict[str, Any]:
        """Take back one of this report's runs."""
        if journal not in [e["path"] for e in self.past()["past"]]:
            raise InputError(f"{journal}: not a journal of this report; see `twinreel undo --list`")
        with self._alone(), alone():
            outcome = take_back(journal)
            memory.take_back(self.library, outcome.done)
        return {**_told(outcome), "gone": self.gone(), **self.past()}

    def past(self) -> dict[str, Any]:
        """Runs over this report that can be taken back, the newest last."""
        mine = (self.name, str(Path(self.saved).resolve()))
        return {"past": [asdict(e) for e in history() if e.report in mine and e.can_undo]}

    def gone(self) -> dict[str, str]:
        """Path -> action of the files that runs over this report took away."""
        out: dict[str, str] = {}
        disk = Disk()
        for entry in self.past()["past"]:
            try:
                past = journals.read(entry["path"], disk)
            except BadReport:
                continue
            out |= {s["path"]: s["action"] for s in past.open_steps if s["action"] in ACTIONS}
        return out

    def _alone(self) -> Any:
        if not self.busy.acquire(blocking=False):
            raise HTTPException(409, "another run is going on; wait until it has ended")
        return _Release(self.busy)


def _waiting(group: Group) -> Group:
    """A group that nobody decided on is left alone."""
    return replace(group, decision="skip") if group.decision is None else group


class _Release:
    def __init__(self, lock: threading.Lock) -> None:
        self.lock = lock

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None:
        self.lock.release()


def free_name(source: str) -> str:
    """'a.json' -> 'a.reviewed.json' beside it, or the first '-2', '-3' ... that is free."""
    path = Path(source)
    stem = path.stem if path.suffix in (".json", ".jsonl") else path.name
    tried, n = path.with_name(f"{stem}.reviewed.json"), 2
    while tried.exists():
        tried, n = path.with_name(f"{stem}.reviewed-{n}.json"), n + 1
    return str(tried)


def _shown(planned: Plan) -> dict[str, Any]:
    return {
        "steps": [asdict(s) for s in planned.steps],
        "skipped": [asdict(s) for s in planned.skipped],
        "sidecars": planned.sidecars,
        "freed": planned.freed,
    }


def _told(outcome: Outcome) -> dict[str, Any]:
    return {**asdict(outcome), "freed": outcome.freed}


# -- the application ------------------------------------------------------------------------------


def make_app(desk: Desk, guard: Guard) -> Guarded:
    """The ASGI application of a desk behind its guard."""
    served = {"actions": list(ACTIONS), "saved": desk.saved}

    def page() -> str:
        state = {**served, "gone": desk.gone(), **desk.past()}
        return "".join(render(desk.report, name=desk.source, note=desk.note, served=state))

    async def index(request: Request) -> Response:
        return HTMLResponse(await run_in_threadpool(page))

    async def pictures(request: Request) -> Response:
        number = request.path_params["n"]
        if not desk.library or number >= len(desk.report.groups):
            raise HTTPException(404, "no pictures")

        def look() -> dict[str, Any]:
            with Library.open(desk.library) as library:
                return group_pictures(desk.report, desk.report.groups[number], library, STYLES[0])

        return JSONResponse(await run_in_threadpool(look))

    async def ways(request: Request) -> Response:
        return JSONResponse(how(desk.video(request.path_params["n"]))._asdict())

    async def whole(request: Request) -> Response:
        video = desk.video(request.path_params["n"])
        way = how(video)
        if way.mode != "direct":
            raise HTTPException(415, "browsers cannot play it as it is; ask for its stream")
        return FileResponse(video.path, media_type=way.mime)

    async def start(request: Request) -> Response:
        video = desk.video(request.path_params["n"])
        mode, at = request.query_params.get("mode", ""), _seconds(request, "at")
        begin = await run_in_threadpool(desk.frames.start_of, video, mode, at)
        return JSONResponse({"start": begin})

    async def frame(request: Request) -> Response:
        video = desk.video(request.path_params["n"])
        whole = request.query_params.get("whole") == "1"
        data = await run_in_threadpool(desk.frames.jpeg, video, _seconds(request, "at"), whole)
        return Response(data, media_type="image/jpeg")

    async def stream(request: Request) -> Response:
        video = desk.video(request.path_params["n"])
        mode = request.query_params.get("mode")
        if mode not in ("remux", "transcode"):
            raise HTTPException(400, f"mode is remux or transcode, got {mode!r}")
        if desk.streams >= MOST_STREAMS:
            raise HTTPException(503, f"{MOST_STREAMS} videos are being converted already")
        command = stream_command(video.path, mode, _seconds(request, "from"))
        return StreamingResponse(_piped(desk, command), media_type="video/mp4")

    async def progress(request: Request) -> Response:
        return JSONResponse(desk.progress)

    def change(work: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[..., Any]:
        async def answer(request: Request) -> Response:
            return JSONResponse(await run_in_threadpool(work, await _body(request)))

        return answer

    def save(asked: dict[str, Any]) -> dict[str, Any]:
        return desk.save(read_choices(asked.get("choices", {}), desk.report))

    app = Starlette(
        routes=[
            Route("/", index),
            Route("/pictures/{n:int}", pictures),
            Route("/video/{n:int}/how", ways),
            Route("/video/{n:int}/file", whole),
            Route("/video/{n:int}/start", start),
            Route("/video/{n:int}/frame", frame),
            Route("/video/{n:int}/stream", stream),
            Route("/progress", progress),
            Route("/save", change(save), methods=["POST"]),
            Route("/plan", change(desk.plan), methods=["POST"]),
            Route("/apply", change(lambda a: desk.apply(str(a.get("id")))), methods=["POST"]),
            Route("/undo", change(lambda a: desk.undo(str(a.get("journal")))), methods=["POST"]),
        ],
        exception_handlers={
            TwinreelError: _sorry,
            ValueError: _sorry,
            HTTPException: lambda r, e: JSONResponse({"error": e.detail}, e.status_code),
        },
    )
    strict = policy(*script_and_style(), served=True) + "; frame-ancestors 'none'"
    return Guarded(app, guard, strict)


async def _body(request: Request) -> dict[str, Any]:
    parts, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > LARGEST_BODY:
            raise HTTPException(413, f"more than {LARGEST_BODY} bytes")
        parts.append(chunk)
    try:
        data = json.loads(b"".join(parts))
    except ValueError:
        raise InputError("the request is not JSON") from None
    if not isinstance(data, dict):
        raise InputError("the request is not a JSON object")
    return data


def _seconds(request: Request, name: str) -> float:
    try:
        value = float(request.query_params.get(name, "0"))
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e7:
        raise HTTPException(400, f"{name} is a number of seconds")
    return value


async def _piped(desk: Desk, command: list[str]) -> AsyncIterator[bytes]:
    """What a worker writes; it ends when the browser stops listening."""
    worker, ended = None, False
    desk.streams += 1
    try:
        worker = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        assert worker.stdout is not None
        while chunk := await worker.stdout.read(CHUNK):
            yield chunk
        ended = True
    finally:
        desk.streams -= 1
        if worker is not None:
            if not ended and worker.returncode is None:
                worker.kill()
            await worker.wait()


def _sorry(request: Request, error: Exception) -> Response:
    code = 422 if isinstance(error, VideoError) else 400
    return JSONResponse({"error": str(error)}, code)
