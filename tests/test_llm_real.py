"""The real model: what it says over pages is what it says over one contiguous run."""

from dataclasses import replace

import numpy as np
import pytest
from amounts import amount
from tiny_llama import Recorder, load_real, needs_weights

from paged_demo.llm.beam import beam_search
from paged_demo.llm.cache import ContiguousCache, PagedCache
from paged_demo.llm.generate import Engine, generate
from paged_demo.llm.llama import Llama

pytestmark = needs_weights

QUESTIONS = [
    "What is the capital of France?",
    "What is virtual memory? Answer in two sentences.",
    "Write a Python function that returns the n-th Fibonacci number.",
    "Why is the sky blue?",
    "Tell me a short story about a lighthouse keeper.",
]
NUM_NEW = amount(short=4, long=64)
SMALLEST_MARGIN = 1e-3
"""Two ways to add up differ by up to 2e-4 in a logit here: tokens may change places below that."""


@pytest.fixture(scope="module")
def whole_model():
    return load_real()[0]


@pytest.fixture(scope="module")
def model(whole_model):
    """The first layers of the real model: a key in a wrong place, or another rounding, shows in each."""
    layers = whole_model.weights.layers[: amount(short=3, long=whole_model.spec.num_layers)]
    spec = replace(whole_model.spec, num_layers=len(layers))
    return Llama(spec, replace(whole_model.weights, layers=layers))


@pytest.fixture(scope="module")
def tokenizer():
    return load_real()[1]


@pytest.fixture(scope="module")
def prompts(tokenizer):
    return [tokenizer.chat(question) for question in QUESTIONS]


@pytest.fixture(scope="module")
def batch(prompts):
    return prompts[: amount(short=2, long=5)]


@pytest.fixture(scope="module")
def over_pages(model, batch):
    """Generate tokens for each prompt in one batch over pages that are out of order."""
    recorder = Recorder(model)
    cache = PagedCache(model.spec, num_pages=40)
    generate(model, cache, [batch[0], batch[0][:20]], max_new_tokens=2)
    return recorder, generate(recorder, cache, batch, max_new_tokens=NUM_NEW)


def test_over_contiguous_runs_the_tokens_are_equal_and_so_are_the_logits_bit_for_bit(
    model, batch, over_pages
):
    recorder, texts = over_pages
    rival = Recorder(model)
    cache = ContiguousCache(model.spec, num_sequences=len(batch), max_tokens=128, tile_size=16)
    assert generate(rival, cache, batch, max_new_tokens=NUM_NEW) == texts
    assert all(len(text) == NUM_NEW for text in texts)
    assert len(recorder.logits) == len(batch) + NUM_NEW - 1
    assert recorder.is_equal_to(rival)


def test_one_sequence_at_a_time_is_equal_bit_for_bit_too(model, prompts):
    one, other = Recorder(model), Recorder(model)
    options = {"max_new_tokens": amount(short=4, long=24)}
    texts = generate(one, PagedCache(model.spec, num_pages=7), prompts[1:2], **options)
    cache = ContiguousCache(model.spec, num_sequences=1, max_tokens=128, tile_size=16)
    assert generate(other, cache, prompts[1:2], **options) == texts
    assert one.is_equal_to(other)


