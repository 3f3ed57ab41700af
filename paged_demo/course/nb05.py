"""Notebook 05: two samples part step by step, and what samples and prefixes share."""

from collections.abc import Sequence

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from paged_demo.allocators.memory_map import fates
from paged_demo.allocators.studies import SharedPool, ask_with_prefix, sample_in_parallel
from paged_demo.course import nb05_plots
from paged_demo.course.nb03 import play
from paged_demo.course.nb05_plots import eviction_queues, hits_against_pages, reference_counts  # noqa: F401 - the notebook uses them
from paged_demo.paper.numbers import PAGE_SIZE
from paged_demo.views import plots
from paged_demo.views.amounts import count_of, percent
from paged_demo.views.controls import choice, number
from paged_demo.views.live import Explorer, clear_contents, contents, set_title
from paged_demo.views.player import Player
from paged_demo.views.story import SAMPLES, tell_two_samples

FATES_OF_SAMPLES = ("shared", "reserved", "free")
FATES_OF_SHARED_ROWS = ("shared", "reserved")

PAGE_SIZES = (1, 2, 4, 8, 16, 32, 64)
LONGEST_PROMPT = 95
MOST_SAMPLES = 8
LONGEST_PREFIX = 128
MOST_REQUESTS = 8
OWN_TOKENS = 20


def play_two_samples(sentences: Sequence[str] = tuple(SAMPLES.values())) -> Player:
    """Play two samples of one prompt until they part, as the paper's Fig. 8 does.

    Parameters
    ----------
    sentences : sequence of two str
        What the samples say in the end, as for `paged_demo.views.story.tell_two_samples`.
    """
    moments = tell_two_samples(sentences)
    found = {run.fate for moment in moments for run in fates(moment.memory_map, moment.future_tokens)}
    # The key has room for three, and white speaks for itself.
    key = ("shared", "reserved", "internal") if "internal" in found else FATES_OF_SAMPLES
    return play(moments, key, height=4.6, begin_with=3)


