"""The verb `review`: a page to decide on, as a file or served on this machine."""

from __future__ import annotations

import os
import sys
import webbrowser
from pathlib import Path

import click

from twinreel.errors import ExtraMissing, InputError

LOOPBACK = ("127.0.0.1", "::1", "localhost")


@click.command("review")
@click.argument("report", required=False, type=click.Path(dir_okay=False))
@click.option("--html", metavar="FILE", help="Write one self-contained page instead of serving.")
@click.option("--library", default="", metavar="FILE", help="Where the pictures are.")
@click.option("--save", default="", metavar="FILE", help="Where decisions are saved (served).")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=0, help="Port to listen on (default: a free one).")
@click.option(
    "--allow-host", multiple=True, metavar="NAME", help="With --host: name in the browser's bar."
)
@click.option("--browser/--no-browser", default=True, help="Open the page in the browser.")
def review_command(
    report: str | None,
    html: str | None,
    library: str,
    save: str,
    host: str,
    port: int,
    allow_host: tuple[str, ...],
    browser: bool,
) -> None:
    """Look at what REPORT found and decide, group by group, in the browser.

    Without a REPORT, the newest is taken. Nothing is changed on the disk before you have seen the
    plan and pressed its button; `twinreel undo` takes it back.
    """
    from twinreel.actions import load
    from twinreel.actions.cli import newest_report
    from twinreel.report import human_bytes, printable
    from twinreel.review.page import find_library, write_page

    source = report or newest_report(library)
    loaded = load(source)
    if html is not None:
        out = Path(html)
        if out.suffix.lower() not in (".html", ".htm"):
            raise InputError(f"{html}: the page is HTML; name a file that ends in .html")
        _, note = find_library(loaded, library)
        write_page(loaded, out, library, source)
        size = human_bytes(out.stat().st_size)
        click.echo(f"written: {printable(str(out))} ({size}, {len(loaded.groups)} groups)")
        if note:
            click.echo(f"note: {note}", err=True)
        return
    if host not in LOOPBACK and not allow_host:
        raise click.UsageError(
            f"--host {host} lets other machines in: name what stands in the browser's address bar "
            "with --allow-host (e.g. --allow-host nas.local), or tunnel: "
            "ssh -L 8080:127.0.0.1:PORT HOST"
        )
    if save and not save.endswith(".json"):
        raise InputError(f"{save}: a report is JSON; name a file that ends in .json")
    if save and Path(save).exists():
        raise InputError(f"{save}: is there already and is not written over; name another")
    try:
        import starlette  # noqa: F401
        import uvicorn
    except ImportError as error:
        raise ExtraMissing(
            f"{error.name} is not installed: pip install 'twinreel[web]', or write the page to a "
            "file with --html"
        ) from None
    import socket

    from twinreel.review.guard import LOCAL, Guard
    from twinreel.review.server import Desk, make_app

    guard = Guard(hosts=(*LOCAL, *(name.lower() for name in allow_host)))
    desk = Desk(loaded, source, save, library)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family)
    except OSError as error:
        raise InputError(
            f"{host}:{port}: {error.strerror}; name another --host or --port"
        ) from None
    place = allow_host[0] if allow_host else f"[{host}]" if ":" in host else host
    address = f"http://{place}:{listening.getsockname()[1]}"
    click.echo(f"{address}/{guard.token}/")
    click.echo("The address is the key to this page: keep it to yourself. Ctrl-C ends it.")
    if desk.note:
        click.echo(f"note: {desk.note}", err=True)
    if browser and _has_screen():
        webbrowser.open(f"{address}/open/{guard.once}")  # the token stays out of process lists
    config = uvicorn.Config(
        make_app(desk, guard), access_log=False, log_level="warning", server_header=False,
        lifespan="off", ws="none", timeout_graceful_shutdown=2,
    )  # fmt: skip
    try:
        uvicorn.Server(config).run(sockets=[listening])
    except KeyboardInterrupt:  # uvicorn raises it again after its own shutdown
        pass
    finally:
        desk.frames.close()
        listening.close()


def _has_screen() -> bool:
    """Whether there is a desktop to open a browser on (text browsers would take the terminal)."""
    if sys.platform in ("win32", "darwin"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
