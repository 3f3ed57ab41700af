"""One look for every picture: the fates of a slot, the tints of a sequence, the fonts.

The colours were found by search. The smallest CIEDE2000 difference between two fates, in the worst of
normal, protan, deutan and tritan sight (Machado et al. 2009, severity 100), is 16.4; in the Okabe-Ito
palette it is 10.9. In grey any two fates are 8 L* apart or more. Two tints differ by 12.4 or more.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.transforms import ScaledTranslation, Transform

from paged_demo.checks import check_whole
from paged_demo.model import GIB, MIB, UNITS, ModelSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What became of a slot, and how it is drawn.

    Attributes
    ----------
    name : str
        The word for it, as in ``MemoryUsage``.
    colour : str
        Fill, as ``#RRGGBB``.
    hatch : str
        Matplotlib hatch; empty for a plain fill.
    ink : str
        Colour of text and hatch on the fill, with a contrast of at least 4.5 (WCAG AA).
    meaning : str
        One line for a legend or a caption.
    outline : str
        Colour of the border; empty for none.
    """

    name: str
    colour: str
    hatch: str
    ink: str
    meaning: str
    outline: str = ""

    def patch_style(self) -> dict[str, Any]:
        """Return keyword arguments for a patch, a collection or a bar of this fate."""
        return {
            "facecolor": self.colour,
            "hatch": self.hatch or None,
            # The hatch takes the edge's colour, even where the edge has no width. Part transparent, it marks
            # the fate and leaves the fill to speak first.
            "edgecolor": self.outline or (self.ink, 0.6),
            "linewidth": 0.8 if self.outline else 0.0,
        }

    def text_style(self) -> dict[str, Any]:
        """Return keyword arguments for text on this fate: ink on a plain plate, clear of the hatch."""
        return {"color": self.ink, "bbox": {"facecolor": self.colour, "edgecolor": "none", "pad": 1.0}}


_FATES = (
    Fate(name="used", colour="#0A48B8", hatch="", ink="white", meaning="holds a token"),
    Fate(name="reserved", colour="#E5B520", hatch="//", ink="black", meaning="held, will be written later"),
    Fate(name="internal", colour="#B8440F", hatch="xx", ink="white", meaning="held, will never be written"),
    Fate(name="rounding", colour="#807E76", hatch="++", ink="black", meaning="held, but never asked for"),
    Fate(name="external", colour="#37282F", hatch="..", ink="white", meaning="free, in too small a hole"),
    Fate(name="cached", colour="#B6D4FF", hatch="--", ink="black", meaning="free, and can be found"),
    Fate(name="free", colour="#F5F5F5", hatch="", ink="black", meaning="free, and empty", outline="#8C8C8C"),
    Fate(name="shared", colour="#559BBC", hatch="\\\\", ink="black", meaning="used by several sequences"),
)

FATES: Mapping[str, Fate] = MappingProxyType({fate.name: fate for fate in _FATES})
"""Every fate by name, in legend order: the seven that add up to the pool, then ``shared``, a kind of used."""

TRADITIONAL = FATES["internal"].colour
PAGED = FATES["used"].colour
"""The two series of every comparison. Their lightness is close, so tell their lines apart by dashes too."""

RUNNING = FATES["used"].colour
WAITING = "#BDBDBD"
"""Running requests, and in the queue."""

SCHEMES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "Orca (Max)": {"color": FATES["internal"].colour, "marker": "s"},
        "Orca (Pow2)": {"color": FATES["rounding"].colour, "marker": "^"},
        "Orca (Oracle)": {"color": FATES["external"].colour, "marker": "D"},
        "vLLM": {"color": FATES["used"].colour, "marker": "o"},
    }
)
"""Lines of the four systems that the paper compares: a colour and a marker each."""

SEQUENCE_TINTS = ("#70C0E0", "#FFE0B8", "#A89020", "#E564A4", "#609F71", "#B0D060", "#8888F0", "#DBA8A5")
"""Plain fills for the cells of a sequence, all for black ink. They recur: the letter is the identity."""

_DARK = "#1A1A1A"

RC: dict[str, Any] = {
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "axes.facecolor": "white",
    # A reader's dark theme makes these white, and white would vanish on our background.
    "text.color": _DARK,
    "axes.edgecolor": _DARK,
    "axes.labelcolor": _DARK,
    "xtick.color": _DARK,
    "ytick.color": _DARK,
    # For figures 9 inches wide, which a notebook shows about 900 pixels wide. Matplotlib brings this font.
    "font.family": ["DejaVu Sans"],
    "font.size": 11.0,
    "axes.titlesize": 12.0,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "hatch.linewidth": 0.8,
}

MARK: Mapping[str, Any] = MappingProxyType(
    {"marker": "o", "markersize": 15, "markerfacecolor": "none", "color": "black"}
)
"""A ring around the point of a curve that the controls are set to."""

