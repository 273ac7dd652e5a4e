"""The command's reference, out of the command itself: docs/cli.md and man/twinreel.1.

python -m tools.reference           # write both
python -m tools.reference --check   # exit code 1 where one is not what would be written
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from twinreel import __version__
from twinreel.cli import main as command

ROOT = Path(__file__).parents[1]
WIDTH = 100

HEAD = """# The command line

Written by `python -m tools.reference` out of the command; a test compares. Exit codes: 0 done,
1 done but some videos failed (or steps were refused), 2 wrong usage. `twinreel VERB --help` says
the same. The wheel holds a manual page: `man twinreel`.

## Completion

<!-- not run: changes your shell's settings -->
```sh
_TWINREEL_COMPLETE=bash_source twinreel > ~/.twinreel-complete.bash
echo '. ~/.twinreel-complete.bash' >> ~/.bashrc
_TWINREEL_COMPLETE=zsh_source twinreel > ~/.twinreel-complete.zsh       # . it in ~/.zshrc
_TWINREEL_COMPLETE=fish_source twinreel > ~/.config/fish/completions/twinreel.fish
```
"""


def walk(
    found: click.Command = command, name: str = "twinreel", parent: click.Context | None = None
) -> Iterator[tuple[click.Command, click.Context]]:
    """A command and all below it, each with a context that knows its full name."""
    context = click.Context(
        found, parent, name, max_content_width=WIDTH, terminal_width=WIDTH,
        **(found.context_settings if parent is None else {}),
    )  # fmt: skip
    yield found, context
    if isinstance(found, click.Group):
        for below in found.list_commands(context):
            command = found.get_command(context, below)
            assert command is not None
            yield from walk(command, below, context)


def markdown() -> str:
    """docs/cli.md."""
    parts = [HEAD]
    for found, context in walk():
        path = context.command_path
        level = "##" if path.count(" ") < 2 else "###"
        parts.append(f"{level} {path}\n\n```text\n{found.get_help(context).rstrip()}\n```\n")
    return "\n".join(parts)


def manual() -> str:
    """man/twinreel.1, in roff."""
    out = [
        f'.TH TWINREEL 1 "" "twinreel {__version__}" "User Commands"',
        ".SH NAME",
        "twinreel \\- find the videos you have twice, and extract deep features from videos",
        ".SH SYNOPSIS",
        ".B twinreel",
        ".I VERB",
        "[OPTIONS] [ARGS]...",
    ]
    for found, context in walk():
        path = context.command_path
        if path == "twinreel":
            out.append(".SH OPTIONS")
        else:
            out += [f".SH {_roff(path.upper())}", f".B {_roff(path)}"]
            out += [_roff(" ".join(found.collect_usage_pieces(context))), ".PP"]
            for paragraph in (found.help or "").split("\n\n"):
                out += [_roff(" ".join(paragraph.split())), ".PP"]
        for parameter in found.get_params(context):
            record = parameter.get_help_record(context)
            if record is not None and record[1]:
                out += [".TP", f".B {_roff(record[0])}", _roff(record[1])]
    out += [".SH EXIT STATUS", "0 done; 1 some videos failed or steps were refused; 2 usage."]
    out += [".SH FILES", _roff("./twinreel.toml holds defaults for"), ".B twinreel dups."]
    return "\n".join(line for line in out if line) + "\n"


def _roff(text: str) -> str:
    """Text that roff prints as it is."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{text}" if text.startswith((".", "'")) else text


FILES = {"docs/cli.md": markdown, "man/twinreel.1": manual}


def main(check: bool) -> int:
    stale = 0
    for name, make in FILES.items():
        path, text = ROOT / name, make()
        if check:
            if not path.is_file() or path.read_text(encoding="utf-8") != text:
                print(f"{name} is stale: python -m tools.reference")
                stale = 1
        else:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(name)
    return stale


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
