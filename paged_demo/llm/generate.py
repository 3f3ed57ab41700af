"""Many texts at once: sequences join the batch, grow by a token a step, and leave.

Each step computes one token of every running sequence in one pass through the weights, then lets waiting ones
join where there is room (continuous batching). If a running one finds no room to grow, the newest gives way:
it loses its place in the cache, waits, and is later computed again from all its tokens.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count

import numpy as np

from paged_demo.allocators.memory_map import CacheFullError
from paged_demo.allocators.sequences import check_prompt
from paged_demo.attention.shapes import Floats
from paged_demo.checks import check_count
from paged_demo.llm.cache import KVCache
from paged_demo.llm.model import Llama
from paged_demo.llm.sampling import check_sampling, choose


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
        self._stop_ids = frozenset(stop_ids)
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
            If a number is too small, the prompt is empty, or it leaves no room below the model's maximum.
        """
        tokens = check_text(self.model, prompt, max_new_tokens)
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
        """Step until every text is finished. ``watch`` is called after each step."""
        while self.running or self.waiting:
            self.step()
            if watch is not None:
                watch(self)

    def step(self) -> None:
        """Compute one more token of every running text, then let waiting ones join.

        Raises
        ------
        CacheFullError
            If the pool is too small for a text that has it to itself. What other texts hold is as it was.
        """
        had_to_preempt = self._grow()
        if self.running:
            logits = self._compute(self.running, [1] * len(self.running))
            for text, row in zip(self.running, logits, strict=True):
                self._add_token(text, row)
        self.running = [text for text in self.running if not text.is_finished]
        # Who was just sent away would only come back to be sent away again.
        while self.waiting and not had_to_preempt and self._admit():
            pass

    def _grow(self) -> bool:
        """Give every running text a slot for its last token, and say whether that took another's place."""
        had_to_preempt = False
        index = 0
        while index < len(self.running):
            text = self.running[index]
            try:
                self.cache.append(text.seq_id, text.output[-1])
            except CacheFullError:
                if len(self.running) == 1:
                    raise
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
        except CacheFullError:
            if not self.running:
                raise
            return False
        self.num_found += num_found
        logits = self._compute([first], [len(first.tokens) - num_found])[0]
        joining = [first, *self._fork(first, group[1:num_places])]
        for text in joining:
            self._add_token(text, logits)
        self.running += [text for text in joining if not text.is_finished]
        del group[: len(joining)]
        if not group:
            self.waiting.popleft()
        return True

    def _fork(self, parent: Text, others: Sequence[Text]) -> Iterator[Text]:
        """Let others begin where a text is now, as long as there is room: sharing pages needs none."""
        for text in others:
            try:
                self.cache.fork(parent.seq_id, text.seq_id)
            except CacheFullError:
                return
            yield text

    def _compute(self, texts: Sequence[Text], num_new: Sequence[int]) -> Floats:
        """Compute the last so many tokens of each text, and return the logits of what follows."""
        token_ids: list[int] = []
        positions: list[int] = []
        for text, num in zip(texts, num_new, strict=True):
            tokens = text.tokens
            token_ids += tokens[-num:]
            positions += range(len(tokens) - num, len(tokens))
        self.num_computed += len(token_ids)
        new_of = {text.seq_id: num for text, num in zip(texts, num_new, strict=True)}
        attend = self.cache.attend_to(new_of)
        return self.model.forward(token_ids, positions, attend, rows=np.cumsum(num_new) - 1)

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
    rngs = [None] * len(prompts) if rng is None else rng.spawn(len(prompts))
    texts = [
        engine.submit(prompt, max_new_tokens=max_new_tokens, temperature=temperature, rng=own)[0]
        for prompt, own in zip(prompts, rngs, strict=True)
    ]
    engine.run()
    return [text.output for text in texts]


def check_text(model: Llama, prompt: Sequence[int], max_new_tokens: int) -> list[int]:
    """Return a prompt's tokens, or say why the model cannot go on from it, before a page is taken."""
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
    return tokens
