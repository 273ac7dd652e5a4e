"""The wheel, installed where nothing but its own requirements is, does what the checkout does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.command import environment
from tests.videos import make
from tools.licences import ROOT, needs

# No path of the tree: only what is installed may be found.
CLEAN = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
PARTS = ("pyproject.toml", "README.md", "LICENSE", "man", "src")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that nothing is left in the tree."""
    tree = tmp_path_factory.mktemp("tree")
    for name in PARTS:
        source = ROOT / name
        if source.is_dir():
            ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.copytree(source, tree / name, ignore=ignore)
        else:
            shutil.copy2(source, tree / name)
    words = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", "dist"]
    done = subprocess.run(words, cwd=tree, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = (tree / "dist").glob("*.whl")
    return found


@pytest.fixture(scope="module")
def fresh(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel and what it requires (without extras), linked from here."""
    folder = tmp_path_factory.mktemp("fresh")
    venv.create(folder / "venv", with_pip=False)
    site = next((folder / "venv").rglob("site-packages"))
    packages = folder / "packages"
    packages.mkdir()
    for name in needs(extras=()):
        installed = distribution(name)
        for top in {Path(file).parts[0] for file in installed.files or []} - {"..", "__pycache__"}:
            source = Path(str(installed.locate_file(top)))
            if not (packages / top).exists():
                (packages / top).symlink_to(source)
    (site / "packages.pth").write_text(str(packages))
    python = folder / "venv" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]
    for words in (["install", "--quiet", "--no-deps", "--no-index", str(wheel)], ["check"]):
        done = subprocess.run([*pip, *words], env=CLEAN, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder / "venv"


def run(fresh: Path, home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in environment(home).items() if k != "PYTHONPATH"}
    command = [str(fresh / "bin" / "twinreel"), *words]
    return subprocess.run(command, cwd=home, env=env, capture_output=True, text=True, timeout=900)


def test_what_is_in_it(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    inside = {n for n in names if n.startswith("twinreel/")}
    for wanted in ("py.typed", "data/twin-v1.safetensors", "templates/review.html"):
        assert f"twinreel/{wanted}" in inside
    source = {
        p.relative_to(ROOT / "src").as_posix()
        for p in (ROOT / "src" / "twinreel").rglob("*")
        if p.is_file() and "__pycache__" not in p.parts
    }
    assert inside == source
    others = {n.split("/")[0] for n in names} - {"twinreel"}
    assert all(n.endswith((".dist-info", ".data")) for n in others), others
    assert any(n.endswith("share/man/man1/twinreel.1") for n in names)


def test_the_wheel_finds_duplicates_and_extracts(fresh: Path, tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    make(videos / "a.mp4", 3, seed=1)
    make(videos / "b.mkv", 3, seed=1, size=(240, 136), options={"crf": "30"})
    made_here = run(fresh, tmp_path, "--version")
    assert made_here.returncode == 0 and "0.1.0" in made_here.stdout, made_here.stderr
    done = run(fresh, tmp_path, "dups", "videos", "--nice", "0", "-o", "found.json")
    assert done.returncode == 0, done.stdout + done.stderr
    report: dict[str, Any] = json.loads((tmp_path / "found.json").read_text())
    assert [len(g["members"]) for g in report["groups"]] == [2]
    assert report["model"]["name"] == "twin.v1"
    done = run(fresh, tmp_path, "extract", "videos", "-o", "out", "--model", "twin.v1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(p.name for p in (tmp_path / "out").glob("*.npy")) == ["a.mp4.npy", "b.mkv.npy"]
    page = run(fresh, tmp_path, "review", "found.json", "--html", "page.html")
    assert page.returncode == 0 and (tmp_path / "page.html").stat().st_size > 10_000, page.stderr


def test_without_extras_the_verbs_say_which_is_missing(fresh: Path, tmp_path: Path) -> None:
    for name in ("starlette", "pytest", "matplotlib"):
        code = f"import {name}"
        python = str(fresh / "bin" / "python")
        seen = subprocess.run([python, "-c", code], env=CLEAN, capture_output=True)
        assert seen.returncode == 1, f"{name} can be imported: nothing is tested here"
    for verb in ("dups", "search", "review", "act", "undo", "extract", "models", "library"):
        assert run(fresh, tmp_path, verb, "--help").returncode == 0
    done = run(fresh, tmp_path, "doctor")
    assert done.returncode == 0 and "[web]: not installed" in done.stdout, done.stdout


@pytest.mark.skipif(os.name != "posix", reason="scripts of another shape elsewhere")
def test_it_knows_where_it_is_installed(fresh: Path) -> None:
    code = "import twinreel; print(twinreel.__file__)"
    words = [str(fresh / "bin" / "python"), "-c", code]
    done = subprocess.run(words, env=CLEAN, capture_output=True, text=True)
    assert str(fresh) in done.stdout
