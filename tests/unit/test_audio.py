"""Sound as a second witness: re-encoded, moved, faster, higher, replaced, silent, missing."""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twinreel import audio
from twinreel.audio import Sound, SoundTask, fingerprint, same_sound, windows, work
from twinreel.errors import CannotOpen, CannotRead, DecodeFailed, NoVideoStream
from twinreel.listen import RATE, listen, same_packets
from twinreel.types import Segment
from twinreel.workers import WorkerPool

Wave = npt.NDArray[np.float32]
HZ = 16_000
LONG_S = 11.0
WHOLE = (Segment((0.0, LONG_S), (0.0, LONG_S)),)


@lru_cache(maxsize=16)
def voice(
    seed: int, seconds: float = LONG_S, tempo: float = 1.0, pitch: float = 1.0, noisy: float = 0.02
) -> Wave:
    """Something like speech at 16 kHz: syllables of voiced and hissed sound, pauses between.

    What is said depends on `seed` only; tempo is content seconds per second.
    """
    random = np.random.default_rng(seed)
    out = np.zeros(round(seconds * HZ), np.float32)
    at = 0.0
    while at / tempo < seconds:
        length = random.uniform(0.08, 0.3)
        base, glide = random.uniform(90, 220), random.uniform(-0.3, 0.3)
        formants = random.uniform((300, 900, 2000), (800, 1900, 3000))
        hiss, loud = random.random() < 0.15, random.uniform(0.3, 1.0)
        n = round(length / tempo * HZ)
        t = np.arange(n) / n
        if hiss:
            part = np.diff(np.random.default_rng(len(out)).standard_normal(n + 1)) * 0.15
        else:
            phase = 2 * np.pi * np.cumsum(base * pitch * (1 + glide * t)) / HZ
            part = np.zeros(n)
            for k in range(1, 24):
                nearness = np.exp(-(((k * base - formants) / 180.0) ** 2)).sum() + 0.02
                part += nearness * np.sin(k * phase) * (k * base * pitch < HZ / 2.2)
        start = round(at / tempo * HZ)
        part = (part * loud * np.sin(np.pi * t) * 0.2)[: len(out) - start]
        out[start : start + len(part)] += part.astype(np.float32)
        at += length + random.choice([0.02, 0.1, 0.4], p=[0.6, 0.3, 0.1])
    background = np.random.default_rng(seed + 1000).standard_normal(len(out)) * noisy * 0.1
    return np.asarray(out + background, np.float32)


def tone(hertz: float, seconds: float = LONG_S) -> Wave:
    t = np.arange(round(seconds * HZ)) / HZ
    return np.asarray(0.3 * np.sin(2 * np.pi * hertz * t), np.float32)


def late(wave: Wave, seconds: float) -> Wave:
    """The same sound, `seconds` later (earlier when negative), of the same length."""
    n = round(abs(seconds) * HZ)
    gap = np.zeros(n, np.float32)
    moved = np.concatenate([gap, wave[:-n]] if seconds > 0 else [wave[n:], gap])
    return np.asarray(moved, np.float32)


def film(
    path: Path,
    *tracks: Wave,
    codec: str = "aac",
    bits: int = 64_000,
    begins_s: float = 0.0,
    sound_s: float = 0.0,
    seconds: float = LONG_S,
) -> str:
    """A grey picture with sound; `begins_s` is the first picture's time, `sound_s` the sound's."""
    with av.open(str(path), "w") as container:
        picture: Any = container.add_stream("mpeg4", rate=5)
        picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
        picture.codec_context.time_base = Fraction(1, 5)
        sounds: list[Any] = []
        for _ in tracks:
            sound: Any = container.add_stream(codec, rate=HZ, layout="mono")
            sound.bit_rate = bits
            sounds.append(sound)
        container.start_encoding()
        for sound, wave in zip(sounds, tracks, strict=True):
            step = sound.codec_context.frame_size or 1024
            for at in range(0, len(wave), step):
                chunk = np.ascontiguousarray(wave[None, at : at + step])
                frame = av.AudioFrame.from_ndarray(chunk, format="fltp", layout="mono")
                frame.sample_rate, frame.time_base = HZ, Fraction(1, HZ)
                frame.pts = at + round(sound_s * HZ)
                container.mux(sound.encode(_as(frame, sound)))
            container.mux(sound.encode(None))
        for i in range(round(seconds * 5)):
            shown = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 90, np.uint8), format="rgb24")
            shown.pts, shown.time_base = i + round(begins_s * 5), Fraction(1, 5)
            container.mux(picture.encode(shown))
        container.mux(picture.encode(None))
    return str(path)


