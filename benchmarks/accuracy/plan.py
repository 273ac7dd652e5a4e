"""Which file is made from what: dealing edits to sources, as data; nothing is run here.

A :class:`Recipe` is one ffmpeg command (or a byte copy) and what its file will hold. Inputs are
written ``@name``: ``@original:GROUP`` is the library's original of a source, ``@corpus:FILE`` a
clip of the corpus. The same seed deals the same set.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .corpus import Clip, Natural
from .edits import BY_NAME, CANVAS, DEFAULT_CODEC, EDITS, PARTNERS, Edit
from .truth import Content

__all__ = ["Probe", "Recipe", "deal", "originals"]

SEED = 4
HEIGHT_LIMIT = 480
PIXEL_LIMIT = 854 * 480
_NUMBER = tuple[float, float]

# Second video of two-input edits: stretches of long sources that no original of the split shows.
DONORS: dict[str, list[tuple[str, float]]] = {
    "test": [("mdn_tos", 10), ("mdn_tos", 20), ("mdn_tos", 30), ("mdn_tos", 44), ("mdn_tos", 54),
             ("lp_face_d6", 12), ("lp_face_d6", 22)],
    "train": [("vllava_drum", 10), ("vllava_drum", 20), ("intel_onebyone", 60),
              ("intel_onebyone", 100)],
}
SHARED: dict[str, tuple[tuple[str, float], tuple[str, float]]] = {  # 3 s intro, 3 s outro
    "test": (("mdn_tos", 40), ("mdn_tos", 64)),
    "train": (("vllava_drum", 30), ("vllava_drum", 33)),
}
PIECES: dict[str, list[tuple[str, float, float]]] = {  # other takes of one person or camera
    "test": [("lp_face_d6", 11, 18), ("lp_face_d6", 19, 26), ("lp_face_d6", 26.4, 33.4),
             ("lp_face_d9", 10.2, 19.2), ("lp_face_d14", 10.2, 17.2), ("intel_car", 1, 9),
             ("intel_car", 22, 30)],
    "train": [("intel_onebyone", 40, 48), ("intel_onebyone", 52, 60), ("intel_onebyone", 72, 80),
              ("intel_onebyone", 84, 92), ("intel_onebyone", 112, 120), ("intel_bottle", 22, 30),
              ("intel_bottle", 31, 39)],
}
LONG_PARTS = ("v2d_slides", "mdn_tos", "vllava_ui", "lp_face_d6", "sintel", "intel_car")
LONG_CLIP = "sam2_cups"
FILLERS = (
    "mandelbrot=s=426x240:r=12", "life=s=426x240:r=12:mold=10:ratio=0.1:seed=7",
    "cellauto=s=426x240:r=12:rule=110:seed=7", "testsrc2=s=426x240:r=12",
    "gradients=s=426x240:r=12:seed=7", "sierpinski=s=426x240:r=12:seed=7",
    "rgbtestsrc=s=426x240:r=12",
)
FILLER_S = 42.0


@dataclass(frozen=True)
class Probe:
    """Headers of a finished video."""

    duration_s: float
    width: int
    height: int
    codec: str
    rate: int  # sound samples a second, 0 without sound

    @property
    def landscape(self) -> bool:
        return 1.5 <= self.width / self.height <= 2.3


@dataclass(frozen=True)
class Recipe:
    """One file of the set. ``args`` empty: a byte copy of ``inputs[0]``. A content span that ends
    in ``inf`` ends with the file."""

    key: str
    split: str
    kind: str
    group: str
    inputs: tuple[str, ...]
    args: tuple[str, ...] = ()
    ext: str = "mp4"
    edit: str = ""
    tier: int = 0
    also: tuple[str, ...] = ()
    gated: bool = True
    degraded: bool = False
    content: tuple[Content, ...] = field(default=())
    pad_to: int = 0  # bytes
    place: int = 0  # the how-maniest source of its edit: a smaller set is a part of a bigger one
    speed: float | None = 1.0  # source seconds per file second of open content; None: as measured

    @property
    def name(self) -> str:
        """File name that tells nothing about the content."""
        return f"{_digest(f'{self.split}/{self.key}')[:12]}.{self.ext}"


INF = float("inf")


def _digest(text: str) -> str:
    return hashlib.sha256(f"{SEED}/{text}".encode()).hexdigest()


def _uniform(text: str, lo: float, hi: float) -> float:
    """A number drawn from the name of what it is for."""
    return lo + (hi - lo) * int(_digest(text)[:8], 16) / 0xFFFFFFFF


def _fit(width: int, height: int) -> str:
    factor = min(1.0, (PIXEL_LIMIT / (width * height)) ** 0.5)
    return f"scale={round(width * factor / 2) * 2}:{round(height * factor / 2) * 2},setsar=1"


def originals(clips: Sequence[Clip], sizes: Mapping[str, tuple[int, int]]) -> list[Recipe]:
    """The library's original of each source: a byte copy, or its window at 480 lines at most."""
    out = []
    for clip in clips:
        if not clip.is_source or clip.split == "left_out":
            continue
        (width, height), (lo, hi) = sizes[clip.file], clip.window
        whole = lo == 0 and hi >= clip.duration_s - 0.01
        copy = whole and width * height <= PIXEL_LIMIT * 1.3
        args = () if copy else (
            "-ss", f"{lo}", "-t", f"{hi - lo}", "-i", f"@corpus:{clip.file}", "-map", "0:v:0",
            "-map", "0:a:0?", "-vf", _fit(width, height), "-c:v", "libx264", "-preset", "veryfast",
            "-crf", "18", "-pix_fmt", "yuv420p", "-c:a", "aac",
        )
        out.append(Recipe(
            f"original/{clip.group}", clip.split, "original", clip.group,
            (f"@corpus:{clip.file}",), args, clip.file.rsplit(".", 1)[1] if copy else "mp4",
            content=(Content(clip.group, (lo, hi), (0.0, INF)),),
        ))
    return out


