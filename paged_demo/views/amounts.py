"""Numbers as readers see them: with units, and with the digits that matter."""

from paged_demo.model import GIB, MIB, ModelSpec


def percent(share: float) -> str:
    """Write a share as a percentage, with a second decimal where one would say 0 or 100.

    Examples
    --------
    >>> percent(0.756), percent(0.9995), percent(1)
    ('75.6 %', '99.95 %', '100.0 %')
    """
    decimals = 1 if share in {0, 1} or 0.0005 <= share < 0.9995 else 2
    return f"{100 * share:.{decimals}f} %"


def count_of(number: int, noun: str) -> str:
    """Write how many there are of something.

    Examples
    --------
    >>> count_of(1, "page"), count_of(2048, "token")
    ('1 page', '2,048 tokens')
    """
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def scale_of(num_slots: int, model: ModelSpec | None) -> tuple[float, str]:
    """Choose a unit for so many slots: units per slot, and its name."""
    if model is None:
        return 1, "slots"
    divisor, unit = (GIB, "GiB") if model.bytes_of(num_slots) >= 4 * GIB else (MIB, "MiB")
    return model.bytes_of(1) / divisor, unit


def amount_of(amount: float, unit: str) -> str:
    """Write an amount and its unit, with no more digits than it needs.

    Examples
    --------
    >>> amount_of(1024, "MiB"), amount_of(6.5, "MiB"), amount_of(0.05, "GiB")
    ('1,024 MiB', '6.5 MiB', '51.2 MiB')
    """
    if unit == "GiB" and 0 < amount < 0.1:
        amount, unit = amount * GIB / MIB, "MiB"
    number = (
        f"{amount:,.0f}" if amount >= 100 or unit == "slots" else f"{amount:,.2f}".rstrip("0").rstrip(".")
    )
    return f"{number} {unit}"
