"""Every bad or odd input of the table, through the command: what the user sees, the exit code,
and that all other videos were done. docs/bad-inputs.md is the same table, and is held to it."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from tests import videos
from tests.e2e import command
from tests.e2e.command import Done
from tests.videos import make

SIZE = (160, 96)
FAST = {"preset": "ultrafast", "crf": "14"}
DOC = command.ROOT / "docs" / "bad-inputs.md"

FAILS, FINE, DAMAGED, LEFT_OUT = "fails", "fine", "damaged", "left out"


@dataclass(frozen=True)
class Bad:
    """One input: how it is made and what the user is told.

    says: a regular expression; for FAILS 'stage: words', for DAMAGED the damage, for LEFT_OUT the
    reason. A row that fails makes the exit code 1, the others leave it 0.
    """

    name: str
    what: str
    make: Callable[[Path], Any]
    end: str
    says: str = ""
    seconds: float | None = None
    size: tuple[int, int] | None = None

    @property
    def code(self) -> int:
        return 1 if self.end == FAILS else 0


def _via(maker: Callable[..., Path], change: Callable[..., Path], **settings: Any) -> Any:
    """Make a good video beside, then write its changed form."""

    def do(path: Path) -> None:
        whole = maker(path.with_name(f"whole{path.suffix}"), **settings)
        change(whole, path)
        whole.unlink()

    return do


def _v(**settings: Any) -> Callable[[Path], Any]:
    return lambda path: make(path, **{"size": SIZE, **settings})


def _named(name: bytes) -> Callable[[Path], Any]:
    def do(path: Path) -> None:
        make(path, seconds=2, size=SIZE, seed=30 + len(name))
        path.rename(os.fsdecode(os.fsencode(path.parent) + b"/" + name))

    return do


def _unreadable(path: Path) -> None:
    make(path, seconds=1, size=SIZE, seed=40)
    path.chmod(0)


def _locked_folder(path: Path) -> None:
    path.mkdir()
    make(path / "inside.mp4", seconds=1, size=SIZE, seed=41)
    path.chmod(0)


LONG = {"seconds": 10, "size": SIZE, "gop": 25}
ROWS = [
    Bad("zero-bytes.mp4", "zero bytes", videos.empty, LEFT_OUT, "empty file"),
    Bad("text.mp4", "text named .mp4", videos.text, FAILS,
        "probe: not readable as a video: Invalid data found when processing input"),
    Bad("half.mp4", "mp4 cut in half, index at the end",
        _via(make, videos.truncated, seed=2, **LONG), FAILS,
        "probe: not readable as a video: Invalid data found when processing input"),
    Bad("half-faststart.mp4", "mp4 cut in half, index in front",
        _via(videos.faststart, videos.truncated, seed=3, **LONG), DAMAGED,
        r"(\d+ of \d+ packets undecodable; )?ends at \d\.\d s of 10\.0 s"),
    Bad("half.mkv", "mkv cut in half", _via(make, videos.truncated, seed=4, **LONG), DAMAGED,
        r"ends at \d\.\d s of 10\.0 s"),
    Bad("garbage.mp4", "400 kB of garbage inside",
        _via(videos.faststart, videos.garbage, seed=5, seconds=8, size=(480, 270), gop=10,
             options=FAST | {"crf": "8"}), FAILS,
        r"decode: \d+ of \d+ packets are undecodable \(limit 5%\)"),
    Bad("scratch.mp4", "a scratch: two packets overwritten",
        _via(videos.faststart, lambda a, b: videos.garbage(a, b, amount=1500), seed=6,
             seconds=10, size=(320, 180), gop=25), DAMAGED,
        r"\d+ of \d+ packets undecodable"),
    Bad("sound.mp4", "audio only", videos.audio_only, FAILS,
        "probe: no moving picture in it (sound or cover pictures only)"),
    Bad("one-frame.mp4", "one frame", lambda p: videos.one_frame(p, size=SIZE, seed=7), FINE,
        seconds=0.04),
    Bad("blink.mp4", "0.2 s", _v(seconds=0.2, seed=8), FINE, seconds=0.2),
    Bad("bare.mp4", "no timestamps", lambda p: videos.no_timestamps(
        p, seconds=2, size=SIZE, seed=9), FINE, seconds=2.0),
    Bad("variable.mp4", "variable frame rate", _v(seconds=3, seed=10, vfr=True), FINE,
        seconds=3.0),
    Bad("phone.mp4", "rotated phone video", _v(seconds=2, seed=11, rotate=90), FINE,
        size=(96, 160)),
    Bad("hdr.mp4", "10-bit HDR", _v(seconds=2, seed=12, ten_bit_hdr=True), FINE, size=SIZE),
    Bad("odd.mkv", "odd dimensions", _v(seconds=2, seed=13, size=(161, 97), pix_fmt="yuv444p"),
        FINE, size=(161, 97)),
    Bad("wide.mp4", "pixels that are not square", _v(seconds=2, seed=14, sar=Fraction(3, 2)),
        FINE, size=(240, 96)),
    Bad("moving.gif", "GIF", lambda p: videos.gif(p, seed=15), FINE, seconds=2.0),
    Bad("interlaced.mp4", "interlaced", _v(seconds=2, seed=16, interlaced=True), FINE),
    Bad("unreadable.mp4", "not readable", _unreadable, FAILS, "read: Permission denied"),
    Bad("locked", "folder not readable", _locked_folder, FAILS,
        "discover: folder not readable: Permission denied"),
    Bad("pipe.mp4", "named pipe", os.mkfifo, FAILS,
        "discover: a named pipe, not a file; it was not opened"),
    Bad("dangling.mp4", "dangling link", lambda p: p.symlink_to(p.parent / "nowhere.mp4"),
        LEFT_OUT, "symbolic link"),
    Bad("new\nline.mp4", "newline in the name", _named(b"new\nline.mp4"), FINE, seconds=2.0),
    Bad(os.fsdecode(b"\xff\xfe.mp4"), "invalid UTF-8 in the name", _named(b"\xff\xfe.mp4"), FINE,
        seconds=2.0),
]  # fmt: skip
DOUBLES = [
    Bad("deleted.mp4", "deleted during the run", _v(seconds=1, seed=20), FAILS,
        "read: No such file or directory"),
    Bad("grows.mp4", "written to during the run", _v(seconds=1, seed=21), FAILS,
        "read: it changed while it was read; look again when it is finished"),
    Bad("hangs.mp4", "decoder that never returns", _v(seconds=1, seed=22), FAILS,
        "decode: no packet or frame for 2 s; killed"),
    Bad("hangs-in-c.mp4", "decoder that never returns and holds the interpreter",
        _v(seconds=1, seed=23), FAILS, "decode: no packet or frame for 2 s; killed"),
    Bad("crashes.mp4", "decoder that crashes its process", _v(seconds=1, seed=24), FAILS,
        "decode: the decoder crashed (exit code -11)"),
    Bad("exits.mp4", "decoder that ends its process", _v(seconds=1, seed=25), FAILS,
        "decode: the decoder crashed (exit code 3)"),
]  # fmt: skip
BY_NAME = {row.name: row for row in [*ROWS, *DOUBLES]}


def fill(folder: Path, rows: list[Bad]) -> None:
    """The rows' files, and a good video with a copy beside them."""
    folder.mkdir()
    make(folder / "good.mp4", seconds=3, size=(320, 180), seed=1)
    make(folder / "good copy.mkv", seconds=3, size=(240, 136), codec="hevc", seed=1)
    for row in rows:
        row.make(folder / row.name)


