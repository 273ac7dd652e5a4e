"""A pytest plugin that hides torch, for Pythons that have none yet: `pytest -p tests.no_torch`."""

import importlib.abc
import sys
from typing import Any


class _Hidden(importlib.abc.MetaPathFinder):
    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name.split(".")[0] == "torch":
            raise ModuleNotFoundError(f"{name} is hidden here", name=name)


sys.meta_path.insert(0, _Hidden())
