"""Build the site that runs the notebooks in a reader's browser, with nothing to install.

``python .github/lite/build.py FOLDER``, in an environment with ``requirements.txt`` and with npm. The site is
JupyterLite: static files, among them the notebooks and this package as a wheel. Python itself, NumPy and
Matplotlib are Pyodide's, which browsers fetch from its own server.

A kernel installs what a cell imports, if Pyodide's lock file names it. So the site has a lock file that names
our package too, and what that needs and Pyodide lacks; no notebook has to install anything.
"""

import argparse
import hashlib
import io
import json
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from email.parser import Parser
from importlib import metadata
from pathlib import Path

from jupyterlite_pyodide_kernel.constants import PYODIDE_CDN_URL, PYODIDE_KERNEL_PLUGIN_ID, PYODIDE_VERSION
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
FIRST_NOTEBOOK = "00_one_slider.ipynb"

NOT_IN_PYODIDE = ("anywidget", "comm", "ipywidgets", "psygnal")
RUN_IN_THE_PAGE = {"jupyterlab-widgets", "widgetsnbextension"}
"""They hold JavaScript, which is the site's already, and nothing to import."""

LOCK = Path("static/lock/pyodide-lock.json")

INDEX = f"""\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>PagedAttention explained</title>
<script id="jupyter-config-data" type="application/json" data-jupyter-lite-root=".">{{}}</script>
<meta http-equiv="refresh" content="0; url=lab/index.html?path={FIRST_NOTEBOOK}">
<p><a href="lab/index.html?path={FIRST_NOTEBOOK}">Open the first notebook</a></p>
</html>
"""
"""Leads to the first notebook. The empty settings in it are looked for by the pages below it."""


def main(arguments: list[str]) -> None:
    """Build the site in the folder that the command line names."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="where to build; made if it is not there")
    site = parser.parse_args(arguments).folder.resolve()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        build = ["lite", "build", "--contents", ROOT / "notebooks", "--output-dir", site, "--apps", "lab"]
        # The page beside the notebooks leads out of the site.
        run("jupyter_core", *build, "--no-sourcemaps", "--extra-ignore-contents", "README[.]md$", folder=work)
        wheels = site / LOCK.parent
        wheels.mkdir(parents=True)
        pip("wheel", "--no-deps", "--wheel-dir", wheels, ROOT)
        pinned = [f"{name}=={metadata.version(name)}" for name in NOT_IN_PYODIDE]
        pip("download", "--no-deps", "--only-binary=:all:", "--platform=any", "--dest", wheels, *pinned)
        lock = with_wheels(lock_of_pyodide(work), sorted(wheels.glob("*.whl")))
        (site / LOCK).write_text(json.dumps(lock), encoding="utf-8")
    use_lock(site / "jupyter-lite.json")
    (site / "index.html").write_text(INDEX, encoding="utf-8")


def run(module: str, *arguments: object, folder: Path) -> None:
    """Run a module of this Python; what it says is shown if it fails."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")


def pip(*arguments: object) -> None:
    """Run pip."""
    run("pip", *arguments, folder=ROOT)


def lock_of_pyodide(work: Path) -> dict:
    """Return the lock file of the Pyodide that the kernel asks for, from its package in npm's registry."""
    command = ["npm", "pack", "--silent", f"pyodide@{PYODIDE_VERSION}"]
    subprocess.run(command, cwd=work, check=True, stdout=subprocess.DEVNULL)
    with tarfile.open(work / f"pyodide-{PYODIDE_VERSION}.tgz") as package:
        return json.load(package.extractfile("package/pyodide-lock.json"))


def with_wheels(lock: dict, wheels: list[Path]) -> dict:
    """Return a lock file that names these wheels, which lie beside it, and Pyodide's where they are."""
    for package in lock["packages"].values():
        package["file_name"] = f"{PYODIDE_CDN_URL}/{package['file_name']}"
    ours = {entry["name"]: entry for entry in map(entry_of, wheels)}
    if taken := sorted(set(ours) & set(lock["packages"])):
        raise ValueError(f"Pyodide {PYODIDE_VERSION} has {taken}: leave them out of NOT_IN_PYODIDE")
    lock["packages"] |= ours
    for entry in ours.values():
        for line in entry.pop("needs"):
            found = lock["packages"].get(canonicalize_name(line.name))
            if found is None or not line.specifier.contains(found["version"]):
                raise ValueError(f"{entry['name']} needs {line}, Pyodide has {found and found['version']}")
            entry["depends"].append(found["name"])
    return lock


def entry_of(wheel: Path) -> dict:
    """Return what a lock file says of a wheel, and in ``needs`` what the wheel needs in a browser."""
    content = wheel.read_bytes()
    with zipfile.ZipFile(io.BytesIO(content)) as files:
        names = [name.split("/") for name in files.namelist()]
        [info] = [name for name in names if name[0].endswith(".dist-info") and name[1:] == ["METADATA"]]
        says = Parser().parsestr(files.read("/".join(info)).decode("utf-8"))
    lines = [Requirement(line) for line in says.get_all("Requires-Dist", [])]
    return {
        "name": canonicalize_name(says["Name"]),
        "version": says["Version"],
        "file_name": wheel.name,
        "install_dir": "site",
        "sha256": hashlib.sha256(content).hexdigest(),
        "package_type": "package",
        "imports": sorted({name[0] for name in names if name[-1].endswith(".py") and len(name) > 1}),
        "depends": [],
        "unvendored_tests": False,
        "needs": [
            line
            for line in lines
            if canonicalize_name(line.name) not in RUN_IN_THE_PAGE
            and (line.marker is None or line.marker.evaluate({"extra": "", "platform_system": "Emscripten"}))
        ],
    }


def use_lock(config: Path) -> None:
    """Let the kernel use our lock file, and load our package while it starts."""
    settings = json.loads(config.read_text(encoding="utf-8"))
    plugins = settings["jupyter-config-data"].setdefault("litePluginSettings", {})
    options = {"lockFileURL": f"./{LOCK.as_posix()}", "packages": ["comm", "ipython", "paged-demo"]}
    plugins.setdefault(PYODIDE_KERNEL_PLUGIN_ID, {})["loadPyodideOptions"] = options
    config.write_text(json.dumps(settings, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
