"""The verbs `extract` and `models`: flags, what is printed, exit codes."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from twinreel.cli_options import add_options, given
from twinreel.extract.options import ExtractOptions
from twinreel.options import DiscoverOptions


@click.command("extract")
@click.argument("paths", nargs=-1, type=click.Path())
@click.option("--csv", "table", metavar="FILE", help="CSV: video_path,feature_path[,start,end].")
@click.option("-o", "--out", metavar="DIR", help="Folder for the outputs; mirrors PATHS.")
@click.option("--status", metavar="DIR", help="Say how the run in this folder stands, and end.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON record per video.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
@add_options(ExtractOptions, DiscoverOptions)
def extract_command(
    paths: tuple[str, ...],
    table: str | None,
    out: str | None,
    status: str | None,
    as_json: bool,
    quiet: bool,
    **flags: Any,
) -> None:
    """Features of videos as arrays.

    Give folders or files with -o, or a --csv. The same command, started again anywhere on a
    shared disk, joins the work; outputs that are there and fit are left alone.
    """
    if status is not None:
        _status(Path(status), as_json)
        return
    from twinreel.extract.status import Listener, unreached

    options = _options(ExtractOptions, flags)
    jobs, folder = _jobs(paths, table, out, options, _options(DiscoverOptions, flags))
    if options.runner == "ray":
        from twinreel.extract.ray_runner import spread_ray as spread
    else:
        from twinreel.extract.devices import spread

    k, n = options.part()
    aside = _libraries_aside() if as_json else contextlib.nullcontext()
    with aside, _shown(len(jobs[k::n]), quiet or as_json) as on_record:
        tell = Listener(on_record, lambda words: click.echo(words, err=True))
        summary = spread(jobs, options, folder, tell)
    if as_json:
        missed = set(summary.not_reached)
        rest = [unreached(job) for job in jobs if job.name in missed]
        for record in [*summary.records.values(), *rest]:
            click.echo(json.dumps(record))
    elif not quiet:
        _report(summary)
    if summary.stopped:
        click.echo(f"twinreel: {summary.stopped}", err=True)
    sys.exit(summary.exit_code)


def _options(record: type[Any], flags: dict[str, Any]) -> Any:
    names = {f.name for f in dataclasses.fields(record)}
    try:
        return record(**{k: v for k, v in given(flags).items() if k in names})
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _jobs(
    paths: tuple[str, ...], table: str | None, out: str | None, options: Any, files: Any
) -> tuple[list[Any], Path]:
    from twinreel.extract import manifest
    from twinreel.extract.outputs import FORMATS

    if bool(table) == bool(paths):
        raise click.UsageError("give either folders and files, or --csv FILE")
    suffix = FORMATS[options.format]
    if table:
        root = Path(out) if out else None
        if options.runner == "ray":
            from twinreel.extract.ray_runner import read_list

            jobs = read_list(table, suffix, root)
        else:
            jobs = manifest.from_csv(Path(table), suffix, root)
        return jobs, manifest.run_folder(jobs, root)
    if not out:
        raise click.UsageError("folders need -o DIR: where should the outputs go?")
    from twinreel.discover import discover

    found = discover(paths, files, sys.stdin if "-" in paths else ())
    for failure in found.failures:
        click.echo(_printable(f"{failure.path}: {failure.detail}"), err=True)
    if not found.files:
        raise click.UsageError("no video under the given paths; see --ext and --min-size")
    jobs = manifest.from_files([f.path for f in found.files], found.roots, Path(out), suffix)
    return jobs, Path(out).resolve()


@contextlib.contextmanager
def _libraries_aside() -> Iterator[None]:
    """What anything writes to standard output goes to standard error: Ray's core writes there past
    Python's, and would stand between the records."""
    if sys.stdout is None:  # closed by who called
        yield
        return
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
        sys.stdout.flush()
    finally:
        os.dup2(kept, 1)
        os.close(kept)


@contextlib.contextmanager
def _shown(total: int, quiet: bool) -> Iterator[Any]:
    """A progress line on a terminal."""
    if quiet or not sys.stderr.isatty():
        yield lambda record, summary: None
        return
    from rich.console import Console

    with _progress(Console(stderr=True)) as bar:
        task = bar.add_task("extract", total=total, words="")

        def on_record(record: Any, summary: Any) -> None:
            bar.update(task, completed=len(summary.records), words=summary.pace())

        yield on_record


