"""The review server: who may ask, what is served, and what its buttons do."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.acting import put, report_of, tree
from tests.reviewing import made_up
from twinreel.report import Report
from twinreel.review.choices import Choice
from twinreel.store import Library

pytest.importorskip("starlette", reason="not installed: pip install 'twinreel[web]'")

GOOD = {"host": "127.0.0.1:8000"}
SENT = {**GOOD, "origin": "http://127.0.0.1:8000", "content-type": "application/json"}


def call(app: Any, method: str, path: str, headers: dict[str, str], body: Any = None) -> Any:
    """(status, headers, bytes) of one request to an ASGI application."""
    sent: list[dict[str, Any]] = []
    bodies = [json.dumps(body).encode() if body is not None else b""]

    async def receive() -> dict[str, Any]:
        if bodies:
            return {"type": "http.request", "body": bodies.pop(), "more_body": False}
        await asyncio.sleep(3600)
        raise AssertionError

    async def send(message: Any) -> None:
        sent.append(message)

    place, _, query = path.partition("?")
    scope = {
        "type": "http", "method": method, "path": place, "raw_path": place.encode(),
        "query_string": query.encode(), "root_path": "", "scheme": "http", "http_version": "1.1",
        "headers": [(k.encode(), v.encode()) for k, v in headers.items()],
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8000), "asgi": {"version": "3.0"},
    }  # fmt: skip
    asyncio.run(app(scope, receive, send))
    answer = {k.decode(): v.decode() for k, v in sent[0]["headers"]}
    return sent[0]["status"], answer, b"".join(m.get("body", b"") for m in sent[1:])


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """(app, guard, desk, report) over three real files, two of them the same."""
    from twinreel.review.guard import Guard
    from twinreel.review.server import Desk, make_app

    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    films = tmp_path / "films"
    a, b = put(films / "a.mp4", b"same" * 999), put(films / "b.mp4", b"same" * 999, age=9)
    put(films / "c.mp4", b"another" * 999)
    report = report_of(films, [a, b])
    report.save(tmp_path / "r.json")
    desk = Desk(report, str(tmp_path / "r.json"))
    guard = Guard()
    return make_app(desk, guard), guard, desk, report


def test_only_the_token_opens(served: Any) -> None:
    app, guard, *_ = served
    status, answer, body = call(app, "GET", f"/{guard.token}/", GOOD)
    assert status == 200 and b"<!doctype html>" in body
    assert "frame-ancestors 'none'" in answer["content-security-policy"]
    assert answer["cache-control"] == "no-store" and answer["x-frame-options"] == "DENY"
    for path in ("/", "/wrong/", f"/{guard.token[:-1]}/", f"/{guard.token}x/", "//", "/%00/"):
        assert call(app, "GET", path, GOOD)[0] == 403


def test_the_start_code_works_once(served: Any) -> None:
    app, guard, *_ = served
    code = guard.once
    assert call(app, "GET", "/open/", GOOD)[0] == 403
    status, answer, _ = call(app, "GET", f"/open/{code}", GOOD)
    assert status == 303 and answer["location"] == f"/{guard.token}/"
    assert call(app, "GET", f"/open/{code}", GOOD)[0] == 403


@pytest.mark.parametrize(
    "headers",
    [
        {**SENT, "host": "evil.example"},
        {**SENT, "host": "127.0.0.1.evil.example:8000"},
        {**SENT, "origin": "http://evil.example"},
        {**SENT, "origin": "http://127.0.0.1:9999"},
        {**SENT, "origin": "null"},
        {k: v for k, v in SENT.items() if k != "origin"},
        {**SENT, "content-type": "text/plain"},
        {**SENT, "sec-fetch-site": "cross-site"},
        {**SENT, "sec-fetch-site": "same-site"},
    ],
)
def test_a_page_in_another_tab_can_do_nothing(
    served: Any, tmp_path: Path, headers: dict[str, str]
) -> None:
    app, guard, *_ = served
    before = tree(tmp_path / "films")
    for verb in ("save", "plan", "apply", "undo"):
        assert call(app, "POST", f"/{guard.token}/{verb}", headers, {"action": "trash"})[0] == 403
    assert tree(tmp_path / "films") == before and not (tmp_path / "r.reviewed.json").exists()


def test_another_site_cannot_read_with_the_token(served: Any) -> None:
    app, guard, *_ = served
    for more in ({"sec-fetch-site": "cross-site"}, {"origin": "http://evil.example"}):
        assert call(app, "GET", f"/{guard.token}/video/0/how", {**GOOD, **more})[0] == 403
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert call(app, "GET", f"/{guard.token}/", {**GOOD, **link})[0] == 200  # a click on a link


def test_only_files_of_the_report_are_served(served: Any, tmp_path: Path) -> None:
    app, guard, desk, report = served

    def get(path: str) -> int:
        return int(call(app, "GET", f"/{guard.token}/{path}", GOOD)[0])

    for path in ("2", "99", "-1", "..%2f..%2fc.mp4", "../../films/c.mp4", str(tmp_path / "r.json")):
        assert get(f"video/{path}/file") == 404
    assert get("films/c.mp4") == 404 and get("r.json") == 404
    assert call(app, "PUT", f"/{guard.token}/save", SENT)[0] == 403
    first = Path(report.videos[0].path)
    secret = put(tmp_path / "secret.mp4", first.read_bytes())
    first.unlink()
    assert get("video/0/file") == 410
    first.symlink_to(secret)  # put in its place
    assert get("video/0/file") == 410 and get("video/0/frame") == 410


def test_videos_are_served_in_ranges(served: Any, tmp_path: Path) -> None:
    app, guard, desk, report = served
    info = dataclasses.replace(report.videos[0].info, container="mov,mp4")
    videos = (dataclasses.replace(report.videos[0], info=info), *report.videos[1:])
    desk.report = dataclasses.replace(report, videos=videos)
    status, answer, body = call(
        app, "GET", f"/{guard.token}/video/0/file", {**GOOD, "range": "bytes=4-11"}
    )
    assert status == 206 and body == b"samesame" and answer["content-type"] == "video/mp4"
    assert answer["content-range"] == "bytes 4-11/3996"
    # The other one's container is not known to be playable: its bytes are not handed out.
    assert call(app, "GET", f"/{guard.token}/video/1/file", GOOD)[0] == 415


def test_plan_trash_and_undo_from_the_page(served: Any, tmp_path: Path) -> None:
    app, guard, desk, report = served
    before = tree(tmp_path / "films")

    def post(verb: str, body: Any) -> tuple[int, Any]:
        status, _, text = call(app, "POST", f"/{guard.token}/{verb}", SENT, body)
        return status, json.loads(text)

    undecided = post("plan", {"action": "trash", "choices": {}})[1]
    assert not undecided["steps"] and len(undecided["skipped"]) == 1
    choices = {"0": {"keep": 1, "decision": "accept", "apart": []}}
    status, planned = post("plan", {"action": "trash", "choices": choices})
    gone, kept = report.groups[0].members
    assert status == 200 and [s["path"] for s in planned["steps"]] == [gone]
    assert tree(tmp_path / "films") == before  # a plan does nothing
    status, done = post("apply", {"id": planned["id"]})
    assert status == 200 and done["gone"] == {gone: "trash"} and not done["refused"]
    assert not Path(gone).exists() and Path(kept).exists()
    assert post("apply", {"id": planned["id"]})[0] == 400  # each plan once
    assert post("undo", {"journal": str(tmp_path / "r.json")})[0] == 400
    status, back = post("undo", {"journal": done["journal"]})
    assert status == 200 and len(back["done"]) == 1 and not back["gone"] and not back["past"]
    assert tree(tmp_path / "films") == before


def test_the_library_remembers_what_the_page_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `twinreel act` does: which content went."""
    from tests.videos import make
    from twinreel.actions.memory import KIND
    from twinreel.review.server import Desk

    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    kept, gone = tmp_path / "a.mp4", tmp_path / "b.mp4"
    make(kept, seconds=2, seed=4)
    make(gone, seconds=2, seed=4, size=(160, 90))
    library = str(tmp_path / "library.db")
    Library.open(library).close()
    report = report_of(tmp_path, [kept, gone], relation="copy")
    desk = Desk(report, str(report.save(tmp_path / "r.json")), library=library)

    def notes() -> int:
        with Library.open(library) as found:
            return len(found.recall_all(KIND))

    done = desk.apply(desk.plan({"action": "trash", "all": True})["id"])
    assert not gone.exists() and notes() == 1, done["refused"]
    desk.undo(done["journal"])
    assert gone.exists() and notes() == 0