@dataclass(frozen=True)
class Run:
    """One run over a folder of bad inputs."""

    folder: Path
    done: Done
    report: dict[str, Any]

    def failure(self, name: str) -> str | None:
        """'stage: words' of a path's failure."""
        path = str(self.folder / name)
        (found,) = [f for f in self.report["failures"] if f["path"] == path] or [None]
        return found and f"{found['stage']}: {found['detail']}"

    def video(self, name: str) -> dict[str, Any] | None:
        path = str(self.folder / name)
        return next((v for v in self.report["videos"] if v["path"] == path), None)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What fails in one folder, what does not in another; each searched once."""
    made: dict[str, Run] = {}

    def get(end: str) -> Run:
        fails = end == FAILS
        label = "bad" if fails else "odd"
        if label not in made:
            home = tmp_path_factory.mktemp(label)
            folder = home / "videos"
            fill(folder, [r for r in ROWS if (r.end == FAILS) == fails])
            done = command.dups(home, folder, "-o", home / "report.json", "--jobs", "2")
            made[label] = Run(folder, done, command.report(home / "report.json"))
        return made[label]

    yield get
    for run in made.values():
        for path in run.folder.iterdir():
            if not path.is_symlink() and not stat.S_ISFIFO(path.stat().st_mode):
                path.chmod(0o700)


@pytest.fixture(scope="module")
def doubled(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose decoder misbehaves on some names: the command, inside this process."""
    from click.testing import CliRunner

    from twinreel import jobs
    from twinreel.cli import main

    home = tmp_path_factory.mktemp("doubles")
    folder = home / "videos"
    fill(folder, DOUBLES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jobs, "work", command.misbehave)
        out = CliRunner().invoke(
            main,
            ["dups", str(folder), "-o", str(home / "r.json"), "--library", str(home / "l.db"),
             "--jobs", "2", "--stall", "2", "--nice", "0", *command.MODEL],
        )  # fmt: skip
    assert out.exception is None or isinstance(out.exception, SystemExit), out.output
    done = Done(out.exit_code, out.stdout, out.stderr, 0.0)
    return Run(folder, done, command.report(home / "r.json"))


