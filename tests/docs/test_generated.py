"""What is written out of the code or the packages is what would be written now."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.shell_completion import BashComplete

from tests.docs.runner import ROOT
from tools import licences, reference
from twinreel.cli import main
from twinreel.models import get as spec_of


@pytest.mark.parametrize("name", reference.FILES)
def test_the_reference_is_fresh(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert text == reference.FILES[name](), "run: make generated"


def test_pages_know_the_threshold() -> None:
    """A page that advises another --min-score says which one holds."""
    least = f"{spec_of('twin.v1').min_score:g}"
    assert f"Below {least} a pair is not called" in (ROOT / "docs" / "faq.md").read_text("utf-8")
    assert f"# scores below {least} " in (ROOT / "docs" / "find-duplicates.md").read_text("utf-8")


def test_the_reference_holds_every_option() -> None:
    text = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    manual = (ROOT / "man" / "twinreel.1").read_text(encoding="utf-8").replace("\\-", "-")
    for command, context in reference.walk():
        assert f" {context.command_path}\n" in text
        for parameter in command.params:
            for flag in [o for o in parameter.opts if isinstance(parameter, click.Option)]:
                assert flag in text and flag in manual, f"{context.command_path} {flag}"


@pytest.mark.skipif(shutil.which("man") is None, reason="no man here to read the page with")
def test_the_manual_page_is_well_formed() -> None:
    page = str(ROOT / "man" / "twinreel.1")
    done = subprocess.run(["man", "--warnings", "-l", page], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert "TWINREEL DUPS" in done.stdout


def test_every_package_here_is_in_the_licence_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert licences.main(check=True) == 0, capsys.readouterr().out


def test_a_licence_that_is_not_listed_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "licences.md"
    text = (ROOT / "docs" / "licences.md").read_text(encoding="utf-8")
    page.write_text(text.replace("| av | BSD-3-Clause |", "| av | MIT |"), encoding="utf-8")
    monkeypatch.setattr(licences, "PAGE", page)
    assert licences.main(check=True) == 1
    assert "| av |" in capsys.readouterr().out


def test_the_shell_completes_verbs_and_options() -> None:
    def offered(words: list[str], start: str) -> set[str]:
        complete = BashComplete(main, {}, "twinreel", "_TWINREEL_COMPLETE")
        return {item.value for item in complete.get_completions(words, start)}

    assert offered([], "du") == {"dups"}
    assert {"dups", "act", "doctor"} <= offered([], "")
    assert {"--clips", "--contained"} <= offered(["dups"], "--c")
    assert offered(["act"], "tr") == {"trash"}
    assert offered(["library"], "che") == {"check"}


@pytest.mark.parametrize("name", ["Dockerfile", "Dockerfile.cuda"])
def test_dockerfiles_pass_the_linter(name: str) -> None:
    tool = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which(
        "hadolint"
    )
    if tool is None:
        pytest.skip("hadolint has no wheel for this system")
    done = subprocess.run([tool, str(ROOT / name)], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stdout, done.stdout