# Behind a label that a line may cross.
PLATE = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5}

MOST_LABELLED_DIGITS = 18
LABELLED_PAGE_SIZES = (1, 4, 16, 64, 256, 2048)


DRAWING = threading.RLock()
"""Held by whoever draws. JupyterLab may see to a slider in a second thread, and Matplotlib's settings, which
a style changes while it is applied, are those of all threads."""


@contextmanager
def applied(more: Mapping[str, Any] = MappingProxyType({})) -> Iterator[None]:
    """Draw in this style inside the ``with`` block, alone; the reader's own settings return after it.

    Some settings act when an artist is made and some when it is drawn, so create and save a figure inside.

    Parameters
    ----------
    more : mapping of str to object
        Settings of Matplotlib's to make beside those of the style.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> with applied():
    ...     spines = Figure().subplots().spines
    >>> spines["top"].get_visible()
    False
    """
    settings: Any = RC | dict(more)  # Matplotlib 3.11 types the keys as literals, earlier versions as str
    with DRAWING:
        if all(mpl.rcParams[name] == value for name, value in settings.items()):
            yield  # Inside another block; to keep all settings a second time takes a third of a millisecond.
            return
        with mpl.rc_context(settings):
            yield


def note(
    ax: Axes,
    text: str,
    point: tuple[float, float],
    offset: tuple[float, float],
    *,
    transform: Transform | None = None,
    **look: Any,
) -> None:
    """Write a note beside a point, which is one of the data if no transform is given."""
    # An annotation would look the same, and take five times as long to draw.
    ax.text(*point, text, transform=beside(ax, offset, transform), **{"va": "center"} | look)


def beside(ax: Axes, offset: tuple[float, float], transform: Transform | None = None) -> Transform:
    """Move a transform by an offset in points, which is the same at every scale."""
    figure = ax.get_figure()
    assert figure is not None
    x, y = offset
    return (transform or ax.transData) + ScaledTranslation(x / 72, y / 72, figure.dpi_scale_trans)


def rectangle(ax: Axes, x: float, y: float, width: float, height: float, **look: Any) -> None:
    """Draw a rectangle on axes whose limits are set by hand: to find them would take longer than to draw."""
    ax.add_artist(Rectangle((x, y), width, height, **look))


def arrow(
    ax: Axes, start: tuple[float, float], end: tuple[float, float], *, bend: float = 0, width: float = 1.6
) -> None:
    """Draw an arrow from a point to another."""
    look = {"arrowstyle": "->", "color": "black", "linewidth": width, "connectionstyle": f"arc3,rad={bend}"}
    ax.annotate("", end, start, arrowprops=look)


def bare(ax: Axes) -> None:
    """Take the frame and the tick marks off some axes; labels stay."""
    if any(spine.get_visible() for spine in ax.spines.values()):  # A live picture's axes are bare already.
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)


def page_size_axis(ax: Axes, sizes: Sequence[int]) -> None:
    """Give some axes page sizes, powers of two, from left to right. Of many only some have a label."""
    ax.set_xscale("log", base=2)
    num_digits = sum(len(str(size)) for size in sizes)
    labelled = sizes if num_digits <= MOST_LABELLED_DIGITS else LABELLED_PAGE_SIZES
    ax.set_xticks(sizes, [str(size) if size in labelled else "" for size in sizes])
    ax.set_xlabel("page size (slots)")


def sequence_letter(index: int) -> str:
    """Return the letter of the sequence at `index`, counting from 0: A to Z, then AA, AB and on.

    Examples
    --------
    >>> [sequence_letter(index) for index in (0, 25, 26, 27, 702)]
    ['A', 'Z', 'AA', 'AB', 'AAA']
    """
    letters = ""
    number = check_whole("index", index, minimum=0) + 1
    while number:
        # No digit of this system means zero (Z is followed by AA), hence the step back before each division.
        number, digit = divmod(number - 1, 26)
        letters = chr(ord("A") + digit) + letters
    return letters


def sequence_tint(index: int) -> str:
    """Return the fill, for black ink, of the sequence at `index`; the tints recur after the last.

    Examples
    --------
    >>> sequence_tint(0) == sequence_tint(len(SEQUENCE_TINTS))
    True
    """
    return SEQUENCE_TINTS[check_whole("index", index, minimum=0) % len(SEQUENCE_TINTS)]


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


def memory_of(num_bytes: float, unit: str) -> str:
    """Write so many bytes in a unit of `paged_demo.model.UNITS`.

    Examples
    --------
    >>> memory_of(12 * 2**30, "GiB"), memory_of(12 * 2**30, "GB")
    ('12 GiB', '12.88 GB')
    """
    return amount_of(num_bytes / UNITS[unit], unit)
