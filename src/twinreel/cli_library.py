"""`twinreel library`: what a folder holds, what the library knows."""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import Any

import click

from twinreel.cli_options import add_options, given
from twinreel.options import (
    DecodeOptions,
    DiscoverOptions,
    DupsOptions,
    ModelOptions,
    OutputOptions,
    SampleOptions,
    gather,
)
from twinreel.types import Video


@click.group("library")
def library_command() -> None:
    """What a folder or the library holds, and what is broken."""


@library_command.command("check")
@click.argument("paths", nargs=-1, required=True)
@add_options(OutputOptions, DiscoverOptions, SampleOptions, ModelOptions, DecodeOptions)
def check_command(paths: tuple[str, ...], **flags: Any) -> None:
    """Tell what is under PATHS, and what is broken, too dark or too static to judge.

    Exit code 1 when something is broken.
    """
    from twinreel.check import check
    from twinreel.progress import Progress
    from twinreel.report import human_bytes, printable

    options = gather(given(flags), DupsOptions)
    quiet = options.output.quiet or options.output.json
    found = check(list(paths), options, Progress(not quiet))
    if options.output.json:
        click.echo(
            json.dumps(
                {
                    "videos": [
                        {**dataclasses.asdict(c.video), "judgement": c.judgement}
                        for c in found.checked
                    ],
                    "failures": [dataclasses.asdict(f) for f in found.failures],
                    "skipped": found.skipped,
                }
            )
        )
    elif not options.output.quiet:
        for c in found.checked:
            video = c.video
            words = "; ".join(filter(None, [video.damage, c.judgement]))
            click.echo(
                f"{printable(video.path)}  {human_bytes(video.file.size)}  {describe(video)}"
                + (f"  ! {words}" if words else "")
            )
        for f in found.failures:
            click.echo(f"{printable(f.path)}  ! {f.stage}: {printable(f.detail)}")
        broken = len(found.failures) + sum(bool(c.video.damage) for c in found.checked)
        doubtful = sum(bool(c.judgement) for c in found.checked)
        click.echo(
            f"{len(found.checked)} readable, {broken} broken, "
            f"{doubtful} too dark or too static to judge"
        )
    bad = found.failures or any(c.video.damage for c in found.checked)
    sys.exit(1 if bad else 0)


def describe(video: Video) -> str:
    """'12.3 s 1920x1080 h264 25.00 fps, HDR pq, rotated 90, audio eng+deu, subtitles eng'"""
    i = video.info
    parts = [f"{i.duration_s:.1f} s {i.width}x{i.height} {i.codec}"]
    parts[0] += f" {i.fps:.2f} fps" if i.fps else " unknown rate"
    if i.hdr:
        parts.append(f"HDR {i.hdr}")
    if i.rotation:
        parts.append(f"rotated {i.rotation}")
    if i.audio:
        parts.append("audio " + "+".join(t.language for t in i.audio))
    if i.subtitles:
        parts.append("subtitles " + "+".join(t.language for t in i.subtitles))
    return ", ".join(parts)


@library_command.command("info")
@click.option("--library", default="", help="Library file.")
def info_command(library: str) -> None:
    """How much the library holds."""
    from twinreel.store import Library

    with Library.open(library or None) as kept:
        for name, count in kept.sizes().items():
            click.echo(f"{name:<10} {count}")


@library_command.command("fill")
@click.argument("paths", nargs=-1, required=True)
@click.option("--into", required=True, metavar="DIR", help="Folder of shards, on a shared disk.")
@add_options(OutputOptions, DiscoverOptions, SampleOptions, ModelOptions, DecodeOptions)
def fill_command(paths: tuple[str, ...], into: str, **flags: Any) -> None:
    """Look at the videos under PATHS and put what is learnt into shards.

    Start the same command on other machines that share the disk: they share the work. `library
    merge` then brings the shards into a library.
    """
    from pathlib import Path

    from twinreel.fill import fill
    from twinreel.progress import Progress
    from twinreel.report import printable

    options = gather(given(flags), DupsOptions)
    quiet = options.output.quiet or options.output.json
    done = fill(list(paths), Path(into), options, Progress(not quiet))
    if not quiet:
        for f in done.failures:
            click.echo(f"{printable(f.path)}  ! {f.stage}: {printable(f.detail)}")
    if not options.output.quiet:
        click.echo(f"{done.looked} looked at, {done.there} done before, {done.shards} shards")
    sys.exit(1 if done.failures else 0)


