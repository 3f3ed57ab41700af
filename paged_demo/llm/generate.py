"""Many texts at once: sequences join the batch, grow by a token an iteration, and leave.

Each iteration computes one token of every running sequence in one pass through the weights, then lets waiting
ones join where there is room (continuous batching). If a running one finds no room, the newest is preempted:
it loses its place in the cache, waits, and is later computed again from all its tokens. If anything fails,
all running ones are preempted like that: an iteration that was interrupted leaves nothing half done in the
cache. So a text is always noted as one that waits, or as one that may be in the cache, or as both.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import count

import numpy as np

from paged_demo.allocators.memory_map import CacheFullError
from paged_demo.allocators.page_pool import check_salt
from paged_demo.attention.shapes import Floats
from paged_demo.checks import check_count, check_whole
from paged_demo.llm.cache import KVCache
from paged_demo.llm.decoding import (
    Text,
    check_sampling,
    check_stop_ids,
    check_text,
    choose,
    free_noted,
    noted,
    outgrown,
)
from paged_demo.llm.llama import Llama


class Engine:
    """Generate texts on one model and one cache.

    Parameters
    ----------
    model : Llama
    cache : KVCache
        A `PagedCache` or a `ContiguousCache` for this model.
    stop_ids : sequence of int
        Tokens that end a text.
    max_batch : int, optional
        Texts that run at once, at most; if left out, as many as the cache has room for.

    Attributes
    ----------
    waiting : deque of list of Text
        Groups of texts that wait for their turn. The texts of a group have all their tokens in common:
        several samples of one prompt that were not yet drawn.
    num_computed, num_found : int
        Tokens that went through the model so far, and tokens that the cache had already.
    """

    def __init__(
        self, model: Llama, cache: KVCache, *, stop_ids: Sequence[int] = (), max_batch: int | None = None
    ) -> None:
        self.model = model
        self.cache = cache
        self.waiting: deque[list[Text]] = deque()
        self.num_computed = 0
        self.num_found = 0
        self._stop_ids = check_stop_ids(model, stop_ids)
        self._max_batch = None if max_batch is None else check_whole("max_batch", max_batch)
        self._ids = count()
        self._held: dict[int, Text] = {}

    @property
    def running(self) -> list[Text]:
        """The texts in the batch, oldest first."""
        return list(self._held.values())

    def submit(
        self,
        prompt: Sequence[int],
        *,
        max_new_tokens: int,
        temperature: float = 0.0,
        rng: np.random.Generator | None = None,
        num_samples: int = 1,
        cache_salt: str = "",
    ) -> list[Text]:
        """Queue a prompt, and return the texts that will grow from it.

        Parameters
        ----------
        prompt : sequence of int
            Token ids, at least one.
        max_new_tokens : int
            Tokens to generate at most.
        temperature, rng
            As for `choose`. Several samples draw from a generator each, made by ``rng.spawn``: what one
            draws does not depend on the others.
        num_samples : int
            Texts to draw. They share the prompt, in a cache that can share.
        cache_salt : str
            With prefix caching, pages are shared only with texts of the same salt: give each tenant its own.

        Raises
        ------
        ValueError, TypeError
            If a number is too small, the prompt is empty, leaves no room below the model's maximum or is
            larger than the cache, or `choose` could not draw. Nothing is queued then.
        """
        tokens, max_new_tokens = check_text(self.model, prompt, max_new_tokens, self.cache.num_slots)
        num_samples = check_count("num_samples", num_samples)
        temperature = check_sampling(temperature, rng)
        check_salt(cache_salt)
        rngs = [rng] if rng is None or num_samples == 1 else rng.spawn(num_samples)
        group = [
            Text(
                seq_id=next(self._ids),
                prompt=tokens,
                max_new_tokens=max_new_tokens,
                temperature=temperature,
                rng=rngs[number % len(rngs)],
                cache_salt=cache_salt,
            )
            for number in range(num_samples)
        ]
        self.waiting.append(group.copy())
        return group

    def run(self, watch: Callable[["Engine"], object] | None = None) -> None:
        """Step until every text is finished. ``watch`` is called after each iteration.

        What `step` says of errors holds for those of ``watch`` too.
        """
        try:
            while self._held or self.waiting:
                self.step()
                if watch is not None:
                    watch(self)
        except BaseException:
            self._let_go()
            raise

    def step(self) -> None:
        """Compute one more token of every running text, then let waiting ones join.

        If the model or the cache raises an error, or Ctrl-C comes, the cache then holds no text of this
        engine. Those that are not finished wait with all their tokens, so that a later call can go on. A
        Ctrl-C within the cache's own bookkeeping is excepted.

        Raises
        ------
        CacheFullError
            If the pool is too small for a text when no other can be preempted; it is named.
        """
        try:
            self._step()
        except BaseException:
            self._let_go()
            raise

    def _step(self) -> None:
        had_to_preempt = self._grow()
        running = self.running
        if running:
            logits = self._compute(dict.fromkeys(running, 1))
            for text, row in zip(running, logits, strict=True):
                self._add_token(text, row)
        # Who was just sent away would only come back to be sent away again.
        while self.waiting and not had_to_preempt and self._admit():
            pass

    def _let_go(self) -> None:
        """Free all places in the cache, and queue each text that is not finished once."""
        waiting = {text.seq_id for group in self.waiting for text in group}
        free_noted(self.cache, self._held)
        for seq_id, text in reversed(self._held.items()):
            text.is_finished = self._is_complete(text)
            if not text.is_finished and seq_id not in waiting:
                self.waiting.appendleft([text])
        self._held.clear()

    def _grow(self) -> bool:
        """Give every running text a slot for its last token, and say whether that took another's place."""
        had_to_preempt = False
        for text in self.running:
            while text.seq_id in self._held:
                try:
                    self.cache.append(text.seq_id, text.output[-1])
                    break
                except CacheFullError as error:
                    if len(self._held) == 1:
                        raise outgrown(text, self.cache.num_slots, error) from error
                    # The newest has had no slot in this iteration yet, so all that it holds was computed.
                    self._preempt(self.running[-1])
                    had_to_preempt = True
        return had_to_preempt

    def _preempt(self, text: Text) -> None:
        self.waiting.appendleft([text])
        text.num_preemptions += 1
        self._free(text)

    def _free(self, text: Text) -> None:
        self.cache.free(text.seq_id)
        del self._held[text.seq_id]

    def _admit(self) -> bool:
        """Start the texts at the head of the queue that find room, and draw the next token of each."""
        group = self.waiting[0]
        num_places = len(group) if self._max_batch is None else self._max_batch - len(self._held)
        if num_places == 0:
            return False
        first = group[0]
        try:
            with noted(self._held, first.seq_id, first):
                num_found = self.cache.start(first.seq_id, first.tokens, cache_salt=first.cache_salt)
        except CacheFullError as error:
            if not self._held:
                raise outgrown(first, self.cache.num_slots, error) from error
            return False
        logits = self._compute({first: len(first.tokens) - num_found})[0]
        joining = [first]
        with suppress(CacheFullError):  # Sharing pages needs no room; in another cache some may have to wait.
            for text in group[1:num_places]:
                with noted(self._held, text.seq_id, text):
                    self.cache.fork(first.seq_id, text.seq_id)
                joining.append(text)
        self.num_found += num_found
        if len(joining) == len(group):
            self.waiting.popleft()
        else:
            del group[: len(joining)]
        for text in joining:
            self._add_token(text, logits)
        return True

    def _compute(self, num_new: Mapping[Text, int]) -> Floats:
        """Compute the last so many tokens of each text, and return the logits of what follows."""
        token_ids: list[int] = []
        positions: list[int] = []
        for text, num in num_new.items():
            tokens = text.tokens
            token_ids += tokens[-num:]
            positions += range(len(tokens) - num, len(tokens))
        attend = self.cache.attend_to({text.seq_id: num for text, num in num_new.items()})
        last_of_each = np.cumsum(list(num_new.values())) - 1
        logits = self.model.forward(token_ids, positions, attend, rows=last_of_each)
        self.num_computed += len(token_ids)
        return logits

    def _add_token(self, text: Text, logits: Floats) -> None:
        text.output.append(choose(logits, temperature=text.temperature, rng=text.rng))
        if self._is_complete(text):
            text.is_finished = True
            self._free(text)

    def _is_complete(self, text: Text) -> bool:
        ends = bool(text.output) and text.output[-1] in self._stop_ids
        return ends or len(text.output) >= text.max_new_tokens


