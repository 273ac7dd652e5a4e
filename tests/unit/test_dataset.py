"""Videos as PyTorch datasets: the same pictures in this process and in DataLoader's workers."""

from __future__ import annotations

import pickle
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from tests.videos import make, read_number
from twinreel import PictureStream, VideoDataset
from twinreel.errors import BadConfig, CannotOpen, InputError, NothingFound


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("videos")
    for seed, seconds in enumerate((2.0, 1.0, 3.0)):
        make(place / f"{seed}.mp4", seconds, size=(320, 180), seed=seed)
    return place


def test_an_item_is_what_the_video_shows_at_its_times(folder: Path) -> None:
    videos = VideoDataset(folder, moments=4, size=(180, 320))
    assert [Path(f.path).name for f in videos.files] == ["0.mp4", "1.mp4", "2.mp4"]
    item = videos[2]
    assert item.pixels.dtype == torch.uint8 and item.pixels.shape == (3, 180, 320, 3)
    assert item.times_s.tolist() == [0.0, 1.0, 2.0] and item.video.tolist() == [2, 2, 2]
    assert [read_number(p.numpy()) for p in item.pixels] == [0, 25, 50]
    assert not item.blank.any()
    assert torch.equal(videos[-1].pixels, item.pixels)
    with pytest.raises(IndexError):
        videos[3]


def test_batches_of_videos_keep_every_row(folder: Path) -> None:
    videos = VideoDataset(folder, moments=4)
    (batch,) = DataLoader(videos, batch_size=3, collate_fn=VideoDataset.collate)
    assert batch.video.tolist() == [0] * 4 + [1] * 4 + [2] * 3
    assert torch.equal(batch.pixels[4:8], videos[1].pixels)


# Where another test of this process has loaded lance, it warns of every fork.
@pytest.mark.filterwarnings("ignore:lance is not fork-safe")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_share_the_pictures_among_them(folder: Path, method: str) -> None:
    stream = PictureStream(folder, moments=4)
    alone = Counter((p.video, p.time_s) for p in stream)
    loader = DataLoader(stream, batch_size=4, num_workers=2, multiprocessing_context=method)
    shared = Counter(
        (int(v), float(t)) for b in loader for v, t in zip(b.video, b.time_s, strict=True)
    )
    assert shared == alone and len(alone) == 11 and set(alone.values()) == {1}


def test_shards_are_disjoint_and_complete(folder: Path) -> None:
    parts = [{p.video for p in PictureStream(folder, moments=2, shard=(k, 2))} for k in (0, 1)]
    assert parts == [{0, 2}, {1}]
    with pytest.raises(BadConfig, match=r"\(2, 2\)"):
        PictureStream(folder, shard=(2, 2))


def test_a_transform_sees_the_pictures(folder: Path) -> None:
    stream = PictureStream(folder, moments=1, transform=lambda x: x.float().mean())
    assert all(p.pixels.ndim == 0 for p in stream)


def test_a_broken_video_raises_or_is_skipped_as_asked(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"no video at all")
    paths = [folder, tmp_path]
    with pytest.raises(CannotOpen, match="broken.mp4"):
        list(PictureStream(paths, moments=1))
    assert len({p.video for p in PictureStream(paths, moments=1, errors="skip")}) == 3
    videos = VideoDataset(paths, moments=1, errors="skip")
    rows = {Path(f.path).name: len(videos[i].pixels) for i, f in enumerate(videos.files)}
    assert rows == {"0.mp4": 1, "1.mp4": 1, "2.mp4": 1, "broken.mp4": 0}
    with pytest.raises(BadConfig, match="'raise' or 'skip', got 'hide'"):
        VideoDataset(paths, errors="hide")


def test_what_is_asked_for_is_checked_at_once(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(NothingFound):
        VideoDataset(tmp_path)
    with pytest.raises(InputError, match="not reached"):
        VideoDataset(tmp_path / "nowhere")
    with pytest.raises(BadConfig, match="unknown option 'moment'"):
        VideoDataset(folder, moment=3)
    assert len(pickle.loads(pickle.dumps(VideoDataset(folder)))) == 3
