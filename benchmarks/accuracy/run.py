"""The scoreboard: ``python -m benchmarks.accuracy.run`` builds, runs, and writes the tables.

    --quick              one source an edit, the fast rivals, no --clips
    --entry NAME=ARGS    twinreel with these arguments as one row (repeat it)
    --rivals NAMES       only these rivals, or none

Writes ``benchmarks/results/accuracy.md``, ``accuracy.json`` and one SVG a tier. The first entry is
run with ``--clips``, too, over what parts are counted on; the others, for comparison, are not.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import time
import venv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from . import build, evaluate, ours, rivals, table, truth
from .edits import BY_NAME
from .evaluate import Truth

HERE = Path(__file__).parent
RESULTS = HERE.parent / "results"
FAST = ("vpdq", "stash", "vdf", "similario", "exact")
ALL = tuple(rivals.BY_NAME)
ENTRIES = ("twinreel=", "twinreel, weight-free=--model dctgrad.v1",
           "twinreel, with clips=--clips",
           # Everything is alike to it: without a narrow gate it would align every pair of files.
           "twinreel, untrained=--weights random:0 --no-closer --length-tolerance 20%")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, default=Path("../shared/corpus"))
    parser.add_argument("--work", type=Path)
    parser.add_argument("--quick", action="store_true")
    full = build.PER_EDIT["test"]
    parser.add_argument("--depth", type=int,
                        help=f"test sources an edit (default {full}, quick {build.QUICK})")
    parser.add_argument("--twinreel", default=f"{sys.executable} -m twinreel")
    parser.add_argument("--entry", action="append", metavar="NAME=ARGS",
                        help=f"default: {' '.join(map(repr, ENTRIES))}".replace("%", "%%"))
    parser.add_argument("--rivals-python", type=Path,
                        help="default: an environment made under WORK from rivals.txt")
    parser.add_argument("--rivals", metavar="NAMES", help="with commas, or 'none'; default all "
                        f"({','.join(ALL)}), with --quick {','.join(FAST)}")
    parser.add_argument("--no-twinreel", action="store_true", help="the rivals alone")
    parser.add_argument("--train", action="store_true", help="also judge twinreel on train")
    parser.add_argument("--note", action="append", default=[], help="a line for the page's end")
    parser.add_argument("--keep-libraries", action="store_true")
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args(argv)
    chosen = args.rivals or ",".join(FAST if args.quick else ALL)
    names = () if chosen == "none" else tuple(chosen.split(","))
    if unknown := set(names) - set(ALL):
        parser.error(f"no such rival: {', '.join(sorted(unknown))}; there are {', '.join(ALL)}")
    entries = () if args.no_twinreel else args.entry or ENTRIES[: 2 if args.quick else None]
    started = time.monotonic()
    work = args.work or build.DEFAULT_WORK / ("quick" if args.quick else "full")
    depth = args.depth or (build.QUICK if args.quick else full)
    stages: dict[str, float] = {}

    def clock(stage: str) -> None:
        stages[stage] = round(time.monotonic() - started - sum(stages.values()), 1)
        print(f"{stage}: {stages[stage]:.0f} s", flush=True)

    fitted = any(rivals.BY_NAME[name].threshold is None for name in names)
    build.build(args.corpus, work, depth=depth, train_depth=2 if args.train else int(fitted))
    clock("the set")
    methods: list[dict[str, Any]] = []
    notes: list[str] = list(args.note)
    test = Truth(truth.load(work / "truth_test.json"))
    version = ""
    for number, entry in enumerate(entries):
        title, _, words = entry.partition("=")
        # What random weights cost tells nothing: the first entry's pictures spare the decoding.
        shown = work / "ours" / _label(entries[0].partition("=")[0]) if "random:" in words else None
        row, version_ = _ours(args, work, title, words.split(), test,
                              clips=number == 0 and not args.quick, pictures=shown)
        methods.append(row)
        version = version or version_
        clock(title)
    if names:
        methods += _rivals(args, work, test, names)
        clock("rivals")
    if depth < full:
        notes.append(f"A part of the set: each edit meets {depth} test sources instead of {full}.")
    left = [rivals.BY_NAME[name].title for name in ALL if name not in names]
    if left:
        notes.append(f"Left out of this run: {', '.join(left)}.")
    result = evaluate.plain(_result(args, test, methods, notes, version))
    result["stages_s"] = stages
    args.results.mkdir(parents=True, exist_ok=True)
    _write(args.results / "accuracy.json", json.dumps(result, indent=1))
    _write(args.results / "accuracy.md", table.markdown(result))
    if names or args.rivals_python:
        python = args.rivals_python or _make_environment(work)
        subprocess.run([str(python), "-m", "benchmarks.accuracy.plots",
                        str(args.results / "accuracy.json")], check=True)
    else:
        print("no plots: they need matplotlib from the rivals' environment")
    print(table.short(result))
    print(f"written to {args.results} after {time.monotonic() - started:.0f} s")
    return 0


def _ours(args: argparse.Namespace, work: Path, title: str, extra: Sequence[str], test: Truth,
          *, clips: bool, pictures: Path | None) -> tuple[dict[str, Any], str]:
    """One row of twinreel on test; on train, a file beside it that is not in the table.

    Args:
        pictures: An entry's folder; its libraries' pictures are embedded instead of decoding.
    """
    label = _label(title)
    parts = _parts(work, "test", test) if clips else None
    held = pictures / "test" / "library.db" if pictures else None
    outcome = ours.run(args.twinreel, work / "set" / "test", work / "ours" / label / "test", extra,
                       clips=parts, reuse=args.keep_libraries, pictures=held)
    row = evaluate.evaluate_ours(test, outcome)
    if args.train:
        train = Truth(truth.load(work / "truth_train.json"))
        parts = _parts(work, "train", train) if clips else None
        on_train = ours.run(args.twinreel, work / "set" / "train", work / "ours" / label / "train",
                            extra, clips=parts, reuse=args.keep_libraries,
                            pictures=pictures / "train" / "library.db" if pictures else None)
        figures = evaluate.plain(evaluate.evaluate_ours(train, on_train))
        _write(work / "ours" / label / "train.json", json.dumps(figures, indent=1))
    rule = f"`twinreel dups {' '.join(extra)}`".replace(" `", "`")
    rule += f", model {row['model']}, min score {row['min_score']:.3g}"
    return {"title": title, "kind": "ours", "rule": rule, **row}, outcome.version


def _label(title: str) -> str:
    """An entry's folder under WORK/ours."""
    return "".join(c if c.isalnum() else "_" for c in title)


