"""A text that grows, what is refused before it begins to, and what is said if it grows too long."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from paged_demo.allocators.memory_map import CacheFullError
from paged_demo.allocators.sequences import check_prompt
from paged_demo.attention.shapes import check_ints
from paged_demo.checks import check_count
from paged_demo.llm.transformer import Llama


@dataclass(slots=True, kw_only=True, eq=False)
class Text:
    """A text that grows: a prompt, and what was generated so far.

    Attributes
    ----------
    seq_id : int
        Its name in the cache; texts are numbered from 0 as they are submitted.
    prompt, output : list of int
        Token ids. The output's last token has no keys and values yet: it is the next step's input.
    max_new_tokens : int
        When to stop at the latest.
    is_finished : bool
        Whether the output is complete; a stop token is its last one then.
    num_preemptions : int
        How often it had to give way.
    """

    seq_id: int
    prompt: list[int]
    max_new_tokens: int
    temperature: float
    rng: np.random.Generator | None
    output: list[int] = field(default_factory=list)
    is_finished: bool = False
    num_preemptions: int = 0

    @property
    def tokens(self) -> list[int]:
        """The prompt and the output."""
        return self.prompt + self.output


def check_text(model: Llama, prompt: Sequence[int], max_new_tokens: int, num_slots: int) -> list[int]:
    """Return a prompt's tokens, or say why it cannot be gone on from in so many slots, before one is taken.

    With its output it may need more slots: a stop token can end it in time.
    """
    tokens = check_prompt(prompt)
    check_count("max_new_tokens", max_new_tokens)
    num_known = len(model.weights.embedding)
    if max(tokens) >= num_known:
        raise ValueError(f"prompt must hold token ids from 0 to {num_known - 1}, got {max(tokens)}")
    if len(tokens) + max_new_tokens > model.spec.max_tokens:
        raise ValueError(
            f"the prompt's {len(tokens)} tokens and max_new_tokens must be at most"
            f" {model.spec.max_tokens} together, got {max_new_tokens} for the latter"
        )
    if len(tokens) > num_slots:
        raise ValueError(f"prompt must fit into the cache's {num_slots} slots, got {len(tokens)} tokens")
    return tokens


def outgrown(text: Text, num_slots: int, error: CacheFullError) -> CacheFullError:
    """Return the error of a cache with no room for a text when no other text can give way, naming both."""
    who = (
        f": text {text.seq_id} has {len(text.tokens)} tokens, the cache {num_slots} slots,"
        " and no other text is left to give way"
    )
    return CacheFullError(needed=error.needed, free=error.free, unit=error.unit, where=who)


def check_stop_ids(model: Llama, stop_ids: Sequence[int]) -> frozenset[int]:
    """Return the tokens that end a text, or say which of them the model does not know."""
    ids: list[int] = check_ints("stop_ids", stop_ids, 1).tolist()
    num_known = len(model.weights.embedding)
    unknown = [token_id for token_id in ids if not 0 <= token_id < num_known]
    if unknown:
        raise ValueError(f"stop_ids must hold token ids from 0 to {num_known - 1}, got {unknown[0]}")
    return frozenset(ids)
