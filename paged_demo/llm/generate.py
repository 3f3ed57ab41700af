"""Many texts at once: sequences join the batch, grow by a token a step, and leave.

Each step computes one token of every running sequence in one pass through the weights, then lets waiting ones
join where there is room (continuous batching). If a running one finds no room to grow, the newest gives way:
it loses its place in the cache, waits, and is later computed again from all its tokens. If anything fails,
all running ones give way like that: a step that was interrupted leaves nothing half done in the cache.
"""

from collections import deque
from collections.abc import Callable, Sequence
from itertools import count

import numpy as np

from paged_demo.allocators.memory_map import CacheFullError
from paged_demo.attention.shapes import Floats
from paged_demo.checks import check_count
from paged_demo.llm.cache import KVCache
from paged_demo.llm.model import Llama
from paged_demo.llm.sampling import check_sampling, choose
from paged_demo.llm.text import Text, check_stop_ids, check_text, outgrown


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
    running, waiting
        The texts in the batch, oldest first, and groups of texts that wait for their turn. The texts of a
        group have all their tokens in common: several samples of one prompt that were not yet drawn.
    num_computed, num_found : int
        Tokens that went through the model so far, and tokens that the cache had already.
    """

    def __init__(
        self, model: Llama, cache: KVCache, *, stop_ids: Sequence[int] = (), max_batch: int | None = None
    ) -> None:
        self.model = model
        self.cache = cache
        self.running: list[Text] = []
        self.waiting: deque[list[Text]] = deque()
        self.num_computed = 0
        self.num_found = 0
        self._stop_ids = check_stop_ids(model, stop_ids)
        self._max_batch = None if max_batch is None else check_count("max_batch", max_batch)
        self._ids = count()

    def submit(
        self,
        prompt: Sequence[int],
        *,
        max_new_tokens: int,
        temperature: float = 0.0,
        rng: np.random.Generator | None = None,
        num_samples: int = 1,
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

        Raises
        ------
        ValueError, TypeError
            If a number is too small, the prompt is empty, leaves no room below the model's maximum or is
            larger than the cache, or `choose` could not draw. Nothing is queued then.
        """
        tokens = check_text(self.model, prompt, max_new_tokens, self.cache.num_slots)
        check_count("num_samples", num_samples)
        check_sampling(temperature, rng)
        rngs = [rng] if rng is None or num_samples == 1 else rng.spawn(num_samples)
        group = [
            Text(
                seq_id=next(self._ids),
                prompt=tokens,
                max_new_tokens=max_new_tokens,
                temperature=temperature,
                rng=rngs[number % len(rngs)],
            )
            for number in range(num_samples)
        ]
        self.waiting.append(group.copy())
        return group

    def run(self, watch: Callable[["Engine"], object] | None = None) -> None:
        """Step until every text is finished. ``watch`` is called after each step.

        What `step` says of errors holds for those of ``watch`` too.
        """
        try:
            while self.running or self.waiting:
                self.step()
                if watch is not None:
                    watch(self)
        except BaseException:
            self._let_go()
            raise

    def step(self) -> None:
        """Compute one more token of every running text, then let waiting ones join.

        Whatever is raised, the cache then holds no text of this engine. Those that are not finished wait with
        all their tokens, so that a later step can go on.

        Raises
        ------
        CacheFullError
            If the pool is too small for a text when no other can give way; it is named.
        """
        try:
            self._step()
        except BaseException:
            self._let_go()
            raise

    def _step(self) -> None:
        had_to_preempt = self._grow()
        if self.running:
            logits = self._compute(self.running, [1] * len(self.running))
            for text, row in zip(self.running, logits, strict=True):
                self._add_token(text, row)
        self.running = [text for text in self.running if not text.is_finished]
        # Who was just sent away would only come back to be sent away again.
        while self.waiting and not had_to_preempt and self._admit():
            pass

    def _let_go(self) -> None:
        for text in reversed(self.running):
            if not text.is_finished:
                self.cache.free(text.seq_id)
                self.waiting.appendleft([text])
        self.running.clear()

    def _grow(self) -> bool:
        """Give every running text a slot for its last token, and say whether that took another's place."""
        had_to_preempt = False
        index = 0
        while index < len(self.running):
            text = self.running[index]
            try:
                self.cache.append(text.seq_id, text.output[-1])
            except CacheFullError as error:
                if len(self.running) == 1:
                    raise outgrown(text, self.cache.num_slots, error) from error
                # The newest has had no slot in this step yet, so all that it holds was computed.
                self._preempt(self.running.pop())
                had_to_preempt = True
            else:
                index += 1
        return had_to_preempt

    def _preempt(self, text: Text) -> None:
        self.cache.free(text.seq_id)
        text.num_preemptions += 1
        self.waiting.appendleft([text])

    def _admit(self) -> bool:
        """Start the texts at the head of the queue that find room, and draw the next token of each."""
        group = self.waiting[0]
        num_places = len(group) if self._max_batch is None else self._max_batch - len(self.running)
        if num_places == 0:
            return False
        first = group[0]
        try:
            num_found = self.cache.start(first.seq_id, first.tokens)
        except CacheFullError as error:
            if not self.running:
                raise outgrown(first, self.cache.num_slots, error) from error
            return False
        joining = [first]
        try:
            logits = self._compute(joining, [len(first.tokens) - num_found])[0]
            self._fork(joining, group[1:num_places])
        except BaseException:
            for text in joining:
                self.cache.free(text.seq_id)
            raise
        self.num_found += num_found
        self.running += joining
        del group[: len(joining)]
        if not group:
            self.waiting.popleft()
        for text in joining:
            self._add_token(text, logits)
        self.running = [text for text in self.running if not text.is_finished]
        return True

    def _fork(self, joining: list[Text], others: Sequence[Text]) -> None:
        """Let others join where the first is now, as long as there is room: sharing pages needs none."""
        for text in others:
            try:
                self.cache.fork(joining[0].seq_id, text.seq_id)
            except CacheFullError:
                return
            joining.append(text)

    def _compute(self, texts: Sequence[Text], num_new: Sequence[int]) -> Floats:
        """Compute the last so many tokens of each text, and return the logits of what follows."""
        token_ids: list[int] = []
        positions: list[int] = []
        for text, num in zip(texts, num_new, strict=True):
            tokens = text.tokens
            token_ids += tokens[-num:]
            positions += range(len(tokens) - num, len(tokens))
        new_of = {text.seq_id: num for text, num in zip(texts, num_new, strict=True)}
        attend = self.cache.attend_to(new_of)
        logits = self.model.forward(token_ids, positions, attend, rows=np.cumsum(num_new) - 1)
        self.num_computed += len(token_ids)
        return logits

    def _add_token(self, text: Text, logits: Floats) -> None:
        text.output.append(choose(logits, temperature=text.temperature, rng=text.rng))
        if text.output[-1] in self._stop_ids or len(text.output) == text.max_new_tokens:
            text.is_finished = True
            self.cache.free(text.seq_id)


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

    Whatever is raised, nothing of them stays in the cache.

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
