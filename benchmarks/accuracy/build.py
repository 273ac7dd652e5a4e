"""Make the set: ``python -m benchmarks.accuracy.build --corpus ../shared/corpus``.

Writes ``WORK/set/{train,test}/NAME`` and ``WORK/truth_{train,test}.json``. Needs the ``ffmpeg`` and
``ffprobe`` commands (Debian: ``apt install ffmpeg fonts-dejavu-core``). One encoder a core, each
with one thread; each finished file is renamed into place, and a second run makes only what is
missing or changed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path

from . import corpus, plan, truth
from .plan import Probe, Recipe

__all__ = ["DEFAULT_WORK", "build", "main", "probe", "show"]

DEFAULT_WORK = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "twinreel-bench"
FONTS = ("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf", "/usr/share/fonts/TTF/DejaVuSans.ttf",
         "/Library/Fonts/DejaVuSans.ttf")
PER_EDIT = {"train": 2, "test": 8}
QUICK = 1  # test sources an edit
LIMIT_S = 600


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, default=Path("../shared/corpus"))
    parser.add_argument("--work", type=Path, default=DEFAULT_WORK)
    parser.add_argument("--font", type=Path, help="a TrueType font (default: DejaVu Sans)")
    parser.add_argument("--depth", type=int, default=PER_EDIT["test"],
                        help=f"test sources that each edit meets ({QUICK}: the quick set)")
    args = parser.parse_args(argv)
    build(args.corpus, args.work, depth=args.depth, font=args.font)
    return 0


def build(corpus_dir: Path, work: Path, *, depth: int = PER_EDIT["test"],
          train_depth: int = PER_EDIT["train"], font: Path | None = None) -> None:
    """Make all files and both truth files. Smaller depths give a part of the same set.

    Args:
        depth: Test sources that each edit meets.
        train_depth: The same of train. 1 is enough to fit the one rival's threshold, 0 where
            nothing is fitted.

    Raises:
        SystemExit: corpus not whole, ffmpeg or font missing, or an edit that failed.
    """
    font_path = _tools(font)
    clips = corpus.load(corpus_dir)
    missing, changed = corpus.verify(corpus_dir, clips)
    if missing or changed:
        raise SystemExit(f"corpus {corpus_dir} is not whole: missing {missing}, changed {changed}")
    maker = _Maker(corpus_dir, work)
    started, cpu = time.monotonic(), os.times()
    sizes = {}
    for clip in clips:
        p = probe(corpus_dir / "videos" / clip.file)
        sizes[clip.file] = (p.width, p.height)
    basic = plan.originals(clips, sizes)
    maker.make_all(basic)
    probes = {r.group: maker.probes[r.key] for r in basic}
    dealt = plan.deal(clips, corpus.naturals(), probes, per_edit=PER_EDIT, font=str(font_path))
    deep = {"test": depth, "train": train_depth}
    recipes = [r for r in dealt if r.place < deep[r.split]]
    maker.make_all(recipes)
    for split in ("train", "test"):
        made = [r for r in [*basic, *recipes] if r.split == split]
        files = [_truth_of(r, maker.probes[r.key]) for r in made]
        show(work / "files" / split, work / "set" / split, {f.name for f in files})
        truth.save(work / f"truth_{split}.json", files)
        print(split, len(files), "files", dict(Counter(f.kind for f in files)), flush=True)
    spent = os.times()
    seconds = spent.children_user + spent.children_system - cpu.children_user - cpu.children_system
    print(f"built in {time.monotonic() - started:.0f} s, {seconds:.0f} CPU s of encoders")


def _tools(font: Path | None) -> Path:
    for tool in ("ffmpeg", "ffprobe"):
        if shutil.which(tool) is None:
            raise SystemExit(f"{tool}: not found; this benchmark needs it (apt install ffmpeg)")
    for path in [font] if font else [Path(f) for f in FONTS]:
        if path.is_file():
            return path
    raise SystemExit("no TrueType font found; give one with --font (apt install fonts-dejavu-core)")


class _EncodeFailed(Exception):
    """One ffmpeg command failed; the message has its words."""


class _Maker:
    """Runs recipes; remembers what each file was made from, so that a change is made again."""

    def __init__(self, corpus_dir: Path, work: Path) -> None:
        self.corpus, self.work = corpus_dir / "videos", work
        self.probes: dict[str, Probe] = {}
        self.originals: dict[str, Path] = {}
        for name in ("files/train", "files/test", "set/train", "set/test", "state"):
            (work / name).mkdir(parents=True, exist_ok=True)

    def make_all(self, recipes: Sequence[Recipe]) -> None:
        """Make them with one encoder a core; all failures are told at once, at the end.

        Raises:
            SystemExit: an edit failed.
        """
        # The ten minutes' file takes longest: begun last, it would leave a core idle.
        order = sorted(recipes, key=lambda r: r.kind != "long")
        started, failed = time.monotonic(), []
        with ThreadPoolExecutor(os.cpu_count()) as encoders:
            made_soon = {encoders.submit(self.make, recipe): recipe for recipe in order}
            for n, future in enumerate(as_completed(made_soon), 1):
                try:
                    future.result()
                except _EncodeFailed as error:
                    print(error, flush=True)
                    failed.append(made_soon[future].key)
                if n % 50 == 0:
                    took = time.monotonic() - started
                    print(f"{n}/{len(recipes)} files, {took:.0f} s", flush=True)
        if failed:
            raise SystemExit(f"{len(failed)} edits failed: {failed}")

    def make(self, recipe: Recipe) -> None:
        """Make one file, unless it is there and was made so."""
        out = self.work / "files" / recipe.split / recipe.name
        state = self.work / "state" / f"{recipe.split}_{recipe.name}.json"
        made_from = repr((recipe.inputs, recipe.args, recipe.pad_to))
        sign = hashlib.sha256(made_from.encode()).hexdigest()
        if recipe.kind == "original":
            self.originals[recipe.group] = out
        if out.is_file() and state.is_file():
            known = json.loads(state.read_text())
            if known["sign"] == sign and known["bytes"] == out.stat().st_size:
                self.probes[recipe.key] = Probe(**known["probe"])
                return
        part = out.with_name(f".part.{out.name}")
        if recipe.args:
            self._encode(recipe, part)
        else:
            shutil.copyfile(self._path(recipe.inputs[0]), part)
        if recipe.pad_to:
            _pad(part, recipe.pad_to)
        found = probe(part)
        # A drawn but repeatable age, so that no keep rule can read the truth from it.
        when = 1_600_000_000 + int(hashlib.sha256(recipe.name.encode()).hexdigest()[:7], 16) % 10**8
        os.utime(part, (when, when))
        part.replace(out)
        temporary = state.with_suffix(".part")
        temporary.write_text(json.dumps(
            {"sign": sign, "bytes": out.stat().st_size, "probe": found.__dict__}))
        temporary.replace(state)
        self.probes[recipe.key] = found

    def _path(self, name: str) -> Path:
        kind, _, rest = name.partition(":")
        return self.corpus / rest if kind == "@corpus" else self.originals[rest]

    def _encode(self, recipe: Recipe, part: Path) -> None:
        args = [str(self._path(a)) if a.startswith(("@corpus:", "@original:")) else a
                for a in recipe.args]
        command = ["ffmpeg", "-nostdin", "-v", "error", "-y", "-filter_threads", "1",
                   "-filter_complex_threads", "1", *args, "-threads", "1", "-map_metadata", "-1",
                   "-fflags", "+bitexact", str(part)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
        if done.returncode or not part.is_file() or part.stat().st_size < 1000:
            part.unlink(missing_ok=True)
            words = " ".join(command)
            raise _EncodeFailed(f"{recipe.key}: ffmpeg failed: {done.stderr[-600:]}\n{words}")


def _pad(path: Path, size: int) -> None:
    """Append an MP4 ``free`` box so that the file has exactly ``size`` bytes."""
    lack = size - path.stat().st_size
    if lack < 8:
        raise SystemExit(f"{path}: {path.stat().st_size} bytes do not leave room to pad to {size}")
    with path.open("ab") as stream:
        stream.write(lack.to_bytes(4, "big") + b"free" + bytes(lack - 8))


def probe(path: Path) -> Probe:
    """Headers of a file."""
    words = subprocess.run(
        ["ffprobe", "-v", "error", "-show_entries",
         "stream=codec_type,codec_name,width,height,sample_rate,duration:format=duration", "-of",
         "json", str(path)], capture_output=True, text=True, check=True).stdout
    found = json.loads(words)
    video = next(s for s in found["streams"] if s["codec_type"] == "video")
    sounds = [s for s in found["streams"] if s["codec_type"] == "audio"]
    duration = float(video.get("duration") or found["format"]["duration"])
    return Probe(duration, video["width"], video["height"], video["codec_name"],
                 int(sounds[0]["sample_rate"]) if sounds else 0)


def _truth_of(recipe: Recipe, headers: Probe) -> truth.FileTruth:
    """The recipe's content with open ends closed by what the file turned out to be."""
    content = []
    for item in recipe.content:
        (lo, hi), src = item.file, item.src
        if math.isinf(hi):
            hi = headers.duration_s
            if recipe.speed is not None:  # the last frame's length must not bend the time map
                hi = min(hi, lo + (src[1] - src[0]) / recipe.speed)
                src = (src[0], src[0] + (hi - lo) * recipe.speed)
        content.append(replace(item, file=(lo, hi), src=src))
    return truth.FileTruth(
        recipe.name, recipe.kind, recipe.group, headers.duration_s, headers.width, headers.height,
        recipe.edit, recipe.tier, recipe.also, recipe.gated, recipe.degraded, tuple(content))


def show(made: Path, shown: Path, names: set[str]) -> None:
    """The set's folder holds exactly these files, as hard links to what was made."""
    for path in shown.iterdir():
        path.unlink()
    for name in names:
        os.link(made / name, shown / name)


if __name__ == "__main__":
    sys.exit(main())
