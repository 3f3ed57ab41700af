"""Check the site of notebooks that ``.github/lite/build.py`` has built.

``python tests/browser/check_site.py SITE`` looks at its files, at the wheel in it, and at its pages in a
Chromium that reaches nothing else, so that Pyodide does not come.
"""

import functools
import hashlib
import json
import shutil
import sys
import tempfile
import threading
import time
import zipfile
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from playwright.sync_api import sync_playwright

from browser.in_lab import CHROMIUM_FLAGS, ROOT, find_chromium

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NAMES = [path.name for path in NOTEBOOKS]
OPENS_S = 120


class Quiet(SimpleHTTPRequestHandler):
    """Files, and no log of who asked for them."""

    def log_message(self, *_):
        pass


def check_files(site):
    """Compare the notebooks and the wheel in the site with those of this repository."""
    for path in NOTEBOOKS:
        assert (site / "files" / path.name).read_bytes() == path.read_bytes(), f"{path.name} is another one"
    listed = json.loads((site / "api/contents/all.json").read_text(encoding="utf-8"))["content"]
    assert sorted(entry["name"] for entry in listed) == NAMES
    lock = json.loads((site / "static/lock/pyodide-lock.json").read_text(encoding="utf-8"))["packages"]
    for name in ("paged-demo", "anywidget", "comm", "ipywidgets", "psygnal"):
        wheel = site / "static/lock" / lock[name]["file_name"]
        assert hashlib.sha256(wheel.read_bytes()).hexdigest() == lock[name]["sha256"], name
        assert set(lock[name]["depends"]) <= set(lock), name
    with zipfile.ZipFile(site / "static/lock" / lock["paged-demo"]["file_name"]) as wheel:
        packed = {name: wheel.read(name) for name in wheel.namelist() if ".dist-info/" not in name}
    ours = [
        path
        for path in (ROOT / "paged_demo").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ]
    assert packed == {path.relative_to(ROOT).as_posix(): path.read_bytes() for path in ours}


@contextmanager
def served(site):
    """Serve the site below a folder, as GitHub does, and yield its address."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(site, Path(folder) / "name/of-it")
        handler = functools.partial(Quiet, directory=folder)
        with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield f"http://127.0.0.1:{server.server_port}/name/of-it/"
            server.shutdown()


def check_pages(site):
    """Open the site, and find the first notebook open in it, and all in its list."""
    asked_elsewhere = set()

    def refuse(route):
        asked_elsewhere.add(route.request.url)
        route.abort()

    with served(site) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=CHROMIUM_FLAGS)
        # A service worker's requests would not be seen here.
        context = browser.new_context(service_workers="block")
        context.route(lambda url: not url.startswith(address), refuse)
        page = context.new_page()
        page.set_default_timeout(1000 * OPENS_S)
        page.goto(address)
        page.wait_for_selector(f".jp-DirListing-item:has-text('{NAMES[-1]}')")
        assert sorted(page.locator(".jp-DirListing-itemText").all_inner_texts()) == NAMES
        # The pictures of a notebook that has not run are those that were frozen.
        page.wait_for_selector(".jp-NotebookPanel .jp-RenderedImage img")
        assert page.locator(".lm-mod-current .lm-TabBar-tabLabel").all_inner_texts()[-1] == NAMES[0]
        # The kernel starts, and asks for Pyodide.
        end = time.monotonic() + OPENS_S
        while not asked_elsewhere and time.monotonic() < end:
            page.wait_for_timeout(200)
        browser.close()
    [elsewhere] = asked_elsewhere
    assert elsewhere.endswith("/full/pyodide.mjs"), elsewhere


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    check_files(folder)
    check_pages(folder)
    print(f"The site has all {len(NAMES)} notebooks, and the wheel of this package.")