def _fits(edit: Edit, probe: Probe) -> bool:
    return not (
        ("audio" in edit.needs and not probe.rate)
        or ("h264" in edit.needs and probe.codec != "h264")
        or ("landscape" in edit.needs and not probe.landscape)
        or ("long" in edit.needs and probe.duration_s < 5)
        or ("short" in edit.needs and probe.duration_s > 10.5)
        or (edit.two_inputs and not probe.landscape and edit.other_share > 0.3)
    )


def deal(clips: Sequence[Clip], naturals: Mapping[str, Natural], probes: Mapping[str, Probe], *,
         per_edit: Mapping[str, int], font: str) -> list[Recipe]:
    """All recipes beside the originals.

    Args:
        probes: Headers of the originals, by group.
        per_edit: Sources that each edit meets, by split (even numbers).
        font: Path of a TrueType font.
    """
    out: list[Recipe] = []
    by_group = {c.group: c for c in clips if c.is_source}
    for split, count in per_edit.items():
        groups = [g for g, c in by_group.items() if c.split == split]
        load: Counter[str] = Counter()
        composed = 0
        for edit in EDITS:
            able = [g for g in groups if _fits(edit, probes[g])]
            # Least laden first, a long original counting for more; ties by a drawn order.
            able.sort(key=lambda g: (load[g], _digest(f"{edit.name}/{g}")))
            for place, group in enumerate(able[: count + 2 * (edit.temporal == "intro")]):
                load[group] += 1 if probes[group].duration_s < 12 else 2
                also: tuple[str, ...] = ()
                # A third of tier 2 is composed; the filters that cannot be make the rest denser.
                dense = (1, 3, 4, 6) if len(edit.name) % 2 else (1, 4, 6)
                if edit.tier == 2 and edit.composable and place % 8 in dense:
                    also = _partners(edit, group, 1 + composed % 2)
                    composed += 1
                out.append(_edited(edit, also, by_group[group], probes[group], split,
                                   min(place, count - 1), font, by_group))
        out += _pieces(split, by_group)
        out += _compilations(split, groups, by_group, probes, count)
        out += _equal_sized(split, groups, by_group, probes, count)
        out += _blanks(split, groups, by_group, probes, count, font)
    for clip in clips:
        out += _as_found(clip, naturals, by_group, per_edit)
    out.append(_long(by_group))
    return out