def _progress(console: Any) -> Any:
    """Videos done, time left, frames a second, what is waited for."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.table import Column

    # Narrow terminals wrap the words; what is done and what is left are never cut.
    columns = (
        BarColumn(8), MofNCompleteColumn(), TextColumn("videos, left"), TimeRemainingColumn(),
        TextColumn("{task.fields[words]}", table_column=Column(no_wrap=False)),
    )  # fmt: skip
    return Progress(*columns, console=console, transient=True)


def _report(summary: Any) -> None:
    from twinreel.extract.status import faults

    for line in faults(list(summary.records.values())):
        click.echo(_printable(line))
    click.echo(summary.line())
    if summary.table is not None:
        click.echo(_printable(f"status: {summary.table}"))


def _printable(text: str) -> str:
    """Names that are not valid UTF-8, made fit for any terminal."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _status(folder: Path, as_json: bool) -> None:
    from twinreel.extract.status import read_status, table

    records = read_status(folder)
    if as_json:
        for record in records:
            click.echo(json.dumps(record))
    else:
        click.echo(_printable(table(records)))
    sys.exit(int(any(r["state"] in ("failed", "missing") for r in records)))


@click.group("models", invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON record per model.")
@click.pass_context
def models_command(context: click.Context, as_json: bool) -> None:
    """The networks: input, output, licence, size, and whether their weights are here."""
    if context.invoked_subcommand is not None:
        return
    from twinreel import models
    from twinreel.models import weights

    rows: list[dict[str, Any]] = []
    for name in models.names():
        spec = models.get(name)
        file = spec.weights
        frames = f"{spec.frames} x " if spec.frames > 1 else ""
        rows.append({
            "name": name,
            "input": f"{frames}{spec.size[0]} x {spec.size[1]} {spec.fit}",
            "dim": spec.dim,
            "size_bytes": weights.size_of(spec),
            "sha256": (file.sha256 or "not published") if file else "",
            "present": weights.present(spec),
            "licence": f"{spec.licence}; weights {file.licence}" if file else spec.licence,
        })  # fmt: skip
    if as_json:
        for row in rows:
            click.echo(json.dumps(row))
        return
    click.echo(f"{'name':<16}{'input':<22}{'dim':>5}  {'weights':<10}{'size':>9}  licence")
    for row in rows:
        size = f"{row['size_bytes'] / 1e6:.0f} MB" if row["size_bytes"] else ""
        if row["sha256"] and not size:
            size = "unknown"
        here = "none" if not row["sha256"] else "here" if row["present"] else "not here"
        click.echo(
            f"{row['name']:<16}{row['input']:<22}{row['dim']:>5}  {here:<10}{size:>9}  "
            f"{row['licence']}"
        )
    click.echo(
        f"\nWeights lie in {weights.folder()}; `twinreel models fetch NAME` puts them there.\n"
        "More: timm:NAME, torchvision:NAME, hf:NAME, a .pt or .pt2 file, module:factory."
    )


@models_command.command("fetch")
@click.argument("name")
@click.option("--allow-unverified", is_flag=True, help="Also where no sha256 is published.")
def fetch_command(name: str, allow_unverified: bool) -> None:
    """Download the weights of NAME, check them, and put them in the weights folder."""
    from twinreel import models
    from twinreel.models import weights

    if name.startswith(("timm:", "hf:")):
        from twinreel.models import libraries

        path, revision = libraries.fetch(name)
        click.echo(f"{path}\nrevision {revision}")
        return
    if name.startswith("torchvision:"):
        from twinreel.models import adapters

        spec = adapters.find(name)
    else:
        spec = models.get(name)

    def progress(done: int, total: int) -> None:
        if sys.stderr.isatty():
            click.echo(f"\r{done / 1e6:.0f} of {total / 1e6:.0f} MB", nl=False, err=True)

    path = weights.fetch(spec, allow_unverified, progress)
    click.echo(f"{path}\nsha256 {weights.sha256_of(path)}")