def generate(
    model: Llama,
    cache: KVCache,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    stop_ids: Sequence[int] = (),
    temperature: float = 0.0,
    rng: np.random.Generator | None = None,
    max_batch: int | None = None,
) -> list[list[int]]:
    """Generate one text for each prompt, all in one batch, and return the token ids of the outputs.

    If it fails or is interrupted, nothing of them stays in the cache, as `Engine.step` says.

    Parameters
    ----------
    model, cache, stop_ids, max_batch
        As for `Engine`.
    prompts : sequence of sequences of int
        Token ids of each prompt.
    max_new_tokens, temperature, rng
        As for `Engine.submit`; each prompt draws from a generator of its own.

    Raises
    ------
    CacheFullError
        If the pool is too small for a text that has it to itself.
    ValueError, TypeError
        As for `Engine.submit`.
    """
    engine = Engine(model, cache, stop_ids=stop_ids, max_batch=max_batch)
    check_sampling(temperature, rng)
    rngs = [None] * len(prompts) if rng is None else rng.spawn(len(prompts))
    texts = [
        engine.submit(prompt, max_new_tokens=max_new_tokens, temperature=temperature, rng=own)[0]
        for prompt, own in zip(prompts, rngs, strict=True)
    ]
    engine.run()
    return [text.output for text in texts]
