"""The other tools on the same files: ``python -m benchmarks.accuracy.rivals --work WORK``.

Runs in an environment of its own (rivals.txt), the first seed's surrogate in twinreel's. Every file
is hashed once and cached, files side by side on all cores; then every pair gets one score, higher
meaning more alike, saved as ``WORK/rivals/SPLIT/NAME_scores.npy``.
What a tool is stands in ``kind``: ``run`` is the tool itself, ``recipe`` its published recipe on
the same hash library, ``surrogate`` our own writing of its published rule, never to be quoted as
the product, ``floor`` what anything must beat.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import multiprocessing
import os
import pickle
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from . import seed, truth
from .seed import NEVER

__all__ = ["BY_NAME", "RIVALS", "Rival", "main"]

Scores = npt.NDArray[np.float32]
SAVE_EVERY_S = 120.0  # a quarter of a gigabyte each time


@dataclass(frozen=True)
class Rival:
    """A tool: how it hashes a file, how it scores all pairs, and what it calls a match.

    ``threshold`` None: no published one; it is fitted on the train split.
    """

    name: str
    title: str
    kind: str
    rule: str
    threshold: float | None
    hash: Callable[[Any], Any]
    score: Callable[[list[Any], list[float]], Scores]
    shared_decode: bool = False  # hash gets Looks
    own_environment: bool = True  # False: runs where twinreel runs


def _bits(a: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    return np.unpackbits(a, axis=-1).astype(np.float32)


def _hamming(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """(n, k), (m, k) of 0 and 1 -> (n, m) bits that differ."""
    return a.sum(1)[:, None] + b.sum(1)[None, :] - 2 * a @ b.T


def _words(values: Sequence[int]) -> npt.NDArray[np.float32]:
    return _bits(np.array([list(v.to_bytes(8, "big")) for v in values], np.uint8))


def _duration_gate(scores: Scores, durations: Sequence[float], tolerance: float) -> Scores:
    d = np.array(durations)
    far = np.abs(d[:, None] - d[None, :]) > tolerance * np.minimum(d[:, None], d[None, :])
    scores[far] = NEVER
    return scores


def _stash_score(hashes: list[Any], durations: list[float]) -> Scores:
    """As by default: lengths at most one second apart."""
    d = np.array(durations)
    scores = _one_word_score(hashes, durations)
    scores[np.abs(d[:, None] - d[None, :]) > 1.0] = NEVER
    return scores


# -- the tools themselves ---------------------------------------------------------------------


def _vpdq_hash(path: str) -> npt.NDArray[np.uint8]:
    import vpdq

    found = vpdq.computeHash(path, seconds_per_hash=1.0, thread_count=1)
    rows = [list(bytes.fromhex(f.hex)) for f in found if f.quality >= 50]
    return np.array(rows, np.uint8).reshape(-1, 32)


def _vpdq_score(hashes: list[Any], durations: list[float]) -> Scores:
    """Greater of the two shares of frames that have a frame within 31 of 256 bits."""
    bits = [_bits(h) for h in hashes]
    owner = np.repeat(np.arange(len(bits)), [len(b) for b in bits])
    everything, n = np.concatenate(bits), len(bits)
    # (n, n): share of i's frames that some frame of j matches
    share = np.zeros((n, n), np.float32)
    for i, mine in enumerate(bits):
        if len(mine):
            near = _hamming(mine, everything) <= 31
            hit = np.zeros((len(mine), n), bool)
            for row, columns in zip(*np.nonzero(near), strict=True):
                hit[row, owner[columns]] = True
            share[i] = hit.mean(axis=0)
    return np.maximum(share, share.T)


def _tmk_hash(path: str) -> tuple[Any, ...]:
    """The parts of a TMK vector; tmkpy 0.1.1 cannot compare what its own reader returns."""
    import tmkpy

    with _silent():
        found = tmkpy.hashVideo(path, shutil.which("ffmpeg"))
    return (found.getFramesPerSecond(), found.getFrameFeatureCount(),
            *(np.array(part, np.float32) for part in (
                found.getPeriods(), found.getFourierCoefficients(), found.getPureAverageFeature(),
                found.getCosFeatures(), found.getSinFeatures())))


def _plain(part: Any) -> Any:
    """An array as the nested tuples that tmkpy's constructor takes."""
    if isinstance(part, np.ndarray):
        return _plain(part.tolist())
    return tuple(_plain(p) for p in part) if isinstance(part, list) else part