def _as(frame: Any, stream: Any) -> Any:
    """The frame in the format that the encoder takes (Opus: interleaved)."""
    wanted = stream.codec_context.format.name
    if wanted == frame.format.name:
        return frame
    [made] = av.AudioResampler(format=wanted, layout="mono", rate=HZ).resample(frame)
    made.pts, made.time_base = frame.pts, frame.time_base
    return made


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> str:
    return film(tmp_path_factory.mktemp("original") / "a.mp4", voice(1), bits=96_000)


# -- the same sound ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "codec", "bits", "gain"),
    [
        ("aac.mp4", "aac", 24_000, 1.0),
        ("opus.mkv", "libopus", 16_000, 1.0),
        ("mp3.avi", "libmp3lame", 24_000, 1.0),
        ("quiet.ts", "aac", 48_000, 0.1),
        ("loud.mkv", "libmp3lame", 48_000, 4.0),
    ],
)
def test_reencoded(
    original: str, tmp_path: Path, name: str, codec: str, bits: int, gain: float
) -> None:
    wave = np.clip(voice(1) * np.float32(gain), -1, 1)
    copy = film(tmp_path / name, wave, codec=codec, bits=bits)
    sound = same_sound(original, copy, WHOLE)
    assert sound.verdict == "same" and not sound.look, sound
    assert sound.alike_s >= 8 and sound.pitch == 1.0 and abs(sound.offset_s) <= 0.08, sound


@pytest.mark.parametrize("seconds", [-0.5, 0.5])
def test_offset(original: str, tmp_path: Path, seconds: float) -> None:
    copy = film(tmp_path / "b.mp4", late(voice(1), seconds))
    there, back = same_sound(original, copy, WHOLE), same_sound(copy, original, WHOLE)
    assert (there.verdict, back.verdict) == ("same", "same")
    assert there.offset_s == pytest.approx(seconds, abs=0.08)
    assert back.offset_s == pytest.approx(-seconds, abs=0.08)


def test_too_late_is_different(original: str, tmp_path: Path) -> None:
    copy = film(tmp_path / "b.mp4", late(voice(1), 1.5))
    assert same_sound(original, copy, WHOLE).verdict == "different"


@pytest.mark.parametrize("speed", [0.8, 1.05, 1.3])
@pytest.mark.parametrize("resampled", [True, False])
def test_speed(original: str, tmp_path: Path, speed: float, resampled: bool) -> None:
    """Played `speed` times as fast: higher by as much, or stretched at the same pitch."""
    wave = voice(1, LONG_S / speed, tempo=speed, pitch=speed if resampled else 1.0)
    copy = film(tmp_path / "b.mp4", wave, seconds=LONG_S / speed)
    segment = Segment((0.0, LONG_S), (0.0, LONG_S / speed), 1 / speed)
    sound = same_sound(original, copy, [segment])
    assert sound.verdict == "same", sound
    assert sound.pitch == pytest.approx(speed if resampled else 1.0, abs=0.025)
    assert same_sound(copy, original, [segment.swapped()]).verdict == "same"


def test_speed_need_not_be_exact(original: str, tmp_path: Path) -> None:
    copy = film(tmp_path / "b.mp4", voice(1, LONG_S / 1.05, tempo=1.05), seconds=LONG_S / 1.05)
    guessed = 1 / 1.065
    segment = Segment((0.0, LONG_S), (0.0, LONG_S * guessed), guessed)
    assert same_sound(original, copy, [segment]).verdict == "same"


@pytest.mark.parametrize("pitch", [0.95, 1.05])
def test_small_change_of_pitch_is_the_same_sound(
    original: str, tmp_path: Path, pitch: float
) -> None:
    sound = same_sound(original, film(tmp_path / "b.mp4", voice(1, pitch=pitch)), WHOLE)
    assert sound.verdict == "same"
    assert sound.pitch == pytest.approx(pitch, abs=0.03)
    assert ("higher" if pitch > 1 else "lower") in sound.why


def test_piece_of_a_longer_film(tmp_path: Path) -> None:
    long = film(tmp_path / "a.mkv", voice(5, 40.0), codec="libopus", bits=32_000, seconds=40.0)
    piece = film(tmp_path / "b.mp4", voice(5, 40.0)[25 * HZ : 37 * HZ], seconds=12.0)
    segment = Segment((25.0, 37.0), (0.0, 12.0))
    assert same_sound(long, piece, [segment]).verdict == "same"
    elsewhere = Segment((8.0, 20.0), (0.0, 12.0))
    assert same_sound(long, piece, [elsewhere]).verdict == "different"