def _partners(edit: Edit, group: str, count: int) -> tuple[str, ...]:
    free = [p for p in PARTNERS if p != edit.name]
    free.sort(key=lambda p: _digest(f"{edit.name}/{group}/{p}"))
    return tuple(free[:count])


def _edited(edit: Edit, also: tuple[str, ...], clip: Clip, probe: Probe, split: str, place: int,
            font: str, by_group: Mapping[str, Clip]) -> Recipe:
    me = f"@original:{clip.group}"
    key = f"edit/{edit.name}/{clip.group}"
    lo, hi = clip.window
    mirrored = edit.mirrored != ("mirror" in also)
    inputs: tuple[str, ...] = (me,)
    content: tuple[Content, ...] = (
        Content(clip.group, (lo, hi), (0.0, INF), mirrored, edit.reverse),
    )
    rest = edit.rest.format(rate=probe.rate).split()
    args: list[str]
    if edit.name == "byte_copy":
        args = []
    elif edit.temporal == "cut":
        a, b = _cut(edit.name, key, probe.duration_s)
        args = ["-ss", f"{a:.3f}", "-t", f"{b - a:.3f}", "-i", me, *rest]
        content = (Content(clip.group, (lo + a, lo + b), (0.0, INF)),)
    elif edit.temporal:
        inputs, args, content = _joined(edit, clip, probe, split, place, by_group)
        args += rest
    elif edit.two_inputs:
        group, start = DONORS[split][place % len(DONORS[split])]
        donor = by_group[group]
        inputs = (me, f"@corpus:{donor.file}")
        args = ["-i", me, "-ss", f"{start}", "-t", "10", "-i", inputs[1], "-filter_complex",
                edit.video, "-map", "[v]", "-map", "0:a:0?", *rest]
        content += (Content(group, (start, start + probe.duration_s), (0.0, INF), role="other",
                            share=edit.other_share),)
    elif edit.filter_complex:
        args = ["-i", me, "-filter_complex", edit.video, "-map", "[v]", "-map", "0:a:0?", *rest]
    else:
        chain = ",".join([edit.video, *(BY_NAME[p].video for p in also)]).strip(",")
        video = ["-vf", chain.replace("{font}", font)] if chain else []
        streams = [] if "-map" in rest else ["-map", "0:v:0", "-map", "0:a:0?"]
        # A sound filter is an error where there is no sound.
        if "-af" in rest and not probe.rate:
            at = rest.index("-af")
            rest = rest[:at] + rest[at + 2:]
        args = ["-i", me, *streams, *video, *rest]
    return Recipe(key, split, "edit", clip.group, inputs, tuple(args), _ext(edit, clip),
                  edit.name, edit.tier, also, edit.gated, edit.degraded, content, place=place,
                  speed=edit.speed)


def _ext(edit: Edit, clip: Clip) -> str:
    return clip.file.rsplit(".", 1)[1] if edit.name == "byte_copy" else edit.ext


def _cut(name: str, key: str, duration_s: float) -> _NUMBER:
    part = _uniform(key, 0.07, 0.40) * duration_s
    if name == "trim_head":
        return part, duration_s
    if name == "trim_tail":
        return 0.0, duration_s - part
    start = _uniform(key + "/start", 0.1, 0.35) * duration_s
    return start, start + 0.6 * duration_s


