"""Checkpoint files: where they lie, whether they are the right ones, and what is in them.

    state, sha256 = resolve(models.get("resnet152"), "")                  # the published file
    state, sha256 = resolve(models.get("resnet152"), "/data/mine.pth")    # a file of one's own
    state, sha256 = resolve(models.get("resnet152"), "random:7")          # None, 'random:7'

Nothing here touches the network but `fetch`, which only `twinreel models fetch` calls.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twinreel.errors import ModelError, WeightsCorrupt, WeightsMissing

if TYPE_CHECKING:
    from torch import Tensor

    from twinreel.models import ModelSpec, Weights

_BLOCK = 1 << 22
# Names under which training scripts file the tensors away.
_NESTS = ("state_dict", "model_state_dict", "model")


def folder() -> Path:
    """Where fetched weights lie: $TWINREEL_WEIGHTS, else in the user's data folder."""
    if chosen := os.environ.get("TWINREEL_WEIGHTS"):
        return Path(chosen)
    import platformdirs

    return Path(platformdirs.user_data_dir("twinreel")) / "weights"


def published(spec: ModelSpec) -> Path | None:
    """Path at which the record's published file is, or would be; None if it has none."""
    if spec.weights is None:
        return None
    if spec.weights.packaged:
        return Path(__file__).resolve().parent.parent / "data" / spec.weights.file
    return folder() / spec.weights.file


def size_of(spec: ModelSpec) -> int:
    """Bytes of the published file that is here, else those of the record (0: unknown)."""
    path = published(spec)
    if path is not None and path.is_file():
        return path.stat().st_size
    return spec.weights.size if spec.weights else 0


def present(spec: ModelSpec) -> bool:
    """Whether the network can be built now, without fetching."""
    path = published(spec)
    return path is None or path.is_file()


def sha256_of(path: Path) -> str:
    """sha256 of a file, 64 hex digits; remembered by (path, size, mtime)."""
    stat = path.stat()
    key, mark = str(path.resolve()), [stat.st_size, stat.st_mtime_ns]
    notes = _notes()
    known = notes.get(key)
    if known and known[:2] == mark:
        return str(known[2])
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    _remember({**notes, key: [*mark, digest.hexdigest()]})
    return digest.hexdigest()


def _notes_path() -> Path:
    return folder() / "verified.json"


