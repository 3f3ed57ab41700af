"""Notebook 00: a full pool by its page size, and one sequence kept both ways."""

from collections.abc import Mapping

from matplotlib.artist import Artist
from matplotlib.figure import Figure, SubFigure

from paged_demo.allocators.memory_map import MemoryUsage, account
from paged_demo.allocators.studies import keep_one_sequence
from paged_demo.course.nb00_plots import (
    batch_against_page_size,
    usage_bars,
)
from paged_demo.model import MIB, PRESETS, ModelSpec
from paged_demo.paper.numbers import MAX_TOKENS, PAGE_SIZE
from paged_demo.serving.saturation import FullPool
from paged_demo.views import plots, style
from paged_demo.views.amounts import count_of, percent
from paged_demo.views.controls import choice, number
from paged_demo.views.live import Explorer, clear_contents, contents, set_title
from paged_demo.views.strip import slot_strip

LARGEST_PAGE = 256

FATES_OF_A_PAGED_POOL = ("used", "reserved", "internal", "external", "free")


class _PoolScene:
    """The slots of a full pool, cut into pages of one size."""

    frame = None

    def __init__(self, figure: Figure | SubFigure, pools: Mapping[int, FullPool]) -> None:
        self._pools = pools
        self._ax = figure.add_axes((0.02, 0.03, 0.96, 0.85))
        self._ax.yaxis.set_visible(False)
        self._artists: dict[int, list[Artist]] = {}
        self._limits: dict[int, dict[str, tuple[float, float]]] = {}
        self._words: dict[int, str] = {}
        self._page_size = 0

    def update(self, *, page_size: int) -> str:
        if page_size not in self._artists:
            self._draw(page_size)
        for size, artists in self._artists.items():
            for artist in artists:
                artist.set_visible(size == page_size)
        # Pools of other page sizes have rows of other lengths.
        self._ax.set(**self._limits[page_size])
        set_title(self._ax, f"page size {page_size}: {self._pools[page_size].mean_running:.1f} requests")
        self._page_size = page_size
        return self._words[page_size]

    def moving(self) -> list[Artist]:
        return [*self._artists[self._page_size], self._ax.title]

    def _draw(self, page_size: int) -> None:
        pool = self._pools[page_size]
        earlier = set(contents(self._ax))
        slot_strip(pool.memory_map, pool.future_tokens, ax=self._ax)
        self._artists[page_size] = [artist for artist in contents(self._ax) if artist not in earlier]
        self._limits[page_size] = {"xlim": self._ax.get_xlim(), "ylim": self._ax.get_ylim()}
        usage = account(pool.memory_map, pool.future_tokens)
        self._words[page_size] = (
            f"Page size {page_size}: on average {pool.mean_running:.1f} requests in flight, and"
            f" {percent(pool.mean_used_share)} of the {usage.num_slots:,} slots hold a token;"
            f" {pool.num_preempted:,} restarts among {pool.num_requests:,} requests."
            f" In the picture: {len(pool.future_tokens)} requests, {_describe_fates(usage)} slots."
        )


class _DialScene:
    """A full pool, and where its page size lies on the curve of all page sizes."""

    frame = None

    def __init__(self, figure: Figure | SubFigure, pools: Mapping[int, FullPool]) -> None:
        self._pools = pools
        top, bottom = figure.subfigures(2, 1, height_ratios=[5, 1], squeeze=False).flat
        left, right = top.subfigures(1, 2, width_ratios=[11, 9], squeeze=False).flat
        self._pool_scene = _PoolScene(left, pools)
        curve = batch_against_page_size(pools, ax=right.add_axes((0.14, 0.17, 0.83, 0.74)))
        self._mark = curve.plot([], [], "o", markersize=15, markerfacecolor="none", color="black")[0]
        plots.fate_legend(bottom.add_axes((0, 0, 1, 1)), FATES_OF_A_PAGED_POOL, num_columns=3)

    def update(self, *, page_size: int) -> str:
        self._mark.set_data([page_size], [self._pools[page_size].mean_running])
        return self._pool_scene.update(page_size=page_size)

    def moving(self) -> list[Artist]:
        return [*self._pool_scene.moving(), self._mark]


