"""Options records -> click options. The record stays the only place where an option is declared."""

from __future__ import annotations

import types
import typing
from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def add_options(*records: type[Any]) -> Callable[[F], F]:
    """Decorate a click command with a flag for every field of the given options records.

    Flags that the user does not give arrive as None (or an empty tuple), so that a configuration
    file can still speak; booleans get a --no- twin.
    """

    def decorate(function: F) -> F:
        for record in reversed(records):
            hints = typing.get_type_hints(record)
            for f in reversed(fields(record)):
                function = _option(f, hints[f.name])(function)
        return function

    return decorate


def _option(f: Any, hint: Any) -> Callable[[F], F]:
    meta = f.metadata
    flag = meta.get("flag") or f.name.replace("_", "-")
    names = [f"--{flag}", *meta.get("spellings", ())]
    if meta.get("short"):
        names.append(meta["short"])
    help = meta.get("help", "")
    default = f.default if f.default is not MISSING else None
    if hint is bool:
        names[0] = f"--{flag}/--no-{flag}"
        return click.option(*names, f.name, default=None, help=_help(help, default))
    if meta.get("multiple"):
        return click.option(*names, f.name, multiple=True, help=help, metavar=meta.get("metavar"))
    kind: Any = _plain(hint)
    if meta.get("choices"):
        kind = click.Choice(list(meta["choices"]))
    return click.option(
        *names,
        f.name,
        type=kind,
        default=None,
        help=_help(help, default),
        metavar=meta.get("metavar"),
        hidden=meta.get("hidden", False),
    )


def _help(text: str, default: Any) -> str:
    shown = default not in (None, "", False) and "default" not in text
    return f"{text} [default: {'on' if default is True else default}]" if shown else text


def _plain(hint: Any) -> type:
    """`float | None` -> float."""
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        hint = next(a for a in typing.get_args(hint) if a is not type(None))
    return hint if hint in (int, float, str) else str


def given(flags: dict[str, Any]) -> dict[str, Any]:
    """The flags that the user gave."""
    return {k: v for k, v in flags.items() if v is not None and v != ()}
