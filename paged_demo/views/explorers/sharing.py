"""Notebook 05: two samples part step by step, and what samples and prefixes share."""

import ipywidgets as widgets
from matplotlib.artist import Artist
from matplotlib.figure import Figure, SubFigure

from paged_demo.allocators.sharing import ask_with_prefix, sample_in_parallel
from paged_demo.serving.paper import PAGE_SIZE
from paged_demo.views import plots
from paged_demo.views.amounts import count_of, percent
from paged_demo.views.explorers.controls import LOOKS
from paged_demo.views.explorers.pages import play
from paged_demo.views.explorers.player import Player
from paged_demo.views.live import Explorer, clear_contents, contents, set_title
from paged_demo.views.story import tell_two_samples

FATES_OF_SAMPLES = ("shared", "reserved", "free")
FATES_OF_SHARED_ROWS = ("shared", "reserved")

PAGE_SIZES = (1, 2, 4, 8, 16, 32, 64)
LONGEST_PROMPT = 95
MOST_SAMPLES = 8
LONGEST_PREFIX = 128
MOST_REQUESTS = 8
OWN_TOKENS = 20


def play_two_samples() -> Player:
    """Play two samples of one prompt until they part, as the paper's Fig. 8 does."""
    return play(tell_two_samples(), FATES_OF_SAMPLES, height=4.6, begin_with=3)


def _longest_row(num_tokens: int) -> int:
    """Return how far a row of so many tokens reaches at most, whatever the page size."""
    return max(-(-num_tokens // size) * size for size in PAGE_SIZES)


class _SamplesScene:
    """The samples of a prompt as rows of pages."""

    frame = None

    def __init__(self, figure: Figure | SubFigure) -> None:
        self._rows = figure.add_axes((0.075, 0.26, 0.895, 0.6))
        self._rows.tick_params(labelsize=9)
        self._rows.xaxis.label.set_fontsize(9)

    def update(self, *, prompt: int, samples: int, page_size: int) -> str:
        pool = sample_in_parallel(prompt, samples, page_size=page_size)
        clear_contents(self._rows)
        reach = _longest_row(LONGEST_PROMPT + 1)
        plots.rows_of_shared_pages(pool, axis_slots=reach, num_rows=MOST_SAMPLES, ax=self._rows)
        title = f"{pool.num_pages} pages, not {pool.num_pages_unshared}: {percent(pool.saved_share)} saved"
        set_title(
            self._rows, title if pool.saved_share else f"{count_of(pool.num_pages, 'page')}, none saved"
        )
        self._rows.title.set_fontsize(10.5)
        copied = count_of(prompt % page_size, "token")
        copies = (
            f"{count_of(len(pool.copies), 'page')} copied, {copied} each"
            if len(pool.copies) != 1
            else f"1 page copied, with {copied}"
        )
        return (
            f"Prompt of {count_of(prompt, 'token')}, {count_of(samples, 'sample')}, page size {page_size},"
            f" and each sample has one token of its own: {count_of(pool.num_pages, 'page')} held, and"
            f" {pool.num_pages_unshared:,} without sharing; {percent(pool.saved_share)} saved."
            f" {copies if pool.copies else 'Nothing copied'}."
        )

    def moving(self) -> list[Artist]:
        return contents(self._rows)


class _SharingScene(_SamplesScene):
    """The same, and what the length of the prompt does to it."""

    def __init__(self, figure: Figure | SubFigure) -> None:
        left, right = figure.subfigures(1, 2, width_ratios=[5, 4], squeeze=False).flat
        super().__init__(left)
        plots.fate_legend(left.add_axes((0, 0, 1, 0.12)), FATES_OF_SHARED_ROWS, num_columns=1)
        self._saved, self._copied = (right.add_axes((0.2, bottom, 0.76, 0.34)) for bottom in (0.57, 0.14))
        for ax in (self._saved, self._copied):
            ax.tick_params(labelsize=8)
            ax.xaxis.label.set_fontsize(9)
            ax.yaxis.label.set_fontsize(9)

    def update(self, *, prompt: int, samples: int, page_size: int) -> str:
        for ax in (self._saved, self._copied):
            clear_contents(ax)
        plots.saved_against_prompt(
            num_samples=samples, page_size=page_size, longest=LONGEST_PROMPT, ax=self._saved
        )
        plots.copied_against_prompt(page_size=page_size, longest=LONGEST_PROMPT, ax=self._copied)
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
            "prompt": widgets.IntSlider(55, 1, LONGEST_PROMPT, description="prompt (tokens)", **LOOKS),
            "samples": widgets.IntSlider(4, 1, MOST_SAMPLES, description="samples", **LOOKS),
            "page_size": widgets.SelectionSlider(
                options=PAGE_SIZES, value=PAGE_SIZE, description="page size (slots)", **LOOKS
            ),
        },
        height=4.2,
        make_sheet_scene=_SamplesScene,
    )


