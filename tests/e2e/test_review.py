"""The review page in a browser, over a real library made of generated videos.

Skipped where there is no Chromium (Debian: apt-get install chromium; elsewhere set CHROMIUM to the
program) or no playwright package. The accessibility check wants axe-core: npm install --no-save
axe-core in the repository, or AXE_CORE=path of axe.min.js.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.acting import tree
from tests.reviewing import made_up
from tests.videos import make
from twinreel.actions import apply, plan
from twinreel.report import Report
from twinreel.review.choices import decided, read_choices
from twinreel.review.page import write_page

CHROMIUM = os.environ.get("CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install it")
pytest.importorskip("uvicorn", reason="not installed: pip install 'twinreel[web]'")
if CHROMIUM is None:
    pytest.skip("no chromium: apt-get install chromium, or set CHROMIUM", allow_module_level=True)

REPOSITORY = Path(__file__).parents[2]
AXE = Path(os.environ.get("AXE_CORE") or REPOSITORY / "node_modules/axe-core/axe.min.js")
SERVE = "from twinreel.review.cli import review_command; review_command()"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as p:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        browser = p.chromium.launch(executable_path=CHROMIUM, args=flags, timeout=240_000)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A page in which any script error or refused resource fails the test."""
    context = browser.new_context(viewport={"width": 1360, "height": 900}, accept_downloads=True)
    context.set_default_timeout(60_000)
    page = context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda e: wrong.append(str(e)))
    page.on("console", lambda m: wrong.append(m.text) if m.type == "error" else None)
    page.on("dialog", lambda d: d.accept())
    yield page
    context.close()
    assert not wrong


def ready(page: Any, address: str) -> None:
    page.goto(address)
    page.wait_for_selector("html[data-ready='1']")


def until(page: Any, expression: str, arg: Any = None, timeout: float = 60_000) -> None:
    """Wait until a JavaScript expression holds. Playwright's own way to wait evaluates text in the
    page, which the page's policy forbids."""
    end = time.monotonic() + timeout / 1000
    while not page.evaluate(expression, arg):
        assert time.monotonic() < end, f"still not so: {expression}"
        page.wait_for_timeout(50)


def rows(page: Any) -> list[str]:
    return [t.strip() for t in page.locator(".row .name").all_inner_texts()]


# -- the self-contained page ----------------------------------------------------------------------


@pytest.fixture
def alone(tmp_path: Path) -> tuple[Report, str]:
    """(report, address of its self-contained page)"""
    report = made_up(tmp_path, 12)
    out = write_page(report, tmp_path / "page.html", name="found.json")
    return report, out.as_uri()


def test_open_filter_and_search(page: Any, alone: tuple[Report, str]) -> None:
    report, address = alone
    ready(page, address)
    assert "12 groups" in page.inner_text("#count")
    page.fill("#f-text", "elsewhere")
    until(page, "document.querySelectorAll('.row').length === 4")
    page.fill("#f-text", "")
    page.select_option("#f-relation", "exact")
    exact = sum(n % 5 == 3 for n in range(12))
    until(page, f"document.querySelectorAll('.row').length === {exact}")
    page.select_option("#f-relation", "")
    page.select_option("#f-size", "1e9")
    until(page, "document.querySelectorAll('.row').length === 0")
    assert "No group fits" in page.inner_text("#detail")


def test_groups_come_by_bytes_and_pictures_are_shown(page: Any, alone: tuple[Report, str]) -> None:
    report, address = alone
    ready(page, address)
    best = max(report.groups, key=report.freed)
    assert rows(page)[0] == os.path.basename(best.keep)
    page.wait_for_selector("#detail .cell .still[style*='background-image']")
    assert page.locator("#detail .member").count() == len(best.members)
    assert not {"false", "null", "undefined", "NaN"} & set(page.inner_text("body").split())
    total = sum(report.freed(g) for g in report.groups)
    shown = page.inner_text("#count").replace("12 groups, ", "")
    assert shown == f"{total / 1e6:.1f} MB"


