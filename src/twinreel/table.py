"""A report on the terminal: the groups that would free most, what videos share that are no copies,
what failed, where the report is."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from twinreel.report import Report, human_bytes, printable, spans

ENDLESS = 10_000
SPANS = 3  # segments of a pair that are shown


def show(report: Report, target: Path | None, most: int) -> None:
    """Print the report's summary to stdout."""
    # In a file or a pipe a path stays in one piece, however long it is.
    tty = os.isatty(1)
    console = Console(highlight=False, soft_wrap=not tty, width=None if tty else ENDLESS)
    freed = {id(g): report.freed(g) for g in report.groups}
    if report.groups:
        table = Table(box=None, pad_edge=False)
        table.add_column("", justify="right", style="dim")
        table.add_column("frees", justify="right")
        table.add_column("file", overflow="fold", ratio=3)
        table.add_column("why kept / what a copy has that the kept one lacks", ratio=2)
        for n, group in enumerate(report.groups[:most], 1):
            others = [m for m in group.members if m != group.keep]
            why = group.why + (" (look first)" if group.look else "")
            table.add_row(
                str(n),
                human_bytes(freed[id(group)]),
                Text(f"keep {printable(group.keep)}", style="bold"),
                Text(why),
            )
            for path in others[:8]:
                match = report.match(path, group.keep)
                word = "" if match is None else f"{match.relation} {match.score:.3f}"
                loss = "; ".join(group.losses.get(path, []))
                table.add_row(
                    "",
                    "",
                    Text(f"     {printable(path)}"),
                    Text(f"{word}{'; ' if loss else ''}{loss}", style="dim"),
                )
            if len(others) > 8:
                table.add_row("", "", Text(f"     and {len(others) - 8} more", style="dim"), "")
        console.print(table)
        if len(report.groups) > most:
            console.print(f"and {len(report.groups) - most} more groups in the report", style="dim")
    if parts := report.parts():
        count = "1 pair shares" if len(parts) == 1 else f"{len(parts)} pairs share"
        words = "a part (times of the first = times of the second):"
        console.print(f"\n{count} {words}", style="bold")
        for m in parts[:most]:
            # A path stays in one piece here, too: lines may be wrapped anywhere.
            console.print(Text(f"  {printable(m.a)}"), soft_wrap=True)
            console.print(Text(f"    {report.said(m)}  {printable(m.b)}"), soft_wrap=True)
            more = len(m.segments) - SPANS
            some = spans(replace(m, segments=m.segments[:SPANS]))
            console.print(Text(f"    {some}{f' and {more} more' if more > 0 else ''}", style="dim"))
        if len(parts) > most:
            console.print(f"  and {len(parts) - most} more in the report", style="dim")
    for pair in report.folders[:5]:
        console.print(Text(printable(pair.sentence())))
    if report.failures:
        console.print(f"\n{len(report.failures)} could not be used:", style="bold")
        for f in report.failures[:10]:
            console.print(Text(f"  {printable(f.path)}: {f.stage}: {printable(f.detail)}"))
        if len(report.failures) > 10:
            console.print(f"  and {len(report.failures) - 10} more in the report", style="dim")
    failed = {f.path for f in report.failures}
    looked = [v for v in report.videos if v.path not in failed]
    offline = sum(v.offline for v in looked)
    copies = sum(len(g.members) - 1 for g in report.groups)
    skipped = ", ".join(f"{n} {reason}" for reason, n in sorted(report.skipped.items()))
    state = " (partial: the run was interrupted)" if report.partial else ""
    console.print(
        f"\n{len(looked)} videos{f' ({offline} offline)' if offline else ''}, "
        f"{len(report.groups)} groups, {copies} copies, "
        f"{human_bytes(sum(freed.values()))} could be freed, "
        f"{len(failed)} failed{state}" + (f"; left out: {skipped}" if skipped else "")
    )
    if target is not None:
        console.print(Text(f"report: {printable(str(target))}"))
        if report.groups:
            console.print(Text(f"next:   twinreel review {printable(str(target))}"))
            console.print(Text(f"        twinreel act trash {printable(str(target))}"))
    for note in report.notes:
        console.print(Text(printable(note)))
