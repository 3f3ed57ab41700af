"""The traditional way: every sequence reserves one run of slots that must last to its end."""

import operator
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass

from paged_demo.allocators.memory_map import CacheFullError, Hole, MemoryMap, Region
from paged_demo.allocators.placement import PlacementPolicy, first_fit, next_power_of_two
from paged_demo.allocators.sequences import (
    Append,
    SequenceTable,
    check_final_tokens,
    check_prompt,
    check_token,
)
from paged_demo.checks import came, check_count, check_whole

ReservationPolicy = Callable[[int, int], int]
"""Slots to reserve for a sequence, from its prompt's length and its final length."""


def reserve_max(max_tokens: int) -> ReservationPolicy:
    """Reserve the model's maximum for everybody: Orca (Max).

    Examples
    --------
    >>> reserve_max(2048)(100, 438)
    2048
    """
    max_tokens = check_count("max_tokens", max_tokens)

    def reserve(num_prompt_tokens: int, final_tokens: int) -> int:
        _, final = _check_lengths(num_prompt_tokens, final_tokens)
        _check_fits(final, max_tokens)
        return max_tokens

    return reserve


def reserve_pow2(max_tokens: int) -> ReservationPolicy:
    """Reserve the prompt, and its output rounded up to a power of two: Orca (Pow2).

    The sum is capped at ``max_tokens``.

    Examples
    --------
    >>> reserve_pow2(2048)(100, 438)
    612
    """
    max_tokens = check_count("max_tokens", max_tokens)

    def reserve(num_prompt_tokens: int, final_tokens: int) -> int:
        num_prompt, final = _check_lengths(num_prompt_tokens, final_tokens)
        _check_fits(final, max_tokens)
        num_output = final - num_prompt
        if num_output == 0:
            return num_prompt
        return min(num_prompt + next_power_of_two(num_output), max_tokens)

    return reserve


def reserve_oracle(num_prompt_tokens: int, final_tokens: int) -> int:
    """Reserve exactly what will be used, as if the output's length were known: Orca (Oracle).

    Examples
    --------
    >>> reserve_oracle(100, 438)
    438
    """
    _, final = _check_lengths(num_prompt_tokens, final_tokens)
    return final


def reserved_slots(reserve: ReservationPolicy, num_prompt_tokens: int, final_tokens: int) -> int:
    """Ask a policy how many slots to reserve, and check its answer.

    Raises
    ------
    ValueError, TypeError
        If the answer is not a whole number, or does not hold the prompt.
    """
    num_reserved = check_count("what reserve returns", reserve(num_prompt_tokens, final_tokens))
    if num_reserved < num_prompt_tokens:
        raise ValueError(f"reserve must return at least the prompt's {num_prompt_tokens}, got {num_reserved}")
    return num_reserved


@dataclass(slots=True)
class _Sequence:
    run: Hole
    num_reserved: int
    num_tokens: int