def _longest_row(num_tokens: int) -> int:
    """Return how far a row of so many tokens reaches at most, whatever the page size."""
    return max(-(-num_tokens // size) * size for size in PAGE_SIZES)


class _RowsScene:
    """A shared pool as rows of pages.

    The axes reach as far as the pool does, or always to these limits: tokens of a row, and rows.
    """

    frame = None

    def __init__(self, figure: Figure | SubFigure, limits: tuple[int, int] | None = None) -> None:
        self._limits = limits
        self._rows = _small(figure.add_axes((0.075, 0.26, 0.895, 0.53)))

    def draw(self, pool: SharedPool, title: str) -> None:
        longest, num_rows = self._limits or (max(pool.num_tokens.values()), len(pool.page_tables))
        clear_contents(self._rows)
        nb05_plots.rows_of_shared_pages(
            pool, axis_slots=_longest_row(longest), num_rows=num_rows, ax=self._rows
        )
        set_title(self._rows, title)
        self._rows.title.set_fontsize(10.5)

    def moving(self) -> list[Artist]:
        return contents(self._rows)


def _small(ax: Axes) -> Axes:
    ax.tick_params(labelsize=9)
    for label in (ax.xaxis.label, ax.yaxis.label):
        label.set_fontsize(9)
    return ax


def _halves(figure: Figure | SubFigure) -> tuple[SubFigure, SubFigure]:
    """Part a figure into one for rows, with their key, and one for curves."""
    left, right = figure.subfigures(1, 2, width_ratios=[5, 4], squeeze=False).flat
    plots.fate_legend(left.add_axes((0, 0, 1, 0.12)), FATES_OF_SHARED_ROWS, num_columns=1)
    return left, right


class _SamplesScene(_RowsScene):
    """The samples of a prompt."""

    def update(self, *, prompt: int, samples: int, page_size: int) -> str:
        pool = sample_in_parallel(prompt, samples, page_size=page_size)
        num_pages, num_copied = count_of(pool.num_pages, "page"), len(pool.copies)
        saved, tokens = percent(pool.saved_share), count_of(prompt % page_size, "token")
        held = f"{num_pages}, not {pool.num_pages_unshared:,}: {saved} saved"
        self.draw(
            pool,
            f"{held if pool.saved_share else f'{num_pages}, none saved'}\n"
            + (f"{num_copied} copied (framed), {tokens} each" if num_copied else "nothing copied"),
        )
        copied = (
            "1 page copied, with" if num_copied == 1 else f"{count_of(num_copied, 'page')} copied, each with"
        )
        return (
            f"Prompt of {count_of(prompt, 'token')}, {count_of(samples, 'sample')}, page size {page_size},"
            f" and each sample has one token of its own: {num_pages} held, and"
            f" {pool.num_pages_unshared:,} without sharing; {saved} saved."
            f" {f'{copied} {tokens}' if num_copied else 'Nothing copied'}."
        )


class _SharingScene(_SamplesScene):
    """The same, and what the length of the prompt does to it."""

    def __init__(self, figure: Figure | SubFigure) -> None:
        left, right = _halves(figure)
        super().__init__(left, (LONGEST_PROMPT + 1, MOST_SAMPLES))
        self._saved, self._copied = (
            _small(right.add_axes((0.2, bottom, 0.76, 0.34))) for bottom in (0.57, 0.14)
        )

    def update(self, *, prompt: int, samples: int, page_size: int) -> str:
        for ax in (self._saved, self._copied):
            clear_contents(ax)
        nb05_plots.saved_against_prompt(
            num_samples=samples, page_size=page_size, longest=LONGEST_PROMPT, ax=self._saved
        )
        nb05_plots.copied_against_prompt(page_size=page_size, longest=LONGEST_PROMPT, ax=self._copied)
        for ax in (self._saved, self._copied):
            ax.axvline(prompt, color="black", linewidth=1.2)
        return super().update(prompt=prompt, samples=samples, page_size=page_size)

    def moving(self) -> list[Artist]:
        return [*super().moving(), *contents(self._saved), *contents(self._copied)]


def explore_samples() -> Explorer:
    """Explore what samples of one prompt share, and what they copy."""
    return Explorer(
        _SharingScene,
        {
            "prompt": number("prompt (tokens)", 55, lowest=1, highest=LONGEST_PROMPT),
            "samples": number("samples", 4, lowest=1, highest=MOST_SAMPLES),
            "page_size": choice("page size (slots)", PAGE_SIZES, PAGE_SIZE),
        },
        height=4.2,
        make_sheet_scene=_SamplesScene,
    )


class _RequestsScene(_RowsScene):
    """Requests whose prompts begin alike."""

    def update(self, *, common: int, requests: int, page_size: int) -> str:
        pool = ask_with_prefix(common, requests, page_size=page_size, num_own=OWN_TOKENS)
        asked = sum(pool.num_tokens.values())
        num_pages, saved = count_of(pool.num_pages, "page"), pool.num_pages_unshared - pool.num_pages
        self.draw(
            pool,
            f"{pool.num_found:,} of {asked:,} tokens found\n"
            + (f"{num_pages}, not {pool.num_pages_unshared:,}" if saved else f"{num_pages}, none saved"),
        )
        return (
            f"Common beginning of {count_of(common, 'token')}, {count_of(requests, 'request')}, page size"
            f" {page_size}, and {OWN_TOKENS} tokens of its own for each: {pool.num_found:,} of {asked:,}"
            f" tokens found, {percent(pool.num_found / asked)}; {num_pages} held, {saved:,} saved."
        )


class _PrefixScene(_RequestsScene):
    """The same, and what the length of the beginning does to it."""

    def __init__(self, figure: Figure | SubFigure) -> None:
        left, right = _halves(figure)
        super().__init__(left, (LONGEST_PREFIX + OWN_TOKENS, MOST_REQUESTS))
        self._found = _small(right.add_axes((0.22, 0.2, 0.74, 0.66)))

    def update(self, *, common: int, requests: int, page_size: int) -> str:
        clear_contents(self._found)
        nb05_plots.found_against_prefix(page_size=page_size, longest=LONGEST_PREFIX, ax=self._found)
        self._found.axvline(common, color="black", linewidth=1.2)
        return super().update(common=common, requests=requests, page_size=page_size)

    def moving(self) -> list[Artist]:
        return [*super().moving(), *contents(self._found)]


def explore_prefixes() -> Explorer:
    """Explore what prompts that begin alike find in the cache."""
    return Explorer(
        _PrefixScene,
        {
            "common": number("common (tokens)", 100, lowest=0, highest=LONGEST_PREFIX),
            "requests": number("requests", 4, lowest=1, highest=MOST_REQUESTS),
            "page_size": choice("page size (slots)", PAGE_SIZES, PAGE_SIZE),
        },
        height=3.8,
        make_sheet_scene=_RequestsScene,
    )