def _tmk_score(hashes: list[Any], durations: list[float]) -> Scores:
    """min(level 1, level 2); level 2 is asked only where level 1 is at least 0.3, and such pairs
    rank before the others. By far the slowest to score, so every core takes its share of rows."""
    cores = os.cpu_count() or 1
    scores = np.eye(len(hashes), dtype=np.float32)
    with _pool(cores) as pool:
        shares = [range(k, len(hashes), cores) for k in range(cores)]
        for part in pool.map(_tmk_rows, [hashes] * cores, shares):
            scores += part + part.T
    return scores


def _tmk_rows(hashes: list[Any], rows: Sequence[int]) -> Scores:
    """These rows of the square, right of its diagonal; 0 elsewhere."""
    import tmkpy

    made = [(*h[:2], *([int(p) for p in h[2]],), *h[3:]) for h in hashes]
    vectors = [tmkpy.createTMKFeatureVectors(*(_plain(p) for p in parts)) for parts in made]
    n = len(vectors)
    scores = np.zeros((n, n), np.float32)
    for i in rows:
        for j in range(i + 1, n):
            s = tmkpy.TMKFeatureVectors_computeLevel1Score(vectors[i], vectors[j])
            if s >= 0.3:
                level_2 = tmkpy.TMKFeatureVectors_computeLevel2Score(vectors[i], vectors[j])
                s = max(0.3, min(s, level_2))
            scores[i, j] = s if np.isfinite(s) else 0.0
    return scores


def _videohash_hash(path: str) -> int:
    import videohash2

    found = videohash2.VideoHash(path=path)
    value = int(found.hash, 2)
    found.delete_storage_path()
    return value


def _one_word_score(hashes: list[Any], durations: list[float]) -> Scores:
    bits = _words(hashes)
    return (1 - _hamming(bits, bits) / 64).astype(np.float32)


# -- recipes, surrogates, floors ---------------------------------------------------------------


def _vdf_score(hashes: list[Any], durations: list[float]) -> Scores:
    """1 - mean absolute grey difference; durations within 20 %; dark frames never match."""
    n = len(hashes)
    flat = np.stack([np.zeros(1024) if h is None else h.ravel() for h in hashes]).astype(np.float32)
    scores = np.stack([1 - np.abs(flat - row).mean(axis=1) / 255 for row in flat])
    scores = scores.astype(np.float32)
    dark = np.array([h is None for h in hashes])
    scores[dark[:, None] | dark[None, :]] = NEVER
    assert scores.shape == (n, n)
    return _duration_gate(scores, durations, 0.20)


def _dct_score(hashes: list[Any], durations: list[float]) -> Scores:
    """1 - the third smallest of five window distances (60 % of the windows), or 1 - the middle
    window's, which is enough alone; durations within 20 %."""
    bits = [np.stack([_bits(h[w]) for h in hashes]) for w in range(5)]
    distances = np.stack([_hamming(b, b) / 1000 for b in bits])
    scores = 1 - np.minimum(np.sort(distances, axis=0)[2], distances[2])
    return _duration_gate(scores.astype(np.float32), durations, 0.20)


def _colour_score(hashes: list[Any], durations: list[float]) -> Scores:
    h = np.stack(hashes)
    return np.stack([np.minimum(h, row).sum(axis=1) for row in h]).astype(np.float32)


def _exact_hash(path: str) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _exact_score(hashes: list[Any], durations: list[float]) -> Scores:
    h = np.array(hashes)
    return (h[:, None] == h[None, :]).astype(np.float32)


def _with_looks(name: str) -> Callable[[Any], Any]:
    def hash_(looks: Any) -> Any:
        from . import looks as recipes

        return getattr(recipes, name)(looks)

    return hash_


