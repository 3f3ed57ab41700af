"""What the tests themselves keep to."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

ENDLESS = """\
from time import sleep

from hypothesis import given, strategies

@given(strategies.integers())
def test_that_never_ends(number):
    while True:
        sleep(0.01)
"""


def test_a_test_that_never_ends_is_a_failure_with_its_name(tmp_path):
    (tmp_path / "test_endless.py").write_text(ENDLESS, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-c", ROOT / "pyproject.toml", "--timeout=1", tmp_path]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert run.returncode != 0
    assert "test_that_never_ends" in run.stdout + run.stderr
