"""The notebooks run, in order, through public names only, and carry no outputs in git."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import twinreel
from tests.docs.runner import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
# Beside the public names of twinreel itself: what makes the demo library.
PUBLIC = {"twinreel", "twinreel.demo"}


def cells(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return found


def source(path: Path) -> str:
    code = ["".join(c["source"]) for c in cells(path) if c["cell_type"] == "code"]
    return "\n".join(code)


def test_there_is_one_for_each_step() -> None:
    names = [p.stem for p in NOTEBOOKS]
    assert names == [
        "1-dataset", "2-embeddings", "3-grouping-by-length", "4-dbscan", "5-review-and-act"
    ]  # fmt: skip


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_no_outputs_are_kept(path: Path) -> None:
    for cell in cells(path):
        assert not cell.get("outputs") and cell.get("execution_count") is None, cell["source"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_only_public_names_are_used(path: Path) -> None:
    for node in ast.walk(ast.parse(source(path))):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
            if module and module.split(".")[0] == "twinreel":
                assert module in PUBLIC, f"{path.name} imports {module}"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.value.id == "twinreel":
                assert node.attr in twinreel.__all__, f"{path.name} uses twinreel.{node.attr}"
            assert not node.attr.startswith("_"), f"{path.name} uses {node.attr}"


def test_they_run_in_order(tmp_path: Path) -> None:
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-m", "tools.notebooks", str(tmp_path / "work"), str(tmp_path / "out")],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True,
        timeout=1800,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    ran = sorted((tmp_path / "out").glob("*.ipynb"))
    assert [p.name for p in ran] == [p.name for p in NOTEBOOKS]
    drawn = {p.stem for p in ran if '"image/png"' in p.read_text(encoding="utf-8")}
    assert drawn == {p.stem for p in NOTEBOOKS}
    said = (tmp_path / "out" / "5-review-and-act.ipynb").read_text(encoding="utf-8")
    assert "taken back" in said and "0 taken back" not in said
