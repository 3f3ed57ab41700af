"""What holds for all tests: how much they try, how long one may take, and in how many processes."""

import os
import sys

# Before NumPy is loaded. On a busy machine the threads of a matrix product wait for each other: tests of the
# language model take several times as long.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import amounts
import pytest
from hypothesis import settings

LONG_TIMEOUT_S = 1200

# nbformat's schema would check addresses by its grammars, which take two seconds to build. It has none.
sys.modules["rfc3987_syntax"] = None

settings.register_profile("short", max_examples=20, deadline=None)
settings.register_profile("long", max_examples=100, deadline=None)


def pytest_addoption(parser):
    parser.addoption(
        "--long", action="store_true", help="whole ranges, all seeds, long walks, and notebooks in a browser"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    config.addinivalue_line("markers", "long: takes so long that it waits for --long")
    amounts.IS_LONG = config.getoption("long")
    settings.load_profile(amounts.amount(short="short", long="long"))
    if amounts.IS_LONG and config.getoption("timeout", 0) is None:
        config.option.timeout = LONG_TIMEOUT_S


def pytest_collection_modifyitems(config, items):
    is_browser_named = any("browser" in argument for argument in config.args)
    for item in items:
        is_in_browser = "browser" in item.path.parts[len(config.rootpath.parts) :]
        is_long = item.get_closest_marker("long") or (is_in_browser and not is_browser_named)
        if is_long and not amounts.IS_LONG:
            item.add_marker(pytest.mark.skip(reason="takes long: add --long"))
        if is_in_browser:
            item.add_marker(pytest.mark.timeout(LONG_TIMEOUT_S))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config):
    """Use a process for each of up to four cores; more would mostly load the same packages once more.

    With ``--long`` there is one more, since one of them mostly waits for a browser.
    """
    # Where the system can tell how many of the cores are for this process.
    num_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(num_cores, 4) + config.getoption("long") if num_cores > 1 else 0


@pytest.fixture
def shell(tmp_path, monkeypatch):
    """Make a shell of IPython's, in which cells run as they do in a notebook's kernel."""
    from IPython.core.interactiveshell import InteractiveShell  # noqa: PLC0415
    from traitlets.config import Config  # noqa: PLC0415

    # A shell calls its own names __main__.
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    shell = InteractiveShell(ipython_dir=str(tmp_path), config=Config({"HistoryManager": {"enabled": False}}))
    shell.run_cell("from paged_demo.course import check, hint")
    return shell
