"""Groups <-> JSON, CSV and text. What is written can be edited by hand and read again.

    report = Report.load("report.json")
    for group in report.groups: print(group.keep, group.why)

Paths that are not valid UTF-8 survive: Python's surrogate escapes are written as \\udcXX.
Above JSONL_ABOVE videos the same records stand one per line (JSON Lines).
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from twinreel.errors import BadReport, OutputError
from twinreel.lines import line_of
from twinreel.types import Failure, Group, Match, Segment, Track, Video, VideoFile, VideoInfo

VERSION = 1
USUAL_SCORE = 0.9  # that counts where a report does not say
PARTS = ("contains", "part_of", "overlap")  # relations of videos that are no copies
JSONL_ABOVE = 50_000

# Fields of VideoFile and VideoInfo stand side by side in a report's video.
_FILE = [f.name for f in dataclasses.fields(VideoFile)]
_INFO = [f.name for f in dataclasses.fields(VideoInfo)]
_LISTS = ("videos", "matches", "groups", "failures", "folders")
_OWN = ["offline", "last_seen", "damage", "detail", "picture", "noise"]


@dataclass(frozen=True)
class FolderPair:
    """How two folders overlap: `shared` videos of a (with `total_a`) have a copy in b."""

    a: str
    b: str
    shared: int
    total_a: int
    total_b: int
    extra_b: int  # videos of b that have no copy in a

    def sentence(self) -> str:
        """'all 212 videos of A are in B; B has 9 more'"""
        share = (
            f"all {self.total_a}"
            if self.shared == self.total_a
            else f"{self.shared} of the {self.total_a}"
        )
        more = f"; {self.b} has {self.extra_b} more" if self.extra_b else ""
        return f"{share} videos of {self.a} are in {self.b}{more}"


@dataclass(frozen=True)
class Report:
    """What a run found. Everything in it is plain data; no torch, no database."""

    library: str
    videos: tuple[Video, ...]
    matches: tuple[Match, ...]
    groups: tuple[Group, ...]
    failures: tuple[Failure, ...] = ()
    folders: tuple[FolderPair, ...] = ()
    skipped: dict[str, int] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    roots: tuple[str, ...] = ()
    created: str = ""
    twinreel: str = ""
    partial: bool = False
    version: int = VERSION

    def __post_init__(self) -> None:
        known = {v.path for v in self.videos}
        for group in self.groups:
            for path in group.members:
                if path not in known:
                    raise BadReport(f"group member {path!r} is not among the report's videos")

    def video(self, path: str) -> Video:
        """The video at `path`; KeyError when the report has none."""
        return self._by_path[path]

    @property
    def _by_path(self) -> dict[str, Video]:
        cache = self.__dict__.get("_index")
        if cache is None:
            cache = {v.path: v for v in self.videos}
            object.__setattr__(self, "_index", cache)
        return cache

    @property
    def min_score(self) -> float:
        """The lowest score that is evidence; matches with less may be listed, too."""
        least = self.options.get("min_score")
        return USUAL_SCORE if least is None else float(least)

    def freed(self, group: Group) -> int:
        """Bytes that removing all members but the kept one would free (hard links count once)."""
        keeper = self.video(group.keep).file
        seen = {(keeper.device, keeper.inode)}
        total = 0
        for path in group.members:
            file = self.video(path).file
            if (file.device, file.inode) not in seen and not self.video(path).offline:
                seen.add((file.device, file.inode))
                total += file.size
        return total

    def match(self, a: str, b: str) -> Match | None:
        """The match between two paths, read as 'a RELATION b'."""
        pairs = self.__dict__.get("_pairs")
        if pairs is None:
            pairs = {(m.a, m.b): m for m in self.matches}
            object.__setattr__(self, "_pairs", pairs)
        if (a, b) in pairs:
            return pairs[(a, b)]  # type: ignore[no-any-return]
        return pairs[(b, a)].swapped() if (b, a) in pairs else None

    def parts(self) -> list[Match]:
        """What videos share that are no copies, the surest first: the surest match of two groups
        (or contents outside of groups), 'a is part of b' or 'a overlaps b'.

        Left out are shared intros, what only `all_matches` lists, and pairs whose disks are away.
        """
        kept = {path: group.keep for group in self.groups for path in group.members}
        least = self.min_score if self.options.get("all_matches") else 0.0
        best: dict[frozenset[str], Match] = {}

        def content(path: str) -> str:
            found = self._by_path.get(path)
            return (found and found.file.key) or path

        for m in sorted(self.matches, key=lambda m: -m.score):
            if m.relation not in PARTS or m.score < least:
                continue
            both = [self._by_path.get(path) for path in (m.a, m.b)]
            away = all(v is not None and v.offline for v in both)
            sides = frozenset(content(kept.get(path, path)) for path in (m.a, m.b))
            if len(sides) == 2 and not away:
                best.setdefault(sides, m.swapped() if m.relation == "contains" else m)
        return list(best.values())

    def said(self, m: Match) -> str:
        """What one of `parts` says of a: 'part of 0.970', 'likely overlaps 0.710'."""
        word = {"part_of": "part of", "overlap": "overlaps"}.get(m.relation, m.relation)
        return f"{'' if m.score >= self.min_score else 'likely '}{word} {m.score:.3f}"

    # -- JSON -----------------------------------------------------------------------------------

    def header(self) -> dict[str, Any]:
        """All but the lists of records."""
        return {
            "version": self.version,
            "twinreel": self.twinreel,
            "created": self.created,
            "partial": self.partial,
            "library": self.library,
            "roots": list(self.roots),
            "options": self.options,
            "model": self.model,
            "skipped": self.skipped,
            "notes": list(self.notes),
        }

    def records(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """(list name, record) of every video, match, group, failure and folder pair."""
        for v in self.videos:
            own = {name: getattr(v, name) for name in _OWN}
            yield "videos", {**_plain(v.file), **_plain(v.info), **own}
        for name in _LISTS[1:]:
            for record in getattr(self, name):
                yield name, _plain(record)

    def to_dict(self) -> dict[str, Any]:
        """The whole report as plain lists and dicts (the JSON document)."""
        out = self.header()
        for name in _LISTS:
            out[name] = []
        for name, record in self.records():
            out[name].append(record)
        return out

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Report:
        """The inverse of `to_dict`. Raises BadReport naming the place that is wrong."""
        if data.get("version") != VERSION:
            raise BadReport(
                f"report version {data.get('version')!r}: this twinreel reads version {VERSION}; "
                "run `twinreel dups` again"
            )
        lists: dict[str, list[Any]] = {}
        readers: dict[str, Callable[[dict[str, Any]], Any]] = {
            "videos": _video,
            "matches": _match,
            "groups": _group,
            "failures": lambda d: Failure(**d),
            "folders": lambda d: FolderPair(**d),
        }
        for name, reader in readers.items():
            lists[name] = []
            for i, record in enumerate(data.get(name, [])):
                try:
                    lists[name].append(reader(record))
                except (KeyError, TypeError, ValueError, AttributeError) as error:
                    raise BadReport(f"{name}[{i}] cannot be read: {error!r}") from None
        return cls(
            library=str(data.get("library", "")),
            created=str(data.get("created", "")),
            twinreel=str(data.get("twinreel", "")),
            partial=bool(data.get("partial", False)),
            videos=tuple(lists["videos"]),
            matches=tuple(lists["matches"]),
            groups=tuple(lists["groups"]),
            failures=tuple(lists["failures"]),
            folders=tuple(lists["folders"]),
            options=dict(data.get("options", {})),
            model=dict(data.get("model", {})),
            skipped=dict(data.get("skipped", {})),
            notes=tuple(data.get("notes", ())),
            roots=tuple(data.get("roots", ())),
        )

    def save(self, path: str | Path) -> Path:
        """Write atomically; the ending chooses the form (.json, .jsonl, .csv, .txt)."""
        path = Path(path)
        form = path.suffix.lower()
        if form == ".csv":
            chunks: Iterator[str] = iter([self.csv()])
        elif form == ".txt":
            chunks = iter([self.text()])
        elif form == ".jsonl" or len(self.videos) > JSONL_ABOVE:
            chunks = self._lines()
        else:
            chunks = self._document()
        write_atomically(path, chunks)
        return path

    def _document(self) -> Iterator[str]:
        """JSON with one record per line: readable, and ten times faster than indenting all."""
        head = json.dumps(self.header(), indent=1)
        yield head.removesuffix("\n}")
        of: dict[str, list[str]] = {name: [] for name in _LISTS}
        for name, record in self.records():
            of[name].append("  " + json.dumps(record))
        for name in _LISTS:
            yield f',\n "{name}": [\n' + ",\n".join(of[name]) + "\n ]"
        yield "\n}\n"

    def _lines(self) -> Iterator[str]:
        yield json.dumps({**self.header(), "format": "lines"}) + "\n"
        for name, record in self.records():
            yield json.dumps({name: record}) + "\n"

    @classmethod
    def load(cls, path: str | Path) -> Report:
        """Read a report written by `save` (JSON or JSON Lines), also after editing by hand."""
        try:
            text = Path(path).read_text(encoding="utf-8")
        except OSError as error:
            raise BadReport(f"{path}: {error.strerror}; name a report that `dups` wrote") from None
        except UnicodeDecodeError:
            raise BadReport(f"{path}: not a text file; name a report that `dups` wrote") from None
        try:
            return cls.from_dict(_parsed(text))
        except BadReport as error:
            line = line_of(text, str(error))
            raise BadReport(f"{path}: {f'line {line}: ' if line else ''}{error}") from None

    # -- for people -----------------------------------------------------------------------------

    def csv(self) -> str:
        """One row per group member: group, role, path, size, score to the kept file, relation."""
        out = io.StringIO()
        rows = csv.writer(out, lineterminator="\n")
        rows.writerow(
            [
                "group",
                "role",
                "path",
                "size",
                "duration_s",
                "width",
                "height",
                "score",
                "relation",
                "losses",
            ]
        )
        for n, group in enumerate(self.groups, 1):
            for path in group.members:
                video = self.video(path)
                match = self.match(path, group.keep)
                rows.writerow(
                    [
                        n,
                        "keep" if path == group.keep else "copy",
                        _printable(path),
                        video.file.size,
                        f"{video.info.duration_s:.3f}",
                        video.info.width,
                        video.info.height,
                        "" if match is None else f"{match.score:.4f}",
                        "" if match is None else match.relation,
                        "; ".join(group.losses.get(path, [])),
                    ]
                )
        return out.getvalue()

    def text(self) -> str:
        """The report as plain lines, for reading and for grep."""
        lines = [
            f"twinreel {self.twinreel} {self.created}" + (" (partial)" if self.partial else "")
        ]
        for n, group in enumerate(self.groups, 1):
            lines.append(f"\ngroup {n}: frees {human_bytes(self.freed(group))}; {group.why}")
            for path in group.members:
                role = "keep" if path == group.keep else "copy"
                loss = "; ".join(group.losses.get(path, []))
                lines.append(f"  {role}  {_printable(path)}" + (f"  [{loss}]" if loss else ""))
        for n, m in enumerate(self.parts()):
            head = "\nshare a part (times of the first = times of the second):\n"
            lines.append(f"{'' if n else head}  {_printable(m.a)}")
            lines.append(f"    {self.said(m)}  {_printable(m.b)}  [{spans(m)}]")
        for f in self.failures:
            words = _printable(f"{f.stage}: {f.error}: {f.detail}")
            lines.append(f"failed  {_printable(f.path)}  {words}")
        return "\n".join([*lines, *map(_printable, self.notes)]) + "\n"


def spans(m: Match) -> str:
    """'0:02.0-0:12.0 = 5:03.2-5:13.2, ...': where a's segments are in b."""
    return ", ".join(
        f"{_clock(s.a[0])}-{_clock(s.a[1])} = {_clock(s.b[0])}-{_clock(s.b[1])}"
        + (" mirrored" if s.mirrored else "")
        for s in m.segments
    )


