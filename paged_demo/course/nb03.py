"""Notebook 03: two requests in pages, step by step, and what the size of a page costs and brings."""

from collections.abc import Mapping, Sequence

from matplotlib.artist import Artist
from matplotlib.figure import Figure, SubFigure

from paged_demo.allocators.studies import measure_page_size
from paged_demo.course import nb03_plots
from paged_demo.course.nb03_plots import translation, waste_against_length  # noqa: F401 - the notebook uses them
from paged_demo.paper.numbers import PAGE_SIZE
from paged_demo.serving.workload import Request
from paged_demo.views import plots
from paged_demo.views.amounts import count_of, percent
from paged_demo.views.controls import choice
from paged_demo.views.live import Explorer, clear_contents, contents, set_title
from paged_demo.views.player import Player
from paged_demo.views.story import Moment, tell_two_requests

FATES_OF_A_STORY = ("reserved", "internal", "free")


class _PoolScene:
    """The pool of a story alone, for the film strip."""

    frame = None

    def __init__(
        self, figure: Figure | SubFigure, moments: Sequence[Moment], *, counts_references: bool
    ) -> None:
        self._moments = moments
        self._counts_references = counts_references
        self._ax = figure.add_axes((0.06, 0.03, 0.92, 0.84))

    def update(self, *, step: int) -> str:
        moment = self._moments[step - 1]
        clear_contents(self._ax)
        plots.words_in_pages(
            moment.memory_map,
            moment.future_tokens,
            moment.words,
            new_slots=moment.new_slots,
            copies=moment.copies,
            counts_references=self._counts_references,
            font_size=7,
            ax=self._ax,
        )
        set_title(self._ax, f"{step}. {moment.title}")
        return _tell_moment(step, len(self._moments), moment)

    def moving(self) -> list[Artist]:
        return contents(self._ax)


class _StoryScene:
    """The sequences of a story as they see themselves, and the pool they lie in."""

    frame = None

    def __init__(self, figure: Figure | SubFigure, moments: Sequence[Moment], key: Sequence[str]) -> None:
        self._moments = moments
        self._counts_references = "shared" in key
        self._ax = figure.add_axes((0.01, 0.1, 0.98, 0.82))
        plots.fate_legend(figure.add_axes((0, 0, 1, 0.09)), key, num_columns=3)

    def update(self, *, step: int) -> str:
        moment = self._moments[step - 1]
        clear_contents(self._ax)
        plots.words_in_pages(
            moment.memory_map,
            moment.future_tokens,
            moment.words,
            page_tables=moment.page_tables,
            new_slots=moment.new_slots,
            copies=moment.copies,
            counts_references=self._counts_references,
            ax=self._ax,
        )
        set_title(self._ax, f"step {step} of {len(self._moments)}: {moment.title}")
        return _tell_moment(step, len(self._moments), moment)

    def moving(self) -> list[Artist]:
        return contents(self._ax)


def play_two_requests() -> Player:
    """Play two requests through a small pool of pages, as the paper's Figs. 6 and 7 do."""
    return play(tell_two_requests(), FATES_OF_A_STORY, height=4.6, begin_with=2)  # the first is empty


def play(moments: Sequence[Moment], key: Sequence[str], *, height: float, begin_with: int = 1) -> Player:
    """Play a story in steps.

    Parameters
    ----------
    moments : sequence of Moment
        The story.
    key : sequence of str
        Fates to explain below it. If ``shared`` is one, the references to each page are counted too.
    height : float
        Height of the picture in inches.
    begin_with : int
        The step to show first.
    """
    return Player(
        lambda figure: _StoryScene(figure, moments, key),
        len(moments),
        height=height,
        make_sheet_scene=lambda figure: _PoolScene(figure, moments, counts_references="shared" in key),
        begin_with=begin_with,
    )


def _tell_moment(step: int, num_steps: int, moment: Moment) -> str:
    tables = "; ".join(f"{seq_id} in pages {_listed(table)}" for seq_id, table in moment.page_tables.items())
    return f"Step {step} of {num_steps}, {moment.title}. {moment.told} Held now: {tables or 'nothing'}."


def _listed(page_table: Sequence[int]) -> str:
    return ", ".join(map(str, page_table))


NUM_ROWS = 10
FATES_OF_A_PAGE = ("used", "internal")
EFFECTS = {
    "wasted_share": "wasted slots (%)",
    "mean_pages": "entries of a page table",
    "shareable_share": "prompts with a page\nto share (%)",
}


