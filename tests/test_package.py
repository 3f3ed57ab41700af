import ast
import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import paged_demo
from paged_demo.__main__ import requirements

PACKAGE = Path(paged_demo.__file__).parent

# What each room may import, itself included. Everybody may import paged_demo.checks.
ALLOWED = {
    "checks": [],
    "sizing": ["sizing"],
    "model": ["sizing"],
    "allocators.memory_map": [],
    "allocators": ["allocators"],
    "attention": ["attention"],
    "serving": ["serving", "allocators"],
    "paper": ["paper", "serving", "allocators", "model"],
    "llm": ["llm", "attention", "allocators"],
    "views": ["views", "paper", "serving", "attention", "allocators", "model", "sizing"],
    "course": ["course", "views", "paper", "llm", "serving", "attention", "allocators", "model", "sizing"],
}
CORE = ["sizing", "allocators", "attention", "serving", "paper", "model", "checks"]
HEAVY = ["matplotlib", "ipywidgets", "IPython", "PIL", "jupyterlab", "gguf", "tokenizers"]


def module_name(path):
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


MODULES = {
    module_name(path): path for path in sorted(PACKAGE.rglob("*.py")) if not path.name.startswith("__")
}


def imports(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_in(module, rooms):
    return any(module == room or module.startswith(f"{room}.") for room in rooms)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_from_the_rooms_below_it(module):
    room = next(room for room in ALLOWED if is_in(module, [room]))
    ours = {
        name.removeprefix("paged_demo.")
        for name in imports(MODULES[module])
        if name.startswith("paged_demo.")
    }
    modules = {name for name in ours if name in MODULES}
    assert modules or not ours
    assert all(is_in(name, ["checks", *ALLOWED[room]]) for name in modules), modules


@pytest.mark.parametrize("module", [module for module in MODULES if is_in(module, CORE)])
def test_the_core_imports_numpy_and_the_standard_library_alone(module):
    roots = {name.split(".")[0] for name in imports(MODULES[module])}
    assert roots <= sys.stdlib_module_names | {"numpy", "paged_demo"}


@pytest.mark.parametrize("module", [module for module in MODULES if is_in(module, ["sizing", "checks"])])
def test_sizing_imports_the_standard_library_alone(module):
    roots = {name.split(".")[0] for name in imports(MODULES[module])}
    assert roots <= sys.stdlib_module_names | {"paged_demo"}


@pytest.mark.parametrize("module", [module for module in MODULES if is_in(module, ["llm"])])
def test_the_language_model_needs_two_packages_more_and_no_others(module):
    roots = {name.split(".")[0] for name in imports(MODULES[module])}
    assert roots <= sys.stdlib_module_names | {"numpy", "paged_demo", "gguf", "tokenizers"}


def loaded_after(statement):
    code = f"import json, sys; {statement}; print(json.dumps(sorted(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in json.loads(run.stdout)}


def brought_along_by(lines):
    """Name what pip installs for these requirements, by the metadata of the packages that are here."""
    found, waiting = set(), [(Requirement(line), "") for line in lines]
    while waiting:
        needed, extra_of_parent = waiting.pop()
        if needed.marker and not needed.marker.evaluate({"extra": extra_of_parent}):
            continue
        for extra in ["", *needed.extras]:
            if (needed.name, extra) not in found:
                found.add((needed.name, extra))
                waiting += [(Requirement(line), extra) for line in metadata.requires(needed.name) or []]
    return {canonicalize_name(name) for name, _ in found}


def test_the_package_without_extras_brings_no_jupyter():
    assert {"jupyterlab", "ipykernel", "pyzmq"} <= brought_along_by(requirements("lab"))
    core = brought_along_by(requirements())
    assert "ipywidgets" in core
    assert not core & {"ipykernel", "notebook", "pyzmq", "tornado"}
    # It is ipywidgets' half that runs in a page, and has no code in Python.
    assert [name for name in core if name.startswith("jupyter")] == ["jupyterlab-widgets"]


def test_importing_the_package_loads_nothing_heavy():
    loaded = loaded_after("import paged_demo")
    assert not loaded & {*HEAVY, "numpy"}


def test_using_the_whole_core_loads_neither_matplotlib_nor_ipywidgets():
    loaded = loaded_after("from paged_demo import *")
    assert "numpy" in loaded
    assert not loaded & set(HEAVY)


def test_an_exercise_is_checked_without_matplotlib():
    loaded = loaded_after("from paged_demo.course import check; str(check('3.1', lambda *given: 0))")
    assert "numpy" in loaded
    assert not loaded & set(HEAVY)


def test_every_public_name_is_found_and_listed():
    for name in paged_demo.__all__:
        assert getattr(paged_demo, name) is not None
        assert name in dir(paged_demo)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'paged_demo' has no attribute 'page_pol'"):
        _ = paged_demo.page_pol


def test_type_checkers_see_the_same_public_names_as_meant_to_be_imported():
    stub = ast.parse((PACKAGE / "__init__.pyi").read_text(encoding="utf-8"))
    aliases = [alias for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert [alias.name for alias in aliases] == paged_demo.__all__
    assert all(alias.asname == alias.name for alias in aliases)
