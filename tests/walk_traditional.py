"""Random histories over the traditional allocator, beside a model that searches through plain lists.

`walk.py` walks them. The model keeps the owner of every slot and, for buddies, one list of free chunks in the
order in which they became free; it was written from Kwon et al. (2023), sections 3.1 and 6.1, and the
docstrings, and shares no code with the package.
"""

from functools import partial
from random import Random

from paged_demo import (
    CacheFullError,
    Hole,
    Region,
    TraditionalAllocator,
    account,
    best_fit,
    buddy,
    first_fit,
    reserve_max,
    reserve_oracle,
    reserve_pow2,
)

MAX_TOKENS = 32


def power_of_two(number):
    power = 1
    while power < number:
        power *= 2
    return power


def pow2(num_prompt, final):
    """Round the output up, and not beyond the maximum."""
    return min(MAX_TOKENS, num_prompt + (power_of_two(final - num_prompt) if final > num_prompt else 0))


RESERVATIONS = [
    (reserve_max(MAX_TOKENS), lambda num_prompt, final: MAX_TOKENS),
    (reserve_pow2(MAX_TOKENS), pow2),
    (reserve_oracle, lambda num_prompt, final: final),
]


class RunsModel:
    """First fit and best fit: a run is looked for in the owners of all slots."""

    def __init__(self, num_slots, *, is_best):
        self.owners, self.is_best = [None] * num_slots, is_best

    def holes(self):
        holes, length = [], 0
        for slot, owner in enumerate([*self.owners, "the end"]):
            if owner is not None and length:
                holes.append((slot - length, length))
            length = 0 if owner is not None else length + 1
        return holes

    def place(self, seq_id, num_slots):
        fitting = [hole for hole in self.holes() if hole[1] >= num_slots]
        if not fitting:
            return None
        start, _ = min(fitting, key=lambda hole: hole[1] if self.is_best else hole[0])
        self.owners[start : start + num_slots] = [seq_id] * num_slots
        return start, num_slots

    def release(self, seq_id):
        self.owners = [None if owner == seq_id else owner for owner in self.owners]


