"""Same pictures, other sound: said in the report, and never removed unseen."""

from __future__ import annotations

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from click.testing import CliRunner

from tests.unit.test_audio import HZ, voice
from tests.videos import make
from twinreel.cli import main
from twinreel.pipeline import Run

SECONDS = 6


def with_voice(picture: Path, target: Path, seed: int) -> Path:
    """The pictures of one file, copied, with the voice of `seed`."""
    wave = voice(seed, float(SECONDS))
    with av.open(str(picture)) as source, av.open(str(target), "w") as out:
        video = source.streams.video[0]
        copied = out.add_stream_from_template(video)
        sound = out.add_stream("aac", rate=HZ, layout="mono")
        for packet in source.demux(video):
            if packet.dts is not None:
                packet.stream = copied
                out.mux(packet)
        for at in range(0, len(wave), 1024):
            chunk = np.ascontiguousarray(wave[None, at : at + 1024])
            frame = av.AudioFrame.from_ndarray(chunk, format="fltp", layout="mono")
            frame.sample_rate, frame.time_base, frame.pts = HZ, Fraction(1, HZ), at
            out.mux(sound.encode(frame))
        out.mux(sound.encode(None))
    return target


def groups(folder: Path, *words: str, code: int = 0) -> list[dict[str, object]]:
    done = CliRunner().invoke(
        main,
        ["dups", str(folder), "--library", str(folder.parent / "lib.db"), "--json", "-j", "1",
         "--nice", "0", "--model", "dctgrad.v1", *words],
    )  # fmt: skip
    assert done.exit_code == code, done.output
    found: list[dict[str, object]] = json.loads(done.stdout)["groups"]
    return found


def interrupted(heard: Callable[..., Any]) -> Callable[..., Any]:
    def partly(run: Any, grouping: Any) -> Any:
        run.partial = True
        return heard(run, grouping)

    return partly


def test_another_sound_asks_for_a_look_and_the_same_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for folder, second_voice in ((one, 8), (two, 7)):
        folder.mkdir()
        large = make(tmp_path / f"large-{folder.name}.mp4", seconds=SECONDS, seed=3)
        small = make(
            tmp_path / f"small-{folder.name}.mp4", seconds=SECONDS, seed=3, size=(240, 136)
        )
        with_voice(large, folder / "large.mp4", 7)
        with_voice(small, folder / "small.mp4", second_voice)
    (group,) = groups(one)
    losses = group["losses"]
    assert isinstance(losses, dict)
    (words,) = [v for p, v in losses.items() if p.endswith("small.mp4")]
    assert group["look"] and any(w.startswith("sound: ") for w in words), group
    assert groups(one) == [group], "a remembered verdict says the same"
    (deaf,) = groups(one, "--no-sound")
    assert not deaf["look"]
    # Ctrl-C while it listens: what nobody has heard asks, too.
    (tmp_path / "lib.db").unlink()
    monkeypatch.setattr(Run, "_heard", interrupted(Run._heard))
    (unheard,) = groups(two, code=1)
    assert unheard["look"] and "was not compared" in str(unheard["losses"])
    monkeypatch.undo()
    (same,) = groups(two)
    assert not same["look"] and "sound: " not in str(same["losses"])
