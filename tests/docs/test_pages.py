"""Every code block of README and docs does what the page says."""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.docs.runner import CODE, ROOT, Block, Sandbox, blocks, commands, plain
from twinreel.cli import main
from twinreel.demo import demo_library

# A transcript with a machine's own paths and times; tools/first_run.sh makes it anew.
TRANSCRIPTS = {"docs/first-run.md"}
PAGES = sorted(
    p.relative_to(ROOT).as_posix()
    for p in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
)
# How many code blocks of a page are not run; each says why where it stands.
NOT_RUN: dict[str, int] = {
    "CONTRIBUTING.md": 1,
    "README.md": 2,
    "docs/cli.md": 1,
    "docs/from-other-tools.md": 1,
    "docs/from-the-seeds.md": 1,
    "docs/many-machines.md": 1,
    "docs/review.md": 4,
    "docs/scale.md": 2,
}
PLAIN = {"text", "toml", "json", "csv", "dockerfile"}  # shown, not run, unless a comment says so


def code(page: str) -> list[Block]:
    return [b for b in blocks(ROOT / page) if b.language in CODE]


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    demo_library(folder)
    return folder


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("docs") / "home"


def live_in(box: Sandbox, patch: pytest.MonkeyPatch) -> None:
    """Be the user whose home it is."""
    for name in ("HOME", "PYTHONPATH", "COLUMNS"):
        patch.setenv(name, box.environment()[name])
    for name in [n for n in os.environ if n.startswith(("TWINREEL", "XDG_"))]:
        patch.delenv(name)
    patch.chdir(box.home)
    patch.setattr(sys, "path", [str(box.home), *sys.path])
    # `dups` makes itself nice; here that would last for all tests that follow.
    patch.setattr(os, "nice", lambda by: 0)


@pytest.fixture(scope="session")
def known(demo: Path, home: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(library, report) of a first run over ~/Videos, so that pages need not decode it again."""
    box, kept = Sandbox(home, demo, None, None), tmp_path_factory.mktemp("known")
    with pytest.MonkeyPatch.context() as patch:
        live_in(box, patch)
        # Both ways of looking at videos that pages use; then none needs to look again.
        for more in (["-o", "REPORT.json"], ["--clips", "--contained"]):
            words = ["dups", str(home / "Videos"), "-j", "2", "-q", *more]
            done = CliRunner().invoke(main, words)
            assert done.exit_code == 0, done.output + repr(done.exception)
    for file in (home / ".local/share/twinreel/library.db", home / "REPORT.json"):
        file.rename(kept / file.name)
    return kept / "library.db", kept / "REPORT.json"


@pytest.mark.parametrize("page", [p for p in PAGES if p not in TRANSCRIPTS and blocks(ROOT / p)])
def test_a_page_does_what_it_says(
    page: str, demo: Path, home: Path, known: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    box = Sandbox(home, demo, *known)
    live_in(box, monkeypatch)
    before = set(sys.modules)
    try:
        for block in blocks(ROOT / page):
            box.run(block)
    finally:  # modules that a page brought along are that page's
        for name in set(sys.modules) - before:
            if str(home) in (getattr(sys.modules[name], "__file__", None) or ""):
                del sys.modules[name]


def test_every_fence_names_its_language() -> None:
    for page in PAGES:
        for block in blocks(ROOT / page):
            known = block.language in CODE | PLAIN or block.mark[0] == "file"
            assert known, f"{block.where}: a block of {block.language or 'nothing'}"


def test_what_is_not_run_says_why_and_is_counted() -> None:
    left_out = [b for p in PAGES if p not in TRANSCRIPTS for b in code(p) if b.mark[0] == "not run"]
    for block in left_out:
        assert len(block.mark[1]) > 8, f"{block.where}: why is it not run?"
    assert Counter(b.page for b in left_out) == NOT_RUN


def test_no_page_hides_code_from_the_runner() -> None:
    """Indented blocks are code to Markdown, too, and would not be run."""
    for page in PAGES:
        lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
        fenced = {
            n for b in blocks(ROOT / page) for n in range(b.line, b.line + b.text.count("\n") + 3)
        }
        for n, line in enumerate(lines, start=1):
            alone = n == 1 or not lines[n - 2].strip()
            listed = n > 2 and lines[n - 3].lstrip().startswith(("-", "*", "1", "2", "3"))
            assert not (line.startswith("    ") and alone and n not in fenced and not listed), (
                f"{page}:{n}: indented code; use a fence"
            )


def test_the_runner_runs(tmp_path: Path, demo: Path) -> None:
    """What the others rest on: it sees wrong output, wrong exit codes and errors."""
    assert commands("$ a b \\\n  c\nout\n$ d") == [("a b \\\n  c", "out\n"), ("d", "")]
    assert commands("# said\na   # why\n\nb") == [("a   # why", ""), ("b", "")]
    assert plain("found 12 in  3.5 s\n") == "found # in # s"
    box = Sandbox(tmp_path / "home", demo, None, None)
    ok = [
        Block("p", 1, "console", "$ echo one 1; echo; echo two\none 7\n...\ntwo"),
        Block("p", 1, "sh", "exit 3", ("exit", "3")),
        Block("p", 1, "python", "x = 1\nprint('said', x)"),
        Block("p", 1, "text", "said 5", ("output", "")),
        Block("p", 1, "sh", "false", ("not run", "because")),
        Block("p", 1, "python", "assert x == 1"),
    ]
    for block in ok:
        box.run(block)
    for block in (
        Block("p", 1, "console", "$ echo one\ntwo"),
        Block("p", 1, "sh", "exit 3"),
        Block("p", 1, "sh", "true", ("exit", "1")),
        Block("p", 1, "sh", "twinreel dups nowhere"),
        Block("p", 1, "python", "assert x == 2"),
        Block("p", 1, "text", "said nothing", ("output", "")),
    ):
        with pytest.raises(AssertionError):
            box.run(block)
