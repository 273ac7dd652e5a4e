"""Check the corpus: ``python -m benchmarks.accuracy.verify [CORPUS]``; exit code 1 if not whole."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from . import corpus


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path, nargs="?", default=Path("../shared/corpus"))
    folder = parser.parse_args().corpus
    clips = corpus.load(folder)
    missing, changed = corpus.verify(folder, clips)
    for name in missing:
        print(f"missing: {name}")
    for name in changed:
        print(f"changed: {name} (its sha256 is not the manifest's)")
    print(f"{len(clips) - len(missing) - len(changed)} of {len(clips)} clips as the manifest says")
    return 1 if missing or changed else 0


if __name__ == "__main__":
    sys.exit(main())