# -- other sounds, no sound -------------------------------------------------------------------


@pytest.mark.parametrize("seed", [2, 3, 4])
def test_other_words(original: str, tmp_path: Path, seed: int) -> None:
    other = film(tmp_path / "b.mp4", voice(seed))
    sound = same_sound(original, other, WHOLE)
    assert sound.verdict == "different" and sound.look, sound
    assert sound.alike_s <= 3 and f"of {sound.heard_s:.0f} s" in sound.why
    assert same_sound(other, original, WHOLE).verdict == "different"


def test_noise_for_words(original: str, tmp_path: Path) -> None:
    noise = np.random.default_rng(9).standard_normal(round(LONG_S * HZ)).astype(np.float32) * 0.1
    assert same_sound(original, film(tmp_path / "b.mp4", noise), WHOLE).look


def test_half_of_it_replaced_asks_for_a_look(original: str, tmp_path: Path) -> None:
    half = len(voice(1)) // 2
    mixed = film(tmp_path / "b.mp4", np.concatenate([voice(1)[:half], voice(2)[half:]]))
    sound = same_sound(original, mixed, WHOLE)
    assert sound.verdict != "same" and sound.look, sound
    assert 2 <= sound.alike_s <= 8


def test_large_change_of_pitch_is_another_sound(original: str, tmp_path: Path) -> None:
    sound = same_sound(original, film(tmp_path / "b.mp4", voice(1, pitch=1.4)), WHOLE)
    assert sound.verdict == "different"


def test_silence(original: str, tmp_path: Path) -> None:
    hush = film(tmp_path / "hush.mp4", np.zeros(round(LONG_S * HZ), np.float32))
    mute = film(tmp_path / "mute.mp4")
    for silent in (hush, mute):
        there, back = same_sound(original, silent, WHOLE), same_sound(silent, original, WHOLE)
        assert (there.verdict, there.silent, there.look) == ("silent", "b", True)
        assert (back.verdict, back.silent, back.look) == ("silent", "a", True)
    both = same_sound(hush, mute, WHOLE)
    assert (both.verdict, both.silent, both.look) == ("silent", "both", False)
    assert both.tracks == (1, 0)


def test_sound_that_stops_is_not_the_same(original: str, tmp_path: Path) -> None:
    wave = voice(1).copy()
    wave[4 * HZ :] = 0
    sound = same_sound(original, film(tmp_path / "b.mp4", wave), WHOLE)
    assert sound.verdict == "different" and 2 <= sound.alike_s <= 4, sound


def test_steady_tones_prove_nothing_but_difference(tmp_path: Path) -> None:
    a, again = film(tmp_path / "a.mp4", tone(440)), film(tmp_path / "b.mkv", 0.9 * tone(440))
    other = film(tmp_path / "c.mp4", tone(1000))
    sound = same_sound(a, again, WHOLE)
    assert (sound.verdict, sound.look) == ("unknown", False), sound
    assert same_sound(a, other, WHOLE).verdict == "different"


