"""What can go wrong, as a tree.

TwinreelError
  InputError       BadManifest, BadConfig, NothingFound, BadReport
  VideoError       CannotOpen, NoVideoStream, DecodeFailed, Stalled, WorkerDied
  ModelError       UnknownModel, WeightsMissing, WeightsCorrupt, DeviceUnavailable, ExtraMissing
  StoreError       StoreLocked, StoreVersion
  OutputError      the output disk is full or gone
  ActionRefused    FileChanged, WouldRemoveLastCopy, KeeperMissing

A message has three parts: the value, the rule, the remedy.
"""

from __future__ import annotations


class TwinreelError(Exception):
    """Base of every error that twinreel raises on purpose."""


class InputError(TwinreelError):
    """What the user gave cannot be used."""


class BadManifest(InputError):
    """A CSV of videos breaks a rule; the message names the row."""


class BadConfig(InputError):
    """An option or a configuration file breaks a rule."""


class NothingFound(InputError):
    """No video under the given paths."""


class BadReport(InputError):
    """A report is not readable or contradicts itself; the message names the place."""


class VideoError(TwinreelError):
    """One video cannot be used. The run goes on; the video becomes a Failure.

    `stage` is where it happened; `transient` says whether another try may go better
    (input/output, stalls, crashes) or the content itself is at fault.
    """

    stage = "decode"
    transient = False

    def __init__(self, path: str, detail: str) -> None:
        super().__init__(f"{path}: {detail}")
        self.path = path
        self.detail = detail

    def __reduce__(self) -> tuple[type[VideoError], tuple[str, str]]:
        return type(self), (self.path, self.detail)


class CannotOpen(VideoError):
    """The container is not readable."""

    stage = "probe"


class CannotRead(VideoError):
    """The operating system refused or failed to read the file."""

    stage = "read"
    transient = True


class NoVideoStream(VideoError):
    """The file holds no moving picture."""

    stage = "probe"


class DecodeFailed(VideoError):
    """The container opened, but no usable frame came out."""


class Stalled(VideoError):
    """The decoder gave no packet and no frame for longer than the limit, and was killed."""

    transient = True


class WorkerDied(VideoError):
    """The decoder's process crashed on this video."""

    transient = True


class ModelError(TwinreelError):
    """A network cannot be built or run."""


class UnknownModel(ModelError):
    """No model of that name is registered."""


class WeightsMissing(ModelError):
    """The weights are not on this machine; the message says which file to put where."""


class WeightsCorrupt(ModelError):
    """The weights' checksum or layout is not the expected one."""


class DeviceUnavailable(ModelError):
    """The asked device is not there."""


class ExtraMissing(ModelError):
    """An optional package is needed; the message names the extra."""


class StoreError(TwinreelError):
    """The library file cannot be used."""


class StoreLocked(StoreError):
    """Another process writes to the library."""


class StoreVersion(StoreError):
    """The library was made by a newer twinreel."""


class OutputError(TwinreelError):
    """An output cannot be written (disk full, gone, read-only)."""


class ActionRefused(TwinreelError):
    """A step of a plan is not safe now, and was not taken."""


class FileChanged(ActionRefused):
    """A file is no longer the one that the report describes."""


class WouldRemoveLastCopy(ActionRefused):
    """The step would leave no real copy of the content."""


class KeeperMissing(ActionRefused):
    """The file to be kept is not there, not readable, or itself in the plan."""