@library_command.command("merge")
@click.argument("shards", type=click.Path(exists=True, file_okay=False))
@click.option("--library", default="", help="Library file.")
@click.option(
    "--root", "roots", multiple=True, metavar="DIR",
    help="Where this machine sees the videos (default: where their workers saw them).",
)  # fmt: skip
def merge_command(shards: str, library: str, roots: tuple[str, ...]) -> None:
    """Bring the shards that `library fill` made into the library."""
    from pathlib import Path

    from twinreel.fill import merge

    count = merge(Path(shards), library, roots, click.echo)
    click.echo(f"{count} videos brought")


@library_command.command("export")
@click.argument("out", type=click.Path())
@click.option("--library", default="", help="Library file.")
@click.option(
    "--format", "fmt", type=click.Choice(["parquet", "npy", "lance"]), default="parquet",
    show_default=True, help="npy: pairs of .npy and .parquet that embedding-reader reads.",
)  # fmt: skip
@click.option("--model", default="", help="Only of this model (needed where there are several).")
def export_command(out: str, library: str, fmt: str, model: str) -> None:
    """Write id, path, times and vectors of every moment to OUT."""
    from pathlib import Path

    from twinreel.portable import write_out
    from twinreel.store import Library

    with Library.open(library or None) as kept:
        videos, rows = write_out(kept, Path(out), fmt, model)
    click.echo(f"{videos} videos, {rows} vectors")


@library_command.command("import")
@click.argument("source", type=click.Path(exists=True))
@click.option("--library", default="", help="Library file.")
def import_command(source: str, library: str) -> None:
    """Take in what `export` wrote."""
    from pathlib import Path

    from twinreel.portable import read_in
    from twinreel.store import Library

    with Library.open(library or None) as kept:
        videos, rows = read_in(kept, Path(source))
    click.echo(f"{videos} videos, {rows} vectors")


@library_command.command("unmatch")
@click.argument("a")
@click.argument("b")
@click.option("--library", default="", help="Library file.")
@click.option("--undo", is_flag=True, help="Let the two match again.")
def unmatch_command(a: str, b: str, library: str, undo: bool) -> None:
    """Say that videos A and B do not show the same; kept by content, so renames do not matter."""
    from twinreel import exact
    from twinreel.store import Library

    pair = " ".join(sorted((exact.content_key(a), exact.content_key(b))))
    with Library.open(library or None) as kept:
        if undo:
            found = kept.forget("unmatched", pair)
            click.echo("they may match again" if found else "they were not told apart before")
        else:
            kept.remember("unmatched", pair, [a, b])
            click.echo("kept: these two are never matched again (--undo takes it back)")


@library_command.command("unmatched")
@click.option("--library", default="", help="Library file.")
def unmatched_command(library: str) -> None:
    """List the pairs that were told apart."""
    from twinreel.report import printable
    from twinreel.store import Library

    with Library.open(library or None) as kept:
        for a, b in kept.recall_all("unmatched").values():
            click.echo(f"{printable(a)}  !=  {printable(b)}")


@library_command.command("forget")
@click.option("--library", default="", help="Library file.")
def forget_command(library: str) -> None:
    """Forget which videos were removed; `dups` and `search` no longer recognise them."""
    from twinreel.store import Library

    with Library.open(library or None) as kept:
        names = list(kept.recall_all("removed"))
        for name in names:
            kept.forget("removed", name)
        click.echo(f"{len(names)} removed videos forgotten")