def test_copied_sound_is_the_same_and_nothing_is_decoded(
    original: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wave = voice(1)
    other = film(tmp_path / "other.mkv", wave, bits=96_000, begins_s=1.0, sound_s=1.0)  # later
    elsewhere = wave.copy()
    elsewhere[round(7 * HZ) : round(8 * HZ)] = 0
    partly = film(tmp_path / "partly.mp4", elsewhere, bits=96_000)
    two = film(tmp_path / "two.mkv", wave, voice(2), bits=96_000)
    assert same_packets(original, partly, [(0.3, 0.3, 10.0)], 0.7) is None
    assert same_packets(original, partly, [(0.3, 0.3, 5.0)], 0.7) == (1, 1)
    assert same_packets(original, film(tmp_path / "c.mp4", voice(2)), [(1, 1, 5)], 0.7) is None
    assert same_packets(original, film(tmp_path / "d.mp4"), [(1, 1, 5)], 0.7) is None
    assert same_packets(original, original, [(2.0, 4.0, 5.0)], 0.7) is None  # 2 s apart

    def refuse(*_: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(audio, "listen", refuse)
    for copy, tracks in ((original, (1, 1)), (other, (1, 1)), (two, (1, 2))):
        sound = same_sound(original, copy, WHOLE)
        assert (sound.verdict, sound.look, sound.tracks) == ("same", False, tracks), sound
        assert "the coded sound is the same in 10 s" in sound.why


def test_first_track_speaks(original: str, tmp_path: Path) -> None:
    two = film(tmp_path / "b.mkv", voice(2), voice(1))
    sound = same_sound(original, two, WHOLE)
    assert sound.verdict == "different" and sound.tracks == (1, 2)
    assert "first of 2 audio tracks" in sound.why


def test_too_short_to_tell(original: str) -> None:
    sound = same_sound(original, original, [Segment((0.0, 2.0), (0.0, 2.0))])
    assert (sound.verdict, sound.look) == ("unknown", False)


def test_sound_that_nobody_compared_asks() -> None:
    shots = [Segment((4.0 * n, 4.0 * n + 2.9), (9.0 * n, 9.0 * n + 2.9)) for n in range(7)]
    sound = same_sound("none.mp4", "other.mp4", shots)
    assert (sound.verdict, sound.missed, sound.look) == ("unknown", True, True)
    gif = same_sound("none.mp4", "other.mp4", shots[:1])
    assert not gif.missed and not gif.look


def test_broken_sound_is_unknown_not_silent(original: str, tmp_path: Path) -> None:
    """An MP4 whose audio bytes are overwritten: AAC refuses them all."""
    path = tmp_path / "b.mp4"
    film(path, voice(1))
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        places = [(p.pos, p.size) for p in container.demux(audio=0) if p.size]
    for at, size in places:
        data[at : at + size] = b"\xff" * size
    path.write_bytes(data)
    with pytest.raises(DecodeFailed, match="undecodable"):
        listen(str(path), [(0.0, 5.0)])
    sound = same_sound(original, str(path), WHOLE)
    assert sound.verdict == "unknown" and "b.mp4" in sound.why


# -- reading ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "aac"), ("a.mkv", "libopus"), ("a.avi", "libmp3lame"), ("a.ts", "aac")],
)
def test_the_right_seconds_are_read(tmp_path: Path, name: str, codec: str) -> None:
    """A window far inside is what was put there, to within 0.1 s (the codecs' own delays).

    All sound comes before most pictures in these files: seeking by pictures leads astray.
    """
    wave = voice(5, 40.0)
    path = film(tmp_path / name, wave, codec=codec, seconds=40.0)
    (first, far), tracks = listen(path, [(0.0, 3.0), (31.3, 3.0)])
    assert tracks == 1 and first.dtype == np.float32 and first.shape == far.shape == (3 * RATE,)
    for heard, start_s in ((first, 0.0), (far, 31.3)):
        at = round(start_s * HZ)
        truth = (wave[at : at + 3 * HZ : 2] + wave[at + 1 : at + 3 * HZ : 2]) / 2
        shape = np.fft.irfft(
            np.conj(np.fft.rfft(truth, 2 * len(truth))) * np.fft.rfft(heard, 2 * len(truth))
        )
        lag = int(shape.argmax())
        lag -= 2 * len(truth) if lag > len(truth) else 0
        assert abs(lag) / RATE <= 0.1
        assert shape.max() / np.linalg.norm(truth) / np.linalg.norm(heard) > 0.8


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "a.ts"])
def test_times_count_from_the_first_picture(tmp_path: Path, name: str) -> None:
    """Sound and picture that both begin 5 s into the file; then sound 2 s before the picture."""
    plain = film(tmp_path / f"0{name}", voice(1))
    moved = film(tmp_path / f"1{name}", voice(1), begins_s=5, sound_s=5)
    assert abs(same_sound(plain, moved, WHOLE).offset_s) <= 0.08
    early = film(tmp_path / f"2{name}", voice(1), begins_s=2)
    segment = Segment((2.0, LONG_S), (0.0, LONG_S - 2.0))
    sound = same_sound(plain, early, [segment])
    assert sound.verdict == "same" and abs(sound.offset_s) <= 0.08, sound