class _RequestsScene:
    """Requests whose prompts begin alike, as rows of pages."""

    frame = None

    def __init__(self, figure: Figure | SubFigure) -> None:
        self._rows = figure.add_axes((0.075, 0.26, 0.895, 0.6))
        self._rows.tick_params(labelsize=9)
        self._rows.xaxis.label.set_fontsize(9)

    def update(self, *, common: int, requests: int, page_size: int) -> str:
        pool = ask_with_prefix(common, requests, page_size=page_size, num_own=OWN_TOKENS)
        clear_contents(self._rows)
        reach = _longest_row(LONGEST_PREFIX + OWN_TOKENS)
        plots.rows_of_shared_pages(pool, axis_slots=reach, num_rows=MOST_REQUESTS, ax=self._rows)
        asked = sum(pool.num_tokens.values())
        saved = pool.num_pages_unshared - pool.num_pages
        set_title(self._rows, f"{pool.num_found:,} of {asked:,} tokens found")
        self._rows.title.set_fontsize(10.5)
        return (
            f"Common beginning of {count_of(common, 'token')}, {count_of(requests, 'request')}, page size"
            f" {page_size}, and {OWN_TOKENS} tokens of its own for each: {pool.num_found:,} of {asked:,}"
            f" tokens found, {percent(pool.num_found / asked)}; {count_of(pool.num_pages, 'page')} held,"
            f" {saved:,} saved."
        )

    def moving(self) -> list[Artist]:
        return contents(self._rows)


class _PrefixScene(_RequestsScene):
    """The same, and what the length of the beginning does to it."""

    def __init__(self, figure: Figure | SubFigure) -> None:
        left, right = figure.subfigures(1, 2, width_ratios=[5, 4], squeeze=False).flat
        super().__init__(left)
        plots.fate_legend(left.add_axes((0, 0, 1, 0.12)), FATES_OF_SHARED_ROWS, num_columns=1)
        self._found = right.add_axes((0.22, 0.2, 0.74, 0.66))
        self._found.tick_params(labelsize=9)
        self._found.xaxis.label.set_fontsize(9)
        self._found.yaxis.label.set_fontsize(9)

    def update(self, *, common: int, requests: int, page_size: int) -> str:
        clear_contents(self._found)
        plots.found_against_prefix(page_size=page_size, longest=LONGEST_PREFIX, ax=self._found)
        self._found.axvline(common, color="black", linewidth=1.2)
        return super().update(common=common, requests=requests, page_size=page_size)

    def moving(self) -> list[Artist]:
        return [*super().moving(), *contents(self._found)]


def explore_prefixes() -> Explorer:
    """Explore what prompts that begin alike find in the cache."""
    return Explorer(
        _PrefixScene,
        {
            "common": widgets.IntSlider(100, 0, LONGEST_PREFIX, description="common (tokens)", **LOOKS),
            "requests": widgets.IntSlider(4, 1, MOST_REQUESTS, description="requests", **LOOKS),
            "page_size": widgets.SelectionSlider(
                options=PAGE_SIZES, value=PAGE_SIZE, description="page size (slots)", **LOOKS
            ),
        },
        height=3.8,
        make_sheet_scene=_RequestsScene,
    )