def _parts(work: Path, split: str, t: Truth) -> Path:
    """A folder of the files that figures of parts are counted on, as hard links."""
    folder = work / "set" / f"{split}_parts"
    folder.mkdir(exist_ok=True)
    build.show(work / "files" / split, folder, set(evaluate.for_parts(t)))
    return folder


def _rivals(args: argparse.Namespace, work: Path, test: Truth, names: Sequence[str]
            ) -> list[dict[str, Any]]:
    apart = args.rivals_python or _make_environment(work)
    at_home = [n for n in names if not rivals.BY_NAME[n].own_environment]
    wanted = [(apart, "test", [n for n in names if n not in at_home]),
              (Path(sys.executable), "test", at_home),
              # The ones whose threshold is fitted.
              (apart, "train", [n for n in names if rivals.BY_NAME[n].threshold is None])]
    for python, split, some in wanted:
        if some:
            subprocess.run([str(python), "-m", "benchmarks.accuracy.rivals", "--work", str(work),
                            "--split", split, "--only", ",".join(some)], check=True,
                           cwd=HERE.parent.parent)
    rows = []
    for name in sorted(names, key=_order(work)):
        note, scores = _scores(work, "test", name, test)
        threshold = note["threshold"]
        if threshold is None:
            train = Truth(truth.load(work / "truth_train.json"))
            threshold = evaluate.fit_threshold(train, _scores(work, "train", name, train)[1])
        hits = scores >= threshold
        row = evaluate.evaluate_scores(test, scores, hits)
        row["groups"] = evaluate.group_figures(test, evaluate.components(test, hits))
        row["cost"] = {k: note[k] for k in ("cpu_s_per_min", "bytes_per_min")}
        rows.append({"title": note["title"], "kind": note["kind"], "rule": note["rule"],
                     "failed": note["failed"], "threshold": threshold, **row})
    return rows


def _order(work: Path) -> Any:
    kinds = ["run", "recipe", "surrogate", "floor"]

    def key(name: str) -> tuple[int, str]:
        note = json.loads((work / "rivals/test" / f"{name}.json").read_text())
        return kinds.index(note["kind"]), name

    return key


def _scores(work: Path, split: str, name: str, t: Truth
            ) -> tuple[Mapping[str, Any], npt.NDArray[np.float64]]:
    """A rival's pair scores in the order of ``t``.

    Raises:
        ValueError: they were made for another set.
    """
    folder = work / "rivals" / split
    note = json.loads((folder / f"{name}.json").read_text())
    place = {n: k for k, n in enumerate(note["names"])}
    if set(place) != set(t.names):
        raise ValueError(f"{folder / name}: scores of another set; run the rivals again")
    order = np.array([place[n] for n in t.names])
    square = np.load(folder / f"{name}_scores.npy")[np.ix_(order, order)]
    return note, square[t.i, t.j].astype(np.float64)


def _make_environment(work: Path) -> Path:
    """The rivals' own environment, made once."""
    folder = work.parent / "rivals-env"
    python = folder / "bin" / "python"
    done = folder / "complete"
    if not done.is_file():
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", "-r", str(HERE / "rivals.txt")],
                       check=True)
        done.touch()
    return python


def _result(args: argparse.Namespace, test: Truth, methods: Sequence[Mapping[str, Any]],
            notes: Sequence[str], version: str) -> dict[str, Any]:
    files = test.files
    tiers = {f.edit: {"tier": f.tier, "gated": f.gated} for f in files if f.edit}
    order = {name: k for k, name in enumerate(BY_NAME)}
    return {
        "version": version, "quick": args.quick, "notes": list(notes),
        "date": datetime.date.today().isoformat(), "commit": _commit(),
        "machine": f"{os.cpu_count()} x {_processor()}",
        "counts": {
            "files": len(files), "minutes": sum(f.duration_s for f in files) / 60,
            "originals": sum(f.kind == "original" for f in files),
            "whole": int((test.whole & test.gated).sum()),
            "partial": int((test.partial & test.gated).sum()),
            "negatives": int(test.negative.sum()),
            "hard_negatives": int((test.negative & test.hard).sum()),
        },
        "edits": dict(sorted(tiers.items(), key=lambda e: (order.get(e[0], 999), e[0]))),
        "methods": list(methods),
    }


def _commit() -> str:
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True,
                          check=False, cwd=HERE)
    return done.stdout.strip() if done.returncode == 0 else "none"


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _write(path: Path, text: str) -> None:
    temporary = path.with_suffix(path.suffix + ".part")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


if __name__ == "__main__":
    sys.exit(main())
