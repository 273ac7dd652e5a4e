"""The licences of all that `pip install twinreel` brings, as the packages state them themselves.

python -m tools.licences           # write docs/licences.md, out of this environment
python -m tools.licences --check   # exit code 1 where a package here is not in it as it is
"""

from __future__ import annotations

import importlib.metadata
import re
import sys
import tomllib
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "licences.md"
EXTRAS = ("web",)  # those that this environment holds whole; others are named in the page by hand
BEGIN, END = "<!-- begin of the generated table -->", "<!-- end of the generated table -->"
_WORDS = {
    "BSD License": "BSD", "MIT License": "MIT", "Apache Software License": "Apache-2.0",
    "ISC License (ISCL)": "ISC",
}  # fmt: skip


def licence(found: Distribution) -> str:
    """What a package says of itself: the expression, else the classifiers, else the free text."""
    about = found.metadata
    if said := about.get("License-Expression"):
        return said
    marks = [c.rsplit(" :: ", 1)[1] for c in about.get_all("Classifier") or [] if "License" in c]
    if marks:
        return ", ".join(_WORDS.get(m, m) for m in marks)
    text = (about.get("License") or "").strip()
    return text.splitlines()[0] if text else "not stated"


def needs(extras: tuple[str, ...] = EXTRAS) -> dict[str, set[str]]:
    """Installed packages that twinreel needs, also by way of others -> which of them need it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [*project["dependencies"]]
    for extra in extras:
        asked += project["optional-dependencies"][extra]
    found: dict[str, set[str]] = {}
    todo: list[tuple[str, tuple[str, ...]]] = [("twinreel", ())]
    while todo:
        parent, wanted = todo.pop()
        for text in asked if parent == "twinreel" else distribution(parent).requires or []:
            need = Requirement(text)
            if need.marker and not any(need.marker.evaluate({"extra": e}) for e in ("", *wanted)):
                continue
            child = re.sub(r"[-_.]+", "-", need.name).lower()
            try:
                distribution(child)
            except importlib.metadata.PackageNotFoundError:
                continue
            if child not in found:
                todo.append((child, tuple(need.extras)))
            found.setdefault(child, set()).add(parent)
    return found


def rows() -> list[str]:
    """The table's rows, by name."""
    return [
        f"| {name} | {licence(distribution(name))} | {', '.join(sorted(parents))} |"
        for name, parents in sorted(needs().items())
    ]


def main(check: bool) -> int:
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    table, _, after = rest.partition(END)
    if check:
        missing = [row for row in rows() if row not in table.splitlines()]
        for row in missing:
            print(f"not in {PAGE.name}: {row}; run python -m tools.licences")
        return int(bool(missing))
    body = "\n".join(["| package | licence, as it states | needed by |", "|---|---|---|", *rows()])
    PAGE.write_text(f"{before}{BEGIN}\n\n{body}\n\n{END}{after}", encoding="utf-8")
    print(PAGE)
    return 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
