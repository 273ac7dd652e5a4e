"""Videos under a folder as PyTorch datasets: one item a video, or one item a picture.

    from torch.utils.data import DataLoader
    from twinreel import PictureStream, VideoDataset

    for video in VideoDataset("~/Videos"):
        video.pixels                                   # uint8 (n, 160, 160, 3)
    for batch in DataLoader(PictureStream("~/Videos"), batch_size=64, num_workers=4):
        batch.pixels                                   # uint8 (64, 160, 160, 3), of any videos

Pictures are those that `dups` looks at: upright, borders cut away, of one size. Both datasets can
be pickled, so DataLoader's workers may be forked or spawned; no worker starts processes of its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from twinreel.decode import Chunk, LookTask, look
from twinreel.discover import discover
from twinreel.errors import BadConfig, NothingFound, VideoError
from twinreel.options import DiscoverOptions, DupsOptions, gather
from twinreel.types import VideoFile

ERRORS = ("raise", "skip")


class VideoItem(NamedTuple):
    """The looked-at moments of one video.

    pixels: uint8 (n, h, w, 3) RGB. times_s: float64 (n,), seconds from the first frame.
    blank: bool (n,), pictures that show (almost) nothing. video: int64 (n,), whose picture it is:
    the video's place in `files`.
    """

    pixels: Tensor
    times_s: Tensor
    blank: Tensor
    video: Tensor


class PictureItem(NamedTuple):
    """One moment of one video; DataLoader makes batches of them by itself.

    pixels: uint8 (h, w, 3) RGB. time_s: seconds from the first frame. blank: shows (almost)
    nothing. video: the video's place in `files`.
    """

    pixels: Tensor
    time_s: float
    blank: bool
    video: int


class _Videos:
    """What both datasets share: which files, which moments, what becomes of a broken video."""

    files: tuple[VideoFile, ...]

    def __init__(
        self,
        paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        *,
        size: tuple[int, int] = (160, 160),
        transform: Callable[[Tensor], Any] | None = None,
        errors: str = "raise",
        **settings: Any,
    ) -> None:
        """Find the videos; none is opened yet.

        Args:
            paths: folders, files or globs.
            size: (height, width) of the pictures; the aspect is not kept.
            transform: called with a picture or with a video's pictures, uint8 (..., h, w, 3).
            errors: 'raise' a VideoError for a video that cannot be used, or 'skip' it.
            settings: options of `dups` for finding and looking: moments, sampler, fps, ext,
                exclude, min_size, include_system, bad_packets.

        Raises:
            InputError, NothingFound: no video under `paths`.
            BadConfig: an option that is not known or breaks a rule.
        """
        if errors not in ERRORS:
            raise BadConfig(f"errors is 'raise' or 'skip', got {errors!r}")
        one = isinstance(paths, str | os.PathLike)
        named: Sequence[Any] = [paths] if one else paths  # type: ignore[assignment]
        options = gather(settings, DupsOptions)
        self._sample, self._bad_packets = options.sample, options.decode.bad_packets
        self._size, self._transform, self._errors = size, transform, errors
        self.files = _found([os.path.expanduser(os.fspath(p)) for p in named], options.discover)

    def _look(self, index: int) -> Iterator[Chunk]:
        """Pictures of a video, in chunks. Raises VideoError."""
        path = self.files[index].path
        task = LookTask(path, self._size, self._sample, self._bad_packets, thumbs=False)
        return (item for item in look(task) if isinstance(item, Chunk))

    def _shown(self, pixels: Tensor) -> Any:
        return pixels if self._transform is None else self._transform(pixels)


def _found(paths: list[str], options: DiscoverOptions) -> tuple[VideoFile, ...]:
    found = discover(paths, options)
    if not found.files:
        raise NothingFound(
            f"no video under {', '.join(paths)} ({sum(found.skipped.values())} files left out); "
            "see the options ext and include_system"
        )
    return found.files


class VideoDataset(_Videos, Dataset[VideoItem]):
    """Videos by index; see the module's example. `len` is the number of files.

    With `errors='skip'` a broken video is an item of no pictures (n = 0), because an index must
    give something. Videos have unlike numbers of pictures: `collate=VideoDataset.collate`.
    """

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> VideoItem:
        """All looked-at moments of a video. Raises IndexError, VideoError."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"video {index} of {len(self)}")
        index %= len(self)
        try:
            chunks = list(self._look(index))
        except VideoError:
            if self._errors == "raise":
                raise
            chunks = []
        none = np.zeros((0, *self._size, 3), np.uint8)
        pixels = np.concatenate([none, *(c.batch.pixels for c in chunks)])
        times = np.concatenate([np.zeros(0), *(c.batch.times_s for c in chunks)])
        blank = np.concatenate([np.zeros(0, bool), *(c.blank for c in chunks)])
        whose = torch.full((len(times),), index)
        shown = self._shown(torch.from_numpy(pixels))
        return VideoItem(shown, torch.from_numpy(times), torch.from_numpy(blank), whose)

    @staticmethod
    def collate(items: Sequence[VideoItem]) -> VideoItem:
        """Some videos as one item, their pictures one after the other.

        For DataLoader(dataset, batch_size=8, collate_fn=VideoDataset.collate).
        """
        return VideoItem(*(torch.cat(parts) for parts in zip(*items, strict=True)))


class PictureStream(_Videos, IterableDataset[PictureItem]):
    """Pictures of all videos, one after the other; at most 64 are held at a time.

    DataLoader's workers each take every n-th video. Several machines or training processes do the
    same with `shard=(k, n)`: this one takes videos k, k + n, ... counted from 0.
    """

    def __init__(self, paths: Any, *, shard: tuple[int, int] = (0, 1), **settings: Any) -> None:
        """As VideoDataset, and `shard`."""
        k, n = shard
        if not 0 <= k < n:
            raise BadConfig(f"shard is (k, n) with k from 0 to n - 1, got {shard}")
        self._shard = shard
        super().__init__(paths, **settings)

    def __iter__(self) -> Iterator[PictureItem]:
        k, n = self._shard
        worker = get_worker_info()
        if worker is not None:
            k, n = k + n * worker.id, n * worker.num_workers
        for index in range(k, len(self.files), n):
            try:
                for chunk in self._look(index):
                    rows = zip(chunk.batch.pixels, chunk.batch.times_s, chunk.blank, strict=True)
                    for pixels, time_s, blank in rows:
                        shown = self._shown(torch.from_numpy(pixels))
                        yield PictureItem(shown, float(time_s), bool(blank), index)
            except VideoError:
                if self._errors == "raise":
                    raise