@pytest.mark.long
def test_attention_in_one_piece_rounds_otherwise_and_says_the_same(model, batch, over_pages):
    recorder, texts = over_pages
    rival = Recorder(model)
    cache = ContiguousCache(model.spec, num_sequences=len(batch), max_tokens=128)
    assert generate(rival, cache, batch, max_new_tokens=NUM_NEW // 2) == [
        text[: NUM_NEW // 2] for text in texts
    ]
    differences = [np.abs(mine - its).max() for mine, its in zip(recorder.logits, rival.logits, strict=False)]
    assert 0 < max(differences) < 2e-4


def test_each_text_alone_is_the_text_of_the_batch_wherever_rounding_cannot_decide(model, batch, over_pages):
    recorder, texts = over_pages
    # The logits of each text's tokens: first those of its prompt, then its rows of the steps.
    firsts, steps = recorder.logits[: len(batch)], recorder.logits[len(batch) :]
    for row, (prompt, text) in enumerate(zip(batch, texts, strict=True)):
        logits = np.array([firsts[row][0], *(step[row] for step in steps)])
        best = np.sort(logits, axis=1)[:, -2:]
        sure = np.flatnonzero(best[:, 1] - best[:, 0] < SMALLEST_MARGIN)
        num_sure = int(sure[0]) if len(sure) else NUM_NEW
        assert num_sure > NUM_NEW // 2, "a prompt whose text hangs on rounding shows nothing"
        # Teacher forcing: all at once, in another shape than before, with the text as it was.
        cache = PagedCache(model.spec, num_pages=8)
        tokens = prompt + text
        cache.start(0, tokens)
        attend = cache.attend_to({0: len(tokens)})
        rows = range(len(prompt) - 1, len(tokens) - 1)
        again = model.forward(tokens, range(len(tokens)), attend, rows=rows)
        assert np.abs(again - logits).max() < 5e-4
        assert again.argmax(axis=1)[:num_sure].tolist() == text[:num_sure]


def test_a_shared_system_prompt_is_computed_once_and_the_answers_stay_the_same(model, tokenizer):
    system = "You are a terse assistant. Answer every question with one short sentence, and nothing else."
    prompts = [tokenizer.chat(question, system=system) for question in QUESTIONS[: amount(short=2, long=4)]]
    num_more = len(prompts) - 1
    runs = {}
    for prefix_caching in (False, True):
        cache = PagedCache(model.spec, num_pages=40, prefix_caching=prefix_caching)
        engine = Engine(model, cache, stop_ids=tokenizer.stop_ids)
        texts = [engine.submit(prompt, max_new_tokens=amount(short=3, long=12))[0] for prompt in prompts]
        engine.run()
        runs[prefix_caching] = engine, [text.output for text in texts]
    assert runs[True][1] == runs[False][1]
    common = 16 * ((len(tokenizer.chat("", system=system)) - 5) // 16)
    assert runs[True][0].num_found == num_more * common
    assert runs[True][0].num_computed == runs[False][0].num_computed - num_more * common


def test_samples_over_shared_pages_are_those_over_runs_of_their_own(model, tokenizer, prompts):
    outputs = []
    for cache in (
        PagedCache(model.spec, num_pages=20),
        ContiguousCache(model.spec, num_sequences=4, max_tokens=96, tile_size=16),
    ):
        engine = Engine(model, cache, stop_ids=tokenizer.stop_ids)
        rng = np.random.default_rng(7)
        texts = engine.submit(
            prompts[4], max_new_tokens=amount(short=4, long=16), temperature=0.8, rng=rng, num_samples=4
        )
        engine.run()
        outputs.append([text.output for text in texts])
    assert outputs[0] == outputs[1]
    assert len(set(map(tuple, outputs[0]))) > 1


def test_beams_over_shared_pages_are_those_over_copied_runs(model, tokenizer, prompts):
    options = {"num_beams": 3, "max_new_tokens": amount(short=4, long=12), "stop_ids": tokenizer.stop_ids}
    cache = PagedCache(model.spec, num_pages=20)
    beams = beam_search(model, cache, prompts[1], **options)
    rival = ContiguousCache(model.spec, num_sequences=3, max_tokens=96, tile_size=16)
    assert beam_search(model, rival, prompts[1], **options) == beams
    assert cache.num_copied_pages > 0


@pytest.mark.long
def test_a_pool_too_small_for_all_preempts_and_the_answers_stay_the_same(model, tokenizer, prompts):
    outputs = []
    for num_pages in (40, 9):
        engine = Engine(model, PagedCache(model.spec, num_pages=num_pages), stop_ids=tokenizer.stop_ids)
        texts = [engine.submit(prompt, max_new_tokens=16)[0] for prompt in prompts[1:4]]
        engine.run()
        outputs.append([text.output for text in texts])
    assert outputs[0] == outputs[1]
    assert sum(text.num_preemptions for text in texts) > 0


def test_the_model_knows_its_capital(whole_model, tokenizer, prompts):
    cache = PagedCache(whole_model.spec, num_pages=5)
    [text] = generate(whole_model, cache, prompts[:1], max_new_tokens=20, stop_ids=tokenizer.stop_ids)
    assert tokenizer.decode(text) == "The capital of France is Paris."


def test_a_token_takes_46080_bytes_of_keys_and_values(whole_model):
    assert whole_model.spec.kv_bytes_per_token // 2 == 2 * 30 * 3 * 64 * 2
    assert whole_model.spec.kv_bytes_per_token == 46_080