def _joined(edit: Edit, clip: Clip, probe: Probe, split: str, place: int,
            by_group: Mapping[str, Clip]
            ) -> tuple[tuple[str, ...], list[str], tuple[Content, ...]]:
    """Pieces of two or three videos one after the other: intro, insert, within."""
    lo, _ = clip.window
    d, key = probe.duration_s, f"{edit.name}/{clip.group}"
    me = f"@original:{clip.group}"
    mine = (clip.group, lo)
    parts: list[tuple[str, tuple[str, float], float, float, str]]  # input, (group, zero), from, to
    if edit.temporal == "intro":
        (g1, s1), (g2, s2) = SHARED[split]
        parts = [(f"@corpus:{by_group[g1].file}", (g1, 0), s1, s1 + 3, "shared"),
                 (me, mine, 0, d, "main"),
                 (f"@corpus:{by_group[g2].file}", (g2, 0), s2, s2 + 3, "shared")]
    else:
        group, start = DONORS[split][place % len(DONORS[split])]
        other = f"@corpus:{by_group[group].file}"
        if edit.temporal == "insert":
            cut = _uniform(key, 0.3, 0.7) * d
            parts = [(me, mine, 0, cut, "main"),
                     (other, (group, 0), start, start + 1.5, "other"),
                     (me, mine, cut, d, "main")]
        else:
            length = min(d, _uniform(key, 3, 5))
            at = _uniform(key + "/at", 0, 1) * (d - length)
            parts = [(other, (group, 0), start, start + 4, "other"),
                     (me, mine, at, at + length, "main"),
                     (other, (group, 0), start + 4, start + 8, "other")]
    return _concat(parts)


def _concat(parts: Sequence[tuple[str, tuple[str, float], float, float, str]],
            canvas: str = CANVAS) -> tuple[tuple[str, ...], list[str], tuple[Content, ...]]:
    args: list[str] = []
    chain, content, at = "", [], 0.0
    for i, (path, (group, zero), lo, hi, role) in enumerate(parts):
        made = [] if path.startswith("@") else ["-f", "lavfi"]
        args += [*made, "-ss", f"{lo:.3f}", "-t", f"{hi - lo:.3f}", "-i", path]
        chain += f"[{i}:v]{canvas}[v{i}];"
        content.append(Content(group, (zero + lo, zero + hi), (at, at + hi - lo), role=role))
        at += hi - lo
    chain += "".join(f"[v{i}]" for i in range(len(parts))) + f"concat=n={len(parts)}:v=1:a=0[v]"
    args += ["-filter_complex", chain, "-map", "[v]"]
    inputs = dict.fromkeys(p[0] for p in parts if p[0].startswith("@"))
    return tuple(inputs), args, tuple(content)


def _pieces(split: str, by_group: Mapping[str, Clip]) -> list[Recipe]:
    out = []
    for group, lo, hi in PIECES[split]:
        path = f"@corpus:{by_group[group].file}"
        out.append(Recipe(
            f"piece/{group}/{lo}", split, "piece", group, (path,),
            ("-ss", f"{lo}", "-t", f"{hi - lo}", "-i", path, "-an", *DEFAULT_CODEC.split()),
            content=(Content(group, (lo, hi), (0.0, INF)),),
        ))
    return out


