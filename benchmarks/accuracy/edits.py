"""The edits: what is done to a video, and what that does to time, as plain data.

Tier 1 is what collections hold, tier 2 what uploaders do, tier 3 is adversarial. ffmpeg arguments
stand as in a shell; ``{font}`` is a TrueType font, ``{rate}`` the sound's samples a second and
``{a}``, ``{b}`` seconds of the source that are kept. Pictures never exceed 480 lines.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field

__all__ = ["BY_NAME", "DEFAULT_CODEC", "EDITS", "PARTNERS", "Edit"]

DEFAULT_CODEC = "-c:v libx264 -preset veryfast -crf 23 -pix_fmt yuv420p"
_X264 = "-c:v libx264 -preset veryfast -pix_fmt yuv420p"
CANVAS = (
    "scale=640:360:force_original_aspect_ratio=decrease:force_divisible_by=2,"
    "pad=640:360:(ow-iw)/2:(oh-ih)/2,setsar=1,fps=30,format=yuv420p"
)


@dataclass(frozen=True)
class Edit:
    """One edit.

    Args:
        video: ``-vf`` chain; for ``two_inputs`` a ``-filter_complex`` that ends in ``[v]`` and
            reads the source from ``[0:v]`` and the other video from ``[1:v]``.
        rest: All other output arguments.
        needs: What a source must have: ``audio``, ``h264``, ``landscape``, ``long`` (5 s or more),
            ``short`` (at most 10.5 s).
        speed: Seconds of source per second of file; None where only the durations tell.
        other_share: Part of the picture that the other video takes (two_inputs).
        temporal: ``cut`` (``{a}`` to ``{b}`` is kept), ``intro``, ``insert``, ``within`` or ``""``.
        gated: False for what is reported and not part of the tier's figure.
    """

    name: str
    tier: int
    video: str = ""
    rest: str = DEFAULT_CODEC
    ext: str = "mp4"
    needs: frozenset[str] = field(default_factory=frozenset)
    speed: float | None = 1.0
    mirrored: bool = False
    reverse: bool = False
    two_inputs: bool = False
    filter_complex: bool = False
    other_share: float = 0.0
    temporal: str = ""
    gated: bool = True
    degraded: bool = True

    @property
    def composable(self) -> bool:
        """Whether a partner's filter can follow: a plain -vf chain and our own encoder."""
        plain = bool(self.video) and not self.filter_complex and not self.two_inputs
        return plain and self.rest == DEFAULT_CODEC


def _e(name: str, tier: int, video: str = "", rest: str = DEFAULT_CODEC, ext: str = "mp4",
       needs: str = "", **more: object) -> Edit:
    return Edit(name, tier, video, rest, ext, frozenset(needs.split()), **more)  # type: ignore[arg-type]


def _text(words: str, size: float, x: str, y: str, more: str = "") -> str:
    return (
        f"drawtext=fontfile={{font}}:text={shlex.quote(words)}:fontsize=h*{size}:x={x}:y={y}{more}"
    )