RIVALS: tuple[Rival, ...] = (
    Rival("vpdq", "vPDQ 0.2.5", "run", "1 frame/s, quality 50, 31 bits, 80 % of either side", 0.8,
          _vpdq_hash, _vpdq_score),
    Rival("tmk", "TMK+PDQF (tmkpy 0.1.1)", "run", "level 1 and level 2 at least 0.7", 0.7,
          _tmk_hash, _tmk_score),
    Rival("videohash2", "videohash2 3.2.2", "run", "at most 10 of 64 bits", 1 - 10 / 64 - 1e-6,
          _videohash_hash, _one_word_score),
    Rival("stash", "stash's recipe", "recipe",
          "ImageHash pHash of 25 frames in one montage, at most 8 of 64 bits (its *medium*), "
          "lengths within 1 s", 1 - 8 / 64 - 1e-6,
          _with_looks("stash_phash"), _stash_score, True),
    Rival("stash_any", "stash's recipe, any length", "recipe",
          "the same without the limit on lengths", 1 - 8 / 64 - 1e-6,
          _with_looks("stash_phash"), _one_word_score, True),
    Rival("vdf", "surrogate of VDF classic", "surrogate",
          "middle frame, 32x32 grey, 96 %, duration 20 %", 0.96,
          _with_looks("vdf_grey"), _vdf_score, True),
    Rival("similario", "surrogate of similario (czkawka 12)", "surrogate",
          "3D-DCT, 5 windows, distance 0.25, 60 % of windows, duration 20 %", 0.75,
          _with_looks("dct_bits"), _dct_score, True),
    Rival("seed", "surrogate of the first seed, random weights", "surrogate",
          f"ResNet-{seed.DEPTH} with random weights at {seed.SIDE} lines (its own: ResNet-152 with "
          "ImageNet's at 224), one frame a second, rows flattened, exact length, epsilon 0.001",
          1 / (1 + 0.001), seed.rows,
          lambda hashes, durations: seed.scores(hashes), own_environment=False),
    Rival("colours", "colour histogram", "floor", "512 colours, overlap; threshold from train",
          None, _with_looks("colours"), _colour_score, True),
    Rival("exact", "exact hash", "floor", "same bytes", 1.0, _exact_hash, _exact_score),
)
BY_NAME = {rival.name: rival for rival in RIVALS}


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """ffmpeg's words, written by a child to descriptor 2, go nowhere."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _cpu() -> float:
    t = os.times()
    return t.user + t.system + t.children_user + t.children_system


class _Cache:
    """Hashes by file name and content: ``{key: {"hash", "cpu_s", "bytes", "error"}}``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[str, dict[str, Any]] = {}
        if path.is_file():
            self.rows = pickle.loads(path.read_bytes())

    def save(self) -> None:
        temporary = self.path.with_suffix(".part")
        temporary.write_bytes(pickle.dumps(self.rows))
        temporary.replace(self.path)


