"""Reads the code blocks of a Markdown page and runs them, in order, in a home folder of their own.

    for block in blocks(Path("README.md")):
        sandbox.run(block)

What is in a fence says what is done with it: `python` is executed (the blocks of a page share
their names), `sh` and `console` are run line by line, and what a console block shows must be what
was printed, but for numbers and white space; a line '...' stands for any lines. A comment before
the fence says more:

    <!-- not run: why -->     left out, and counted
    <!-- file: name.py -->    written to the working folder
    <!-- exit: 2 -->          the last command ends with this code
    <!-- output -->           what the block before printed
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SRC = ROOT / "src"
CODE = {"python", "sh", "console"}
SHOWN_AS = "/home/you"  # how pages write the home folder
_FENCE = re.compile(r"^( *)(`{3,}|~{3,})([\w+-]*)[^\n]*$")
_MARK = re.compile(r"^ *<!-- (not run|file|exit|output)(?:: (.*?))? -->$")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page. mark: of the comment before it, e.g. ('file', 'name.py')."""

    page: str
    line: int
    language: str
    text: str
    mark: tuple[str, str] = ("", "")

    @property
    def where(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(path: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    found: list[Block] = []
    mark, inside = ("", ""), None
    lines: list[str] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        fence = _FENCE.match(line)
        if inside is None and fence:
            inside, lines = (number, fence[1], fence[2], fence[3]), []
        elif inside is not None and fence and fence[2] == inside[2] and not fence[3]:
            text = "\n".join(part.removeprefix(inside[1]) for part in lines)
            name = path.relative_to(ROOT).as_posix()
            found.append(Block(name, inside[0], inside[3], text, mark))
            mark, inside = ("", ""), None
        elif inside is not None:
            lines.append(line)
        elif comment := _MARK.match(line):
            mark = (comment[1], comment[2] or "")
        elif line.strip():
            mark = ("", "")
    assert inside is None, f"{path}: the block of line {inside and inside[0]} does not end"
    return found


def commands(text: str) -> list[tuple[str, str]]:
    """(command, output shown below it) of an sh or console block."""
    prompts = any(line.startswith("$ ") for line in text.splitlines())
    found: list[list[str]] = []
    going_on = False
    for line in text.splitlines():
        if going_on:
            found[-1][0] += "\n" + line
        elif prompts and not line.startswith("$ "):
            assert found, f"output before any command: {line!r}"
            found[-1][1] += line + "\n"
            continue
        elif not line.strip() or line.lstrip().startswith("#"):
            continue
        else:
            found.append([line.removeprefix("$ "), ""])
        going_on = line.endswith("\\")
    return [(command, shown) for command, shown in found]


def plain(text: str) -> str:
    """Without what may differ from run to run: numbers and white space."""
    text = re.sub(r"dups-[\d-]+\.json", "dups-#.json", text)
    return " ".join(re.sub(r"\d+(\.\d+)?", "#", text).split())


class Sandbox:
    """A user's home for one page: videos in it, a library that knows them, nothing else."""

    def __init__(self, home: Path, demo: Path, library: Path | None, report: Path | None) -> None:
        self.home, self.demo = home, demo
        self.names: dict[str, Any] = {"__name__": "__main__"}
        self.printed = ""
        shutil.rmtree(home, ignore_errors=True)
        for folder, source in {
            "Videos": demo, "Archive": demo / "originals", "New": demo / "copies", "demo": demo
        }.items():  # fmt: skip
            shutil.copytree(source, home / folder)
        shutil.copy2(demo / "originals" / "harbour.mp4", home / "talk.mp4")
        (home / "videos.csv").write_text(
            "video_path,feature_path\nVideos/originals/harbour.mp4,features/harbour.npy\n"
            "Videos/originals/meadow.mp4,features/meadow.npy\n"
        )
        (home / ".bin").mkdir()
        # Not nice: behind everything else that runs on a busy machine, tests take for ever.
        here = "import os; os.nice = lambda by: 0; from twinreel.cli import main; main()"
        for name, run in {"twinreel": f'-c "{here}" "$@"', "python": '"$@"'}.items():
            shim = home / ".bin" / name
            shim.write_text(
                f'#!/bin/sh\nexport PYTHONPATH="{SRC}:$PYTHONPATH"\n'
                f"exec {shlex.quote(sys.executable)} {run}\n"
            )
            shim.chmod(0o755)
        if library is not None:
            data = home / ".local" / "share" / "twinreel"
            data.mkdir(parents=True)
            shutil.copy2(library, data / "library.db")
            shutil.copy2(library, home / "videos.db")
        if report is not None:
            told = json.loads(report.read_text())
            for video in told["videos"]:  # the same files, copied: other inodes
                video["inode"] = os.stat(video["path"]).st_ino
            (home / "REPORT.json").write_text(json.dumps(told))

    def environment(self) -> dict[str, str]:
        drop = ("TWINREEL", "XDG_", "PYTEST")
        env = {k: v for k, v in os.environ.items() if not k.startswith(drop)}
        path = os.pathsep.join([str(SRC), str(self.home)])
        return env | {
            "HOME": str(self.home), "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "COLUMNS": "250",
            "PATH": f"{self.home / '.bin'}{os.pathsep}{os.environ['PATH']}",
        }  # fmt: skip

    def run(self, block: Block) -> None:
        """Do what a block says; AssertionError where it does not do what the page says."""
        mark, value = block.mark
        if mark == "not run":
            return
        if mark == "file":
            target = self.home / value
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(block.text + "\n", encoding="utf-8")
        elif mark == "output":
            self._compare(block, "the block before", block.text, self.printed)
        elif block.language == "python":
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                exec(compile(block.text, block.where, "exec"), self.names)
            self.printed = out.getvalue()
        elif block.language in ("sh", "console"):
            todo = commands(block.text)
            for i, (command, shown) in enumerate(todo):
                last = i == len(todo) - 1
                code, self.printed = self._command(command)
                wanted = int(value) if mark == "exit" and last else 0
                assert code == wanted, f"{block.where}: {command!r} ended {code}:\n{self.printed}"
                if shown.strip():
                    self._compare(block, command, shown, self.printed)

    def _compare(self, block: Block, command: str, shown: str, printed: str) -> None:
        real = plain(printed.replace(str(self.home), SHOWN_AS))
        at = 0
        for part in re.split(r"^ *\.\.\.$", shown, flags=re.M):
            wanted = plain(part)
            place = real.find(wanted, at)
            assert place >= 0, f"{block.where}: {command!r} does not print\n{part}\nbut\n{printed}"
            at = place + len(wanted)

    def _command(self, command: str) -> tuple[int, str]:
        """(exit code, what it printed). Plain `twinreel ...` runs in this process: it is faster."""
        bare = re.sub(r"'[^']*'|\s#.*", "", command)
        if command.startswith("twinreel ") and not set("|<>&;$`*?\\") & set(bare):
            from click.testing import CliRunner

            from twinreel.cli import main

            words = [os.path.expanduser(w) for w in shlex.split(command, comments=True)[1:]]
            done = CliRunner().invoke(main, words, prog_name="twinreel")
            if done.exception is not None and not isinstance(done.exception, SystemExit):
                raise done.exception
            return done.exit_code, done.output
        shell = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command], cwd=self.home, env=self.environment(),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=900,
        )  # fmt: skip
        return shell.returncode, shell.stdout
