"""The command: verbs, their flags (from options.py), what is printed, exit codes.

Exit codes: 0 done, 1 done but some videos failed (or a run was interrupted), 2 usage.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import click

from twinreel import __version__
from twinreel.cli_options import add_options, given
from twinreel.errors import InputError, TwinreelError
from twinreel.options import (
    CompareOptions,
    DecodeOptions,
    DiscoverOptions,
    DupsOptions,
    KeepOptions,
    ModelOptions,
    OutputOptions,
    SampleOptions,
    gather,
    read_config,
)

SHOWN_GROUPS = 20
# Verbs whose commands live beside their stage, loaded when called.
_ELSEWHERE = {
    "review": "twinreel.review.cli:review_command",
    "act": "twinreel.actions.cli:act_command",
    "undo": "twinreel.actions.cli:undo_command",
    "extract": "twinreel.extract.cli:extract_command",
    "models": "twinreel.extract.cli:models_command",
    "library": "twinreel.cli_library:library_command",
    "doctor": "twinreel.doctor:doctor_command",
}


class Verbs(click.Group):
    """The verbs in the order people need them; errors of ours end with their message and code 2."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return ["dups", "search", "review", "act", "undo", "extract", "models", "library", "doctor"]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name in _ELSEWHERE:
            module, _, function = _ELSEWHERE[name].partition(":")
            return getattr(importlib.import_module(module), function)  # type: ignore[no-any-return]
        return super().get_command(ctx, name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # Help must not import what the verbs need.
        with formatter.section("Commands"):
            formatter.write_dl([(n, _SHORT[n]) for n in self.list_commands(ctx)])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except InputError as error:
            raise click.UsageError(str(error)) from None
        except TwinreelError as error:
            click.echo(f"twinreel: {error}", err=True)
            sys.exit(2)
        except BrokenPipeError:  # `| head` has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(0)


_SHORT = {
    "dups": "Find videos that show the same thing; writes a report, touches nothing.",
    "search": "The videos of a library most like a given one.",
    "review": "Look at a report and decide, in the browser or as one HTML file.",
    "act": "Show, and with --yes do, what a report proposes.",
    "undo": "Take back what act did.",
    "extract": "Features of videos as arrays.",
    "models": "List, check and fetch networks.",
    "library": "What a folder or the library holds, and what is broken.",
    "doctor": "Whether this machine can run twinreel, and how well.",
}


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="twinreel")
def main() -> None:
    """Find the videos you have twice, and extract deep features from videos."""


def config_values(config: str | None) -> dict[str, Any]:
    """Values of the named file, else of ./twinreel.toml where there is one."""
    if config is None:
        path = Path("twinreel.toml")
        return read_config(path) if path.is_file() else {}
    return read_config(Path(config))


_CONFIG = click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False),
    help="Options from this file (default: ./twinreel.toml where it is).",
)


@main.command(short_help=_SHORT["dups"])
@click.argument("paths", nargs=-1)
@_CONFIG
@add_options(
    OutputOptions,
    CompareOptions,
    KeepOptions,
    DiscoverOptions,
    SampleOptions,
    ModelOptions,
    DecodeOptions,
)
def dups(paths: tuple[str, ...], config: str | None, **flags: Any) -> None:
    """Find videos under PATHS that show the same thing, and write a report.

    PATHS are folders, files or globs; '-' reads names from stdin. No video is touched.
    """
    from twinreel.pipeline import find_duplicates
    from twinreel.progress import Progress

    values = config_values(config)
    named = paths or tuple(values.pop("paths", ()))
    values.pop("paths", None)
    options = gather({**values, **given(flags)}, DupsOptions)
    if not named:
        raise click.UsageError("no path given: name folders or files, e.g. twinreel dups ~/Videos")
    out = options.output
    target = _target(out)
    if options.decode.nice and hasattr(os, "nice"):
        os.nice(options.decode.nice)
    stdin = (line.rstrip("\n") for line in _stdin_lines()) if "-" in named else ()
    report = find_duplicates(
        list(named), options, progress=Progress(not out.quiet and not out.json), stdin=stdin
    )
    if target is not None:
        _guard(target, report.library)
        report.save(target)
        _sign(target, report.library)
    if out.json or out.output == "-":
        click.echo(json.dumps(report.to_dict()))
    elif not out.quiet:
        from twinreel.table import show

        show(report, target, SHOWN_GROUPS)
    failed = [f for f in report.failures]
    sys.exit(1 if failed or report.partial else 0)


def _stdin_lines() -> Any:
    return (os.fsdecode(line) for line in sys.stdin.buffer)


def _target(out: OutputOptions) -> Path | None:
    """Where the report goes; None for stdout alone."""
    from twinreel.store import default_path

    library = Path(out.library) if out.library else default_path()
    if out.output == "-":
        return None
    if out.output:
        path = Path(out.output)
        _guard(path, str(library))
        return path
    stamp = time.strftime("%Y-%m-%d-%H%M%S")
    folder = library.parent / "reports"
    path, n = folder / f"dups-{stamp}.json", 2
    while path.exists():
        path, n = folder / f"dups-{stamp}-{n}.json", n + 1
    return path


def _signature(path: Path) -> str:
    import hashlib

    return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()


def _guard(path: Path, library: str) -> None:
    """Refuse to write over a report that someone edited, or over any other file."""
    from twinreel.store import Library

    if not path.exists():
        return
    if not path.is_file():
        raise InputError(f"{path}: not a file; name another output")
    with Library.open(library) as kept:
        if kept.recall("report", str(path.resolve())) != _signature(path):
            raise InputError(
                f"{path} was edited, or not written by twinreel: not written over; "
                "name another output"
            )


def _sign(path: Path, library: str) -> None:
    from twinreel.store import Library

    with Library.open(library) as kept:
        kept.remember("report", str(path.resolve()), _signature(path))


@main.command(short_help=_SHORT["search"])
@click.argument("video")
@click.option("--library", default="", help="Library file.")
@click.option("--limit", default=20, help="How many to show.", show_default=True)
@click.option("--model", default="", help="Descriptor network.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def search(video: str, library: str, limit: int, model: str, as_json: bool) -> None:
    """The videos of the library that share most with VIDEO, best first, with the times."""
    import dataclasses

    from twinreel.query import search as find
    from twinreel.report import printable, spans

    matches = find(video, library, limit, model=model)
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(m) for m in matches]))
        return
    for m in matches:
        click.echo(f"{m.score:.3f}  {m.relation:<8}  {printable(m.b)}  {spans(m)}")
    if not matches:
        click.echo("nothing in the library is like it")
