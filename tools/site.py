"""What the site has that docs/ has not: README, results, and the notebooks as they run.

mkdocs calls `on_files` and `on_page_markdown` (hooks in mkdocs.yml). Notebooks are executed for the
site; TWINREEL_NOTEBOOKS names a folder with executed ones instead, as `python -m tools.notebooks`
leaves them.
"""

from __future__ import annotations

import os
import posixpath
import re
import tempfile
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
# Page of the site -> its file in the repository.
PAGES = {
    "index.md": "README.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
}
_LOADED = re.compile(r"<(?:script|link|img|iframe)\b[^>]+?(?:src|href)=\"?(https?://[^\"\s>]+)")
_LINK = re.compile(r"(\]\()(?!https?:|mailto:|#)([^)#\s]+)")


def on_files(files: Files, config: Any) -> Files:
    """Add what lies outside docs/."""
    for name, source in PAGES.items():
        files.append(_made(config, name, (ROOT / source).read_text(encoding="utf-8")))
    for path in sorted((ROOT / "benchmarks" / "results").iterdir()):
        if path.suffix in (".md", ".svg", ".png"):
            files.append(_made(config, f"results/{path.name}", path.read_bytes()))
    with tempfile.TemporaryDirectory() as folder:
        ready = os.environ.get("TWINREEL_NOTEBOOKS")
        if not ready:
            from tools.notebooks import main

            ready = str(Path(folder) / "out")
            main(Path(folder) / "work", Path(ready))
        for path in sorted(Path(ready).glob("*.ipynb")):
            for name, content in rendered(path).items():
                files.append(_made(config, f"notebooks/{name}", content))
    return files


def _made(config: Any, name: str, content: str | bytes) -> File:
    return File.generated(config, name, content=content)


def rendered(path: Path) -> dict[str, str | bytes]:
    """An executed notebook -> its page and the pictures in it, by name."""
    from nbconvert import MarkdownExporter

    text, resources = MarkdownExporter().from_filename(str(path))
    found: dict[str, str | bytes] = {}
    for name, data in resources["outputs"].items():
        found[f"{path.stem}-{name}"] = data
        text = text.replace(f"]({name})", f"]({path.stem}-{name})")
    # What a cell printed stands indented; fenced, it is told from the code above it.
    text = re.sub(r"\n((?:\n    [^\n]*|\n(?=\n    ))+)\n", _fenced, text)
    found[f"{path.stem}.md"] = text.replace(".ipynb)", ".md)")
    return found


def _fenced(found: re.Match[str]) -> str:
    lines = [line.removeprefix("    ").rstrip() for line in found[1].strip("\n").splitlines()]
    return "\n\n```text\n" + "\n".join(lines) + "\n```\n\n" if any(lines) else "\n\n"


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Links between files of the repository -> links between pages."""
    source = page.file.src_uri
    home = {site: repository for site, repository in PAGES.items()}.get(source)
    if home is None and source.startswith("results/"):
        home = f"benchmarks/{source}"
    home = home or (source if source.startswith("notebooks/") else f"docs/{source}")
    folder = posixpath.dirname(source)

    def link(found: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(home), found[2]))
        return found[1] + posixpath.relpath(_page(target), folder or ".")

    return _LINK.sub(link, markdown)


def _page(path: str) -> str:
    """A file of the repository -> where the site has it."""
    for site, source in PAGES.items():
        if path == source:
            return site
    if path == "notebooks":
        return "notebooks/1-dataset.md"
    if path == "docs":
        return "index.md"
    path = path.removesuffix(".ipynb") + ".md" if path.endswith(".ipynb") else path
    return path.removeprefix("docs/").removeprefix("benchmarks/")


def on_post_page(output: str, page: Any, config: Any) -> str:
    """The site loads nothing from elsewhere: it tells nobody who reads it, and works offline."""
    if loaded := _LOADED.findall(output):
        raise PluginError(f"{page.file.src_uri}: loads {loaded[0]}")
    return output