def test_a_hostile_name_stays_text(page: Any, alone: tuple[Report, str]) -> None:
    ready(page, alone[1])
    page.fill("#f-text", "onerror")
    until(page, "document.querySelectorAll('.row').length === 1")
    assert page.locator("img").count() == 0
    names = page.inner_text("#detail")
    assert "img src=x" in names and "\\u202e" in names and "\\udcff" in names


def test_all_groups_by_keyboard_alone(page: Any, alone: tuple[Report, str], tmp_path: Path) -> None:
    """Accept, skip, tell apart, keep another, take back: without a mouse; then save."""
    report, address = alone
    ready(page, address)
    page.select_option("#f-sort", "report")
    page.focus("#list")
    page.keyboard.press("Home")
    page.keyboard.press("2")  # group 0: keep the second file
    page.keyboard.press("ArrowDown")
    page.keyboard.press("n")  # group 1; goes on to 2
    page.keyboard.press("2")  # group 2: keep another, which nobody looks at
    page.keyboard.press("s")  # 2
    page.keyboard.press("s")  # 3, by mistake ...
    page.keyboard.press("u")  # ... taken back, which goes back to 3
    for _ in range(3, 12):
        page.keyboard.press("a")
    until(page, "document.getElementById('done').value === 12")
    with page.expect_download() as download:
        page.evaluate("delete window.showSaveFilePicker")
        page.keyboard.press("w")
    saved = tmp_path / download.value.suggested_filename
    download.value.save_as(saved)
    assert saved.name == "found.reviewed.json"
    now = Report.load(saved)
    decisions = [g.decision for g in now.groups]
    assert decisions == ["accept", "not_a_match", "skip"] + ["accept"] * 9
    assert now.groups[0].keep == report.groups[0].members[1]
    # Python makes the very same report of the same choices.
    choices: dict[str, Any] = {str(n): {"decision": d} for n, d in enumerate(decisions)}
    choices["0"]["keep"] = choices["2"]["keep"] = 1
    assert now.groups[2].losses == {} != now.groups[0].losses
    assert now == decided(report, read_choices(choices, report))


def test_decisions_survive_a_crash(page: Any, alone: tuple[Report, str]) -> None:
    ready(page, alone[1])
    page.focus("#list")
    page.keyboard.press("a")
    page.reload()
    page.wait_for_selector("html[data-ready='1']")
    assert "Decisions on 1 group" in page.inner_text("#notice")
    page.click("text=Forget them")
    assert page.evaluate("document.getElementById('done').value") == 0


def test_folders_are_decided_at_once(page: Any, alone: tuple[Report, str]) -> None:
    report, address = alone
    ready(page, address)
    page.click("#folders")
    page.click("text=Keep the files in /videos/originals")
    pair = {"/videos/originals", "/videos/copies"}
    clear = [g for g in report.groups if {os.path.dirname(m) for m in g.members} == pair]
    until(page, f"document.getElementById('done').value === {len(clear)}")
    page.keyboard.press("Escape")
    page.keyboard.press("u")
    until(page, "document.getElementById('done').value === 0")


def test_compare_figures_and_similarity(page: Any, alone: tuple[Report, str]) -> None:
    ready(page, alone[1])
    page.select_option("#f-sort", "report")
    page.focus("#list")
    page.keyboard.press("End")
    page.keyboard.press("Home")
    page.keyboard.press("c")
    until(page, "[...document.querySelectorAll('.swipe img')].every(i => i.naturalWidth)")
    before = page.inner_text("#compare-body .times")
    page.click("text=Later")
    assert page.inner_text("#compare-body .times") != before
    page.keyboard.press("Escape")
    page.click("#figures")
    assert page.locator("#figures-body svg").count() == 3
    page.keyboard.press("Escape")
    page.click("#detail button:has-text('Similarity')")
    assert page.locator("#matrix-body canvas").count() == 1