class TraditionalAllocator:
    """Keep each sequence in one run of slots, reserved when it starts.

    A method that is asked for a sequence it does not hold raises a KeyError that names it.

    Parameters
    ----------
    num_slots : int
        Slots in the pool.
    reserve : ReservationPolicy
        How many slots to reserve: ``reserve_max(n)``, ``reserve_pow2(n)`` or ``reserve_oracle``.
    placement : PlacementPolicy
        Where to place them: ``first_fit``, ``best_fit`` or ``buddy``.

    Examples
    --------
    >>> allocator = TraditionalAllocator(4096, reserve=reserve_max(2048))
    >>> allocator.allocate("a", range(100), final_tokens=438)
    0
    >>> allocator.append("a", 100)
    Append(slot=100, copy=None)
    >>> allocator.memory_map().holes
    (Hole(start_slot=2048, num_slots=2048),)

    References
    ----------
    Kwon et al. (2023), sections 3.1 and 6.1: the three reservations of their own Orca. The real one reserves
    what a request declares as its maximum.
    """

    def __init__(
        self, num_slots: int, *, reserve: ReservationPolicy, placement: PlacementPolicy = first_fit
    ) -> None:
        self.num_slots = check_count("num_slots", num_slots)
        self._reserve = reserve
        self._placement = placement(self.num_slots)
        self._sequences: SequenceTable[_Sequence] = SequenceTable()

    def __repr__(self) -> str:
        return f"TraditionalAllocator({self.num_slots} slots, {len(self._sequences)} sequences)"

    def allocate(self, seq_id: Hashable, token_ids: Iterable[int], *, final_tokens: int) -> int:
        """Reserve a run of slots for a new sequence and put its prompt there.

        Parameters
        ----------
        seq_id : hashable
            A name for the sequence.
        token_ids : iterable of int
            The prompt, at least one token.
        final_tokens : int
            The length the sequence will have in the end. Only the oracle knows it.

        Returns
        -------
        int
            Tokens found in the cache: always 0 here.

        Raises
        ------
        CacheFullError
            If no free run is long enough. Nothing has changed then.
        ValueError, TypeError
            If ``seq_id`` is held already, ``token_ids`` is empty or holds something else, or
            ``final_tokens`` is shorter than the prompt or longer than the model's maximum.
        """
        num_tokens = len(check_prompt(token_ids))
        self._sequences.require_new("seq_id", seq_id)
        final_tokens = check_final_tokens(final_tokens, num_tokens)
        num_reserved = reserved_slots(self._reserve, num_tokens, final_tokens)
        run = self._place(num_reserved)
        self._sequences[seq_id] = _Sequence(run, num_reserved, num_tokens)
        return 0

    def _place(self, num_slots: int) -> Hole:
        """Ask the placement for a run, and check its answer."""
        run = self._placement.place(num_slots)
        try:
            start, length = map(operator.index, run)
        except (TypeError, ValueError):
            raise TypeError(f"what place returns must be a Hole, got {came(run)}") from None
        if start < 0 or length < num_slots or start + length > self.num_slots:
            raise ValueError(
                f"place must return at least {num_slots} of the {self.num_slots} slots, got {came(run)}"
            )
        return Hole(start, length)

    def append(self, seq_id: Hashable, token_id: int) -> Append:
        """Find a slot for a sequence's next token: the next one of its run.

        Raises
        ------
        CacheFullError
            If the sequence has outgrown what was reserved for it. Nothing has changed then.
        ValueError, TypeError
            If ``token_id`` is not a token id.
        """
        sequence = self._sequences[seq_id]
        check_token(token_id)
        if sequence.num_tokens == sequence.num_reserved:
            where = f" in the run of sequence {seq_id!r}"
            raise CacheFullError(needed=1, free=0, unit="slots", where=where)
        slot = sequence.run.start_slot + sequence.num_tokens
        sequence.num_tokens += 1
        return Append(slot, None)

    def free(self, seq_id: Hashable) -> None:
        """Let go of a sequence and its run."""
        self._placement.release(self._sequences[seq_id].run)
        del self._sequences[seq_id]

    def slots(self, seq_id: Hashable) -> list[int]:
        """List the slot of each token of a sequence, in order."""
        sequence = self._sequences[seq_id]
        start = sequence.run.start_slot
        return list(range(start, start + sequence.num_tokens))

    def memory_map(self) -> MemoryMap:
        """Take a snapshot of the pool: a region for each sequence."""
        regions = sorted(
            Region(*sequence.run, sequence.num_reserved, sequence.num_tokens, (seq_id,))
            for seq_id, sequence in self._sequences.items()
        )
        return MemoryMap(
            num_slots=self.num_slots,
            regions=tuple(regions),
            holes=self._placement.holes(),
            unit_slots=self._placement.unit_slots,
        )


def _check_lengths(num_prompt_tokens: int, final_tokens: int) -> tuple[int, int]:
    num_prompt = check_whole("num_prompt_tokens", num_prompt_tokens)
    return num_prompt, check_final_tokens(final_tokens, num_prompt)


def _check_fits(final_tokens: int, max_tokens: int) -> None:
    if final_tokens > max_tokens:
        raise ValueError(f"final_tokens must be at most max_tokens ({max_tokens}), got {final_tokens}")