class _Workloads:
    """Requests by workload, and what each page size means for them."""

    def __init__(self, workloads: Mapping[str, Sequence[Request]], page_sizes: Sequence[int]) -> None:
        self.page_sizes = tuple(page_sizes)
        self.lengths = {
            name: [request.num_prompt_tokens + request.num_output_tokens for request in requests]
            for name, requests in workloads.items()
        }
        prompts = {
            name: [request.num_prompt_tokens for request in requests] for name, requests in workloads.items()
        }
        self.effects = {
            name: {
                size: measure_page_size(prompts[name], self.lengths[name], page_size=size)
                for size in page_sizes
            }
            for name in workloads
        }


class _RowsScene:
    """The first sequences of a workload, in rows of pages."""

    frame = None

    def __init__(self, figure: Figure | SubFigure, workloads: _Workloads) -> None:
        self._workloads = workloads
        self._ax = figure.add_axes((0.03, 0.28, 0.92, 0.58))
        self._ax.tick_params(labelsize=9)
        self._ax.xaxis.label.set_fontsize(9)

    def update(self, *, page_size: int, workload: str) -> str:
        effect = self._workloads.effects[workload][page_size]
        lengths = self._workloads.lengths[workload][:NUM_ROWS]
        reach = max(-(-length // size) * size for length in lengths for size in self._workloads.page_sizes)
        clear_contents(self._ax)
        nb03_plots.rows_of_pages(lengths, page_size=page_size, axis_slots=reach, ax=self._ax)
        set_title(self._ax, f"{workload}, pages of {page_size}: {percent(effect.wasted_share)} wasted")
        self._ax.title.set_fontsize(10.5)
        # The axis reaches as far as the workload's longest row.
        self.frame = workload
        return (
            f"{workload}, page size {page_size}. A sequence wastes {effect.mean_wasted:.1f} slots on average,"
            f" {percent(effect.wasted_share)} of what it holds; its page table has {effect.mean_pages:.1f}"
            f" entries; {percent(effect.shareable_share)} of the prompts fill a page that others could share."
        )

    def moving(self) -> list[Artist]:
        return contents(self._ax)


class _PageSizeScene:
    """Rows of pages, and where the page size lies on the curves of its effects."""

    def __init__(self, figure: Figure | SubFigure, workloads: _Workloads) -> None:
        self._workloads = workloads
        left, right = figure.subfigures(1, 2, width_ratios=[5, 4], squeeze=False).flat
        plots.fate_legend(left.add_axes((0, 0, 1, 0.14)), FATES_OF_A_PAGE, num_columns=1)
        self._rows = _RowsScene(left, workloads)
        self._marks = []
        for index, (name, label) in enumerate(EFFECTS.items()):
            ax = right.add_axes((0.17, 0.7 - 0.3 * index, 0.8, 0.23))
            nb03_plots.effect_against_page_size(workloads.effects, name, label=label, ax=ax)
            ax.yaxis.label.set_fontsize(8)
            ax.tick_params(labelsize=8)
            if index < len(EFFECTS) - 1:
                ax.set_xlabel("")
            if index == 0:
                ax.legend(fontsize=8, loc="upper left")
            self._marks.append(ax.axvline(1, color="black", linewidth=1.2))

    @property
    def frame(self) -> str | None:
        return self._rows.frame

    def update(self, *, page_size: int, workload: str) -> str:
        for mark in self._marks:
            mark.set_xdata([page_size, page_size])
        return self._rows.update(page_size=page_size, workload=workload)

    def moving(self) -> list[Artist]:
        return [*self._rows.moving(), *self._marks]


def explore_page_choice(workloads: Mapping[str, Sequence[Request]], page_sizes: Sequence[int]) -> Explorer:
    """Explore what the size of a page wastes, and what it leaves to share.

    Parameters
    ----------
    workloads : mapping of str to sequence of Request
        Requests by the name of their workload.
    page_sizes : sequence of int
        Sizes to choose from, in slots.
    """
    if not workloads or not all(workloads.values()):
        raise ValueError(
            f"workloads must hold requests for every name, got {count_of(len(workloads), 'name')}"
        )
    measured = _Workloads(workloads, page_sizes)
    begin_with = PAGE_SIZE if PAGE_SIZE in measured.page_sizes else measured.page_sizes[0]
    return Explorer(
        lambda figure: _PageSizeScene(figure, measured),
        {
            "page_size": choice("page size (slots)", measured.page_sizes, begin_with),
            "workload": choice("workload", workloads),
        },
        height=4.4,
        make_sheet_scene=lambda figure: _RowsScene(figure, measured),
    )
