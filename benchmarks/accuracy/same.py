"""Whether two runs gave one table: ``python -m benchmarks.accuracy.same A.json B.json``.

Compares every figure of two accuracy.json but what a clock or the day decides: date, commit,
version, machine, cost and the stages' seconds. Prints what differs; exit code 1 if anything does.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

__all__ = ["differences", "main"]

APART = frozenset({"date", "commit", "version", "machine", "stages_s", "cost"})


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("a", type=Path)
    parser.add_argument("b", type=Path)
    args = parser.parse_args(argv)
    a, b = (json.loads(path.read_text(encoding="utf-8")) for path in (args.a, args.b))
    found = list(differences(a, b))
    for line in found:
        print(line)
    print(f"{len(found)} differences" if found else "the same table")
    return 1 if found else 0


def differences(a: Any, b: Any, where: str = "") -> Iterator[str]:
    """``place: this, that`` for everything that is not equal. Methods go by their titles."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in sorted((a.keys() | b.keys()) - APART):
            place = f"{where}/{key}"
            if key not in a or key not in b:
                yield f"{place}: only in {'the second' if key not in a else 'the first'}"
            else:
                yield from differences(a[key], b[key], place)
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for k, (x, y) in enumerate(zip(a, b, strict=True)):
            name = x.get("title", k) if isinstance(x, dict) else k
            yield from differences(x, y, f"{where}/{name}")
    elif a != b:
        yield f"{where}: {a}, {b}"


if __name__ == "__main__":
    sys.exit(main())
