"""Random walks over the package, as long as you like: nothing may ever differ from a model or another engine.

``python tests/walk.py paged 1000000`` does so many operations of the paged allocator, ``groups`` of the one
with several groups of layers, ``traditional`` of the other one with all reservations and placements, and
``workloads 1000`` serves so many workloads with both engines. Each tells how many there were of each kind, or
stops at the first difference and names its seed. The suite walks a shorter way.
"""

import sys
from collections import Counter

from walk_paged import GroupedWalk, PagedWalk
from walk_traditional import TraditionalWalk
from walk_workloads import Workload

WALKS = {
    "paged": (PagedWalk, 200),
    "groups": (GroupedWalk, 200),
    "traditional": (TraditionalWalk, 200),
    "workloads": (Workload, 1),
}
"""What makes a history from a seed, and how many steps each history has."""


def walk(name, num_steps, *, first_seed=0):
    """Do random steps, and count them by kind."""
    make, steps_each = WALKS[name]
    kinds = Counter()
    for number in range(num_steps):
        seed, step = divmod(number, steps_each)
        if step == 0:
            history = make(first_seed + seed)
        try:
            kinds[history.step()] += 1
        except AssertionError as error:
            raise AssertionError(f"{name}, seed {first_seed + seed}, step {step}: {error}") from error
    return kinds


if __name__ == "__main__":
    for kind, number in sorted(walk(sys.argv[1], int(sys.argv[2])).items()):
        print(f"{kind:40} {number:9,}")
