"""The pictures of docs/review.md: the served page over the demo library, seen by a browser.

python -m tools.review_pictures FOLDER     # FOLDER must not exist; writes docs/images/review-*.png

Wants chromium (or its path in CHROMIUM) and the extra web. The folder stands in the pictures.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

import twinreel
from twinreel.demo import demo_library

IMAGES = Path(__file__).parents[1] / "docs" / "images"
NAMES = ("chromium", "chromium-browser", "google-chrome")
LOOKS: dict[str, dict[str, Any]] = {
    "light": {"viewport": {"width": 1360, "height": 900}},
    "dark": {"viewport": {"width": 1360, "height": 900}, "color_scheme": "dark"},
    "narrow": {"viewport": {"width": 400, "height": 860}},
    "plan": {"viewport": {"width": 1360, "height": 900}},
}


def draw(page: Any, address: str, look: str) -> None:
    """One picture: what it shows is decided and pressed as a person would."""
    page.goto(address)
    page.wait_for_selector("html[data-ready='1']")
    page.focus("#list")
    if look in ("light", "plan"):
        page.keyboard.press("a")
    if look in ("light", "narrow"):
        page.locator(".row:has-text('station')").click()
    if look == "plan":
        page.click("#act")
        page.click("#a-all")
        page.click("#a-look")
        page.wait_for_selector("#a-do")
    page.wait_for_timeout(1500)  # pictures come lazily
    path = IMAGES / f"review-{look}.png"
    page.screenshot(path=path)
    with Image.open(path) as image:
        drawn = image.convert("RGB")
    if look != "narrow":
        size = (drawn.width * 3 // 4, drawn.height * 3 // 4)
        drawn = drawn.resize(size, Image.Resampling.LANCZOS)
    drawn.quantize(256).save(path, optimize=True)  # a third of the bytes, and no eye tells


def main(folder: Path) -> None:
    demo_library(folder / "Videos")
    report = twinreel.find_duplicates(
        [folder / "Videos"], library=str(folder / "library.db"), contained=True, jobs=2
    )
    source = report.save(folder / "report.json")
    chromium = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)))
    data = {"XDG_DATA_HOME": str(folder / ".local/share"), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "twinreel", "review", str(source), "--no-browser"]
    with (
        subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env=os.environ | data
        ) as server,
        sync_playwright() as p,
    ):
        assert server.stdout is not None
        address = re.search(r"http://\S+", server.stdout.readline())
        assert address is not None, "the server printed no address"
        browser = p.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for look, settings in LOOKS.items():
            context = browser.new_context(**settings)
            draw(context.new_page(), address[0], look)
            context.close()
        browser.close()
        server.terminate()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