def _compilations(split: str, groups: Sequence[str], by_group: Mapping[str, Clip],
                  probes: Mapping[str, Probe], count: int) -> list[Recipe]:
    out = []
    for n in range(count // 2):
        able = [g for g in groups if probes[g].duration_s >= 4]
        able.sort(key=lambda g: _digest(f"compilation/{split}/{n}/{g}"))
        parts = []
        for group in able[:5]:
            length = min(probes[group].duration_s, _uniform(f"comp/{n}/{group}", 3, 5))
            at = _uniform(f"comp/{n}/{group}/at", 0, 1) * (probes[group].duration_s - length)
            parts.append((f"@original:{group}", (group, by_group[group].window[0]), at,
                          at + length, "main"))
        inputs, args, content = _concat(parts)
        out.append(Recipe(f"compilation/{n}", split, "compilation", f"compilation_{n}", inputs,
                          (*args, *DEFAULT_CODEC.split()), edit="compilation", tier=2,
                          degraded=True, content=content, place=2 * n))
    return out


def _equal_sized(split: str, groups: Sequence[str], by_group: Mapping[str, Clip],
                 probes: Mapping[str, Probe], count: int) -> list[Recipe]:
    """Different contents, same seconds, same picture size, same bytes."""
    able = [g for g in groups if probes[g].duration_s >= 6.2]
    able.sort(key=lambda g: _digest(f"equal/{g}"))
    out = []
    for place, group in enumerate(able[:count]):
        me = f"@original:{group}"
        lo = by_group[group].window[0]
        out.append(Recipe(
            f"equal/{group}", split, "edit", group, (me,),
            ("-i", me, "-t", "6", "-an", "-vf", CANVAS, "-c:v", "libx264", "-preset", "veryfast",
             "-b:v", "400k", "-maxrate", "400k", "-bufsize", "400k"),
            edit="equal_size", tier=1, degraded=True, pad_to=600_000, place=place,
            content=(Content(group, (lo, lo + 6), (0.0, INF)),),
        ))
    return out


def _blanks(split: str, groups: Sequence[str], by_group: Mapping[str, Clip],
            probes: Mapping[str, Probe], count: int, font: str) -> list[Recipe]:
    """Pictures that prove nothing, slides of one template, and clips that are mostly black."""
    lavfi = {
        "test": {"black": "color=black:s=640x360:r=25", "white": "color=white:s=640x360:r=25",
                 "testsrc2": "testsrc2=s=640x360:r=25",
                 "noise_a": "color=gray:s=640x360:r=25,noise=alls=90:allf=t:all_seed=11",
                 "noise_b": "color=gray:s=640x360:r=25,noise=alls=90:allf=t:all_seed=12",
                 "black_noise": "color=black:s=640x360:r=25,noise=alls=12:allf=t:all_seed=13"},
        "train": {"black": "color=0x010101:s=640x360:r=25", "bars": "smptebars=s=640x360:r=25",
                  "white": "color=0xfefefe:s=640x360:r=25",
                  "noise": "color=gray:s=640x360:r=25,noise=alls=90:allf=t:all_seed=14"},
    }[split]
    subjects = ("Item one", "Budget", "Roadmap", "Team", "Risks", "Results", "Questions",
                "Method", "Outlook", "Thank you")
    slides = {
        f"slide_{subject.lower().replace(' ', '_')}":
            "color=c=white:s=640x360:r=25,drawbox=x=0:y=0:w=iw:h=40:color=0x1f4e79:t=fill,"
            f"drawtext=fontfile={font}:text='{subject}':fontsize=28:x=20:y=80,"
            f"drawtext=fontfile={font}:text='%{{pts\\:hms}}':fontsize=18:x=520:y=335"
        for i, subject in enumerate(subjects) if (i < 7) == (split == "test")
    }
    out = []
    for name, source in {**lavfi, **slides}.items():
        out.append(Recipe(
            f"blank/{name}", split, "blank", "slides" if name.startswith("slide") else name, (),
            ("-f", "lavfi", "-t", "8", "-i", source, *DEFAULT_CODEC.split()),
            content=(Content(f"made:{split}:{name}", (0.0, 8.0), (0.0, INF)),),
        ))
    able = [g for g in groups if 6 <= probes[g].duration_s <= 10.5]
    able.sort(key=lambda g: _digest(f"black60/{g}"))
    for place, group in enumerate(able[:count]):
        me, d, lo = f"@original:{group}", probes[group].duration_s, by_group[group].window[0]
        out.append(Recipe(
            f"black60/{group}", split, "edit", group, (me,),
            ("-i", me, "-an", "-vf", f"{CANVAS},tpad=start_duration={1.5 * d:.3f}:color=black",
             *DEFAULT_CODEC.split()),
            edit="black_60", tier=2, degraded=True, place=place,
            content=(Content(group, (lo, lo + d), (1.5 * d, INF)),),
        ))
    for place, group in enumerate(able[3 : 3 + count]):
        me, d, lo = f"@original:{group}", probes[group].duration_s, by_group[group].window[0]
        out.append(Recipe(
            f"fade/{group}", split, "edit", group, (me,),
            ("-i", me, "-an", "-vf", f"fade=t=in:d=2,fade=t=out:st={d - 2:.3f}:d=2",
             *DEFAULT_CODEC.split()),
            edit="fade_black", tier=2, degraded=True, place=place,
            content=(Content(group, (lo, lo + d), (0.0, INF)),),
        ))
    return out


def _as_found(clip: Clip, naturals: Mapping[str, Natural], by_group: Mapping[str, Clip],
              per_edit: Mapping[str, int]) -> list[Recipe]:
    """Natural copies, hard negatives and sources too short to be edited, byte for byte."""
    if clip.is_source or clip.split not in per_edit:
        return []
    path, ext = f"@corpus:{clip.file}", clip.file.rsplit(".", 1)[1]
    if clip.role == "natural_copy":
        if clip.file not in naturals or clip.group not in by_group:
            return []
        n = naturals[clip.file]
        beside = n.verdict == "copy_beside"
        return [Recipe(
            f"natural/{clip.file}", clip.split, "natural", clip.group, (path,), (), ext,
            "natural_beside" if beside else "natural", 3 if beside else 1, (), not beside,
            n.degraded,
            (Content(clip.group, (n.source_start_s, n.source_start_s + n.shared_s * n.speed),
                     (n.file_start_s, n.file_start_s + n.shared_s)),),
        )]
    kind = "hard" if clip.role == "hard_negative" else "distractor"
    return [Recipe(f"{kind}/{clip.file}", clip.split, kind, clip.lookalike, (path,), (), ext,
                   content=(Content(f"file:{clip.file}", (0.0, clip.duration_s), (0.0, INF)),))]


def _filler_source(number: int) -> str:
    """The test pattern stands in the set alone, too: it is the same source there."""
    kind = FILLERS[number].split("=")[0]
    return "made:test:testsrc2" if kind == "testsrc2" else f"made:filler_{number}"


def _long(by_group: Mapping[str, Clip]) -> Recipe:
    """Ten minutes and more of whole sources and made filler, with 10 s of one more source."""
    parts: list[tuple[str, tuple[str, float], float, float, str]] = []
    for i, group in enumerate(LONG_PARTS):
        clip = by_group[group]
        parts.append((f"@corpus:{clip.file}", (group, 0), 0, clip.duration_s, "main"))
        parts.append((FILLERS[i], (_filler_source(i), 0), 0, FILLER_S, "main"))
    parts.append((FILLERS[6], (_filler_source(6), 0), 0, FILLER_S, "main"))
    parts.insert(7, (f"@original:{LONG_CLIP}", (LONG_CLIP, 0), 0, 10, "main"))
    canvas = ("fps=12,scale=426:240:force_original_aspect_ratio=decrease:force_divisible_by=2,"
              "pad=426:240:(ow-iw)/2:(oh-ih)/2,setsar=1,format=yuv420p")
    inputs, args, content = _concat(parts, canvas)
    return Recipe("long/0", "test", "long", "long_0", inputs,
                  (*args, "-c:v", "libx264", "-preset", "veryfast", "-crf", "26"),
                  edit="long_10min", tier=2, degraded=True, content=content, place=2)