def _hash(path: str, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """A row of each rival's cache for one file; those that share a decoding each pay for it."""
    decoded, decode_s = None, 0.0
    rows = {}
    for name in names:
        rival, before = BY_NAME[name], _cpu()
        try:
            if rival.shared_decode and decoded is None:
                from . import looks

                decoded = looks.look(path)
                decode_s = _cpu() - before
                before = _cpu()
            made = rival.hash(decoded if rival.shared_decode else path)
            spent = _cpu() - before + decode_s * rival.shared_decode
            rows[name] = {"hash": made, "cpu_s": spent, "bytes": _size(made), "error": ""}
        except Exception as error:  # a rival that cannot read a file misses its pairs; counted
            rows[name] = {"hash": None, "cpu_s": _cpu() - before, "bytes": 0,
                          "error": f"{type(error).__name__}: {error}"[:300]}
    return rows


def _run(work: Path, split: str, rivals: Sequence[Rival], jobs: int) -> None:
    files = truth.load(work / f"truth_{split}.json")
    folder = work / "rivals" / split
    folder.mkdir(parents=True, exist_ok=True)
    caches = {r.name: _Cache(folder / f"{r.name}.pickle") for r in rivals}
    paths = [work / "set" / split / f.name for f in files]
    keys = [f"{path.name}:{_exact_hash(str(path))}" for path in paths]
    wanted: dict[str, list[str]] = {}
    for key in keys:
        names = [n for n, c in caches.items() if key not in c.rows or c.rows[key]["error"]]
        if names:
            wanted[key] = names
    fresh = {name for names in wanted.values() for name in names}
    # The longest file first: begun last, it would leave a core idle.
    order = sorted(range(len(files)), key=lambda k: -files[k].duration_s)
    with _pool(jobs) as pool:
        soon = {pool.submit(_hash, str(paths[k]), wanted[keys[k]]): keys[k] for k in order
                if keys[k] in wanted}
        saved = time.monotonic()
        for n, future in enumerate(as_completed(soon), 1):
            for name, row in future.result().items():
                caches[name].rows[soon[future]] = row
            if time.monotonic() - saved > SAVE_EVERY_S or n == len(soon):
                for name in fresh:
                    caches[name].save()
                saved = time.monotonic()
                print(f"{split}: {n} of {len(soon)} files hashed", flush=True)
        todo = [r for r in rivals if r.name in fresh
                or not _same_set(folder / f"{r.name}.json", keys, r)]
        for said in pool.map(_score, [r.name for r in todo], [work] * len(todo),
                             [split] * len(todo), [keys] * len(todo)):
            print(said, flush=True)


def _pool(jobs: int) -> Executor:
    """Processes of their own (some of the rivals' libraries do not bear a fork), or this one."""
    if jobs == 1:
        return ThreadPoolExecutor(1)
    return ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"))


def _score(name: str, work: Path, split: str, keys: Sequence[str]) -> str:
    """Score all pairs of one rival from its cache, and write scores and their note."""
    rival, folder = BY_NAME[name], work / "rivals" / split
    files = truth.load(work / f"truth_{split}.json")
    rows = _Cache(folder / f"{name}.pickle").rows
    made = [rows[k] for k in keys]
    good = [i for i, r in enumerate(made) if not r["error"]]
    scores = np.full((len(files), len(files)), NEVER, np.float32)
    began = time.monotonic()
    part = rival.score([made[i]["hash"] for i in good], [files[i].duration_s for i in good])
    scores[np.ix_(good, good)] = part
    temporary = folder / f"{name}_scores.part.npy"
    np.save(temporary, scores)
    temporary.replace(folder / f"{name}_scores.npy")
    minutes = sum(f.duration_s for f in files) / 60
    note = {"names": [f.name for f in files], "keys": list(keys),
            "title": rival.title, "kind": rival.kind,
            "rule": rival.rule, "threshold": rival.threshold,
            "cpu_s_per_min": sum(r["cpu_s"] for r in made) / minutes,
            "bytes_per_min": sum(r["bytes"] for r in made) / minutes,
            "failed": [[f.name, r["error"]] for f, r in zip(files, made, strict=True)
                       if r["error"]]}
    (folder / f"{name}.json").write_text(json.dumps(note, indent=1))
    return (f"{split}: {name} scored in {time.monotonic() - began:.0f} s, "
            f"{len(files) - len(good)} files failed")


def _same_set(path: Path, keys: Sequence[str], rival: Rival) -> bool:
    """Whether the scores beside ``path`` were made for these files by this rule."""
    if not path.is_file():
        return False
    note = json.loads(path.read_text())
    return bool(note.get("keys") == list(keys) and note["rule"] == rival.rule
                and note["title"] == rival.title and note["threshold"] == rival.threshold)


def _size(made: Any) -> int:
    """Bytes of a signature as it would be stored."""
    if isinstance(made, np.ndarray):
        return int(made.nbytes)
    if isinstance(made, int):
        return 8
    if isinstance(made, tuple):
        return sum(_size(part) for part in made)
    return 0 if made is None else len(made) // 2


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--split", choices=("train", "test"), default="test")
    parser.add_argument("--only", help="names, with commas: " + ",".join(r.name for r in RIVALS))
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args(argv)
    wanted = set(args.only.split(",")) if args.only else {r.name for r in RIVALS}
    unknown = wanted - {r.name for r in RIVALS}
    if unknown:
        parser.error(f"no such rival: {sorted(unknown)}; there are {[r.name for r in RIVALS]}")
    _run(args.work, args.split, [r for r in RIVALS if r.name in wanted], args.jobs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
