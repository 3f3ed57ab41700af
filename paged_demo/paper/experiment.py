"""What every experiment needs: the paper's servers, traces to send them, and a record beside its numbers."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from html import escape
from math import ceil, sqrt
from statistics import fmean, stdev

import numpy as np

from paged_demo.allocators.placement import buddy
from paged_demo.allocators.traditional import ReservationPolicy, reserve_max, reserve_oracle, reserve_pow2
from paged_demo.checks import came, check_iterable, check_positive, check_whole, follow
from paged_demo.model import PRESETS
from paged_demo.paper.numbers import MAX_TOKENS, NUM_PAGES_13B, PAGE_SIZE, SCHEMES, TABLE_1
from paged_demo.serving.iteration_time import OPT_13B_ITERATION, IterationTime
from paged_demo.serving.rules import PagedPool, Pool, TraditionalPool
from paged_demo.serving.run import Progress
from paged_demo.serving.workload import LengthDistribution, Request, poisson_arrivals


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperServer:
    """A model on the paper's hardware.

    Attributes
    ----------
    num_pages : int
        Pages of 16 slots.
    iteration_time : IterationTime
        How long an iteration takes.
    trace_s : float
        How long the paper's traces for it last, in seconds (section 6.1).
    """

    num_pages: int
    iteration_time: IterationTime
    trace_s: float = 3600

    def pools(self) -> dict[str, Pool]:
        """Make the pools that the paper compares, all of one size."""
        reservations = (reserve_max(MAX_TOKENS), reserve_pow2(MAX_TOKENS), reserve_oracle)
        pools: dict[str, Pool] = {
            scheme: orca_pool(self.num_pages * PAGE_SIZE, reserve)
            for scheme, reserve in zip(SCHEMES, reservations, strict=False)
        }
        return pools | {"vLLM": PagedPool(num_pages=self.num_pages, page_size=PAGE_SIZE)}


def orca_pool(num_slots: int, reserve: ReservationPolicy) -> TraditionalPool:
    """Make a pool of the paper's Orca, which places its runs with a buddy allocator (section 6.1)."""
    placement = partial(buddy, max_tokens=MAX_TOKENS)
    return TraditionalPool(num_slots=num_slots, reserve=reserve, placement=placement)


def _larger_server(
    model: str,
    *,
    num_gpus: int,
    bytes_per_s: float,
    parameters: float,
    fixed_s: float,
    trace_s: float = 3600,
) -> PaperServer:
    """Take OPT-13B's server to a larger model on several GPUs, which share all bytes and operations."""
    column = TABLE_1[model]
    iteration_time = replace(
        OPT_13B_ITERATION,
        fixed_s=fixed_s,
        weights_s=column.weights_gb * 1e9 / (num_gpus * bytes_per_s),
        compute_s=OPT_13B_ITERATION.compute_s * parameters / 13e9 / num_gpus,
        kv_read_s=PRESETS[model].kv_bytes_per_token / (num_gpus * bytes_per_s),
    )
    num_pages = round(1000 * column.thousand_slots) // PAGE_SIZE
    return PaperServer(num_pages=num_pages, iteration_time=iteration_time, trace_s=trace_s)


SERVERS: Mapping[str, PaperServer] = {
    "OPT-13B": PaperServer(num_pages=NUM_PAGES_13B, iteration_time=OPT_13B_ITERATION),
    "OPT-66B": _larger_server("OPT-66B", num_gpus=4, bytes_per_s=1.555e12, parameters=66e9, fixed_s=29e-3),
    "OPT-175B": _larger_server(
        "OPT-175B", num_gpus=8, bytes_per_s=2.039e12, parameters=175e9, fixed_s=59e-3, trace_s=900
    ),
}
"""The paper's three servers, by model.

Pages: those of Table 1's slots, in whole pages; those of OPT-13B are inferred. Bandwidths of an A100: 1.555
TB/s with 40 GB, 2.039 TB/s with 80 GB (NVIDIA's data sheet). ``fixed_s`` of the larger models is fitted to a
point each of Fig. 12 without congestion: vLLM at 0.4 requests/s (OPT-66B) and at 1.5 (OPT-175B)."""