def explore_page_size(pools: Mapping[int, FullPool]) -> Explorer:
    """Explore a full pool by its page size.

    Parameters
    ----------
    pools : mapping of int to FullPool
        What `paged_demo.fill_by_page_size` measured.
    """
    if not pools:
        raise ValueError("pools must hold at least one page size, got none")
    return Explorer(
        lambda figure: _DialScene(figure, pools),
        {"page_size": choice("page size (slots)", pools, PAGE_SIZE if PAGE_SIZE in pools else None)},
        height=4.3,
        make_sheet_scene=lambda figure: _PoolScene(figure, pools),
    )


class _OneSequenceBars:
    """One sequence kept both ways: what it holds, uses and wastes."""

    frame = ""

    def __init__(self, figure: Figure | SubFigure) -> None:
        self._ax = figure.add_axes((0.15, 0.2, 0.71, 0.6))

    def update(self, *, num_tokens: int, page_size: int, model: str) -> str:
        spec = PRESETS[model]
        usages = keep_one_sequence(num_tokens, page_size=page_size, max_tokens=MAX_TOKENS)
        clear_contents(self._ax)
        usage_bars(
            usages,
            model=spec,
            words={"internal": "wasted"},
            axis_slots=MAX_TOKENS + LARGEST_PAGE,
            ax=self._ax,
        )
        comparison = _compare(usages["paged"].allocated, usages["traditional"].allocated)
        length = count_of(num_tokens, "token")
        set_title(self._ax, f"{length}, pages of {page_size}: paging holds {comparison}")
        self.frame = model
        return (
            f"{model}, {length}, page size {page_size}."
            f" Traditional: {_describe_usage(usages['traditional'], spec)}."
            f" Paged: {count_of(usages['paged'].allocated // page_size, 'page')},"
            f" {_describe_usage(usages['paged'], spec)}."
            f" Paging holds {comparison}."
        )

    def moving(self) -> list[Artist]:
        return contents(self._ax)


class _OneSequenceScene:
    """The bars of one sequence, and where its length lies on the curves of all lengths."""

    def __init__(self, figure: Figure | SubFigure) -> None:
        top, bottom = figure.subfigures(2, 1, height_ratios=[2, 3], squeeze=False).flat
        self._bars = _OneSequenceBars(top)
        self._ax = bottom.add_axes((0.15, 0.2, 0.71, 0.76))

    @property
    def frame(self) -> str:
        return self._bars.frame

    def update(self, *, num_tokens: int, page_size: int, model: str) -> str:
        clear_contents(self._ax)
        plots.memory_against_length(PRESETS[model], page_size=page_size, max_tokens=MAX_TOKENS, ax=self._ax)
        self._ax.axvline(num_tokens, color="black", linewidth=1)
        return self._bars.update(num_tokens=num_tokens, page_size=page_size, model=model)

    def moving(self) -> list[Artist]:
        return [*contents(self._ax), *self._bars.moving()]


def explore_one_sequence(model: str = "Llama-2-7B") -> Explorer:
    """Explore what one sequence holds, by its length, the page size and the model.

    Parameters
    ----------
    model : str
        The model to begin with, by its name in ``PRESETS``.
    """
    begin_with = PRESETS[model].name
    return Explorer(
        _OneSequenceScene,
        {
            "num_tokens": number("tokens", 500, lowest=1, highest=MAX_TOKENS),
            "page_size": number("page size (slots)", PAGE_SIZE, lowest=1, highest=LARGEST_PAGE),
            "model": choice("model", PRESETS, begin_with),
        },
        height=4.6,
        make_sheet_scene=_OneSequenceBars,
    )


def _compare(allocated: int, reference: int) -> str:
    if allocated == reference:
        return "as much"
    word = "less" if allocated < reference else "more"
    return f"{percent(abs(1 - allocated / reference))} {word}"


def _describe_usage(usage: MemoryUsage, model: ModelSpec) -> str:
    parts = {"allocated": usage.allocated, "used": usage.used, "wasted": usage.wasted}
    told = [
        f"{count_of(number, 'slot')} ({model.bytes_of(number) / MIB:,.2f} MiB) {word}"
        for word, number in parts.items()
    ]
    return f"{', '.join(told)}, {percent(usage.wasted / usage.allocated)}"


def _describe_fates(usage: MemoryUsage) -> str:
    parts = [f"{getattr(usage, name):,} {name}" for name in style.FATES if getattr(usage, name, 0)]
    return ", ".join(parts)
