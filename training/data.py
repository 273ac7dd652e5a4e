"""Photographs and drawn pictures, decoded once into one array.

Goes in: a folder of image folders with `manifest.csv`. Comes out: `Pool`, cached as an .npz.

    pool = load_pool(Path("../shared/images"), Path("runs/pool.npz"), size=160, drawn=4000)
    pool.pixels                          # uint8 (n, 3, 160, 160)
"""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import chain, repeat
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image

from training.procedural import picture

_THUMB = 16
_ALIKE = 0.92  # correlation of thumbnails above which two pictures of a folder are one scene


@dataclass(frozen=True)
class Pool:
    """Training pictures.

    Attributes:
        pixels: uint8 (n, 3, size, size), RGB, resized without keeping the aspect.
        folder: int64 (n,), which folder; -1 for drawn pictures.
        scene: int64 (n,); pictures that share a number look the same and are no negatives.
        held: bool (n,), kept out of training for evaluation.
        names: file names, "drawn/SEED" for drawn pictures.
        sha256: of pixels and names, the identity of the data.
    """

    pixels: np.ndarray
    folder: np.ndarray
    scene: np.ndarray
    held: np.ndarray
    names: list[str]
    sha256: str

    def __post_init__(self) -> None:
        n = len(self.pixels)
        if self.pixels.ndim != 4 or self.pixels.shape[1] != 3 or self.pixels.dtype != np.uint8:
            raise ValueError(f"pixels must be uint8 (n, 3, h, w), got {self.pixels.shape}")
        if not len(self.folder) == len(self.scene) == len(self.held) == len(self.names) == n:
            raise ValueError(f"all fields must have {n} entries")

    def __repr__(self) -> str:
        return f"Pool({self.pixels.shape}, held {int(self.held.sum())}, {self.sha256[:12]})"


def load_pool(images: Path | None, cache: Path, *, size: int, drawn: int, seed: int = 0,
              held_share: float = 0.05) -> Pool:
    """Read the pool from the cache, or build it and write the cache.

    Args:
        images: folder of folders of images; None for drawn pictures alone.
        drawn: how many pictures to draw.

    Raises:
        FileNotFoundError: `images` holds no image.
    """
    if cache.exists():
        with np.load(cache) as f:
            pool = Pool(f["pixels"], f["folder"], f["scene"], f["held"], f["names"].tolist(),
                        str(f["sha256"]))
        if pool.pixels.shape[-1] != size:
            raise ValueError(f"{cache} holds {pool.pixels.shape[-1]} px pictures, {size} px are "
                             "wanted; remove it to build it anew")
        return pool
    pool = build_pool(images, size=size, drawn=drawn, seed=seed, held_share=held_share)
    cache.parent.mkdir(parents=True, exist_ok=True)
    part = cache.with_name(cache.name + ".part.npz")
    np.savez(part, pixels=pool.pixels, folder=pool.folder, scene=pool.scene, held=pool.held,
             names=np.array(pool.names), sha256=np.array(pool.sha256))
    os.replace(part, cache)
    return pool


def build_pool(images: Path | None, *, size: int, drawn: int, seed: int,
               held_share: float) -> Pool:
    """Decode, draw, find look-alikes, choose what is held out."""
    files: list[Path] = []
    if images is not None:
        files = sorted(p for p in images.glob("*/*") if p.suffix in {".webp", ".jpg", ".png"})
        if not files:
            raise FileNotFoundError(f"{images}: no */*.webp, .jpg or .png; pass --images FOLDER")
    folders = sorted({p.parent.name for p in files})
    n = len(files) + drawn
    pixels = np.empty((n, 3, size, size), np.uint8)
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as workers:
        read = workers.map(_read, files, repeat(size), chunksize=64)
        seeds = range(seed * 1_000_003, seed * 1_000_003 + drawn)
        made = workers.map(_drawn, seeds, repeat(size), chunksize=64)
        for i, pixel in enumerate(chain(read, made)):
            pixels[i] = pixel
    folder = np.array([folders.index(p.parent.name) for p in files] + [-1] * drawn, np.int64)
    names = [f"{p.parent.name}/{p.name}" for p in files] + [f"drawn/{i}" for i in range(drawn)]
    scene = find_scenes(pixels, folder)
    # Whole scenes are held out, so that no look-alike of a test picture is trained on.
    rng = np.random.default_rng([seed, 1])
    test = rng.permutation(scene.max() + 1)[: int((scene.max() + 1) * held_share)]
    held = np.isin(scene, test)
    digest = hashlib.sha256(pixels.tobytes())
    digest.update("\n".join(names).encode())
    return Pool(pixels, folder, scene, held, names, digest.hexdigest())


def _read(path: Path, size: int) -> np.ndarray:
    with Image.open(path) as image:
        rgb = image.convert("RGB").resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(rgb).transpose(2, 0, 1)


def _drawn(seed: int, size: int) -> np.ndarray:
    return picture(seed, size).transpose(2, 0, 1)


def find_scenes(pixels: np.ndarray, folder: np.ndarray) -> np.ndarray:
    """Number the pictures so that look-alikes of one folder share a number.

    Look-alike: 16 x 16 colour thumbnails (mean removed per channel) correlate above 0.92, directly
    or mirrored. Chains are joined.

    Args:
        pixels: uint8 (n, 3, h, w), h and w multiples of 16.
        folder: int64 (n,).

    Returns:
        int64 (n,), numbers 0 .. scenes - 1.
    """
    n, _, h, w = pixels.shape
    grid = (n, 3, _THUMB, h // _THUMB, _THUMB, w // _THUMB)
    thumbs = np.empty((n, 3, _THUMB, _THUMB), np.float32)
    for i in range(0, n, 512):
        part = pixels[i : i + 512].reshape(-1, *grid[1:])
        thumbs[i : i + 512] = part.mean(axis=(3, 5), dtype=np.float32)
    thumbs -= thumbs.mean(axis=(2, 3), keepdims=True)

    def unit(x: np.ndarray) -> np.ndarray:
        flat = x.reshape(n, -1)
        return flat / (np.linalg.norm(flat, axis=1, keepdims=True) + 1e-6)

    plain, mirrored = unit(thumbs), unit(thumbs[..., ::-1])
    parent = np.arange(n)

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for which in np.unique(folder):
        members = np.flatnonzero(folder == which)
        for other in (plain, mirrored):
            alike = plain[members] @ other[members].T > _ALIKE
            for a, b in zip(*np.nonzero(np.triu(alike, 1)), strict=True):
                parent[root(int(members[a]))] = root(int(members[b]))
    return np.unique([root(i) for i in range(n)], return_inverse=True)[1].astype(np.int64)