class BuddiesModel:
    """Buddies: the chunk that was freed last, of the smallest size that will do."""

    def __init__(self, num_slots, *, unit):
        self.unit, self.runs = unit, {}
        self.largest = unit * power_of_two(-(-MAX_TOKENS // unit))
        self.free, start, size = [], 0, self.largest
        while size >= unit:
            if start + size <= num_slots:
                self.free.insert(0, (start, size))
                start += size
            else:
                size //= 2
        self.rest = [(start, num_slots - start)] if start < num_slots else []

    def holes(self):
        return sorted(self.free + self.rest)

    def place(self, seq_id, num_slots):
        wanted = self.unit * power_of_two(-(-num_slots // self.unit))
        sizes = [size for _, size in self.free if size >= wanted]
        if not sizes:
            return None
        start, size = [chunk for chunk in self.free if chunk[1] == min(sizes)][-1]
        self.free.remove((start, size))
        while size > wanted:
            size //= 2
            self.free.append((start + size, size))
        self.runs[seq_id] = start, wanted
        return start, wanted

    def release(self, seq_id):
        start, size = self.runs.pop(seq_id)
        while size < self.largest:
            other = (start // self.unit ^ size // self.unit) * self.unit
            if (other, size) not in self.free:
                break
            self.free.remove((other, size))
            start, size = min(start, other), 2 * size
        self.free.append((start, size))


class TraditionalWalk:
    """One random history, in both."""

    def __init__(self, seed):
        self.rng = rng = Random(seed)
        num_slots = rng.choice([rng.randint(1, MAX_TOKENS), 50, 100, rng.randint(MAX_TOKENS, 300)])
        unit = rng.choice([1, 2, 4, 5, 16])
        self.name, placement, self.model = rng.choice(
            [
                ("first fit", first_fit, RunsModel(num_slots, is_best=False)),
                ("best fit", best_fit, RunsModel(num_slots, is_best=True)),
                (
                    "buddy",
                    partial(buddy, unit_slots=unit, max_tokens=MAX_TOKENS),
                    BuddiesModel(num_slots, unit=unit),
                ),
            ]
        )
        reserve, self.reserve = rng.choice(RESERVATIONS)
        self.allocator = TraditionalAllocator(num_slots, reserve=reserve, placement=placement)
        self.empty_map = self.allocator.memory_map()
        self.held = {}  # by name: start, slots, reserved, tokens, final
        self.num_started = self.num_steps = 0
        self.was_refused = False

    def step(self):
        """Do one operation in both, and return its kind; raise an AssertionError if they differ."""
        kind = self.rng.choice(["allocate", "allocate", "append", "append", "append", "free", "misuse"])
        if self.was_refused:
            kind, self.was_refused = self.rng.choice(["free", "free", "free", "free_all"]), False
        if not self.held:
            kind = "allocate"
        told = getattr(self, kind)()
        regions = sorted(
            Region(start, size, reserved, tokens, (name,))
            for name, (start, size, reserved, tokens, _) in self.held.items()
        )
        came = self.allocator.memory_map()
        assert came.regions == tuple(regions), (told, came.regions, regions)
        assert came.holes == tuple(Hole(*hole) for hole in self.model.holes()), (told, came.holes)
        self.num_steps += 1
        if self.num_steps % 20 == 0:
            self.check_usage(came)
        return f"{self.name}: {told}"

    def check_usage(self, memory_map):
        future = {name: max(0, final - tokens) for name, (*_, tokens, final) in self.held.items()}
        usage = account(memory_map, future, request_slots=MAX_TOKENS)
        assert usage.num_slots == self.allocator.num_slots
        assert usage.used == sum(tokens for *_, tokens, _ in self.held.values())
        assert usage.reserved == sum(future.values())

    def some(self):
        return self.rng.choice(list(self.held))

    def came(self, ask, *asked, **options):
        try:
            return ask(*asked, **options)
        except (CacheFullError, ValueError, KeyError) as error:
            return type(error)

    def allocate(self):
        self.num_started += 1
        name, final = self.num_started, self.rng.randint(1, MAX_TOKENS)
        num_prompt = self.rng.randint(1, final)
        num_reserved = self.reserve(num_prompt, final)
        run = self.model.place(name, num_reserved)
        came = self.came(self.allocator.allocate, name, range(num_prompt), final_tokens=final)
        assert came == (CacheFullError if run is None else 0), (num_prompt, final, came, run)
        if run is None:
            self.was_refused = True
            return "allocate, refused"
        self.held[name] = [*run, num_reserved, num_prompt, final]
        return "allocate"

    def append(self):
        name = self.some()
        start, _, reserved, tokens, _ = self.held[name]
        came = self.came(self.allocator.append, name, 0)
        if tokens == reserved:
            assert came is CacheFullError, came
            return "append, refused"
        assert came == (start + tokens, None), came
        self.held[name][3] += 1
        assert self.allocator.slots(name) == list(range(start, start + tokens + 1))
        return "append"

    def free(self):
        self.let_go(self.some())
        return "free"

    def free_all(self):
        for name in self.rng.sample(list(self.held), len(self.held)):
            self.let_go(name)
        assert self.allocator.memory_map() == self.empty_map
        return "free all"

    def let_go(self, name):
        self.allocator.free(name)
        self.model.release(name)
        del self.held[name]

    def misuse(self):
        name, allocator = self.some(), self.allocator
        ask, error = self.rng.choice(
            [
                (lambda: allocator.allocate(name, [0], final_tokens=1), ValueError),
                (lambda: allocator.allocate("x", [0, 0], final_tokens=1), ValueError),
                (lambda: allocator.allocate("x", [], final_tokens=1), ValueError),
                (lambda: allocator.append(name, -1), ValueError),
                (lambda: allocator.append("x", 0), KeyError),
                (lambda: allocator.free("x"), KeyError),
            ]
        )
        assert self.came(ask) is error
        return "misuse"
