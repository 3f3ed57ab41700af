"""Notebook 03: two requests in pages, step by step, and what the size of a page costs and brings."""

from collections.abc import Mapping, Sequence
from functools import partial

from matplotlib.axes import Axes

from paged_demo.allocators.studies import measure_page_size
from paged_demo.course import nb03_plots
from paged_demo.course.nb03_plots import translation, waste_against_length  # noqa: F401 - the notebook uses them
from paged_demo.paper.numbers import PAGE_SIZE
from paged_demo.serving.workload import Request
from paged_demo.views import plots
from paged_demo.views.amounts import count_of, percent
from paged_demo.views.live import Explorer, Panels, Player, choice
from paged_demo.views.story import Scene, tell_two_requests


def play_two_requests() -> Player:
    """Play two requests through a small pool of pages, as the paper's Figs. 6 and 7 do."""
    # The first scene is empty.
    return play(tell_two_requests(), ("reserved", "internal", "free"), height=4.6, begin_with=2)


def play(scenes: Sequence[Scene], key: Sequence[str], *, height: float, begin_with: int = 1) -> Player:
    """Play a story in steps.

    Parameters
    ----------
    scenes : sequence of Scene
        The story.
    key : sequence of str
        Fates to explain below it. If ``shared`` is one, the references to each page are counted too.
    height : float
        Height of the picture in inches.
    begin_with : int
        The step to show first.
    """

    def fill(panels: Panels, *, step: int) -> str:
        scene = scenes[step - 1]
        is_whole = "key" in panels  # A film strip shows the pool alone.
        plots.words_in_pages(
            scene.memory_map,
            scene.future_tokens,
            scene.words,
            page_tables=scene.page_tables if is_whole else None,
            new_slots=scene.new_slots,
            copies=scene.copies,
            counts_references="shared" in key,
            font_size=9 if is_whole else 7,
            ax=panels["pool"],
        )
        number = f"step {step} of {len(scenes)}:" if is_whole else f"{step}."
        panels["pool"].set_title(f"{number} {scene.title}")
        held = "; ".join(
            f"{seq_id} in pages {', '.join(map(str, table))}" for seq_id, table in scene.page_tables.items()
        )
        told = f"{scene.title}. {scene.told} Held now: {held or 'nothing'}."
        return f"Step {step} of {len(scenes)}, {told}"

    return Player(
        fill,
        len(scenes),
        begin_with=begin_with,
        panels={"pool": (0.01, 0.1, 0.98, 0.82), "key": (0, 0, 1, 0.09)},
        sheet={"pool": (0.06, 0.03, 0.92, 0.84)},
        height=height,
        key=key,
    )


NUM_ROWS = 10
EFFECTS = {
    "wasted_share": "wasted slots (%)",
    "mean_pages": "entries of a page table",
    "shareable_share": "prompts with a page\nto share (%)",
}


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
    prompts = {name: [each.num_prompt_tokens for each in requests] for name, requests in workloads.items()}
    finals = {
        name: [each.num_prompt_tokens + each.num_output_tokens for each in requests]
        for name, requests in workloads.items()
    }
    effects = {
        name: {size: measure_page_size(prompts[name], finals[name], page_size=size) for size in page_sizes}
        for name in workloads
    }

    def draw_effect(name: str, ax: Axes) -> None:
        first, *_, last = EFFECTS
        nb03_plots.effect_against_page_size(effects, name, label=EFFECTS[name], ax=ax)
        ax.yaxis.label.set_fontsize(8)
        ax.tick_params(labelsize=8)
        if name != last:
            ax.set_xlabel("")
        if name == first:
            ax.legend(fontsize=8, loc="upper left")

    def fill(panels: Panels, *, page_size: int, workload: str) -> str:
        effect, lengths = effects[workload][page_size], finals[workload][:NUM_ROWS]
        reach = max(-(-length // size) * size for length in lengths for size in page_sizes)
        rows = nb03_plots.rows_of_pages(lengths, page_size=page_size, axis_slots=reach, ax=panels["rows"])
        rows.tick_params(labelsize=9)
        rows.xaxis.label.set_fontsize(9)
        title = f"{workload}, pages of {page_size}: {percent(effect.wasted_share)} wasted"
        rows.set_title(title, fontsize=10.5)
        for name in EFFECTS.keys() & panels.keys():
            panels[name].axvline(page_size, color="black", linewidth=1.2)
        return (
            f"{workload}, page size {page_size}. A sequence wastes {effect.mean_wasted:.1f} slots on average,"
            f" {percent(effect.wasted_share)} of what it holds; its page table has {effect.mean_pages:.1f}"
            f" entries; {percent(effect.shareable_share)} of the prompts fill a page that others could share."
        )

    begin_with = PAGE_SIZE if PAGE_SIZE in page_sizes else page_sizes[0]
    return Explorer(
        fill,
        {
            "page_size": choice("page size (slots)", page_sizes, begin_with),
            "workload": choice("workload", workloads),
        },
        panels={
            "rows": (0.016667, 0.28, 0.511111, 0.58),
            "key": (0, 0, 0.555556, 0.14),
            "wasted_share": (0.631111, 0.7, 0.355556, 0.23),
            "mean_pages": (0.631111, 0.4, 0.355556, 0.23),
            "shareable_share": (0.631111, 0.1, 0.355556, 0.23),
        },
        sheet={"rows": (0.03, 0.28, 0.92, 0.58)},
        height=4.4,
        background={name: partial(draw_effect, name) for name in EFFECTS},
        key=("used", "internal"),
    )
