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
    "PictureStream": "dataset",
    "Report": "report",
    "Segment": "types",
    "TwinreelError": "errors",
    "Video": "types",
    "VideoDataset": "dataset",
    "apply": "actions",
    "find_duplicates": "pipeline",
    "load_model": "models:load",
    "plan": "actions",
    "search": "query",
    "undo": "actions",
    "video_info": "probe:probe",
    "write_page": "review.page",
}

__all__ = [*sorted(_PUBLIC), "__version__"]

if TYPE_CHECKING:
    from twinreel.actions.apply import apply as apply
    from twinreel.actions.plan import plan as plan
    from twinreel.actions.undo import undo as undo
    from twinreel.dataset import PictureStream as PictureStream
    from twinreel.dataset import VideoDataset as VideoDataset
    from twinreel.errors import TwinreelError as TwinreelError
    from twinreel.models import load as load_model  # noqa: F401 (another name)
    from twinreel.pipeline import find_duplicates as find_duplicates
    from twinreel.probe import probe as video_info  # noqa: F401
    from twinreel.query import search as search
    from twinreel.report import Report as Report
    from twinreel.review.page import write_page as write_page
    from twinreel.types import Failure as Failure
    from twinreel.types import Features as Features
    from twinreel.types import Group as Group
    from twinreel.types import Match as Match
    from twinreel.types import Segment as Segment
    from twinreel.types import Video as Video


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'twinreel' has no attribute {name!r}")
    module, _, own = _PUBLIC[name].partition(":")
    return getattr(importlib.import_module(f"twinreel.{module}"), own or name)


def __dir__() -> list[str]:
    return __all__