def test_delete_is_not_on_the_page(served: Any) -> None:
    app, guard, *_ = served
    body = {"action": "delete", "all": True}
    assert call(app, "POST", f"/{guard.token}/plan", SENT, body)[0] == 400


def test_saving_writes_a_new_report_and_the_librarys_memory(tmp_path: Path) -> None:
    from twinreel.review.server import Desk

    report = made_up(tmp_path / "lib")
    source = report.save(tmp_path / "lib" / "r.json")
    original = source.read_bytes()
    desk = Desk(report, str(source))
    told = desk.save({0: Choice(None, "not_a_match"), 1: Choice(None, "accept")})
    assert source.read_bytes() == original and told["apart"] == 1
    saved = Report.load(told["path"])
    assert [g.decision for g in saved.groups[:3]] == ["not_a_match", "accept", None]
    with Library.open(report.library) as library:
        assert len(library.recall_all("unmatched")) == 1
    desk.save({0: Choice(None, None)})  # taken back
    with Library.open(report.library) as library:
        assert not library.recall_all("unmatched")
    assert Desk(report, str(source)).saved.endswith("r.reviewed-2.json")  # never written over


def test_two_pages_of_one_report_save_apart(tmp_path: Path) -> None:
    from twinreel.review.server import Desk

    report = made_up(tmp_path / "lib")
    source = str(report.save(tmp_path / "lib" / "r.json"))
    desks = [Desk(report, source), Desk(report, source)]  # neither has saved yet
    names = [desk.save({0: Choice(None, word)})["path"] for desk, word in
             zip([*desks, desks[0]], ["accept", "skip", "not_a_match"], strict=True)]  # fmt: skip
    assert names[0] == names[2] != names[1]
    assert [Report.load(n).groups[0].decision for n in names[:2]] == ["not_a_match", "skip"]


def test_a_worker_ends_when_nobody_listens_any_more(served: Any, tmp_path: Path) -> None:
    from twinreel.review.server import _piped

    desk = served[2]
    note = tmp_path / "pid"
    code = f"import os, time; open({str(note)!r}, 'w').write(str(os.getpid())); "
    code += "print('x' * 99, flush=True); time.sleep(600)"

    async def listen_briefly() -> None:
        stream = _piped(desk, [sys.executable, "-c", code])
        assert (await anext(stream)).startswith(b"xxx") and desk.streams == 1
        await stream.aclose()  # type: ignore[attr-defined]

    asyncio.run(listen_briefly())
    assert desk.streams == 0
    with pytest.raises(ProcessLookupError):
        os.kill(int(note.read_text()), 0)


def test_decoding_processes_end_with_the_server() -> None:
    code = """if __name__ == "__main__":
        import os
        from twinreel.review.playback import Frames
        print(Frames()._ready().submit(os.getpid).result(60), flush=True)
        os._exit(9)"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            os.kill(int(done.stdout), 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    raise AssertionError(f"process {done.stdout} is still there")
