"""Notebook 05: what prefixes and samples share, which pages are cached, and how two samples part."""

from collections.abc import Mapping, Sequence

from paged_demo.allocators.memory_map import fates
from paged_demo.allocators.paged import PagedAllocator
from paged_demo.allocators.studies import SharedPool, ask_with_prefix, sample_in_parallel
from paged_demo.course import nb05_plots
from paged_demo.course.nb03 import play
from paged_demo.course.nb05_plots import (  # noqa: F401 - the notebook uses them
    eviction_queues,
    hits_against_pages,
)
from paged_demo.paper.numbers import PAGE_SIZE
from paged_demo.views.controls import choice, number
from paged_demo.views.live import Explorer, Panels
from paged_demo.views.player import Player
from paged_demo.views.screen import Box
from paged_demo.views.story import SAMPLES, tell_two_samples
from paged_demo.views.style import count_of, percent

PAGE_SIZES = (1, 2, 4, 8, 16, 32, 64)
LONGEST_PROMPT = 95
MOST_SAMPLES = 8
LONGEST_PREFIX = 128
MOST_REQUESTS = 8
OWN_TOKENS = 20

ROWS: Mapping[str, Box] = {"rows": (0.041667, 0.26, 0.497222, 0.53), "key": (0, 0, 0.555556, 0.12)}
ROWS_ALONE: Mapping[str, Box] = {"rows": (0.075, 0.26, 0.895, 0.53)}


class Moments:
    """Write down which pages of a small pool are cached, and what is in them, moment by moment.

    Attributes
    ----------
    queues : dict of str to dict of int to str
        By what happened: the cached pages, next to be evicted first, each with its sequence and its number.
    """

    def __init__(self) -> None:
        self.queues: dict[str, dict[int, str]] = {}
        self._holds: dict[int, str] = {}

    def arrive(self, pool: PagedAllocator, seq_id: str, tokens: Sequence[int]) -> None:
        """Give a sequence its pages, and write down what they hold."""
        pool.allocate(seq_id, tokens)
        for place, page_id in enumerate(pool.page_table(seq_id)):
            self._holds[page_id] = f"{seq_id}{place}"

    def note(self, pool: PagedAllocator, event: str) -> None:
        """Note which pages are cached now, and after what."""
        self.queues[event] = {page_id: self._holds[page_id] for page_id in pool.cached_pages}


def play_two_samples(sentences: Sequence[str] = tuple(SAMPLES.values())) -> Player:
    """Play two samples of one prompt until they part, as the paper's Fig. 8 does.

    Parameters
    ----------
    sentences : sequence of two str
        What the samples say in the end, as for `paged_demo.views.story.tell_two_samples`.
    """
    scenes = tell_two_samples(sentences)
    found = {run.fate for scene in scenes for run in fates(scene.memory_map, scene.future_tokens)}
    # The key has room for three, and white speaks for itself.
    key = ("shared", "reserved", "internal" if "internal" in found else "free")
    return play(scenes, key, height=4.6, begin_with=3)


