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
    from twinreel.pipeline import check
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
