"""Files -> content keys, and which files are the same to the last byte. Nothing is decoded.

Cheap first: same size, then the content key (head, tail and some places between), then the whole
file. Only what agrees so far is read further.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace

from twinreel.errors import CannotRead
from twinreel.types import VideoFile

_EDGE = 64 * 1024
_PIECE = 16 * 1024
_PIECES = 8
_BLOCK = 1 << 20


def content_key(path: str) -> str:
    """A key that follows the content: size, head and tail (64 kB each) and 8 pieces between.

    Reads at most 256 kB. Equal keys are settled by `full_hash` before anything hangs on them:
    a half-filled download may have its head and tail in place.

    Raises:
        CannotRead: the system's words.
    """
    digest = hashlib.blake2b(digest_size=16)
    try:
        with open(path, "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            digest.update(size.to_bytes(8, "little"))
            if size <= 2 * _EDGE + _PIECES * _PIECE:
                while block := file.read(_BLOCK):
                    digest.update(block)
            else:
                step = (size - 2 * _EDGE) // (_PIECES + 1)
                places = [(0, _EDGE)]
                places += [(_EDGE + step * (i + 1), _PIECE) for i in range(_PIECES)]
                places += [(size - _EDGE, _EDGE)]
                for offset, length in places:
                    file.seek(offset)
                    digest.update(file.read(length))
    except OSError as error:
        raise CannotRead(path, error.strerror or str(error)) from None
    return digest.hexdigest()


def full_hash(path: str) -> str:
    """blake2b of the whole file, 32 hex digits. Raises CannotRead."""
    digest = hashlib.blake2b(digest_size=16)
    try:
        with open(path, "rb", buffering=0) as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    except OSError as error:
        raise CannotRead(path, error.strerror or str(error)) from None
    return digest.hexdigest()


def settle(
    files: Iterable[VideoFile],
    hash_of: Callable[[VideoFile], str] = lambda f: full_hash(f.path),
) -> tuple[list[VideoFile], list[CannotRead]]:
    """Make keys unique to contents: afterwards equal keys mean equal bytes.

    Args:
        files: with keys.
        hash_of: the whole-file hash (a library may remember it).

    Returns:
        the files in their order, keys lengthened by the full hash where two unlike files shared
        one; files that could not be read whole are left out and returned as errors.
    """
    files = list(files)
    alike: dict[str, list[VideoFile]] = defaultdict(list)
    for file in files:
        alike[file.key or ""].append(file)
    keys: dict[str, str] = {}
    errors: list[CannotRead] = []
    for key, members in alike.items():
        if len({(f.device, f.inode) for f in members}) == 1:
            keys.update((f.path, key) for f in members)
            continue
        hashes: dict[str, str] = {}
        for file in members:
            try:
                hashes[file.path] = hash_of(file)
            except CannotRead as error:
                errors.append(error)
        same = len(set(hashes.values())) <= 1
        keys.update((path, key if same else f"{key}-{h}") for path, h in hashes.items())
    return [replace(f, key=keys[f.path]) for f in files if f.path in keys], errors
