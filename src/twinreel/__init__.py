"""Find the videos you have twice, and extract deep features from videos.

    import twinreel

    report = twinreel.find_duplicates(["~/Videos"], library="videos.db")
    for group in report.groups:
        print(group.keep, group.why)

Names load on first use: importing the package loads no torch, no av and no sklearn.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_PUBLIC = {
    "Failure": "types",
    "Features": "types",
    "Group": "types",
    "Match": "types",
    "Report": "report",
    "Segment": "types",
    "TwinreelError": "errors",
    "Video": "types",
    "apply": "actions",
    "find_duplicates": "pipeline",
    "plan": "actions",
    "undo": "actions",
    "probe": "probe",
    "search": "pipeline",
}

__all__ = [*sorted(_PUBLIC), "__version__"]

if TYPE_CHECKING:
    from twinreel.actions.apply import apply as apply
    from twinreel.actions.plan import plan as plan
    from twinreel.actions.undo import undo as undo
    from twinreel.errors import TwinreelError as TwinreelError
    from twinreel.pipeline import find_duplicates as find_duplicates
    from twinreel.pipeline import search as search
    from twinreel.probe import probe as probe
    from twinreel.report import Report as Report
    from twinreel.types import Failure as Failure
    from twinreel.types import Features as Features
    from twinreel.types import Group as Group
    from twinreel.types import Match as Match
    from twinreel.types import Segment as Segment
    from twinreel.types import Video as Video


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'twinreel' has no attribute {name!r}")
    return getattr(importlib.import_module(f"twinreel.{_PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return __all__
