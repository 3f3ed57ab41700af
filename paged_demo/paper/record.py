"""The record of an experiment: the paper's numbers and ours, and what lies behind them."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from html import escape
from statistics import fmean, stdev

from paged_demo.checks import check_count
from paged_demo.serving.run import Progress


@dataclass(frozen=True, slots=True)
class Comparison:
    """One number of the paper, and ours for each seed.

    Attributes
    ----------
    paper : float or None
        None where the paper gives no number.
    ours : tuple of float
        One for each seed.

    Examples
    --------
    >>> print(Comparison(7.0, (6.0, 8.0)))
    7.00 / 7.00 ± 1.41
    """

    paper: float | None
    ours: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The mean of ours."""
        return fmean(self.ours)

    @property
    def spread(self) -> float:
        """The standard deviation of ours over the seeds; 0 for a single one."""
        return stdev(self.ours) if len(self.ours) > 1 else 0.0

    def __str__(self) -> str:
        decimals = 3 if max(self.paper or 0, self.mean) < 1 else 2
        paper = "-" if self.paper is None else f"{self.paper:.{decimals}f}"
        spread = f" ± {self.spread:.{decimals}f}" if len(self.ours) > 1 else ""
        return f"{paper} / {self.mean:.{decimals}f}{spread}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """A table of comparisons.

    Attributes
    ----------
    title : str
        What is measured, in which unit, and which figure of the paper shows it.
    setup : str
        The workload, and how long it runs.
    rows : mapping of str to mapping of str to Comparison
        The table, by row and column.
    fitted : str
        What was fitted, and on which points.
    not_reproduced : str
        What the figure shows and these rules do not give.
    """

    title: str
    setup: str
    rows: Mapping[str, Mapping[str, Comparison]]
    fitted: str
    not_reproduced: str

    @property
    def columns(self) -> list[str]:
        """The names of the columns; a row may lack some."""
        return list(dict.fromkeys(name for row in self.rows.values() for name in row))

    def column(self, name: str) -> dict[str, Comparison]:
        """Return the cells of a column by row, of the rows that have it."""
        return {row: cells[name] for row, cells in self.rows.items() if name in cells}

    @property
    def num_seeds(self) -> int:
        """How many seeds the spread is over."""
        return max((len(cell.ours) for row in self.rows.values() for cell in row.values()), default=0)

    def __str__(self) -> str:
        columns = self.columns
        table = [["", *columns]]
        table += [
            [name, *(str(row.get(column, "")) for column in columns)] for name, row in self.rows.items()
        ]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = [
            "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in table
        ]
        spread = f", mean and standard deviation of {self.num_seeds} seeds" if self.num_seeds > 1 else ""
        return "\n".join(
            [
                f"{self.title} (paper / ours{spread})",
                self.setup,
                *lines,
                f"Fitted: {self.fitted}",
                f"Not reproduced: {self.not_reproduced}",
            ]
        )

    __repr__ = __str__

    def _repr_html_(self) -> str:
        title, setup, *_, fitted, not_reproduced = (escape(line) for line in str(self).split("\n"))
        head = _table_row("th", ["", *self.columns])
        body = "".join(
            _table_row("td", [name, *(str(row.get(column, "")) for column in self.columns)])
            for name, row in self.rows.items()
        )
        return (
            f"<p><b>{title}</b><br>{setup}</p><table><thead>{head}</thead><tbody>{body}</tbody></table>"
            f"<p>{fitted}<br>{not_reproduced}</p>"
        )


def _table_row(tag: str, cells: Iterable[str]) -> str:
    return f"<tr>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in cells)}</tr>"


def over_seeds(
    measure: Callable[[int], Mapping[str, Mapping[str, float]]],
    seeds: Iterable[int],
    published: Mapping[str, Mapping[str, float]],
    progress: Progress,
) -> dict[str, dict[str, Comparison]]:
    """Measure a table for each seed, and set it beside the published one."""
    tables = [measure(seed) for seed in progress(check_seeds(seeds))]
    return {
        name: {
            column: Comparison(
                published.get(name, {}).get(column), tuple(float(table[name][column]) for table in tables)
            )
            for column in row
        }
        for name, row in tables[0].items()
    }


def check_seeds(seeds: Iterable[int]) -> list[int]:
    """Return the seeds as a list, or say why they are none."""
    try:
        listed = list(seeds)
    except TypeError:
        raise TypeError(f"seeds must be an iterable of whole numbers, got {seeds!r}") from None
    checked = [check_count("seed", seed, minimum=0) for seed in listed]
    if not checked:
        raise ValueError("seeds must hold at least one seed, got none")
    return checked