def _clock(seconds: float) -> str:
    """5003.25 -> '1:23:23.2'"""
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    head = f"{hours}:{minutes:02}" if hours else f"{minutes}"
    return f"{head}:{rest // 10:02}.{rest % 10}"


def _plain(record: Any) -> dict[str, Any]:
    """A record's fields as plain values. (dataclasses.asdict copies deeply and is slow.)"""
    out = dict(record.__dict__)
    for name, value in out.items():
        if isinstance(value, tuple) and value and hasattr(value[0], "__dataclass_fields__"):
            out[name] = [_plain(v) for v in value]
    return out


def _parsed(text: str) -> dict[str, Any]:
    """A report's text, JSON or JSON Lines, as one document. Raises BadReport with the line."""
    first, _, rest = text.partition("\n")
    number = 1
    try:
        if not (first.startswith("{") and '"format": "lines"' in first):
            data = json.loads(text)
        else:
            data = json.loads(first)
            for number, line in enumerate(rest.split("\n"), 2):  # noqa: B007
                for name, record in json.loads(line or "{}").items():
                    data.setdefault(name, []).append(record)
    except json.JSONDecodeError as error:
        raise BadReport(f"line {max(number, error.lineno)}: {error.msg}") from None
    if not isinstance(data, dict):
        raise BadReport("not a twinreel report (a JSON object is expected)")
    return data


