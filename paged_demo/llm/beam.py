"""Beam search: keep the few likeliest texts at every step. They share pages like branches of a tree."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from paged_demo.attention.shapes import Floats
from paged_demo.checks import check_count
from paged_demo.llm.cache import KVCache
from paged_demo.llm.decoding import check_stop_ids, check_text, free_noted, log_probabilities, noted
from paged_demo.llm.llama import Llama


@dataclass(frozen=True, slots=True, kw_only=True)
class Beam:
    """A text that the search keeps.

    Attributes
    ----------
    seq_id : int
        Its name in the cache, from 0 to ``num_beams - 1``. A beam that ends leaves its name to another.
    output : tuple of int
        Token ids so far.
    log_probability : float
        Of the output, given the prompt: the sum over its tokens.
    """

    seq_id: int
    output: tuple[int, ...] = ()
    log_probability: float = 0.0

    @property
    def mean_log_probability(self) -> float:
        """Per token, so that a long text can be compared with a short one."""
        return self.log_probability / len(self.output)


def beam_search(
    model: Llama,
    cache: KVCache,
    prompt: Sequence[int],
    *,
    num_beams: int,
    max_new_tokens: int,
    stop_ids: Sequence[int] = (),
    watch: Callable[[list[Beam]], object] | None = None,
) -> list[Beam]:
    """Search for likely texts after a prompt, and return the best ones, the likeliest per token first.

    Parameters
    ----------
    model : Llama
    cache : KVCache
        Holds the sequences 0 to ``num_beams - 1`` during the search, and none of them after it, even if it
        fails or is interrupted (but within the cache's own bookkeeping). Tokens of the prompt that it has
        already are not computed.
    prompt : sequence of int
        Token ids.
    num_beams : int
        Texts to keep at each step. The search ends when as many have ended with a stop token.
    max_new_tokens : int
        Tokens to generate at most.
    stop_ids : sequence of int
        Tokens that end a text.
    watch : callable, optional
        Called with the beams of each step, when their new tokens have their slots. Those of the last step
        need none.

    Raises
    ------
    CacheFullError
        If the pool is too small.
    ValueError, TypeError
        If a number is too small, the prompt is empty or larger than the cache, or a token is not in the
        vocabulary.

    References
    ----------
    Kwon et al. (2023), section 4.4 and Fig. 9: beams share pages, and a copy is made only on a write.
    """
    tokens, max_new_tokens = check_text(model, prompt, max_new_tokens, cache.num_slots)
    num_beams = check_count("num_beams", num_beams)
    ends = check_stop_ids(model, stop_ids)
    beams = [Beam(seq_id=0)]
    ended: list[Beam] = []
    held: dict[int, None] = {}
    try:
        with noted(held, 0, None):
            num_found = cache.start(0, tokens)
        attend = cache.attend_to({0: len(tokens) - num_found})
        logits = model.forward(tokens[num_found:], range(num_found, len(tokens)), attend, rows=[-1])
        for step in range(max_new_tokens):
            kept, just_ended = _best(beams, logits, num_beams, ends)
            ended += just_ended
            beams = _branch(cache, kept, held)
            is_last = step == max_new_tokens - 1 or len(ended) >= num_beams or not beams
            if not is_last:
                for beam in beams:
                    cache.append(beam.seq_id, beam.output[-1])
            if watch is not None:
                watch(beams)
            if is_last:
                break
            attend = cache.attend_to({beam.seq_id: 1 for beam in beams})
            positions = [len(tokens) + step] * len(beams)
            logits = model.forward([beam.output[-1] for beam in beams], positions, attend)
        free_noted(cache, held)
    except BaseException:
        free_noted(cache, held)
        raise
    return sorted([*ended, *beams], key=lambda beam: -beam.mean_log_probability)[:num_beams]


def _best(
    beams: list[Beam], logits: Floats, num_beams: int, stop_ids: frozenset[int]
) -> tuple[list[Beam], list[Beam]]:
    """Grow every beam by every token: return the best that go on, and those among the best that end.

    Each still has its parent's name.
    """
    so_far = np.array([[beam.log_probability] for beam in beams])
    totals = log_probabilities(logits) + so_far
    vocabulary = totals.shape[1]
    num_wanted = min(num_beams * (1 + len(stop_ids)), totals.size)
    wanted = np.argpartition(-totals, num_wanted - 1, axis=None)[:num_wanted]
    kept: list[Beam] = []
    ended: list[Beam] = []
    for place in wanted[np.argsort(-totals.flat[wanted], kind="stable")]:
        row, token_id = divmod(int(place), vocabulary)
        parent = beams[row]
        output = (*parent.output, token_id)
        grown = replace(parent, output=output, log_probability=float(totals.flat[place]))
        (ended if token_id in stop_ids else kept).append(grown)
        if len(kept) == num_beams:
            break
    return kept, ended


def _branch(cache: KVCache, kept: list[Beam], held: dict[int, None]) -> list[Beam]:
    """Free the beams without children, and fork those with several; one child keeps its parent's place.

    ``held`` are the names of the beams in the cache, before and after.
    """
    for seq_id in held.keys() - {beam.seq_id for beam in kept}:
        cache.free(seq_id)
        del held[seq_id]
    children: dict[int, Beam] = {}
    for beam in kept:
        seq_id = beam.seq_id
        if seq_id in children:
            seq_id = min(set(range(len(kept))) - held.keys())
            with noted(held, seq_id, None):
                cache.fork(beam.seq_id, seq_id)
        children[seq_id] = replace(beam, seq_id=seq_id)
    return list(children.values())