def _longest_row(num_tokens: int) -> int:
    """Return how far a row of so many tokens reaches at most, whatever the page size."""
    return max(-(-num_tokens // size) * size for size in PAGE_SIZES)


def _draw_rows(panels: Panels, pool: SharedPool, title: str, *, longest: int, most_rows: int) -> None:
    """Draw a shared pool as rows of pages.

    Beside a slider the axes always reach as far as the longest and the most rows do, on a sheet as far as
    these ones.
    """
    if panels.keys() == ROWS_ALONE.keys():
        longest, most_rows = max(pool.num_tokens.values()), len(pool.page_tables)
    reach = _longest_row(longest)
    rows = nb05_plots.rows_of_shared_pages(pool, axis_slots=reach, num_rows=most_rows, ax=panels["rows"])
    rows.set_title(title, fontsize=10.5)
    for name in panels.keys() - {"key"}:
        panels[name].tick_params(labelsize=9)
        for label in (panels[name].xaxis.label, panels[name].yaxis.label):
            label.set_fontsize(9)


def _fill_samples(panels: Panels, *, prompt: int, samples: int, page_size: int) -> str:
    pool = sample_in_parallel(prompt, samples, page_size=page_size)
    num_pages, num_copied = count_of(pool.num_pages, "page"), len(pool.copies)
    saved, tokens = percent(pool.saved_share), count_of(prompt % page_size, "token")
    held = f"{num_pages}, not {pool.num_pages_unshared:,}: {saved} saved"
    title = f"{held if pool.saved_share else f'{num_pages}, none saved'}\n" + (
        f"{num_copied} copied (framed), {tokens} each" if num_copied else "nothing copied"
    )
    _draw_rows(panels, pool, title, longest=LONGEST_PROMPT + 1, most_rows=MOST_SAMPLES)
    if "saved" in panels:
        nb05_plots.saved_against_prompt(
            num_samples=samples, page_size=page_size, longest=LONGEST_PROMPT, ax=panels["saved"]
        )
        nb05_plots.copied_against_prompt(page_size=page_size, longest=LONGEST_PROMPT, ax=panels["copied"])
        for name in ("saved", "copied"):
            panels[name].axvline(prompt, color="black", linewidth=1.2)
    copied = "1 page copied, with" if num_copied == 1 else f"{count_of(num_copied, 'page')} copied, each with"
    return (
        f"Prompt of {count_of(prompt, 'token')}, {count_of(samples, 'sample')}, page size {page_size},"
        f" and each sample has one token of its own: {num_pages} held, and"
        f" {pool.num_pages_unshared:,} without sharing; {saved} saved."
        f" {f'{copied} {tokens}' if num_copied else 'Nothing copied'}."
    )


def explore_samples() -> Explorer:
    """Explore what samples of one prompt share, and what they copy."""
    return Explorer(
        _fill_samples,
        {
            "prompt": number("prompt (tokens)", 55, lowest=1, highest=LONGEST_PROMPT),
            "samples": number("samples", 4, lowest=1, highest=MOST_SAMPLES),
            "page_size": choice("page size (slots)", PAGE_SIZES, PAGE_SIZE),
        },
        panels={
            **ROWS,
            "saved": (0.644444, 0.57, 0.337778, 0.34),
            "copied": (0.644444, 0.14, 0.337778, 0.34),
        },
        narrow={"rows": 2.4, "key": 0.6, "saved": 1.5, "copied": 1.5},
        sheet=ROWS_ALONE,
        height=4.2,
        key=("shared", "reserved"),
    )


def _fill_prefixes(panels: Panels, *, common: int, requests: int, page_size: int) -> str:
    pool = ask_with_prefix(common, requests, page_size=page_size, num_own=OWN_TOKENS)
    asked = sum(pool.num_tokens.values())
    num_pages, saved = count_of(pool.num_pages, "page"), pool.num_pages_unshared - pool.num_pages
    title = f"{pool.num_found:,} of {asked:,} tokens found\n" + (
        f"{num_pages}, not {pool.num_pages_unshared:,}" if saved else f"{num_pages}, none saved"
    )
    _draw_rows(panels, pool, title, longest=LONGEST_PREFIX + OWN_TOKENS, most_rows=MOST_REQUESTS)
    if "found" in panels:
        nb05_plots.found_against_prefix(page_size=page_size, longest=LONGEST_PREFIX, ax=panels["found"])
        panels["found"].axvline(common, color="black", linewidth=1.2)
    return (
        f"Common beginning of {count_of(common, 'token')}, {count_of(requests, 'request')}, page size"
        f" {page_size}, and {OWN_TOKENS} tokens of its own for each: {pool.num_found:,} of {asked:,}"
        f" tokens found, {percent(pool.num_found / asked)}; {num_pages} held, {saved:,} saved."
    )


def explore_prefixes() -> Explorer:
    """Explore what prompts that begin alike find in the cache."""
    return Explorer(
        _fill_prefixes,
        {
            "common": number("common (tokens)", 100, lowest=0, highest=LONGEST_PREFIX),
            "requests": number("requests", 4, lowest=1, highest=MOST_REQUESTS),
            "page_size": choice("page size (slots)", PAGE_SIZES, PAGE_SIZE),
        },
        panels={**ROWS, "found": (0.653333, 0.2, 0.328889, 0.66)},
        narrow={"rows": 2.2, "key": 0.6, "found": 2.2},
        sheet=ROWS_ALONE,
        height=3.8,
        key=("shared", "reserved"),
    )