_ONE = [
    _e("byte_copy", 1, rest="", degraded=False),
    _e("remux_mkv", 1, rest="-c copy", ext="mkv", degraded=False),
    _e("x265_crf30", 1, rest="-c:v libx265 -crf 30 -preset veryfast -tag:v hvc1 -c:a aac "
       "-x265-params log-level=error:pools=none:frame-threads=1 -pix_fmt yuv420p"),
    _e("vp9_crf38", 1, rest="-c:v libvpx-vp9 -crf 38 -b:v 0 -deadline realtime -cpu-used 8 "
       "-c:a libopus -ac 2 -pix_fmt yuv420p", ext="webm"),
    _e("av1_crf45", 1, rest="-c:v libsvtav1 -crf 45 -preset 10 -svtav1-params lp=1 "
       "-c:a libopus -ac 2 -pix_fmt yuv420p", ext="mkv"),
    _e("mpeg4_q8", 1, rest="-c:v mpeg4 -q:v 8 -c:a libmp3lame -ac 2 -pix_fmt yuv420p", ext="avi"),
    _e("wmv2", 1, rest="-c:v wmv2 -b:v 400k -c:a wmav2 -ac 2 -pix_fmt yuv420p", ext="wmv"),
    _e("x264_150k", 1, "scale=-2:240", f"{_X264} -b:v 150k -maxrate 150k -bufsize 300k"),
    _e("x264_crf38", 1, rest=f"{_X264} -crf 38"),
    _e("down_240p", 1, "scale=-2:240:flags=bilinear", f"{_X264} -crf 26"),
    _e("fps_15", 1, "fps=15"),
    _e("fps_24to30", 1, "fps=30000/1001"),
    _e("interlace", 1, "tinterlace=interleave_top,fieldorder=tff",
       f"{DEFAULT_CODEC} -flags +ildct+ilme"),
    _e("deinterlace_blend", 1, "tblend=all_mode=average"),
    _e("letterbox_21_9", 1,
       "crop=iw:trunc(iw*9/21/2)*2,pad=iw:trunc(iw*9/16/2)*2:0:(oh-ih)/2:black",
       needs="landscape"),
    _e("letterbox_add", 1, "pad=iw:trunc(ih*1.3/2)*2:0:(oh-ih)/2:black"),
    _e("pillarbox_add", 1, "pad=trunc(iw*1.33/2)*2:ih:(ow-iw)/2:0:black"),
    _e("pillar_blurbg", 2,
       "[0:v]split[a][b];[a]scale=360:640:force_original_aspect_ratio=increase,crop=360:640,"
       "gblur=sigma=12[g];[b]scale=360:-2[f];[g][f]overlay=(W-w)/2:(H-h)/2,format=yuv420p[v]",
       needs="landscape", filter_complex=True),
    _e("crop_center_80", 1, "crop=trunc(iw*0.894/2)*2:trunc(ih*0.894/2)*2"),
    _e("crop_center_60", 2, "crop=trunc(iw*0.775/2)*2:trunc(ih*0.775/2)*2"),
    _e("crop_corner_70", 2, "crop=trunc(iw*0.837/2)*2:trunc(ih*0.837/2)*2:0:0"),
    _e("crop_4_3", 1, "crop=trunc(ih*4/3/2)*2:ih", needs="landscape"),
    _e("vertical_9_16", 2, "crop=trunc(ih*9/16/2)*2:ih,scale=360:640", needs="landscape"),
    _e("stretch_4_3", 1, "scale=480:360,setsar=1", needs="landscape"),
    _e("zoom_110", 2, "scale=iw*1.1:ih*1.1,crop=trunc(iw/1.1/2)*2:trunc(ih/1.1/2)*2"),
    _e("logo_corner", 1,
       "drawbox=x=iw*0.82:y=ih*0.05:w=iw*0.13:h=ih*0.13:color=red@0.9:t=fill,"
       + _text("TV7", 0.08, "w*0.83", "h*0.07", ":fontcolor=white")),
    _e("text_banner", 2,
       _text("SHARE THIS VIDEO", 0.12, "(w-tw)/2", "h*0.06", ":fontcolor=white:borderw=3")),
    _e("subtitles_burnt", 1,
       _text("I told you we should not have come here", 0.055, "(w-tw)/2", "h*0.88",
             ":fontcolor=white:borderw=2:enable='lt(mod(t,4),3)'")),
    _e("watermark_tiled", 2,
       _text("sample.example", 0.14, "(w-tw)/2", "(h-th)/2", ":fontcolor=white@0.35")),
    _e("meme_top", 2,
       "pad=iw:trunc(ih*1.25/2)*2:0:oh-ih:white,"
       + _text("when the build finally passes", 0.07, "(w-tw)/2", "h*0.06",
               ":fontcolor=black")),
    _e("mirror", 2, "hflip", mirrored=True),
    _e("vflip", 3, "vflip"),
    _e("rot90_hard", 3, "transpose=1"),
    _e("rot180", 3, "hflip,vflip"),
    _e("rot_5deg", 2, "rotate=5*PI/180:ow=iw:oh=ih:c=black"),
    _e("bright_up", 2, "eq=brightness=0.15"),
    _e("bright_down", 2, "eq=brightness=-0.20"),
    _e("contrast_gamma", 2, "eq=contrast=1.5:gamma=0.7"),
    _e("washed", 2, "eq=contrast=0.6:saturation=0.6"),
    _e("hue_40", 3, "hue=h=40"),
    _e("grayscale", 1, "hue=s=0"),
    _e("sepia", 2, "colorchannelmixer=.393:.769:.189:0:.349:.686:.168:0:.272:.534:.131"),
    _e("blur", 2, "gblur=sigma=4"),
    _e("pixelate", 3, "scale=trunc(iw/8):trunc(ih/8):flags=area,scale=iw*8:ih*8:flags=neighbor"),
    _e("sharpen", 2, "unsharp=7:7:2.0"),
    _e("noise", 2, "noise=alls=30:allf=t+u:all_seed=1"),
    _e("vignette", 2, "vignette=PI/4"),
    _e("speed_105", 2, "setpts=PTS/1.05", f"{DEFAULT_CODEC} -af atempo=1.05", speed=1.05),
    _e("speed_090", 2, "setpts=PTS/0.90", f"{DEFAULT_CODEC} -af atempo=0.90", speed=0.90),
    _e("speed_150", 3, "setpts=PTS/1.5", f"{DEFAULT_CODEC} -af atempo=1.5", speed=1.5),
    _e("trim_head", 1, needs="long", temporal="cut"),
    _e("trim_tail", 1, needs="long", temporal="cut"),
    _e("middle_60", 1, needs="long", temporal="cut"),
    _e("reverse", 3, "reverse", f"{DEFAULT_CODEC} -af areverse", needs="short", reverse=True,
       gated=False),
    _e("audio_removed", 1, rest="-an -c:v copy", needs="audio h264"),
    _e("audio_pitch", 1, rest="-af asetrate={rate}*1.05,aresample={rate} -c:v copy",
       needs="audio h264"),
    _e("screenrec", 2,
       "scale=550:344:force_original_aspect_ratio=decrease:force_divisible_by=2,"
       "pad=640:400:(ow-iw)/2:28:color=0x202225,"
       "drawbox=x=0:y=0:w=iw:h=26:color=0x3a3d42:t=fill,fps=30"),
    _e("camcord", 3,
       "perspective=x0=W*0.03:y0=H*0.05:x1=W*0.96:y1=0:x2=0:y2=H*0.97:x3=W:y3=H*0.93,"
       "noise=alls=10:allf=t:all_seed=2,eq=brightness=-0.05:gamma=0.85,gblur=sigma=1.2"),
    _e("shake", 3,
       "crop=trunc(iw*0.94/2)*2:trunc(ih*0.94/2)*2:x='(iw-ow)/2*(1+0.8*sin(n/3))'"
       ":y='(ih-oh)/2*(1+0.8*cos(n/4))'"),
    _e("dup_drop_frames", 3, "select='not(mod(n,2))*gt(mod(n,7),0)',setpts=N/FRAME_RATE/TB",
       f"{DEFAULT_CODEC} -an", speed=None),
]

