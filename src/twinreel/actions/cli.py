"""The verbs `act` and `undo`: what is shown, asked for and said.

Exit codes: 0 done (or shown), 1 some steps were refused, 2 usage.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from twinreel.actions import foreign, memory
from twinreel.actions import journal as journals
from twinreel.actions.apply import Outcome, apply
from twinreel.actions.disk import Disk
from twinreel.actions.losses import judging
from twinreel.actions.plan import LINKS, QUARANTINE, ActOptions, Plan, plan
from twinreel.actions.script import write_script
from twinreel.actions.survey import survey
from twinreel.actions.undo import history, newest, purge, purge_plan, seconds, settle, undo
from twinreel.cli_options import add_options, given
from twinreel.errors import ActionRefused, InputError
from twinreel.report import human_bytes, printable
from twinreel.types import Step

VERBS = ("trash", "move", "hardlink", "symlink", "reflink", "delete")
_AFTER = {
    "trash": "free once the trash is emptied",
    "move": "free after `twinreel undo --purge`",
    "delete": "freed",
}


LOCK_WAIT_S = 60.0


@contextmanager
def alone() -> Iterator[None]:
    """One act or undo of this user at a time: the second waits a minute, then is refused.

    Not needed for safety (the steps themselves hold that, see docs/safety.md): two runs that meet
    would only refuse and take back each other's steps, which is hard to understand.
    """
    os.makedirs(journals.folder(), exist_ok=True)
    lock, disk = os.path.join(journals.folder(), "act.lock"), Disk()
    until = time.monotonic() + LOCK_WAIT_S
    while True:
        with disk.locked(lock) as free:
            if free:
                yield
                return
        if time.monotonic() > until:
            raise ActionRefused(
                "another `twinreel act` or `undo` is at work; wait until it has ended"
            )
        time.sleep(0.2)


def newest_report(library: str = "") -> str:
    """The report that `dups` wrote last. Raises InputError when there is none."""
    from twinreel.store import default_path

    folder = (Path(library) if library else default_path()).parent / "reports"
    found = sorted(folder.glob("*.json"), key=lambda p: (p.stat().st_mtime_ns, p.name))
    if not found:
        raise InputError(f"no report in {folder}: run `twinreel dups PATH` first, or name one")
    return str(found[-1])


@click.command("act")
@click.argument("action", type=click.Choice(VERBS))
@click.argument("report", required=False, type=click.Path(dir_okay=False))
@click.option("--yes", is_flag=True, help="Do it. Without this, the plan is only shown.")
@click.option("--permanently", is_flag=True, help="With delete and --yes: for good, no undo.")
@click.option("--script", metavar="FILE", help="Write the plan as shell commands instead.")
@click.option("--export", metavar="FILE", help="Write the groups for another tool (.fdupes, ...).")
@click.option("--library", default="", metavar="FILE", help="Whose newest report is taken.")
@click.option("--json", "as_json", is_flag=True, help="Print plan and outcome as JSON.")
@add_options(ActOptions)
def act_command(
    action: str,
    report: str | None,
    yes: bool,
    permanently: bool,
    script: str | None,
    export: str | None,
    library: str,
    as_json: bool,
    **flags: Any,
) -> None:
    """Show what ACTION would do to the copies that REPORT names; with --yes, do it.

    REPORT may have been edited, by hand or by `review`. Without one, the newest is taken.
    fclones' and czkawka's JSON are read too.
    """
    try:
        options = ActOptions(**given(flags))
        source = report or newest_report(library)
        if not report and not as_json:
            click.echo(f"report: {printable(source)}")
        loaded = foreign.load(source)
        with judging(loaded) as judge:
            name = str(Path(source).resolve())
            planned = plan(loaded, action, options, name=name, judge=judge)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    if action == "delete" and yes and not permanently:
        raise click.UsageError(
            "delete cannot be taken back: add --permanently to --yes, or use trash or move"
        )
    if yes:
        for outcome in settle():
            _say_settled(outcome, as_json)
    planned = survey(planned)
    if export:
        click.echo(f"written: {printable(str(foreign.write(loaded, export)))}", err=as_json)
    if script:
        click.echo(f"written: {printable(str(write_script(planned, script)))}", err=as_json)
    if not as_json:
        show_plan(planned)
    if not yes or script:
        if as_json:
            click.echo(json.dumps({"plan": _plain(planned), "outcome": None}))
        elif planned.steps and not script:
            extra = " --permanently" if action == "delete" else ""
            click.echo(f"\nNothing was done. To do it: add --yes{extra}")
        return
    with alone():
        outcome = apply(planned)
    memory.remember(loaded, outcome.done)
    if as_json:
        click.echo(json.dumps({"plan": _plain(planned), "outcome": asdict(outcome)}))
    else:
        show_outcome(outcome, action)
    sys.exit(1 if outcome.refused else 0)


def show_plan(planned: Plan) -> None:
    """What, why, how many bytes, what is lost."""
    for step in planned.steps:
        click.echo(_line(step))
        if step.keep:
            click.echo(f"    keep  {printable(step.keep)}")
        click.echo(f"    why   {printable(step.why)}")
        if step.losses:
            click.echo(f"    lost  {printable('; '.join(step.losses))}")
        for start, end in step.expect.get("unheld", ()):
            click.echo(f"    lost  seconds {start:.1f} to {end:.1f} are not in the kept file")
        places = step.expect.get("places", {})
        place = places.get("dest") or step.target
        if QUARANTINE in (hold := places.get("hold", "")).split(os.sep):
            place = os.path.dirname(hold) + os.sep  # its name there is chosen when it is done
        if place:
            click.echo(f"    to    {printable(place)}")
        for path in planned.sidecars.get(step.path, ()) if step.keep else ():
            fate = "" if planned.options.sidecars != "leave" else " (left alone)"
            click.echo(f"    beside  {printable(path)}{fate}")
    for skip in planned.skipped:
        click.echo(f"stays   {printable(skip.path)}\n    why   {printable(skip.reason)}")
    for note in planned.notes:
        click.echo(f"note: {printable(note)}", err=True)
    n = sum(1 for s in planned.steps if s.keep)
    click.echo(f"\n{n} files, {human_bytes(planned.freed)}; {len(planned.skipped)} stay")


def _line(step: Step) -> str:
    size = f"  ({human_bytes(step.size)})" if step.size else ""
    return f"{step.action:<7} {printable(step.path)}{size}"


def show_outcome(outcome: Outcome, action: str) -> None:
    for skip in outcome.refused:
        click.echo(f"refused {printable(skip.path)}\n    why   {printable(skip.reason)}", err=True)
    for note in outcome.notes:
        click.echo(f"note: {printable(note)}", err=True)
    count = sum(1 for s in outcome.done if s.keep)
    click.echo(
        f"\ndone: {count} files, {human_bytes(outcome.freed)} {_AFTER.get(action, 'freed')}; "
        f"refused: {len(outcome.refused)}"
    )
    click.echo(f"journal: {printable(outcome.journal)}")
    if action in LINKS and any(s.expect["relation"] != "exact" for s in outcome.done):
        click.echo("what was not the same bytes waits in the quarantine: `twinreel undo --purge`")
    if action != "delete" and outcome.done:
        click.echo("take it back with: twinreel undo")


def _say_settled(outcome: Outcome, as_json: bool) -> None:
    for step in outcome.done:
        click.echo(
            f"an earlier run was interrupted; {printable(step.path)} was taken back first",
            err=as_json,
        )
    for skip in outcome.refused:
        click.echo(
            f"an earlier run was interrupted at {printable(skip.path)}: {printable(skip.reason)}",
            err=True,
        )


def _plain(planned: Plan) -> dict[str, Any]:
    return {
        "action": planned.action,
        "steps": [asdict(s) for s in planned.steps],
        "skipped": [asdict(s) for s in planned.skipped],
        "sidecars": planned.sidecars,
        "notes": list(planned.notes),
        "freed": planned.freed,
    }


@click.command("undo")
@click.argument("journal", required=False, type=click.Path(dir_okay=False))
@click.option("--list", "listing", is_flag=True, help="Show what was done in the past.")
@click.option("--purge", "emptying", is_flag=True, help="Empty our own quarantine (with --yes).")
@click.option("--older-than", default="30d", show_default=True, metavar="AGE", help="For --purge.")
@click.option("--yes", is_flag=True, help="With --purge: do it.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def undo_command(
    journal: str | None, listing: bool, emptying: bool, older_than: str, yes: bool, as_json: bool
) -> None:
    """Take back what JOURNAL tells of (default: the newest), the last step first."""
    if listing:
        entries = history()
        if as_json:
            click.echo(json.dumps([asdict(e) for e in entries]))
            return
        for e in entries:
            state = f"{e.can_undo} can be taken back" + (", interrupted" if e.interrupted else "")
            click.echo(f"{e.created}  {e.action:<8}  {e.steps} steps, {state}  {printable(e.path)}")
        if not entries:
            click.echo(f"nothing was done yet ({journals.folder()})")
        return
    if emptying:
        try:
            planned = purge_plan(seconds(older_than))
        except ValueError as error:
            raise click.UsageError(str(error)) from None
        if not as_json:
            show_plan(planned)
        if not yes:
            if as_json:
                click.echo(json.dumps({"plan": _plain(planned), "outcome": None}))
            elif planned.steps:
                click.echo("\nNothing was done. To delete these for good: add --yes")
            return
        with alone():
            outcome, action = purge(planned), "delete"
    else:
        source = journal or newest()
        if not as_json:
            click.echo(f"journal: {printable(source)}")
        library = journals.read(source, Disk()).header.get("library", "")
        with alone():
            outcome, action = undo(source), "undo"
        memory.take_back(library, outcome.done)
    if as_json:
        click.echo(json.dumps({"outcome": asdict(outcome)}))
    elif action == "undo":
        for step in outcome.done:
            click.echo(f"back    {printable(step.path)}")
        for skip in outcome.refused:
            click.echo(
                f"not     {printable(skip.path)}\n    why   {printable(skip.reason)}", err=True
            )
        for note in outcome.notes:
            click.echo(f"note: {printable(note)}", err=True)
        click.echo(f"\ntaken back: {len(outcome.done)}; not: {len(outcome.refused)}")
    else:
        show_outcome(outcome, action)
    sys.exit(1 if outcome.refused else 0)