@pytest.mark.parametrize("look", ["light", "dark", "narrow"])
def test_nothing_serious_for_axe(browser: Any, alone: tuple[Report, str], look: str) -> None:
    if not AXE.is_file():
        pytest.skip("no axe-core: npm install --no-save axe-core, or set AXE_CORE")
    size = {"width": 400, "height": 800} if look == "narrow" else {"width": 1360, "height": 900}
    # The page's own policy forbids foreign scripts, the check is one.
    context = browser.new_context(
        viewport=size, color_scheme="dark" if look == "dark" else "light", bypass_csp=True
    )
    page = context.new_page()
    page.set_default_timeout(60_000)
    ready(page, alone[1])
    page.add_script_tag(path=str(AXE))
    if look == "narrow":
        page.locator(".row").first.click()
    page.wait_for_selector("#detail .cell .still[style*='background-image']")
    buttons = ("#keys", "#figures", "#folders", "#detail button:has-text('Similarity')",
               "#detail button:has-text('Compare')")  # fmt: skip
    assert not serious(page)
    for button in buttons:
        page.locator(button).first.click()
        page.wait_for_selector("dialog[open]")
        assert not serious(page), button
        page.keyboard.press("Escape")
    context.close()


def serious(page: Any) -> list[tuple[str, str]]:
    """What axe finds serious or critical: (rule, the first element)."""
    found = page.evaluate("axe.run().then(r => r.violations)")
    bad = [v for v in found if v["impact"] in ("serious", "critical")]
    return [(v["id"], v["nodes"][0]["html"][:200]) for v in bad]


@pytest.mark.parametrize("look", ["light", "dark"])
def test_nothing_serious_for_axe_in_the_served_windows(
    browser: Any, served: tuple[str, Report, Path], look: str
) -> None:
    """Compare, playback, the plan, its outcome, and what was done."""
    if not AXE.is_file():
        pytest.skip("no axe-core: npm install --no-save axe-core, or set AXE_CORE")
    context = browser.new_context(
        viewport={"width": 1360, "height": 900}, color_scheme=look, bypass_csp=True
    )
    page = context.new_page()
    page.set_default_timeout(60_000)
    ready(page, served[0])
    page.add_script_tag(path=str(AXE))
    choose(page, "market")
    page.wait_for_selector("#detail .cell .still[style*='background-image']")
    page.click("#detail button:has-text('Compare')")
    until(page, "[...document.querySelectorAll('.swipe img')].every(i => i.naturalWidth)")
    assert not serious(page), "compare"
    page.keyboard.press("Escape")
    page.click("#detail button:has-text('Play in step')")
    page.wait_for_selector("#play-body[data-ready='1']", timeout=120_000)
    assert not serious(page), "play"
    page.keyboard.press("Escape")
    page.focus("#list")
    page.keyboard.press("a")
    page.click("#act")
    page.click("#a-look")
    page.wait_for_selector("#a-do")
    assert not serious(page), "plan"
    page.click("#a-do")
    page.wait_for_selector("text=Done: 1 file")
    assert not serious(page), "outcome"
    page.click("#a-undo")
    page.wait_for_selector("text=Taken back: 1")
    page.keyboard.press("Escape")
    context.close()


# -- served, over real videos ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Report]:
    """(folder, report) of three groups: mp4 and a smaller one, equal mkv, mp4 and hevc."""
    from twinreel import find_duplicates

    folder = tmp_path_factory.mktemp("review")
    films = folder / "films"
    for name in ("new", "old"):
        (films / name).mkdir(parents=True)
    make(films / "old" / "harbour.mp4", seconds=6, seed=3, size=(480, 270), audio="eng")
    make(films / "new" / "harbour small.mp4", seconds=6, seed=3, audio="eng")
    make(films / "old" / "market.mkv", seconds=5, seed=4, gop=25)
    shutil.copy2(films / "old" / "market.mkv", films / "new" / "market copy.mkv")
    make(films / "old" / "orchard.mp4", seconds=5, seed=5, size=(480, 270))
    make(films / "new" / "orchard hevc.mkv", seconds=5, seed=5, codec="libx265")
    report = find_duplicates(
        [str(films)], library=str(folder / "library.db"), model="dctgrad.v1", jobs=1, nice=0
    )
    assert len(report.groups) == 3, report.text()
    return folder, report