def _notes() -> dict[str, Any]:
    try:
        notes = json.loads(_notes_path().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # a lost cache costs one reading of the file
    return notes if isinstance(notes, dict) else {}


def _remember(notes: Mapping[str, Any]) -> None:
    path = _notes_path()
    # The verdict is a convenience: where the folder cannot be written, the file is read again.
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temp = tempfile.mkstemp(dir=path.parent, prefix=".verified-")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(notes, file)
        os.replace(temp, path)


def resolve(
    spec: ModelSpec, weights: str = "", allow_unverified: bool = False
) -> tuple[dict[str, Tensor] | None, str]:
    """The tensors that the network of a record is to be loaded with.

    Args:
        weights: '' for the published file, a path (which always wins), or 'random:SEED'.
        allow_unverified: take a published file whose sha256 nobody has published.

    Returns:
        tensors by name (None for 'random:SEED' and for networks that need none or bring their
        own), and what identifies them, see `identify`.

    Raises:
        WeightsMissing: no such file; the message says which file to put where.
        WeightsCorrupt: not the expected sha256, unknown sha256, or not a checkpoint.
    """
    digest = identify(spec, weights, allow_unverified)
    path = located(spec, weights)
    if path is None or spec.extra.get("self_loading"):
        return None, digest
    return read(path, spec.extra.get("drop", ())), digest


def located(spec: ModelSpec, weights: str = "") -> Path | None:
    """The checkpoint file that `weights` stands for; None if no file is read."""
    if weights.startswith("random:"):
        return None
    if weights:
        return Path(weights).expanduser()
    if file := spec.extra.get("file"):
        return Path(file)
    return published(spec)


def identify(spec: ModelSpec, weights: str = "", allow_unverified: bool = False) -> str:
    """What tells these weights from all others: the file's sha256, 'random:SEED', or '' for none.

    Raises as `resolve`, but reads no tensors and needs no torch.
    """
    if weights.startswith("random:"):
        if not weights[7:].isdigit():
            raise ModelError(f"weights {weights!r}: random: takes a whole number, e.g. random:0")
        return weights
    path = located(spec, weights)
    if path is None:
        return str(spec.extra.get("state", ""))  # of networks made by a function
    if weights and not path.is_file():
        raise WeightsMissing(f"weights {weights!r}: no such file; give a checkpoint file")
    if not weights and spec.weights is not None:
        if not path.is_file():
            raise WeightsMissing(missing(spec, spec.weights, path))
        verify(spec, spec.weights, path, allow_unverified)
    return sha256_of(path)


def verify(spec: ModelSpec, weights: Weights, path: Path, allow_unverified: bool = False) -> None:
    """Raise WeightsCorrupt unless the file is the one that the record describes."""
    found = sha256_of(path)
    if wrong := _wrong(spec, weights, found):
        remedy = f"remove the file and run `twinreel models fetch {spec.name}`"
        if weights.packaged:
            remedy = "install twinreel again"
        raise WeightsCorrupt(f"{path}: {wrong}; {remedy}, or name your own file with --weights")
    if not weights.sha256 and not allow_unverified:
        raise WeightsCorrupt(
            f"{path}: nobody has published the sha256 of {spec.name}'s weights, so the file cannot "
            f"be told from a forged one (this one: {found}); if you trust its origin, "
            "pass --allow-unverified or name the file with --weights"
        )


def _wrong(spec: ModelSpec, weights: Weights, found: str) -> str:
    """In what the sha256 of a file is not that of the record; '' if it is."""
    if weights.sha256:
        return "" if found == weights.sha256 else f"sha256 is {found}, must be {weights.sha256}"
    # torchvision publishes the first digits, in the file's name.
    start = spec.extra.get("sha256_starts", "")
    return "" if found.startswith(start) else f"sha256 is {found}, must begin with {start}"


def missing(spec: ModelSpec, weights: Weights, path: Path) -> str:
    """What to do about a file that is not there, in one message."""
    return (
        f"model {spec.name!r} needs the file {weights.file}, which is not in {path.parent}. "
        f"Run `twinreel models fetch {spec.name}`, or put it there by hand: {weights.url} "
        f"(sha256 {weights.sha256 or 'not published'}); or name any checkpoint with --weights "
        "PATH, or --weights random:0 for a dry run"
    )


def read(path: Path, drop: tuple[str, ...] = ()) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name, on the CPU.

    Takes safetensors, torch's zip and legacy pickle formats (tensors only, no code is run), flat
    or nested under 'state_dict', prefixed with 'module.' any number of times, tagged for any
    device.

    Args:
        drop: names that begin with one of these are left out (a classifier).

    Raises:
        WeightsCorrupt: unreadable, or not a checkpoint.
    """
    import torch
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            found: Any = load_file(path)
        else:
            with warnings.catch_warnings():
                # It warns of pickle protocols that it goes on to read or to refuse.
                warnings.simplefilter("ignore", UserWarning)
                found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # garbage makes the unpickler raise anything
        words = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsCorrupt(
            f"{path}: not readable as a checkpoint ({words}); it must hold tensors only, as "
            "torch.save(model.state_dict()) or safetensors write them"
        ) from None
    while isinstance(found, Mapping) and (nest := next((n for n in _NESTS if n in found), None)):
        found = found[nest]
    if not isinstance(found, Mapping) or not any(torch.is_tensor(v) for v in found.values()):
        raise WeightsCorrupt(f"{path}: no tensors in it; a state dict is needed")
    state = {str(k): v for k, v in found.items() if torch.is_tensor(v)}
    while state and all(k.startswith("module.") for k in state):
        state = {k.removeprefix("module."): v for k, v in state.items()}
    # A plain dict carries no version, so torch fills in a missing num_batches_tracked itself.
    return {k: v for k, v in state.items() if not k.startswith(tuple(drop))}


def fetch(
    spec: ModelSpec,
    allow_unverified: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Download the published file of a record into the weights folder, whole or not at all.

    Args:
        progress: called with bytes done and bytes in all (0 if unknown).

    Raises:
        WeightsMissing: the server did not give it.
        WeightsCorrupt: what came is not the file that the record describes, or nobody could tell.
    """
    import urllib.error
    import urllib.request

    path = published(spec)
    if spec.weights is None or path is None or spec.weights.packaged:
        raise ModelError(f"model {spec.name!r} has nothing to fetch: it is complete as installed")
    if path.is_file():
        verify(spec, spec.weights, path, allow_unverified)
        return path
    if not spec.weights.sha256 and not allow_unverified:
        raise WeightsCorrupt(
            f"{spec.weights.url}: nobody has published the sha256 of {spec.name}'s weights, so "
            "what comes cannot be told from a forged file; if you trust its origin, pass "
            "--allow-unverified"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    temp = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            try:
                with urllib.request.urlopen(spec.weights.url, timeout=60) as answer:
                    told = int(answer.headers.get("Content-Length") or 0)
                    done = 0
                    while block := answer.read(_BLOCK):
                        file.write(block)
                        done += len(block)
                        progress(done, told or spec.weights.size)
            except (urllib.error.URLError, OSError, ValueError) as error:
                raise WeightsMissing(
                    f"{spec.weights.url}: not fetched ({error}). "
                    + missing(spec, spec.weights, path)
                ) from None
            file.flush()
            os.fsync(file.fileno())
        if told and done != told:
            raise WeightsCorrupt(f"{spec.weights.url}: {done} of {told} bytes came; try again")
        if wrong := _wrong(spec, spec.weights, sha256_of(temp)):
            raise WeightsCorrupt(
                f"{spec.weights.url}: another file came than was published: {wrong}; try again, or "
                "name your own file with --weights"
            )
        os.replace(temp, path)
    finally:
        temp.unlink(missing_ok=True)
    return path
