"""The public names: listed, sorted, and what they are said to be whatever was imported before."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import twinreel


def test_the_list_is_sorted_and_complete() -> None:
    names = [n for n in twinreel.__all__ if n != "__version__"]
    assert names == sorted(names)
    assert dir(twinreel) == sorted(twinreel.__all__)
    with pytest.raises(AttributeError, match="nothing_like_it"):
        _ = twinreel.nothing_like_it


def test_names_are_no_modules_even_after_all_modules_are_loaded() -> None:
    """A submodule becomes an attribute of the package when it is loaded, and would hide a name."""
    root = Path(twinreel.__file__).parent
    for path in sorted(root.glob("[a-z]*.py")):
        importlib.import_module(f"twinreel.{path.stem}")
    for path in sorted(root.glob("*/__init__.py")):
        importlib.import_module(f"twinreel.{path.parent.name}")
    for name in twinreel.__all__:
        assert not hasattr(getattr(twinreel, name), "__path__"), name
        assert type(getattr(twinreel, name)).__name__ != "module", f"{name} is a module"


def test_reading_the_list_loads_nothing() -> None:
    code = "import twinreel, sys; dir(twinreel); print({'torch', 'av'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
