"""A plan as shell commands that a person can read, change and run. It leaves no journal."""

from __future__ import annotations

import os
import shlex
import time
from pathlib import Path

from twinreel.actions.plan import Plan
from twinreel.errors import InputError, OutputError
from twinreel.report import human_bytes, printable
from twinreel.types import Step

_HEAD = r"""#!/usr/bin/env bash
# {what}
# Read it, change it, run it with: bash {name}
# Each command checks both files first; what it does cannot be taken back with `twinreel undo`.
set -u
status=0
left() {{ printf 'left: %s\n' "$1" >&2; status=1; }}
real() {{ [ -f "$1" ] && [ ! -L "$1" ]; }}
ready() {{  # FILE KEPT BYTES exact|copy|part_of
  real "$1" && real "$2" && [ ! "$1" -ef "$2" ] && [ "$(wc -c <"$1")" -eq "$3" ] &&
    {{ [ "$4" != exact ] || cmp -s -- "$1" "$2"; }}
}}
aside() {{  # FILE PLACE
  mkdir -p -- "$(dirname -- "$2")" && [ ! -e "$2" ] && mv -n -- "$1" "$2"
}}
"""
_BODY = {
    "delete": 'ready "$@" && rm -f -- "$1" || left "$1"',
    "move": 'ready "$@" && aside "$1" "$5" || left "$1"',
    "trash": 'ready "$@" && mkdir -p -- "$(dirname -- "$6")" && printf "%s" "$7" >"$6" &&\n'
    '    aside "$1" "$5" || left "$1"',
    "hardlink": 'ready "$@" && hold "$@" && ln -- "$2" "$1.new" && mv -f -- "$1.new" "$1" '
    '|| left "$1"',
    "symlink": 'ready "$@" && hold "$@" && ln -s -- "$2" "$1.new" && mv -f -- "$1.new" "$1" '
    '|| left "$1"',
    "reflink": 'ready "$@" && hold "$@" && cp --reflink=always -- "$2" "$1.new" &&\n'
    '    touch -r "$1" -- "$1.new" && mv -f -- "$1.new" "$1" || left "$1"',
}
_HOLD = 'hold() { [ "$4" = exact ] || { mkdir -p -- "$(dirname -- "$5")" && ln -- "$1" "$5"; }; }\n'


def write_script(plan: Plan, path: str | Path) -> Path:
    """Write the plan's removals as a bash script.

    Raises:
        InputError: the plan has steps that a script does not do (place, inherit, sidecars).
    """
    more = [s.action for s in plan.steps if not s.keep]
    if more:
        raise InputError(f"{more[0]!r} is not done by scripts; leave that option out, or use --yes")
    path = Path(path)
    what = f"twinreel {plan.action}: {len(plan.steps)} files, {human_bytes(plan.freed)}"
    lines = [_HEAD.format(what=f"{what}, {time.strftime('%Y-%m-%d %H:%M')}", name=path.name)]
    if plan.action.endswith("link"):
        lines.append(_HOLD)
    lines.append(f"{plan.action}() {{\n  {_BODY[plan.action]}\n}}\n")
    lines += [_command(step) for step in plan.steps]
    lines.append("\nexit $status\n")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(b"".join(os.fsencode(line) for line in lines))
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OutputError(f"{path}: {error.strerror}; name another file") from None
    return path


def _command(step: Step) -> str:
    places = step.expect.get("places", {})
    words = [step.path, step.keep, str(step.size), step.expect["relation"]]
    words += [places[name] for name in ("dest", "hold", "info", "text") if name in places]
    lost = f"; lost: {'; '.join(step.losses)}" if step.losses else ""
    note = f"\n# {printable(step.why + lost)} ({human_bytes(step.size)})\n"
    return note + " ".join([step.action, *map(shlex.quote, words)]) + "\n"
