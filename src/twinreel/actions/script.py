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

_HEAD = r"""#!/bin/sh
# {what}
# Read it, change it, run it with: sh {name}
# Each command first looks whether both files are as they were when this was written: real files,
# of the same size and of the same time to the second. What it does cannot be taken back with
# `twinreel undo`.
set -u
status=0
left() {{ printf 'left: %s\n' "$1" >&2; status=1; }}
look() {{ stat -c '%s %Y' "$1" 2>/dev/null || stat -f '%z %m' "$1"; }}  # bytes, seconds; GNU or BSD
taken() {{ [ -e "$1" ] || [ -L "$1" ]; }}
still() {{ [ -f "$1" ] && [ ! -L "$1" ] && [ "$(look "$1")" = "$2" ]; }}
ready() {{  # FILE KEPT LOOK_OF_FILE LOOK_OF_KEPT exact|copy|part_of
  still "$1" "$3" && still "$2" "$4" && [ ! "$1" -ef "$2" ] &&
    {{ [ "$5" != exact ] || cmp -s -- "$1" "$2"; }}
}}
folder() {{ (umask 077 && mkdir -p -- "$1"); }}
aside() {{  # FILE PLACE
  folder "${{2%/*}}/" && ! taken "$2" && mv -n -- "$1" "$2" && ! taken "$1"
}}
"""
_BODY = {
    # The file is kept under a hidden name until the kept one was looked at once more.
    "delete": """was=$1 held=${1%/*}/.twinreel-$$
  ready "$@" && aside "$1" "$held" && still "$2" "$4" && still "$held" "$3" &&
    [ ! "$held" -ef "$2" ] && rm -f -- "$held" || { back; left "$1"; }
  held=""",
    "move": 'ready "$@" && aside "$1" "$6" || left "$1"',
    # More files may have come into the trash since, and two of one name may be in this plan.
    "trash": """ready "$@" && folder "$6/files" && folder "$6/info" || { left "$1"; return; }
  n=1 name=$7$8
  while taken "$6/files/$name" || taken "$6/info/$name.trashinfo"; do
    n=$((n + 1)) name="$7 ($n)$8"
  done
  (set -C && printf '%s' "$9" >"$6/info/$name.trashinfo") 2>/dev/null || { left "$1"; return; }
  aside "$1" "$6/files/$name" || { rm -f -- "$6/info/$name.trashinfo"; left "$1"; }""",
    "hardlink": 'ready "$@" && hold "$@" && ln -- "$2" "$1.new" && mv -f -- "$1.new" "$1" '
    '|| left "$1"',
    "symlink": 'ready "$@" && hold "$@" && ln -s -- "$2" "$1.new" && mv -f -- "$1.new" "$1" '
    '|| left "$1"',
    "reflink": 'ready "$@" && hold "$@" && cp --reflink=always -- "$2" "$1.new" &&\n'
    '    touch -r "$1" -- "$1.new" && mv -f -- "$1.new" "$1" || left "$1"',
}
_HOLD = 'hold() { [ "$5" = exact ] || { folder "${6%/*}/" && ln -- "$1" "$6"; }; }\n'
_MORE = {
    "delete": """was= held=
back() {
  taken "$held" || return 0
  taken "$was" || mv -n -- "$held" "$was"
  ! taken "$held" || printf '%s is at %s\\n' "$was" "$held" >&2
}
trap 'back; exit 130' HUP INT TERM
""",
    "hardlink": _HOLD,
    "symlink": _HOLD,
    "reflink": _HOLD,
}


def write_script(plan: Plan, path: str | Path) -> Path:
    """Write the plan's removals as a shell script: POSIX sh, `stat` and `mv -n` of GNU or BSD.

    Files are known by their size and time. The time is compared to the second: `stat` says no more
    of it everywhere.

    Raises:
        InputError: the plan has steps that a script does not do (place, inherit, sidecars).
    """
    more = [s.action for s in plan.steps if not s.keep]
    if more:
        raise InputError(f"{more[0]!r} is not done by scripts; leave that option out, or use --yes")
    path = Path(path)
    what = f"twinreel {plan.action}: {len(plan.steps)} files, {human_bytes(plan.freed)}"
    what = f"{what}, {time.strftime('%Y-%m-%d %H:%M')}"
    lines = [_HEAD.format(what=what, name=printable(path.name))]
    lines.append(_MORE.get(plan.action, ""))
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
    looks = [step.expect["file"], step.expect["keep"]]
    words = [step.path, step.keep, *(f"{f['size']} {f['mtime_ns'] // 10**9}" for f in looks)]
    words.append(step.expect["relation"])
    places = step.expect.get("places", {})
    if "info" in places:  # the trash: the name there is chosen when the command runs
        trash = os.path.dirname(os.path.dirname(places["dest"]))
        words += [trash, *os.path.splitext(os.path.basename(step.path)), places["text"]]
    else:
        words += [places[name] for name in ("dest", "hold") if name in places]
    lost = f"; lost: {'; '.join(step.losses)}" if step.losses else ""
    note = f"\n# {printable(step.why + lost)} ({human_bytes(step.size)})\n"
    return note + " ".join([step.action, *map(shlex.quote, words)]) + "\n"