@contextlib.contextmanager
def serving(source: Path, data: Path) -> Iterator[str]:
    """A review server in a process of its own; gives the address that it prints."""
    environment = {**os.environ, "XDG_DATA_HOME": str(data), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-c", SERVE, str(source), "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server:
        try:
            assert server.stdout is not None
            address = server.stdout.readline().strip()
            assert re.fullmatch(r"http://127\.0\.0\.1:\d+/[\w-]{40,}/", address), address
            yield address
        finally:
            server.terminate()
            server.wait(30)


@pytest.fixture
def served(library: tuple[Path, Report], tmp_path: Path) -> Iterator[tuple[str, Report, Path]]:
    """(address, report, report file)"""
    videos = [replace(v, file=replace(v.file, inode=os.stat(v.path).st_ino))
              for v in library[1].videos]  # fmt: skip
    report = replace(library[1], videos=tuple(videos))  # an undone link is a new file
    source = report.save(tmp_path / "found.json")
    with serving(source, tmp_path / "data") as address:
        yield address, report, source


def choose(page: Any, text: str) -> None:
    page.fill("#f-text", text)
    until(
        page,
        "t => [...document.querySelectorAll('.row .name')].every(e => e.textContent.includes(t))"
        " && document.querySelector('#detail h2')?.textContent.includes(t)",
        arg=text,
    )


def test_decide_save_and_act(page: Any, served: tuple[str, Report, Path]) -> None:
    address, report, source = served
    ready(page, address)
    page.wait_for_selector("#detail .cell .still[style*='background-image']")
    choose(page, "market")
    page.focus("#list")
    page.keyboard.press("a")
    choose(page, "orchard")
    page.click("#detail >> text=Not a match")
    page.click("#save")
    page.wait_for_selector("#notice:has-text('Saved')")
    saved = source.with_name("found.reviewed.json")
    now = Report.load(saved)
    by_name = {os.path.basename(g.keep).split(".")[0].split(" ")[0]: g.decision for g in now.groups}
    assert by_name == {"market": "accept", "orchard": "not_a_match", "harbour": None}
    planned = plan(now, "trash", only=("exact",))
    assert [os.path.basename(s.path)[:6] for s in planned.steps] == ["market"]


@pytest.mark.parametrize("name", ["harbour", "market", "orchard"])  # direct, remux, transcode
def test_two_videos_play_in_step(page: Any, served: tuple[str, Report, Path], name: str) -> None:
    ready(page, served[0])
    choose(page, name)
    page.click("#detail button:has-text('Play in step')")
    page.wait_for_selector("#play-body[data-ready='1']", timeout=120_000)
    times = "[...document.querySelectorAll('#play-body video')].map(v => v.currentTime)"
    page.click("#play-body button:has-text('Play')")
    until(page, f"{times}.every(t => t > 1.5)", timeout=120_000)
    page.click("#play-body button:has-text('Pause')")
    drift = float(page.evaluate("document.getElementById('play-body').dataset.drift"))
    assert abs(drift) < 0.3
    shown = page.evaluate(
        "[...document.querySelectorAll('#play-body video')].map(v => v.videoWidth)"
    )
    assert all(shown)
    page.click("#play-body button:has-text('+ 1 s')")
    page.keyboard.press("Escape")


@pytest.mark.parametrize("action", ["trash", "move", "symlink", "hardlink"])
def test_clean_up_and_undo_from_the_page(
    page: Any, served: tuple[str, Report, Path], library: tuple[Path, Report], action: str
) -> None:
    films = library[0] / "films"
    before = tree(films)
    ready(page, served[0])
    choose(page, "market")
    page.focus("#list")
    page.keyboard.press("a")
    page.click("#act")
    page.select_option("#a-action", action)
    page.click("#a-look")
    page.wait_for_selector("#a-do")
    assert tree(films) == before and page.locator("#a-plan ol li").count() == 1
    page.click("#a-do")
    page.wait_for_selector("text=Done: 1 file")
    now = tree(films)
    gone = [n for n in before if now.get(n) != before[n]] or [
        n for n in now if "market" in n and (films / n).stat().st_nlink > 1
    ]
    copy = films / max(gone, key=len)
    kept = next(p for p in films.rglob("market*") if p != copy)
    assert "market" in copy.name and kept.is_file() and not kept.is_symlink()
    if action == "symlink":
        assert copy.is_symlink() and copy.resolve() == kept.resolve()
    elif action == "hardlink":
        assert copy.samefile(kept)
    else:
        assert not copy.exists()
    if action == "move":
        aside = [p for p in library[0].rglob("market*") if ".twinreel-quarantine" in p.parts]
        assert len(aside) == 1 and aside[0].name == copy.name
    if action in ("trash", "symlink"):
        page.click("#a-undo")
        page.wait_for_selector("text=Taken back: 1")
    else:  # later, from the list of what was done
        page.keyboard.press("Escape")
        page.click("#past")
        page.click("#past-body button:has-text('Take it back')")
        page.wait_for_selector("#past-body :text('Taken back: 1')")
    assert tree(films) == before and not copy.is_symlink() and not copy.samefile(kept)


def test_frames_are_compared_at_full_size(page: Any, served: tuple[str, Report, Path]) -> None:
    ready(page, served[0])
    choose(page, "harbour")
    page.keyboard.press("Escape")
    page.focus("#list")
    page.keyboard.press("c")
    until(
        page,
        "(([a, b]) => a?.naturalWidth === 480 && b?.naturalWidth === 320)"
        "([...document.querySelectorAll('.swipe img')])",
        timeout=120_000,
    )


def test_strangers_are_refused(browser: Any, served: tuple[str, Report, Path]) -> None:
    address, report, source = served
    origin, token = re.fullmatch(r"(http://[^/]+)/(.+)/", address).groups()  # type: ignore[union-attr]

    def status(path: str, **headers: str) -> int:
        request = urllib.request.Request(f"{origin}{path}", headers=headers)
        if "body" in headers:
            request = urllib.request.Request(
                f"{origin}{path}", headers.pop("body").encode(), {**headers}, method="POST"
            )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return int(error.code)

    kind = {"Content-Type": "application/json"}
    body = json.dumps({"choices": {}})
    assert status(f"/{token}/video/0/how") == 200
    assert status("/video/0/how") == status(f"/{token[::-1]}/video/0/how") == 403
    assert status(f"/{token}/video/0/how", Host="evil.example") == 403
    assert status(f"/{token}/save", body=body, Origin="http://evil.example", **kind) == 403
    assert status(f"/{token}/save", body=body, **kind) == 403
    for path in ("video/99/file", "video/..%2f..%2ffound.json/file", "../../../etc/passwd"):
        assert status(f"/{token}/{path}") in (403, 404)
    # A page of another origin that even knows the token.
    context = browser.new_context()
    page = context.new_page()
    context.route(
        "http://evil.example/", lambda r: r.fulfill(body="<p>evil", content_type="text/html")
    )
    page.goto("http://evil.example/")
    outcome = page.evaluate(
        """async (address) => {
            const tries = [
                fetch(address + "save", {method: "POST", body: "{}"}),
                fetch(address + "save", {method: "POST", mode: "no-cors", body: "{}"}),
                fetch(address + "video/0/how"),
            ];
            return (await Promise.allSettled(tries)).map(
                (r) => r.status === "fulfilled" ? r.value.type : "failed");
        }""",
        address,
    )
    assert set(outcome) <= {"failed", "opaque"}  # neither read nor, see below, done
    context.close()
    assert not source.with_name("found.reviewed.json").exists()


def test_act_reads_what_the_page_saved(
    page: Any, served: tuple[str, Report, Path], library: tuple[Path, Report], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """From the page's file to files in the trash, and every one of them back."""
    from twinreel.actions import undo

    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    before = tree(library[0] / "films")
    ready(page, served[0])
    choose(page, "market")
    page.focus("#list")
    page.keyboard.press("2")  # the other one stays
    page.keyboard.press("w")
    page.wait_for_selector("#notice:has-text('Saved')")
    now = Report.load(served[2].with_name("found.reviewed.json"))
    group = next(g for g in now.groups if "market" in g.keep)
    others = tuple(g for g in now.groups if g is not group)
    done = apply(plan(now, "trash", only=("exact",)))
    assert [s.path for s in done.done] == [m for m in group.members if m != group.keep]
    assert Path(group.keep).exists() and others
    undo(done.journal)
    assert tree(library[0] / "films") == before