def draw_trace(
    lengths: LengthDistribution, *, rate_rps: float, duration_s: float, rng: np.random.Generator
) -> list[Request]:
    """Draw the requests that arrive within a time.

    Parameters
    ----------
    lengths : LengthDistribution
        How long they are.
    rate_rps : float
        Requests per second on average.
    duration_s : float
        When the trace ends, in seconds.
    rng : numpy.random.Generator
        Where the randomness comes from.

    Raises
    ------
    ValueError, TypeError
        If a rate or a duration is not a finite number above 0, or nobody arrives within the time.
    """
    if not isinstance(lengths, LengthDistribution):
        raise TypeError(f"lengths must be a LengthDistribution, such as sharegpt, got {lengths!r}")
    rate_rps, duration_s = check_positive("rate_rps", rate_rps), check_positive("duration_s", duration_s)
    expected = check_positive("rate_rps times duration_s", rate_rps * duration_s)
    # Six standard deviations above the mean: a Poisson process sends no more in practice.
    requests = lengths.sample(ceil(expected + 6 * sqrt(expected) + 6), rng=rng)
    arrived = poisson_arrivals(requests, rate_rps=rate_rps, rng=rng)
    trace = [request for request in arrived if request.arrival_s < duration_s]
    if not trace:
        raise ValueError(f"duration_s must be long enough for a request, got {duration_s} at {rate_rps}/s")
    return trace


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


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Table:
    """What a notebook shows of results: text, and HTML.

    Attributes
    ----------
    title, setup : str
        What is measured, and on what.
    rows : sequence of sequence of str
        The cells; the first row holds the names of the columns.
    notes : sequence of str
        What else a reader has to know.
    """

    title: str
    setup: str
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()

    def __str__(self) -> str:
        widths = [max(map(len, column)) for column in zip(*self.rows, strict=True)]
        lines = [
            "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in self.rows
        ]
        return "\n".join([self.title, self.setup, *lines, *self.notes])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        names, *rows = self.rows
        head, body = _table_row("th", names), "".join(_table_row("td", row) for row in rows)
        return (
            f"<p><b>{escape(self.title)}</b><br>{escape(self.setup)}</p>"
            f"<table><thead>{head}</thead><tbody>{body}</tbody></table>"
            f"<p>{'<br>'.join(map(escape, self.notes))}</p>"
        )


class ShownAsTable(ABC):
    """Results that show themselves as their table."""

    __slots__ = ()

    @abstractmethod
    def table(self) -> Table:
        """Return the cells as they are shown, with what lies behind them."""

    def __str__(self) -> str:
        return str(self.table())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()


def _table_row(tag: str, cells: Iterable[str]) -> str:
    return f"<tr>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in cells)}</tr>"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Experiment(ShownAsTable):
    """A table of comparisons.

    Attributes
    ----------
    title : str
        What is measured, in which unit, and which figure of the paper shows it.
    setup : str
        The workload, and how long it runs.
    rows : mapping of str to mapping of str to Comparison
        The table, by row and column.
    entered : str
        What of the paper's figures was used to choose or to fit a constant.
    not_reproduced : str
        What the figure shows and these rules do not give.
    """

    title: str
    setup: str
    rows: Mapping[str, Mapping[str, Comparison]]
    entered: str
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

    def table(self) -> Table:
        """Return the cells as they are shown, with what lies behind them."""
        columns = self.columns
        rows = ([name, *(str(row.get(column, "")) for column in columns)] for name, row in self.rows.items())
        spread = f", mean and standard deviation of {self.num_seeds} seeds" if self.num_seeds > 1 else ""
        return Table(
            title=f"{self.title} (paper / ours{spread})",
            setup=self.setup,
            rows=[["", *columns], *rows],
            notes=[f"Entered: {self.entered}", f"Not reproduced: {self.not_reproduced}"],
        )


def over_seeds(
    measure: Callable[[int], Mapping[str, Mapping[str, float]]],
    seeds: Iterable[int],
    published: Mapping[str, Mapping[str, float]],
    progress: Progress,
) -> dict[str, dict[str, Comparison]]:
    """Measure a table for each seed, and set it beside the published one."""
    tables = [measure(seed) for seed in follow(progress, check_seeds(seeds))]
    return {
        name: {
            column: Comparison(
                published.get(name, {}).get(column), tuple(float(table[name][column]) for table in tables)
            )
            for column in row
        }
        for name, row in tables[0].items()
    }


def check_names(argument: str, chosen: Iterable[str], known: Iterable[str]) -> list[str]:
    """Return names, such as those of data sets, as a list, or say which there are."""
    listed, names = check_iterable(argument, chosen, "names"), list(known)
    if not listed:
        raise ValueError(f"{argument} must hold at least one of {', '.join(names)}, got none")
    for name in listed:
        if name not in names:
            raise ValueError(f"{argument} must be of {', '.join(names)}; got {came(name)}")
    return listed


def check_seeds(seeds: Iterable[int]) -> list[int]:
    """Return the seeds as a list, or say why they are none."""
    listed = check_iterable("seeds", seeds, "whole numbers")
    checked = [check_whole("seed", seed, minimum=0) for seed in listed]
    if not checked:
        raise ValueError("seeds must hold at least one seed, got none")
    return checked