@pytest.mark.skipif(os.name == "nt", reason="pipes, links and permissions of POSIX")
@pytest.mark.parametrize("row", ROWS, ids=lambda r: r.what)
class TestThroughTheCommand:
    def test_what_the_user_sees(self, row: Bad, runs: Any) -> None:
        check(row, runs(row.end))

    def test_exit_code_and_the_others(self, row: Bad, runs: Any) -> None:
        others_are_done(runs(row.end), row.code)


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("row", DOUBLES, ids=lambda r: r.what)
def test_misbehaving_decoders(row: Bad, doubled: Run) -> None:
    check(row, doubled)
    others_are_done(doubled, 1)


def check(row: Bad, run: Run) -> None:
    """One row of the table."""
    said, video = run.failure(row.name), run.video(row.name)
    if row.end == FAILS:
        assert said is not None and matches(row.says, said), said
        assert all(row.name not in m for g in run.report["groups"] for m in g["members"])
        # On the terminal too, in one line.
        assert any(row.name in line and said in line for line in run.done.out.splitlines())
        return
    assert said is None
    if row.end == LEFT_OUT:
        assert video is None
        assert run.report["skipped"][row.says] == 1
        assert f"1 {row.says}" in run.done.out
        return
    assert video is not None and video["width"] > 0
    assert matches(row.says, video["damage"]), video["damage"]
    if row.seconds is not None:
        assert video["duration_s"] == pytest.approx(row.seconds, abs=0.15)
    if row.size is not None:
        assert (video["width"], video["height"]) == row.size


def others_are_done(run: Run, code: int) -> None:
    assert run.done.code == code, run.done
    assert "Traceback" not in run.done.err and "Traceback" not in run.done.out
    assert not run.report["partial"]
    (group,) = run.report["groups"]
    assert [os.path.basename(m) for m in group["members"]] == ["good copy.mkv", "good.mp4"]
    assert os.path.basename(group["keep"]) == "good.mp4"
    for row in [r for r in BY_NAME.values() if (run.folder / r.name).is_file()]:
        assert (run.failure(row.name) or run.video(row.name)) or row.end == LEFT_OUT


def matches(pattern: str, said: str) -> bool:
    return said == pattern or re.fullmatch(pattern, said) is not None


def test_odd_names_are_printed_on_one_line(runs: Any) -> None:
    """Nothing that a name holds may break the terminal or the report."""
    run = runs(FINE)
    assert "new\nline" not in run.done.out
    paths = [v["path"] for v in run.report["videos"]]
    assert os.fsdecode(b"\xff\xfe.mp4") in [os.path.basename(p) for p in paths]
    json.dumps(run.report)  # surrogates are escaped, not lost


def test_no_frame_of_a_sound_video_is_missing(runs: Any) -> None:
    run = runs(FINE)
    for row in ROWS:
        if row.end == FINE:
            video = run.video(row.name)
            assert video is not None and video["damage"] == "", row.what


def table() -> str:
    """The table as Markdown."""
    lines = [
        "| input | the run | what the user reads | exit code |",
        "|---|---|---|---|",
    ]
    words = {
        FAILS: "one row of failures", FINE: "looked at", DAMAGED: "looked at, never kept before "
        "an intact copy", LEFT_OUT: "not opened, counted",
    }  # fmt: skip
    for row in [*ROWS, *DOUBLES]:
        lines.append(f"| {row.what} | {words[row.end]} | {shown(row.says)} | {row.code} |")
    return "\n".join(lines) + "\n"


def shown(says: str) -> str:
    """A row's words for people: the pattern with numbers for its places."""
    if not says:
        return ""
    text = re.sub(r"\((\\d\+ of [^)]*?)\)\?", "", says)
    text = text.replace(r"\d+ of \d+", "N of M").replace(r"\d\.\d", "5.0")
    return f"`{text.replace(chr(92), '')}`"


def test_the_document_is_the_table() -> None:
    assert table() in DOC.read_text(encoding="utf-8")
