"""What both allocators share: the table of their sequences, the answer to ``append``, and checks."""

from collections.abc import Hashable, Iterable
from functools import partial
from typing import NamedTuple, TypeVar

from paged_demo.checks import MAX_WHOLE, check_iterable, check_whole

State = TypeVar("State")

MAX_TOKEN_ID = MAX_WHOLE


class Append(NamedTuple):
    """Where a new token goes.

    Attributes
    ----------
    slot : int
        The slot to write its keys and values to.
    copy : (int, int) or None
        ``(src_page, dst_page)`` if a shared page has to be copied before that write.
    """

    slot: int
    copy: tuple[int, int] | None


# Half the time of Append(slot, copy), whose __new__ is a Python function: one is made per token.
new_append = partial(tuple.__new__, Append)


class SequenceTable(dict[Hashable, State]):
    """Sequences by id: a dict whose errors name the sequence."""

    def __missing__(self, seq_id: Hashable) -> State:
        raise KeyError(f"no sequence {seq_id!r}")

    def require_new(self, name: str, seq_id: Hashable) -> None:
        """Raise a ValueError that names the argument if the sequence is there already."""
        try:
            is_known = seq_id in self
        except TypeError:
            raise TypeError(f"{name} must be hashable, got {seq_id!r}") from None
        if is_known:
            raise ValueError(f"{name} {seq_id!r} is already allocated")


def check_prompt(token_ids: Iterable[int]) -> list[int]:
    """Return a prompt's token ids as a list of plain ints.

    Raises
    ------
    TypeError
        If ``token_ids`` is not an iterable of whole numbers.
    ValueError
        If it is empty, or an id lies outside 0 ... 2**63 - 1.
    """
    tokens = check_iterable("token_ids", token_ids, "token ids")
    if not tokens:
        raise ValueError("token_ids must hold at least one token, got none")
    if set(map(type, tokens)) != {int} or min(tokens) < 0 or max(tokens) > MAX_TOKEN_ID:
        return [check_token(token) for token in tokens]
    return tokens


def check_token(token_id: int) -> int:
    """Return one token id as a plain int, or raise as `check_prompt` does."""
    return check_whole("token_id", token_id, minimum=0)


def check_final_tokens(final_tokens: int, num_prompt_tokens: int) -> int:
    """Return the final length of a sequence, or say why a prompt cannot grow to it."""
    final = check_whole("final_tokens", final_tokens)
    if final < num_prompt_tokens:
        raise ValueError(
            f"final_tokens must be at least the prompt's {num_prompt_tokens} tokens, got {final_tokens!r}"
        )
    return final
