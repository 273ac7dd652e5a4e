"""Runs the notebooks, in order, in one folder: what they print and draw, or the first error.

python -m tools.notebooks WORK [OUT]     # executed copies go to OUT
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "notebooks"


def notebooks() -> list[Path]:
    """The notebooks in their order."""
    return sorted(FOLDER.glob("*.ipynb"))


def execute(path: Path, work: Path) -> Any:
    """A notebook with its outputs. Raises nbclient's CellExecutionError."""
    book = nbformat.read(path, as_version=4)
    NotebookClient(
        book, timeout=900, kernel_name="python3", resources={"metadata": {"path": str(work)}}
    ).execute()
    return book


def main(work: Path, out: Path | None) -> None:
    """Run them all, in a home of their own below `work`."""
    work.mkdir(parents=True, exist_ok=True)
    home = work / "home"
    home.mkdir(exist_ok=True)
    os.environ |= {"HOME": str(home), "XDG_DATA_HOME": str(home / "data")}
    # Not nice: behind everything else that runs on a busy machine, a cell would take for ever.
    (home / "sitecustomize.py").write_text("import os\nos.nice = lambda by: 0\n")
    os.environ["PYTHONPATH"] = os.pathsep.join(
        [str(home), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    )
    os.environ["IPYTHONDIR"] = str(home / "ipython")
    os.environ.pop("MPLBACKEND", None)  # pictures go into the notebook
    for path in notebooks():
        start = time.monotonic()
        book = execute(path, work)
        print(f"{path.name}: {time.monotonic() - start:.1f} s", flush=True)
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            nbformat.write(book, out / path.name)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
