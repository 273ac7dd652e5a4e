"""Two files that show the same -> whether they also sound the same, from a few short windows.

    sound = same_sound("film.mkv", "copy.mp4", match.segments)
    sound.verdict          # 'same', 'different', 'silent' or 'unknown'
    sound.look             # True: a person should listen before anything is removed
    sound.why              # 'the sounds agree in 4 of 26 s'

Sound is a second witness: it is asked only about what the pictures have matched, and it never makes
a match. The first audio track of each file speaks for it.

Method: signs of differences of band energies along frequency and time, after Haitsma and Kalker,
"A Highly Robust Audio Fingerprinting System", ISMIR 2002. Unlike theirs, energies are logarithmic
above a floor, and a difference too small to outlive an encoder is no bit at all, so that steady
tones and pauses prove nothing instead of adding noise.

Note [speed and pitch]: a film made faster sounds higher (resampled) or not (stretched), and some
copies are only made higher. So b is read at the segment's speed and compared under several pitches:
unchanged, up to 6 % up and down, and what resampling would give. All of these count as 'same'; the
pitch found is told (`Sound.pitch`). A larger change of pitch alone reads as 'different'.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import maximum_filter1d

from twinreel.errors import DecodeFailed
from twinreel.listen import RATE, listen, same_packets
from twinreel.types import Floats, Pixels, Segment

Beat = Callable[[], None]
Doubles = npt.NDArray[np.float64]

WINDOW_S = 10.0
HOP_S = 0.032
FRAME_S = 0.256
LAG = 4  # hops between the two spectra of a difference, half a frame
BANDS = 25  # 24 differences: three bytes a row
LOW_HZ, HIGH_HZ = 200.0, 2700.0
FFT = 4096
OFFSET_S = 0.7  # how far apart the two sounds may lie
SAME_SPEED = 0.002
DRIFT = 0.06  # how much faster one may run than the pictures say
PITCHES = (1.0, 0.98, 1.02, 0.96, 1.04, 0.94, 1.06)
CLEAR = 0.92  # fit beyond what sounds 2 % higher or lower reach: no other pitch is tried
BLOCK_S = 1.0

SILENT_DB, LOUD_DB = -66.0, -50.0  # full scale; what lies between may be either
FLOOR = 1e-3  # 30 dB below the loudest band nearby: masked, encoders spend nothing on it
DEAD_DB = 1.5  # smaller differences are no bits
BLOCK_SAME = 0.3  # agreement of a block: 1 equal, 0 unrelated, i.e. 35 % of the bits differ
MOST, FEW = 0.7, 0.5  # shares of agreeing seconds that make 'same', 'different'
LEAST_S = 3.0  # seconds with structure below which nothing is said
LEAST_BITS = 0.06  # share of a block's bits that must be sure for it to count
SPECTRUM_DB = 8.0  # steady sounds whose spectra differ so much are different
_ABSOLUTE = 1e-10  # -100 dB of full scale


@dataclass(frozen=True)
class Fingerprint:
    """What a few seconds sound like, whatever their level.

    bits, sure: uint8 (n, 3), 24 packed bits per row; a bit counts only where `sure` is set.
    level_db: float32 (n,), loudness of each row against full scale. spectrum_db: float32 (25,),
    mean energy of the bands below the loudest. Row i is about `start_s + i * hop_s`.
    """

    bits: Pixels
    sure: Pixels
    level_db: Floats
    spectrum_db: Floats
    start_s: float
    hop_s: float = HOP_S

    def __post_init__(self) -> None:
        n = len(self.level_db)
        if self.bits.shape != (n, 3) or self.sure.shape != (n, 3):
            raise ValueError(f"three bytes per row, got {self.bits.shape = } {self.sure.shape = }")

    @property
    def silent(self) -> bool:
        """Whether nothing can be heard in it."""
        return not np.any(self.level_db > SILENT_DB)

    def signs(self) -> Floats:
        """(n, 24): 1 and -1 for set and unset bits, 0 where unsure."""
        bits, sure = np.unpackbits(self.bits, axis=1), np.unpackbits(self.sure, axis=1)
        return ((2.0 * bits - 1.0) * sure).astype(np.float32)

    def __repr__(self) -> str:
        return f"Fingerprint({len(self.bits)} rows from {self.start_s:.1f} s)"


@dataclass(frozen=True)
class Sound:
    """What the sound says about two files whose pictures match.

    verdict: 'same', 'different', 'silent' (see `silent`: 'a', 'b' or 'both' have nothing to hear)
    or 'unknown'. alike_s of heard_s seconds agree. pitch: b's over a's; offset_s: how much later b
    sounds than its pictures; both only for 'same'. tracks: audio tracks of a and of b. missed: what
    there is to hear was not compared.
    """

    verdict: str
    why: str
    alike_s: float = 0.0
    heard_s: float = 0.0
    silent: str = ""
    pitch: float = 1.0
    offset_s: float = 0.0
    tracks: tuple[int, int] = (1, 1)
    missed: bool = False

    @property
    def look(self) -> bool:
        """Whether to ask a person: the sounds differ in part or all, one file has none, or nobody
        has compared them."""
        partly = self.verdict == "unknown" and (self.heard_s > 0 or self.missed)
        return partly or self.verdict == "different" or self.silent in ("a", "b")


@dataclass(frozen=True)
class SoundTask:
    """Two files and where their pictures match. `path` is a, `other` is b."""

    path: str
    other: str
    segments: tuple[Segment, ...]


def work(task: SoundTask, emit: Callable[[Any], None], beat: Beat) -> None:
    """A worker's job (workers.py): emit the Sound of two files.

    Raises:
        CannotRead, CannotOpen, NoVideoStream.
    """
    emit(same_sound(task.path, task.other, task.segments, beat))


def fingerprint(
    path: str, start_s: float, seconds: float = WINDOW_S, beat: Beat = lambda: None
) -> Fingerprint | None:
    """What the first audio track sounds like from `start_s` after the first picture on.

    Returns:
        None where there is no audio track. What lies outside the track is silent.

    Raises:
        CannotRead, CannotOpen, NoVideoStream, DecodeFailed (a track without a usable decoder).
    """
    if seconds < FRAME_S + LAG * HOP_S:
        raise ValueError(f"seconds must be at least {FRAME_S + LAG * HOP_S:g}, got {seconds:g}")
    waves, tracks = listen(path, [(start_s, seconds)], beat)
    return _Heard(waves[0], start_s, 1.0).fingerprint(1.0) if tracks else None


# -- two files --------------------------------------------------------------------------------


def same_sound(
    a_path: str, b_path: str, segments: Sequence[Segment], beat: Beat = lambda: None
) -> Sound:
    """Whether two files sound the same where their pictures match.

    At most three windows of 10 s are read of each. Level, encoding, an offset of up to 0.7 s, the
    segments' speed and small changes of pitch do not matter (Note [speed and pitch]).

    Raises:
        CannotRead, CannotOpen, NoVideoStream.
    """
    places = windows(segments)
    if not places:
        # Many short shots of a film make a trailer, under music of its own.
        missed = sum(s.a[1] - s.a[0] for s in segments) >= LEAST_S
        words = "the matched stretches are too short to compare their sound"
        return Sound("unknown", words, missed=missed)
    try:
        if all(abs(w.speed - 1) < SAME_SPEED for w in places):  # copied sound needs no ears
            starts = [(w.a[0], w.b[0], w.a[1] - w.a[0]) for w in places]
            if found := same_packets(a_path, b_path, starts, OFFSET_S, beat):
                seconds = sum(s for _, _, s in starts)
                why = f"the coded sound is the same in {seconds:.0f} s"
                return Sound("same", why, seconds, seconds, tracks=found)
        beside = [_beside(w) for w in places]
        heard_a, tracks_a = listen(a_path, [(w.a[0], w.a[1] - w.a[0]) for w in places], beat)
        heard_b, tracks_b = listen(b_path, beside, beat)
    except DecodeFailed as error:
        words = f"the sound of {error.path} cannot be decoded: {error.detail}"
        return Sound("unknown", words, missed=True)
    tracks = (tracks_a, tracks_b)
    if not tracks_a and not tracks_b:
        return Sound("silent", "neither file has sound", silent="both", tracks=tracks)
    pairs = [
        _Pair(_Heard(x, w.a[0], w.speed**-0.5), _Heard(y, at, w.speed**0.5), w.speed)
        for w, x, y, (at, _) in zip(places, heard_a, heard_b, beside, strict=True)
    ]
    return _judge(pairs, tracks)


def windows(segments: Sequence[Segment]) -> list[Segment]:
    """Up to three stretches of at most 10 s of both files: start, middle, end of what matched."""
    usable = [s for s in segments if min(s.a[1] - s.a[0], s.b[1] - s.b[0]) >= LEAST_S]
    usable.sort(key=lambda s: s.a)
    total = sum(s.a[1] - s.a[0] for s in usable)
    chosen: list[Segment] = []
    for share in (0.0, 0.5, 1.0):
        at = share * total
        for s in usable:
            length = s.a[1] - s.a[0]
            if at > length and s is not usable[-1]:
                at -= length
                continue
            # The ends of a segment are less certain than its inside.
            spare = 0.3 if length > 2 * LEAST_S else 0.0
            read = min(length - 2 * spare, WINDOW_S / max(1.0, s.speed))
            start = s.a[0] + min(max(at - read / 2, spare), length - spare - read)
            there = s.b[0] + (start - s.a[0]) * s.speed
            new = Segment((start, start + read), (there, there + read * s.speed), s.speed)
            if all(abs(new.a[0] - w.a[0]) >= read / 2 for w in chosen):
                chosen.append(new)
            break
    return chosen


def _beside(window: Segment) -> tuple[float, float]:
    """(start, seconds) of b to read: the window and room for the offset on both sides."""
    room = _hops(OFFSET_S) * HOP_S * window.speed**0.5
    return window.b[0] - room, window.b[1] - window.b[0] + 2 * room


def _hops(seconds: float) -> int:
    return round(seconds / HOP_S)


class _Heard:
    """A stretch of sound, cut in frames: the power spectra from which fingerprints are made.

    `stretch` makes frames and hops longer, so that rows of a and b cover the same content.
    """

    def __init__(self, wave: Floats, start_s: float, stretch: float) -> None:
        self.start_s, self.stretch = start_s, stretch
        hop, length = HOP_S * stretch * RATE, round(FRAME_S * stretch * RATE)
        count = max(0, int((len(wave) - length) / hop) + 1)
        starts = (np.arange(count) * hop).round().astype(int)
        frames = wave[starts[:, None] + np.arange(length)].astype(np.float64)  # (count, length)
        taper = np.hanning(length)
        spectra = np.fft.rfft(frames * taper, FFT)
        # Parseval: the sum over all bins is the mean square of the frame.
        self._power = np.abs(spectra) ** 2 * (2.0 / FFT / np.sum(taper**2))
        level = 10 * np.log10(self._power.sum(axis=1) + 1e-12)
        self._level = np.maximum(level[LAG:], level[:-LAG])
        self._made: dict[float, Fingerprint] = {}

    def fingerprint(self, pitch: float) -> Fingerprint:
        """The fingerprint through bands that lie `pitch` times higher."""
        if pitch not in self._made:
            energy = self._power @ _bands(pitch)  # (count, BANDS)
            near = maximum_filter1d(energy.max(axis=1, initial=0.0), 2 * _hops(1.0) + 1)
            log = 10 * np.log10(energy + FLOOR * near[:, None] + _ABSOLUTE)
            slope = log[:, :-1] - log[:, 1:]
            change = slope[LAG:] - slope[:-LAG]
            mean = energy.mean(axis=0)
            spectrum = 10 * np.log10(mean / max(mean.max(), _ABSOLUTE) + FLOOR)
            self._made[pitch] = Fingerprint(
                np.packbits(change > 0, axis=1),
                np.packbits(np.abs(change) >= DEAD_DB, axis=1),
                self._level.astype(np.float32),
                spectrum.astype(np.float32),
                self.start_s + (FRAME_S + LAG * HOP_S) * self.stretch / 2,
                HOP_S * self.stretch,
            )
        return self._made[pitch]


def _bands(pitch: float) -> Doubles:
    """(FFT // 2 + 1, BANDS): which share of each bin belongs to which band."""
    edges = np.geomspace(LOW_HZ, HIGH_HZ, BANDS + 1) * pitch * FFT / RATE  # in bins
    bins = np.arange(FFT // 2 + 1)[:, None]
    shares = np.minimum(bins + 0.5, edges[1:]) - np.maximum(bins - 0.5, edges[:-1])
    return np.asarray(np.clip(shares, 0.0, 1.0), np.float64)


@dataclass(frozen=True)
class _Fit:
    """How two stretches agree, laid on each other in the best way; per block where of (k,)."""

    score: float
    weight: float  # sure bits of both
    offset_s: float
    agreement: Doubles
    counts: npt.NDArray[np.bool_]  # blocks with enough sure bits
    silent_a: npt.NDArray[np.bool_]  # blocks where only a is silent
    silent_b: npt.NDArray[np.bool_]


class _Pair:
    """The same window of both files."""

    def __init__(self, a: _Heard, b: _Heard, speed: float) -> None:
        self.a, self.b, self.speed = a, b, speed

    def prints(self, pitch: float) -> tuple[Fingerprint, Fingerprint]:
        """Fingerprints that agree where b sounds `pitch` times as high as a."""
        return self.a.fingerprint(pitch**-0.5), self.b.fingerprint(pitch**0.5)

    def fit(self, pitch: float) -> _Fit:
        """Lay b on a: try every offset, and sounds that run a little faster than the pictures."""
        a, b = self.prints(pitch)
        room = _hops(OFFSET_S)
        n = min(len(a.bits), len(b.bits) - 2 * room)
        signs_a, signs_b = a.signs()[:n], b.signs()[: n + 2 * room]
        equal = _diagonals(signs_a @ signs_b.T, room)  # (n, offsets)
        both = _diagonals(np.abs(signs_a) @ np.abs(signs_b).T, room)
        k = max(1, round(n * HOP_S / BLOCK_S))
        cuts = np.linspace(0, n, k + 1).astype(int)
        equal, both = (np.add.reduceat(m, cuts[:-1], axis=0) for m in (equal, both))
        centre = (cuts[:-1] + cuts[1:]) / 2 - n / 2
        best, line = -np.inf, np.zeros(k, int)
        for drift in np.arange(-DRIFT, DRIFT + 1e-9, 0.01):
            shift = (drift * centre).round().astype(int)
            columns = np.clip(np.arange(2 * room + 1)[:, None] + shift, 0, 2 * room)
            total = equal[np.arange(k), columns].sum(axis=1)
            score = total / (both[np.arange(k), columns].sum(axis=1) + 24.0)
            if score.max() > best + 1e-9:
                best, line = float(score.max()), columns[score.argmax()]
        # One hop to either side, for what the straight line misses.
        near = np.clip(line[:, None] + np.array([-1, 0, 1]), 0, 2 * room)
        rows = np.arange(k)[:, None]
        agreement = (equal[rows, near] / (both[rows, near] + 1.0)).max(axis=1)
        sure = both[np.arange(k), line]
        loud_a = np.maximum.reduceat(a.level_db[:n], cuts[:-1])
        quiet_b = np.array(
            [
                b.level_db[cuts[i] + line[i] : cuts[i + 1] + line[i]].max(initial=-120)
                for i in range(k)
            ]
        )
        return _Fit(
            max(best, 0.0),
            float(sure.sum()),
            float(np.median(line) - room) * HOP_S * self.speed**0.5,
            agreement,
            sure >= LEAST_BITS * 24 * np.diff(cuts),
            (loud_a < SILENT_DB) & (quiet_b > LOUD_DB),
            (quiet_b < SILENT_DB) & (loud_a > LOUD_DB),
        )


def _diagonals(matrix: Floats, room: int) -> Doubles:
    """(n, n + 2 room) -> (n, 2 room + 1): what lies 0, 1, ... to the right of the diagonal."""
    rows = np.arange(len(matrix))[:, None]
    return np.asarray(matrix[rows, rows + np.arange(2 * room + 1)], np.float64)


def _judge(pairs: Sequence[_Pair], tracks: tuple[int, int]) -> Sound:
    """All windows of two files -> what they say together."""
    quiet_a = all(p.a.fingerprint(1.0).silent for p in pairs)
    quiet_b = all(p.b.fingerprint(1.0).silent for p in pairs)
    if quiet_a or quiet_b:
        who = "both" if quiet_a and quiet_b else "a" if quiet_a else "b"
        why = {
            "both": "nothing can be heard in either file where they match",
            "a": "only the second file has sound",
            "b": "only the first file has sound",
        }
        return Sound("silent", why[who], silent=who, tracks=tracks)
    speed = float(np.median([p.speed for p in pairs]))
    tried = list(PITCHES)
    if abs(speed - 1) > 0.01:
        tried += [k / speed for k in (1.0, 0.98, 1.02)]
    fits = {1.0: [p.fit(1.0) for p in pairs]}
    if any(f.score < CLEAR for f in fits[1.0]):
        fits |= {pitch: [p.fit(pitch) for p in pairs] for pitch in tried if pitch != 1.0}
    # Unchanged pitch wins where it is as good as any.
    pitch = max(fits, key=lambda k: sum(f.score * f.weight for f in fits[k]) + (k == 1.0))
    found = fits[pitch]
    counts = np.concatenate([f.counts for f in found])
    agrees = np.concatenate([f.agreement for f in found]) >= BLOCK_SAME
    alone = np.concatenate([f.silent_a | f.silent_b for f in found])
    heard, alike = int(np.sum(counts | alone)), int(np.sum(counts & agrees & ~alone))
    heard_s, alike_s = heard * BLOCK_S, alike * BLOCK_S
    if heard_s < LEAST_S:
        return _steady(pairs, tracks)
    words = f"the sounds agree in {alike_s:.0f} of {heard_s:.0f} s"
    if max(tracks) > 1:
        words += f" (first of {max(tracks)} audio tracks)"
    if alike < FEW * heard:
        return Sound("different", words, alike_s, heard_s, tracks=tracks)
    if alike < MOST * heard:
        return Sound("unknown", words, alike_s, heard_s, tracks=tracks)
    if abs(pitch - 1) > 0.01:
        words += f", the second {abs(pitch - 1):.0%} {'higher' if pitch > 1 else 'lower'}"
    offset_s = float(np.median([f.offset_s for f in found]))
    return Sound("same", words, alike_s, heard_s, pitch=pitch, offset_s=offset_s, tracks=tracks)


def _steady(pairs: Sequence[_Pair], tracks: tuple[int, int]) -> Sound:
    """Hums and tones: other spectra are other sounds, like spectra prove nothing."""
    apart = []
    for pair in pairs:
        prints = [pair.prints(pitch) for pitch in PITCHES]
        # Near silence, spectra are the encoders' noise.
        if all(f.level_db.max() > LOUD_DB for f in prints[0]):
            gaps = [x.spectrum_db - y.spectrum_db for x, y in prints]
            apart.append(min(float(np.sqrt(np.mean(gap**2))) for gap in gaps))
    if apart and min(apart) > SPECTRUM_DB:
        return Sound("different", "steady sounds of other pitch", tracks=tracks)
    return Sound("unknown", "too steady or too short a sound to compare", tracks=tracks)
