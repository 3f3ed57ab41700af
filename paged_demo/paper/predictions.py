"""What of each figure is predicted, and which figures were not tried: the notebook of results shows it."""

from typing import NamedTuple

from paged_demo.paper.experiment import Table


class Figure(NamedTuple):
    """A figure that we make again.

    Attributes
    ----------
    name : str
        The figure.
    entered : str
        What of it chose or fitted a constant.
    predicted : str
        What of it did not, and can fail.
    """

    name: str
    entered: str
    predicted: str


FIGURES = (
    Figure("Table 1", "memory", "the slots"),
    Figure("2", "the free part of Orca (Max): it chose the pool", "how its rest splits; the other schemes"),
    Figure("12a", "points without congestion", "where each scheme leaves the flat part, and the ratios"),
    Figure("12b, 12c", "one point each", "the same; with few runs of slots, and with many"),
    Figure("12d", "nothing", "all, at ten times the rates of 12a"),
    Figure("13", "nothing", "all but 7.00, the runs of 2,048 in the pool; vLLM's come out too large"),
    Figure("15", "beams of width 2", "samples; beams of widths 4 and 6, where ShareGPT's come out too high"),
    Figure("18b", "the points at pages of 16", "larger pages"),
    Figure("19a", "all points", "nothing"),
)

NOT_ATTEMPTED = {
    "1, 19b": "they show in another way what is made here",
    "12e": "the same rules would do; 12b has its model, and 12d its data set",
    "12f": "bound by arithmetic: 264 GB for short requests, so all schemes batch many (section 6.2)",
    "14": "Orca's samples and beams, whose throughput is not a matter of memory alone",
    "16": "needs the lengths of its translations, which the paper does not give",
    "17": "needs the turns of real conversations, which are not in this repository",
    "18a": "the time of a kernel on a GPU",
}
"""Figures of the paper that we do not make, and why."""


def figures() -> Table:
    """Return what of each figure chose a constant, and what is predicted."""
    return Table(
        title="What of each figure is predicted",
        setup="a part that chose or fitted a constant is no test of the rules",
        rows=[["figure", "entered", "predicted"], *FIGURES],
        notes=[f"Not attempted: Fig. {name}, {why}." for name, why in NOT_ATTEMPTED.items()],
    )
