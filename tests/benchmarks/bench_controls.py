"""Time from a move of each control of each notebook to its new picture, beside `interact`.

Run with ``PYTHONPATH=tests python tests/benchmarks/bench_controls.py``, and a part of a name to measure only
that. Milliseconds of processor time, medians: what the kernel does until the first picture of a move.
`interact` draws the same picture from nothing, and has it encoded as a notebook's inline figures are. Both
begin each walk with nothing remembered.
"""

import asyncio
import sys
import time
from functools import _lru_cache_wrapper
from statistics import median

import numpy as np
from explorers import EXPLORERS, hear
from IPython.core.pylabtools import print_figure

from paged_demo import alpaca, fill_by_page_size, sharegpt
from paged_demo.course import nb00, nb03, nb06
from paged_demo.paper.numbers import NUM_SLOTS_13B
from paged_demo.views.drawing import all_of, drawing
from paged_demo.views.picture import new_figure

MOST_MOVES = 10
ROUNDS = 2


def page_size():
    requests = sharegpt.sample(1000, rng=np.random.default_rng(0))
    pools = fill_by_page_size(requests, [2**power for power in range(12)], num_slots=NUM_SLOTS_13B)
    return nb00.explore_page_size(pools)


def page_choice():
    workloads = {"chat": sharegpt, "short": alpaca}
    drawn = {name: data.sample(1000, rng=np.random.default_rng(0)) for name, data in workloads.items()}
    return nb03.explore_page_choice(drawn, [2**power for power in range(10)])


def film():
    return nb06.explore_film(
        {name: nb06.film_of(nb06.small_requests(), pool) for name, pool in nb06.SMALL_SERVERS.items()}
    )


AS_IN_THE_NOTEBOOKS = EXPLORERS | {
    "page_size": page_size,
    "page_choice": page_choice,
    "film": film,
    "serving": nb06.explore_serving,
}


def forget():
    """Empty what the notebooks' modules remember by setting."""
    for name, module in list(sys.modules.items()):
        if name.startswith("paged_demo.course."):
            for function in vars(module).values():
                if isinstance(function, _lru_cache_wrapper):
                    function.cache_clear()


def walk(control):
    """Return the positions of a walk: up from the first, or down where the reader begins at the end."""
    return list(range(min(len(control.options), MOST_MOVES + 1)))


async def time_of_moves(explorer, name):
    """Move a control as a browser does; return the milliseconds of each move, until its first picture."""
    forget()
    explorer._kept.clear()
    times = []
    control = explorer.controls[name]
    for position in walk(control):
        start = time.process_time()
        hear(explorer, {name: control.options[position]})
        times.append(1000 * (time.process_time() - start))
        while not explorer.view.is_whole:
            await asyncio.sleep(0)
    return times[1:]


def time_of_interact(explorer, name, height):
    """Draw the same pictures each from nothing."""
    forget()
    times = []
    control = explorer.controls[name]
    boxes = {panel: ax.get_position().bounds for panel, ax in explorer.panels.items()}
    for position in walk(control):
        start = time.process_time()
        with drawing():
            figure = new_figure(height)
            values = explorer.values | {name: control.options[position]}
            all_of(explorer._fill(explorer._lay_out(figure, boxes), **values))
            print_figure(figure, "png", base64=True)
        times.append(1000 * (time.process_time() - start))
    return times[1:]


def main(wanted):
    """Print the table."""
    line = "{:14}{:16}{:>4}{:>8}{:>10}{:>8}"
    print(line.format("explorer", "control", "n", "move", "interact", "ratio"))
    for explorer_name, make in AS_IN_THE_NOTEBOOKS.items():
        if not any(word in explorer_name for word in wanted):
            continue
        explorer = make()
        height = explorer.screen.figure.get_figheight()
        for name, control in explorer.controls.items():
            if len(control.options) < 2:
                continue
            before = control.value
            moves, interact = [], []
            for _ in range(ROUNDS):
                moves += asyncio.run(time_of_moves(explorer, name))
                control.value = before
                interact += time_of_interact(explorer, name, height)
            first, second = median(moves), median(interact)
            row = (explorer_name, name, len(moves), f"{first:.0f}", f"{second:.0f}", f"{first / second:.2f}")
            print(line.format(*row), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:] or [""])
