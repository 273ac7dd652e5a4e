"""The shape of the package, read from its syntax trees: data flows one way, torch stays put."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

import twinreel

ROOT = Path(twinreel.__file__).parent

# The journey of a video. A module may know what stands before it, never what stands after.
SPINE = [
    *("errors", "types", "options", "progress", "volumes", "discover", "exact", "probe", "sample"),
    *("picture", "inset", "frames", "decode", "dataset", "models", "batches", "embed", "store"),
    *("align", "tempo", "compare", "candidates", "overlay", "aligned", "register", "changes"),
    *("still", "closer", "doubt", "cluster", "keep", "report", "actions", "inventory", "looking"),
    *("scoring", "query", "pipeline", "cli"),
]
TORCH_FREE = [*(name for name in SPINE if name not in ("models", "dataset")), "review"]
HEAVY = {"torch", "av", "sklearn", "torchvision", "transformers", "timm"}
FILES = {
    ".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): p
    for p in sorted(ROOT.rglob("*.py"))
}


def _package(module: str) -> str:
    """'actions.plan' -> 'actions': a folder is one place in the journey."""
    return module.split(".")[0]


def _imported(node: ast.AST) -> list[str]:
    """Modules that an import statement names: 'torch', or 'keep' for twinreel.keep."""
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        names = [f"{base}.{alias.name}" for alias in node.names]
    else:
        return []
    return [_own(name) for name in names]


def _own(name: str) -> str:
    """'twinreel.keep.choose' -> 'keep'; what is not ours becomes its first word."""
    if name != "twinreel" and not name.startswith("twinreel."):
        return name.split(".")[0]
    parts = name.split(".")[1:]
    while parts and ".".join(parts) not in FILES:
        parts.pop()
    return ".".join(parts) or "twinreel"


def _is_typing(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)


@functools.cache
def imports(module: str, everywhere: bool = False) -> frozenset[str]:
    """What a module imports when it is loaded; with `everywhere`, inside functions too."""
    found: set[str] = set()
    stack: list[ast.AST] = [ast.parse(FILES[module].read_text(encoding="utf-8"))]
    while stack:
        node = stack.pop()
        found.update(_imported(node))
        for child in ast.iter_child_nodes(node):
            lazy = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            if not _is_typing(child) and (everywhere or not lazy):
                stack.append(child)
    return frozenset(found - {module})


@functools.cache
def reached(module: str) -> frozenset[str]:
    """Everything that loading a module loads, ours and others."""
    seen: set[str] = set()
    stack = [module]
    while stack:
        name = stack.pop()
        # Loading actions.plan loads actions/__init__ first.
        for at in {name, _package(name)} & set(FILES):
            for found in imports(at) - seen:
                seen.add(found)
                stack.append(found)
    return frozenset(seen - {module})


@pytest.mark.parametrize("place", range(len(SPINE)), ids=SPINE)
def test_imports_go_one_way(place: int) -> None:
    later = set(SPINE[place + 1 :])
    for module in FILES:
        if _package(module) == SPINE[place]:
            backwards = {name for name in reached(module) if _package(name) in later}
            assert not backwards, f"{module} comes before {sorted(backwards)} and knows them"


def test_the_spine_exists() -> None:
    assert set(SPINE) | set(TORCH_FREE) <= {_package(m) for m in FILES}


def test_no_module_reaches_itself() -> None:
    for module in FILES:
        around = {name for name in imports(module) if name in FILES and module in reached(name)}
        # A package's __init__ may gather its own parts.
        around = {name for name in around if _package(name) != _package(module)}
        assert not around, f"{module} and {sorted(around)} import each other"


@pytest.mark.parametrize("package", TORCH_FREE)
def test_no_torch_where_videos_are_compared_reported_and_acted_on(package: str) -> None:
    for module in FILES:
        if _package(module) == package:
            assert "torch" not in reached(module), f"loading {module} loads torch"
            assert "torch" not in imports(module, everywhere=True), f"{module} uses torch"


def test_models_do_not_know_files() -> None:
    files = {"discover", "exact", "probe", "decode", "store", "report", "actions", "pipeline"}
    for module in FILES:
        if _package(module) == "models":
            known = {name for name in imports(module, everywhere=True) if _package(name) in files}
            assert not known, f"{module} knows {sorted(known)}"


@pytest.mark.parametrize("module", ["twinreel", "twinreel.cli", "twinreel.discover"])
def test_loading_loads_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert "twinreel" in loaded
    assert not loaded & HEAVY