def _video(d: dict[str, Any]) -> Video:
    tracks = {k: tuple(Track(**t) for t in d.get(k, ())) for k in ("audio", "subtitles")}
    info = VideoInfo(**{**{k: d[k] for k in _INFO if k in d}, **tracks})
    own = {k: d[k] for k in _OWN if k in d}
    if "picture" in own:
        own["picture"] = tuple(own["picture"])
    return Video(VideoFile(**{k: d[k] for k in _FILE if k in d}), info, **own)


def _match(d: dict[str, Any]) -> Match:
    segments = tuple(
        Segment(tuple(s["a"]), tuple(s["b"]), s.get("speed", 1.0), s.get("mirrored", False))
        for s in d.get("segments", ())
    )
    return Match(**{**d, "segments": segments})


def _group(d: dict[str, Any]) -> Group:
    return Group(**{**d, "members": tuple(d["members"])})


def _printable(path: str) -> str:
    """A path as text that any terminal or file takes: odd bytes and control signs are escaped."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


printable = _printable


def human_bytes(n: int | float) -> str:
    """1536 -> '1.5 kB' (powers of 1000)."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(n) < 1000 or unit == "TB":
            return f"{n:.0f} {unit}" if unit == "B" else f"{n:.1f} {unit}"
        n /= 1000
    raise AssertionError


def write_atomically(path: Path, chunks: Iterator[str]) -> None:
    """Write text to a temporary name beside `path`, sync it, then rename it into place."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "w", encoding="utf-8") as out:
            out.writelines(chunks)
            out.flush()
            os.fsync(out.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OutputError(f"{path}: {error.strerror}; free space or name another output") from None