def test_what_is_outside_the_track_is_silent(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mkv", voice(1, 3.0), seconds=40.0)
    (before, inside, after, far), _ = listen(path, [(-5, 4), (0, 3), (4, 5), (30, 5)])
    assert not before.any() and inside.any() and not after.any() and not far.any()


def test_fingerprint(original: str, tmp_path: Path) -> None:
    found = fingerprint(original, 1.0, 5.0)
    assert found is not None and not found.silent
    n = len(found.level_db)
    assert 130 <= n <= 5.0 / audio.HOP_S
    assert found.bits.shape == found.sure.shape == (n, 3) and found.bits.dtype == np.uint8
    assert found.spectrum_db.shape == (audio.BANDS,)
    assert set(np.unique(found.signs())) == {-1.0, 0.0, 1.0}
    assert repr(found) == f"Fingerprint({n} rows from 1.2 s)"
    half = fingerprint(film(tmp_path / "b.mp4", voice(1) * np.float32(0.5)), 1.0, 5.0)
    assert half is not None
    assert np.median(found.level_db - half.level_db) == pytest.approx(6.0, abs=1.0)
    product = found.signs() * half.signs()
    assert product.sum() > 0.8 * np.abs(product).sum() > 0
    assert fingerprint(film(tmp_path / "mute.mp4"), 0.0) is None
    hush = fingerprint(original, 100.0, 5.0)
    assert hush is not None and hush.silent and not hush.sure.any()
    with pytest.raises(ValueError, match="at least 0.384, got 0.1"):
        fingerprint(original, 0.0, 0.1)


def test_unreadable_files_are_errors(original: str, tmp_path: Path) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_text("no video")
    with pytest.raises(CannotOpen):
        same_sound(original, str(bad), WHOLE)
    with pytest.raises(CannotRead):
        same_sound(str(tmp_path / "gone.mp4"), original, WHOLE)
    with av.open(str(tmp_path / "song.mp3"), "w") as container:
        stream: Any = container.add_stream("libmp3lame", rate=HZ, layout="mono")
        frame = av.AudioFrame.from_ndarray(tone(440, 1.0)[None], format="fltp", layout="mono")
        frame.sample_rate = HZ
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(NoVideoStream):
        same_sound(str(tmp_path / "song.mp3"), original, WHOLE)


# -- which seconds ----------------------------------------------------------------------------


def test_windows_are_start_middle_end() -> None:
    found = windows([Segment((10.0, 100.0), (0.0, 90.0))])
    assert [w.a for w in found] == [
        pytest.approx((10.3, 20.3)), pytest.approx((50.0, 60.0)), pytest.approx((89.7, 99.7))
    ]  # fmt: skip
    assert [w.b[0] for w in found] == pytest.approx([0.3, 40.0, 79.7])
    assert windows([]) == []


_lengths = st.tuples(st.floats(0, 50), st.floats(0.5, 400), st.floats(0.7, 1.5))


@given(st.lists(_lengths, max_size=5))
@settings(max_examples=60, deadline=None)
def test_windows_lie_inside_the_segments(parts: list[tuple[float, float, float]]) -> None:
    segments, a, b = [], 0.0, 5.0
    for gap, length, speed in parts:
        segments.append(Segment((a + gap, a + gap + length), (b, b + length * speed), speed))
        a, b = a + gap + length, b + length * speed + 1.0
    found = windows(segments)
    assert len(found) <= 3
    enough = [s for s in segments if min(s.a[1] - s.a[0], s.b[1] - s.b[0]) >= audio.LEAST_S]
    assert bool(found) == bool(enough)
    for w in found:
        assert 2.0 <= w.a[1] - w.a[0] <= 10.001 and w.b[1] - w.b[0] <= 10.001
        [home] = [s for s in enough if s.a[0] - 1e-6 <= w.a[0] and w.a[1] <= s.a[1] + 1e-6]
        assert home.b[0] - 1e-6 <= w.b[0] and w.b[1] <= home.b[1] + 1e-6
        assert w.b[0] == pytest.approx(home.b[0] + (w.a[0] - home.a[0]) * home.speed)


# -- in a process that may be killed ----------------------------------------------------------


def test_work(original: str) -> None:
    said: list[Any] = []
    beats: list[None] = []
    work(SoundTask(original, original, WHOLE), said.append, lambda: beats.append(None))
    [sound] = said
    assert isinstance(sound, Sound) and sound.verdict == "same" and len(beats) > 100


def test_in_a_worker(original: str, tmp_path: Path) -> None:
    gone = str(tmp_path / "gone.mp4")
    tasks = [SoundTask(original, original, WHOLE), SoundTask(original, gone, WHOLE)]
    with WorkerPool(work, jobs=1) as pool:
        events = [(e.kind, e.value) for e in pool.run(tasks)]
    assert [kind for kind, _ in events] == ["item", "done", "failed"]
    assert events[0][1].verdict == "same"
    assert isinstance(events[2][1], CannotRead) and events[2][1].path == gone