_TWO = [
    _e("audio_replaced", 1, rest="-f lavfi -i anoisesrc=d=60:c=pink:a=0.3:seed=3 -map 0:v -map 1:a "
       "-c:v copy -c:a aac -shortest", needs="h264"),
    _e("intro_outro", 1, needs="short", temporal="intro"),
    _e("pip_over", 2, "[1:v]scale=trunc(iw*0.15)*2:-2[p];[0:v][p]overlay=W-w-16:16:shortest=1[v]",
       needs="landscape short", two_inputs=True, other_share=0.09),
    _e("insert_segment", 2, needs="long short", temporal="insert"),
    _e("clip_in_other", 2, needs="long short", temporal="within"),
    _e("stack2", 2,
       "[0:v]scale=640:360,fps=30[a];[1:v]scale=640:360,fps=30[b];[a][b]vstack=shortest=1[v]",
       needs="short", two_inputs=True, other_share=0.5),
    _e("pip_small", 3,
       "[1:v]scale=640:360,fps=30[g];[0:v]scale=256:-2,fps=30[f];"
       "[g][f]overlay=W-w-20:H-h-20:shortest=1[v]",
       needs="landscape short", two_inputs=True, other_share=0.84),
    _e("split_screen", 3,
       "[0:v]scale=640:360,fps=30,crop=iw/2:ih[a];[1:v]scale=640:360,fps=30,crop=iw/2:ih[b];"
       "[a][b]hstack=shortest=1[v]",
       needs="short", two_inputs=True, other_share=0.5, gated=False),
    _e("blend_15", 3,
       "[0:v]scale=640:360,fps=30,format=yuv420p[a];[1:v]scale=640:360,fps=30,format=yuv420p[b];"
       "[a][b]blend=all_mode=normal:all_opacity=0.85:shortest=1[v]",
       needs="short", two_inputs=True, other_share=0.15, gated=False),
]

EDITS: tuple[Edit, ...] = tuple(_ONE + _TWO)
BY_NAME: dict[str, Edit] = {edit.name: edit for edit in EDITS}

# What a composed tier-2 edit is followed by: filters that leave the picture recognisable alone.
PARTNERS: tuple[str, ...] = (
    "logo_corner", "subtitles_burnt", "letterbox_add", "crop_center_80", "grayscale", "fps_15",
    "mirror", "bright_up", "pillarbox_add",
)
