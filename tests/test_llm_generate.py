"""Generation on a tiny random model: shared, batched or computed again, the tokens are the same."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from amounts import amount
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_llama import Fuse, Recorder, in_float64, make_tiny, write_gguf

from paged_demo import CacheFullError
from paged_demo.llm import beam
from paged_demo.llm import generate as generation
from paged_demo.llm.beam import Beam, beam_search
from paged_demo.llm.cache import ContiguousCache, PagedCache
from paged_demo.llm.decoding import choose, log_probabilities
from paged_demo.llm.generate import Engine, generate
from paged_demo.llm.load import load_model

PAGE_SIZE = 4
VOCABULARY = 71


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    seed = np.random.SeedSequence().entropy
    sys.stdout.write(f"rng = np.random.default_rng({seed})\n")
    path = tmp_path_factory.mktemp("tiny") / "tiny.gguf"
    write_gguf(make_tiny(np.random.default_rng(seed)), path)
    return in_float64(load_model(path))


def paged(model, num_pages=64, **options):
    return PagedCache(model.spec, num_pages=num_pages, page_size=PAGE_SIZE, dtype=np.float64, **options)


def contiguous(model, num_sequences=1, **options):
    return ContiguousCache(
        model.spec, num_sequences=num_sequences, max_tokens=64, dtype=np.float64, **options
    )


def prompts_of(sizes, seed=1):
    rng = np.random.default_rng(seed)
    return [rng.integers(VOCABULARY, size=size).tolist() for size in sizes]


def alone(model, prompts, num_new=12, **options):
    """Generate each text by itself, over contiguous arrays: nothing is shared and nothing is batched."""
    return [
        generate(model, contiguous(model), [prompt], max_new_tokens=num_new, **options)[0]
        for prompt in prompts
    ]


def held_pages(cache):
    return cache.allocator.num_pages - cache.allocator.num_free_pages


def test_over_pages_and_over_one_run_in_tiles_the_logits_are_equal_bit_for_bit(model):
    prompts, num_new = prompts_of([1, 3, 4, 5, 17]), amount(short=9, long=20)
    for batch in (prompts, *([prompt] for prompt in prompts)):
        over_pages, over_runs = Recorder(model), Recorder(model)
        # Strangers come and go first, so that the pages are out of order.
        cache = paged(model)
        generate(model, cache, prompts_of([9, 2, 30]), max_new_tokens=7)
        texts = generate(over_pages, cache, batch, max_new_tokens=num_new)
        rival = contiguous(model, num_sequences=5, tile_size=PAGE_SIZE)
        assert generate(over_runs, rival, batch, max_new_tokens=num_new) == texts
        assert over_pages.is_equal_to(over_runs)


def test_a_recorder_sees_logits_that_differ_in_the_last_bit(model):
    one, other = Recorder(model), Recorder(model)
    for recorder in (one, other):
        generate(recorder, paged(model), [[1, 2, 3]], max_new_tokens=2)
    assert one.is_equal_to(other)
    one.logits[1][0, 5] = np.nextafter(one.logits[1][0, 5], np.inf)
    assert not one.is_equal_to(other)


def test_a_batch_gives_what_each_text_gives_alone(model):
    prompts = prompts_of([1, 6, 16, 17, 30, 8])
    for cache in (paged(model), contiguous(model, 6), contiguous(model, 6, tile_size=8)):
        assert generate(model, cache, prompts, max_new_tokens=12) == alone(model, prompts)


def test_texts_join_as_others_leave_and_the_batch_is_never_larger_than_allowed(model):
    prompts = prompts_of([5, 9, 2, 14, 7])
    engine = Engine(model, paged(model), max_batch=2)
    lengths = (3, 12, 6, 1, 9)
    texts = [engine.submit(p, max_new_tokens=n)[0] for p, n in zip(prompts, lengths, strict=True)]
    batches = []
    engine.run(watch=lambda engine: batches.append([text.seq_id for text in engine.running]))
    assert max(map(len, batches)) == 2
    assert [1, 2] in batches, "the third joined while the second was still running"
    for text, prompt, length in zip(texts, prompts, lengths, strict=True):
        assert text.is_finished
        assert text.output == alone(model, [prompt], length)[0]


def test_a_text_ends_with_a_stop_token_and_leaves_nothing_behind(model):
    prompt = prompts_of([6])[0]
    whole = alone(model, [prompt])[0]
    stop = whole[5]
    cache = paged(model)
    output = generate(model, cache, [prompt], max_new_tokens=12, stop_ids=[stop])[0]
    assert output == whole[: whole.index(stop) + 1]
    assert held_pages(cache) == 0
    assert cache.memory_map().regions == ()


def test_a_found_prefix_is_not_computed_and_changes_no_token(model):
    common = prompts_of([18])[0]
    prompts = [common + rest for rest in prompts_of([3, 5, 1, 9], seed=2)]
    engine = Engine(model, paged(model, prefix_caching=True))
    texts = [engine.submit(prompt, max_new_tokens=12)[0] for prompt in prompts]
    engine.run()
    assert [text.output for text in texts] == alone(model, prompts)
    assert engine.num_found == 3 * 16
    assert engine.num_computed == sum(map(len, prompts)) - 3 * 16 + 4 * 11


def test_a_finished_text_is_found_by_the_next_turn_of_its_chat(model):
    prompt = prompts_of([9])[0]
    engine = Engine(model, paged(model, prefix_caching=True))
    [first] = engine.submit(prompt, max_new_tokens=12)
    engine.run()
    [second] = engine.submit([*first.tokens, 1, 2], max_new_tokens=12)
    engine.run()
    # The last token of the first turn was never an input: 20 of its 21 tokens have keys and values.
    assert engine.num_found == 20
    assert second.output == alone(model, [[*first.tokens, 1, 2]])[0]


def test_texts_of_two_tenants_share_no_page_and_say_the_same(model):
    prompt = list(range(2 * PAGE_SIZE + 1))
    engine = Engine(model, paged(model, prefix_caching=True))
    texts = []
    for salt in ("us", "them", "us"):
        texts += engine.submit(prompt, max_new_tokens=3, cache_salt=salt)
        engine.run()
    assert engine.num_found == 2 * PAGE_SIZE, "only the last finds the first"
    assert texts[0].output == texts[1].output == texts[2].output


def test_a_salt_that_is_no_text_is_refused_before_it_is_queued(model):
    engine = Engine(model, paged(model, prefix_caching=True))
    with pytest.raises(TypeError, match="cache_salt must be a string, got 7"):
        engine.submit([1, 2], max_new_tokens=3, cache_salt=7)
    assert not engine.waiting


@pytest.mark.parametrize("last_layer", [-1, 0, 1])
def test_pages_whose_computing_was_interrupted_are_never_found(model, last_layer):
    cache = paged(model, prefix_caching=True)

    def interrupted(attend):
        def until(layer, *arrays):
            if layer > last_layer:
                raise KeyboardInterrupt
            return attend(layer, *arrays)

        return until

    cache.start("a", range(8))
    with pytest.raises(KeyboardInterrupt):
        model.forward(range(8), range(8), interrupted(cache.attend_to({"a": 8})))
    assert cache.start("b", range(9)) == 0, "while the first is held"
    cache.free("a")
    assert cache.start("c", range(9)) == 0, "after it was freed"
    model.forward(range(9), range(9), cache.attend_to({"c": 9}))
    for token_id in (9, 10, 11):
        cache.append("c", token_id)
    with pytest.raises(KeyboardInterrupt):
        model.forward([9, 10, 11], [9, 10, 11], interrupted(cache.attend_to({"c": 3})))
    cache.free("c")
    assert cache.start("d", range(13)) == 8, "the page that the last tokens filled holds no numbers"
    logits = model.forward(range(8, 13), range(8, 13), cache.attend_to({"d": 5}))
    assert np.isfinite(logits).all()


@pytest.mark.parametrize("size", [7, 8, 9])
def test_samples_share_their_prompt_and_are_the_texts_that_each_would_be_alone(model, size):
    prompt = prompts_of([size])[0]
    cache = paged(model)
    engine = Engine(model, cache)
    texts = engine.submit(
        prompt, max_new_tokens=12, temperature=1.5, rng=np.random.default_rng(5), num_samples=4
    )
    assert len(texts) == 4
    engine.step()
    assert held_pages(cache) == -(-size // PAGE_SIZE), "four samples, and the pages of one prompt"
    engine.run()
    twins = [generate_with(model, prompt, rng, 12) for rng in np.random.default_rng(5).spawn(4)]
    assert [text.output for text in texts] == twins
    assert len({tuple(text.output) for text in texts}) > 1
    assert cache.num_copied_pages == (0 if size % PAGE_SIZE == 0 else 3)
    assert engine.num_computed == size + 4 * 11


def generate_with(model, prompt, rng, num_new):
    engine = Engine(model, contiguous(model))
    [text] = engine.submit(prompt, max_new_tokens=num_new, temperature=1.5, rng=rng)
    engine.run()
    return text.output


def test_samples_in_a_cache_that_cannot_share_wait_for_room_and_come_out_equal(model):
    prompt = prompts_of([7])[0]
    outputs = []
    for cache in (paged(model), contiguous(model, 4), contiguous(model, 2), contiguous(model, 1)):
        engine = Engine(model, cache)
        texts = engine.submit(
            prompt, max_new_tokens=12, temperature=1.5, rng=np.random.default_rng(5), num_samples=4
        )
        engine.run()
        outputs.append([text.output for text in texts])
    assert all(each == outputs[0] for each in outputs)


def test_the_samples_of_a_group_join_one_by_one_if_the_batch_has_few_places(model):
    engine = Engine(model, paged(model), max_batch=3)
    engine.submit([1, 2], max_new_tokens=2)
    texts = engine.submit([3, 4], max_new_tokens=3, num_samples=4)
    engine.run(watch=lambda engine: len(engine.running) <= 3 or pytest.fail("more than three at once"))
    assert all(text.output == texts[0].output for text in texts)


def test_a_pool_too_small_preempts_the_newest_and_the_texts_stay_the_same(model):
    prompts = prompts_of([7, 6, 5])
    engine = Engine(model, cache := paged(model, num_pages=9))
    texts = [engine.submit(prompt, max_new_tokens=12)[0] for prompt in prompts]
    engine.run()
    assert [text.output for text in texts] == alone(model, prompts)
    assert texts[0].num_preemptions == 0
    assert texts[-1].num_preemptions > 0
    assert held_pages(cache) == 0


def test_positions_count_from_0_in_every_text(model):
    recorder = Recorder(model)
    generate(recorder, paged(model), [[1, 2, 3], [4]], max_new_tokens=3)
    assert recorder.positions == [[0, 1, 2], [0], [3, 1], [4, 2]]


def test_who_was_preempted_comes_back_before_those_who_never_ran(model):
    engine = Engine(model, paged(model, num_pages=9), max_batch=2)
    texts = [engine.submit(prompt, max_new_tokens=17)[0] for prompt in prompts_of([10, 10, 1])]
    while not texts[1].num_preemptions:
        engine.step()
    assert [[text.seq_id for text in group] for group in engine.waiting] == [[1], [2]]
    engine.run()
    assert [text.output for text in texts] == alone(model, [text.prompt for text in texts], 17)


def test_who_was_running_when_a_run_was_interrupted_waits_in_the_same_order(model):
    engine = Engine(model, paged(model), max_batch=3)
    for prompt in prompts_of([4, 5, 6, 7]):
        engine.submit(prompt, max_new_tokens=9)
    fuse = Fuse(2)
    with pytest.raises(KeyboardInterrupt):
        engine.run(watch=fuse.burn)
    assert [[text.seq_id for text in group] for group in engine.waiting] == [[0], [1], [2], [3]]


@settings(max_examples=amount(short=5, long=50))
@given(data=st.data())
def test_in_any_pool_that_holds_the_longest_every_text_is_as_alone(model, data):
    common = prompts_of([9], seed=3)[0]
    sizes = data.draw(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 11)), min_size=1, max_size=5))
    rests = prompts_of([rest for _, rest in sizes])
    prompts = [common[:begin] + rest for (begin, _), rest in zip(sizes, rests, strict=True)]
    cache = paged(model, data.draw(st.integers(8, 14)), prefix_caching=data.draw(st.booleans()))
    engine = Engine(model, cache, max_batch=data.draw(st.none() | st.integers(1, 4)))
    twins = Engine(model, contiguous(model, 1))
    num_samples = data.draw(st.integers(1, 3))

    def submit(engine, prompt):
        rng = np.random.default_rng(len(prompt))
        options = {"max_new_tokens": 9, "temperature": 1.0, "rng": rng, "num_samples": num_samples}
        return engine.submit(prompt, **options)

    groups = [submit(engine, prompt) for prompt in prompts]
    engine.run(watch=lambda engine: engine.cache.allocator.check())
    expected = [submit(twins, prompt) for prompt in prompts]
    twins.run()
    for group, twin in zip(groups, expected, strict=True):
        assert [text.output for text in group] == [text.output for text in twin]
    assert held_pages(cache) == 0


def test_a_text_that_has_the_pool_to_itself_and_outgrows_it_is_an_error(model):
    engine = Engine(model, cache := paged(model, num_pages=2))
    [text] = engine.submit([1, 2, 3, 4, 5, 6, 7], max_new_tokens=12)
    told = "need 1 page, 0 free: text 0 has 9 tokens, the cache 8 slots, and no other text is left to preempt"
    with pytest.raises(CacheFullError, match=told):
        engine.run()
    assert held_pages(cache) == 0
    assert len(text.output) == 2, "what has room was generated"
    with pytest.raises(CacheFullError, match="need 3 pages, 2 free: text 0 has 9 tokens, the cache 8 slots"):
        engine.run()


def test_a_prompt_larger_than_the_cache_is_refused_and_one_as_large_is_answered(model):
    for cache in (paged(model, num_pages=16), contiguous(model)):
        engine = Engine(model, cache)
        for ask in (
            lambda prompt, engine=engine: engine.submit(prompt, max_new_tokens=1),
            lambda prompt, cache=cache: beam_search(model, cache, prompt, num_beams=1, max_new_tokens=1),
        ):
            with pytest.raises(ValueError, match="prompt must fit into the cache's 64 slots, got 65 tokens"):
                ask(range(65))
        assert not engine.waiting
        [text] = engine.submit(range(64), max_new_tokens=1)
        engine.run()
        assert text.is_finished


def test_a_text_may_fill_what_the_model_was_trained_for_and_no_more(model):
    most = model.spec.max_tokens
    for cache in (paged(model, num_pages=-(-most // PAGE_SIZE)), contiguous(model)):
        engine = Engine(model, cache)
        told = f"the prompt's 5 tokens and max_new_tokens must be at most {most} together, got {most - 4}"
        with pytest.raises(ValueError, match=told):
            engine.submit(range(5), max_new_tokens=most - 4)
        assert not engine.waiting
        engine.submit(range(5), max_new_tokens=most - 5)
        assert engine.waiting


def test_a_prompt_that_fits_an_empty_cache_only_is_an_error_that_names_it(model):
    cache = paged(model, num_pages=2)
    cache.start("stranger", [1])
    engine = Engine(model, cache)
    engine.submit(range(8), max_new_tokens=1)
    with pytest.raises(CacheFullError, match="need 2 pages, 1 free: text 0 has 8 tokens, the cache 8 slots"):
        engine.run()


def interruptions():
    """Give a fuse for the first call, for the second, and so on, until one is left over."""
    for num_calls in range(0, 1000, amount(short=13, long=1)):
        fuse = Fuse(num_calls)
        yield fuse
        if not fuse.is_blown:
            assert num_calls > 20, "a run without calls shows nothing"
            return
    pytest.fail("a run without end")


@pytest.mark.parametrize("is_paged", [True, False])
def test_wherever_a_run_is_interrupted_the_pool_is_free_and_the_run_can_go_on(model, is_paged):
    prompts = prompts_of([8, 5, 6])
    expected = alone(model, prompts, 6)
    twins = [generate_with(model, prompts[2], rng, 6) for rng in np.random.default_rng(5).spawn(3)]
    for fuse in interruptions():
        cache = paged(model, 8, prefix_caching=True) if is_paged else contiguous(model, 6)
        engine = Engine(fuse.around(model), fuse.around(cache), max_batch=4)
        texts = [engine.submit(prompt, max_new_tokens=6)[0] for prompt in prompts[:2]]
        samples = engine.submit(
            prompts[2], max_new_tokens=6, temperature=1.5, rng=np.random.default_rng(5), num_samples=3
        )
        try:
            engine.run(watch=fuse.burn)
        except KeyboardInterrupt:
            assert_nothing_is_held(cache)
            # Whoever comes next finds no page that was left half done.
            assert generate(model, cache, prompts, max_new_tokens=6) == expected
            engine.run()
        assert [text.output for text in texts] == expected[:2]
        assert [text.output for text in samples] == twins
        assert_nothing_is_held(cache)
    assert not is_paged or any(text.num_preemptions for text in samples), "the pool was to be too small"


class InterruptAtLine:
    """Raises what Ctrl-C raises when the n-th line of a module is about to be run, within a ``with``."""

    def __init__(self, module, num_lines):
        self.is_blown = False
        self._path, self._num_left = module.__file__, num_lines

    def __enter__(self):
        self._before = sys.gettrace()
        sys.settrace(self._trace)

    def __exit__(self, *_):
        sys.settrace(self._before)

    def _trace(self, frame, event, _):
        if self.is_blown or frame.f_code.co_filename != self._path:
            return None
        if event == "line":
            self._num_left -= 1
            if self._num_left < 0:
                self.is_blown = True
                raise KeyboardInterrupt
        return self._trace


def lines_to_interrupt(module):
    """Give what interrupts at the first line, at the second, and so on, until one is left over."""
    for num_lines in range(0, 5000, amount(short=17, long=1)):
        interrupt = InterruptAtLine(module, num_lines)
        yield interrupt
        if not interrupt.is_blown:
            assert num_lines > 100, "a run without lines shows nothing"
            return
    pytest.fail("a run without end")


def test_whichever_line_of_a_run_is_interrupted_the_pool_is_free_and_the_run_can_go_on(model):
    prompts = prompts_of([7, 5])
    expected = alone(model, prompts, 3)
    num_preemptions = 0
    for interrupt in lines_to_interrupt(generation):
        engine = Engine(model, cache := paged(model, num_pages=4))
        texts = engine.submit(prompts[0], max_new_tokens=3)
        texts += engine.submit(prompts[1], max_new_tokens=3, num_samples=2)
        try:
            with interrupt:
                engine.run()
        except KeyboardInterrupt:
            assert_nothing_is_held(cache)
            assert engine.running == []
            waiting = [text for group in engine.waiting for text in group]
            assert sorted(text.seq_id for text in waiting) == [
                text.seq_id for text in texts if not text.is_finished
            ]
            engine.run()
        assert [text.output for text in texts] == [*expected, expected[1]]
        assert all(text.is_finished for text in texts)
        assert_nothing_is_held(cache)
        num_preemptions += sum(text.num_preemptions for text in texts)
    assert num_preemptions, "the pool was to be too small"


def test_whichever_line_of_a_beam_search_is_interrupted_the_pool_is_free(model):
    prompt = prompts_of([5])[0]
    for interrupt in lines_to_interrupt(beam):
        cache = paged(model)
        try:
            with interrupt:
                beam_search(model, cache, prompt, num_beams=3, max_new_tokens=3)
        except KeyboardInterrupt:
            assert_nothing_is_held(cache)


@pytest.mark.parametrize(
    "ask",
    [
        lambda model, cache: generate(model, cache, [[4, 5]], max_new_tokens=2),
        lambda model, cache: beam_search(model, cache, [4, 5], num_beams=2, max_new_tokens=2),
    ],
    ids=["run", "beams"],
)
def test_a_stranger_in_the_cache_keeps_its_place_when_its_name_is_asked_for(model, ask):
    cache = paged(model)
    cache.start(0, [1, 2, 3])
    before = cache.memory_map()
    with pytest.raises(ValueError, match="seq_id"):
        ask(model, cache)
    assert cache.memory_map() == before


def assert_nothing_is_held(cache):
    assert not any(region.seq_ids for region in cache.memory_map().regions)
    if isinstance(cache, PagedCache):
        cache.allocator.check()


def test_a_call_of_generate_that_fails_leaves_the_pool_free(model):
    prompts = prompts_of([8, 5, 6])
    cache = paged(model, prefix_caching=True)
    for fuse in interruptions():
        try:
            texts = generate(fuse.around(model), fuse.around(cache), prompts, max_new_tokens=6, max_batch=2)
        except KeyboardInterrupt:
            texts = None
        assert_nothing_is_held(cache)
    assert texts == alone(model, prompts, 6)


def search_without_a_cache(model, prompt, *, num_beams, max_new_tokens, stop_ids):
    """Search for beams by computing every text anew at every step: slow, and nothing to be shared."""
    beams, ended = [((), 0.0)], []
    for _ in range(max_new_tokens):
        grown = []
        for output, score in beams:
            tokens = [*prompt, *output]
            cache = contiguous(model)
            cache.start(0, tokens)
            attend = cache.attend_to({0: len(tokens)})
            logits = model.forward(tokens, range(len(tokens)), attend)[-1]
            grown += [
                ((*output, token), score + gain) for token, gain in enumerate(log_probabilities(logits))
            ]
        grown.sort(key=lambda beam: -beam[1])
        going_on = [beam for beam in grown if beam[0][-1] not in stop_ids][:num_beams]
        ended += [beam for beam in grown if beam[0][-1] in stop_ids and beam[1] > going_on[-1][1]]
        beams = going_on
        if len(ended) >= num_beams:
            break
    return sorted(ended + beams, key=lambda beam: -beam[1] / len(beam[0]))[:num_beams]


@pytest.mark.parametrize("num_beams", [1, 2, 4])
@pytest.mark.parametrize("size", [7, 8])
def test_beams_over_shared_pages_are_those_of_a_search_that_shares_nothing(model, num_beams, size):
    prompt = prompts_of([size])[0]
    # Tokens that are about to come, so that some beams end.
    stop_ids = alone(model, [prompt])[0][5:8:2]
    cache = paged(model)
    counts = []

    def watch(beams):
        cache.allocator.check()
        counts.append(held_pages(cache))
        assert sorted(beam.seq_id for beam in beams) == list(range(len(beams)))

    options = {"num_beams": num_beams, "max_new_tokens": 14, "stop_ids": stop_ids}
    beams = beam_search(model, cache, prompt, watch=watch, **options)
    expected = search_without_a_cache(model, prompt, **options)
    assert [beam.output for beam in beams] == [output for output, _ in expected]
    assert [beam.log_probability for beam in beams] == pytest.approx([score for _, score in expected])
    rival = contiguous(model, num_beams, tile_size=PAGE_SIZE)
    assert beam_search(model, rival, prompt, **options) == beams
    assert held_pages(cache) == 0
    assert max(counts, default=0) <= num_beams * -(-(size + 13) // PAGE_SIZE)


@pytest.mark.parametrize("stop_ids", [[], [1], [0, 3], [0, 1, 2, 3]])
@pytest.mark.parametrize("num_beams", [1, 2, 3, 7])
def test_the_likeliest_beams_go_on_and_those_end_that_were_likelier_than_the_last_of_them(
    num_beams, stop_ids
):
    """By sorting all there are. Where all tokens stop, or few beams grow, fewer go on than may."""
    rng = np.random.default_rng(num_beams)
    for _ in range(20):
        beams = [Beam(seq_id=row, output=(row,), log_probability=-row / 4) for row in range(num_beams)]
        logits = rng.normal(size=(num_beams, 4))
        totals = log_probabilities(logits) + [[beam.log_probability] for beam in beams]
        ranked = sorted(np.ndindex(totals.shape), key=lambda place: -totals[place])
        going_on = [place for place in ranked if place[1] not in stop_ids][:num_beams]
        before = ranked[: ranked.index(going_on[-1])] if len(going_on) == num_beams else ranked
        ending = [place for place in before if place[1] in stop_ids]
        kept, ended = beam._best(beams, logits, num_beams, frozenset(stop_ids))
        for grown, expected in ((kept, going_on), (ended, ending)):
            assert [each.output for each in grown] == expected
            assert [each.seq_id for each in grown] == [row for row, _ in expected]
            assert [each.log_probability for each in grown] == [totals[place] for place in expected]


def test_a_single_beam_is_the_greedy_text(model):
    prompt = prompts_of([6])[0]
    [beam] = beam_search(model, paged(model), prompt, num_beams=1, max_new_tokens=12)
    assert list(beam.output) == alone(model, [prompt])[0]


def test_a_beam_search_without_room_leaves_the_cache_empty(model):
    for cache in (paged(model, num_pages=4), contiguous(model, num_sequences=2)):
        before = cache.memory_map()
        with pytest.raises(CacheFullError):
            beam_search(model, cache, range(11), num_beams=4, max_new_tokens=30)
        assert cache.memory_map() == before


def test_wherever_a_beam_search_is_interrupted_the_pool_is_free(model):
    prompt = prompts_of([9])[0]
    options = {"num_beams": 3, "max_new_tokens": 8}
    expected = beam_search(model, contiguous(model, 3), prompt, **options)
    cache = paged(model, prefix_caching=True)
    for fuse in interruptions():
        try:
            beams = beam_search(fuse.around(model), fuse.around(cache), prompt, watch=fuse.burn, **options)
        except KeyboardInterrupt:
            beams = None
        assert_nothing_is_held(cache)
        assert beam_search(model, cache, prompt, **options) == approximately(expected)
    assert beams == approximately(expected)


def refusing_pages(write, page_ids):
    """Wrap the writing of a store so that a slot of these pages is an error: even with equal bytes."""

    def checked(slots, keys, values):
        assert not set(np.asarray(slots) // PAGE_SIZE) & set(page_ids)
        write(slots, keys, values)

    return checked


def approximately(beams):
    """Give beams equal to these but for rounding: a found prefix changes the shapes of the sums."""
    return [replace(beam, log_probability=pytest.approx(beam.log_probability)) for beam in beams]


@pytest.mark.parametrize("size", [9, 12, 13])
def test_a_beam_search_computes_only_what_is_not_found_and_writes_no_found_page(model, size):
    prompt = prompts_of([size])[0]
    num_found = (size - 1) // PAGE_SIZE * PAGE_SIZE
    options = {"num_beams": 3, "max_new_tokens": 8}
    expected = beam_search(model, contiguous(model, 3), prompt, **options)
    cache = paged(model, prefix_caching=True)
    generate(model, cache, [prompt], max_new_tokens=1)
    cache.start("a", prompt)
    found = cache.allocator.page_table("a")[: num_found // PAGE_SIZE]
    before = [(store.keys[found].tobytes(), store.values[found].tobytes()) for store in cache._stores]
    for store in cache._stores:
        store.write = refusing_pages(store.write, found)
    recorder = Recorder(model)
    assert beam_search(recorder, cache, prompt, **options) == approximately(expected)
    assert recorder.positions[0] == list(range(num_found, size))
    after = [(store.keys[found].tobytes(), store.values[found].tobytes()) for store in cache._stores]
    assert after == before


def draw(logits):
    return choose(logits, temperature=0.8, rng=np.random.default_rng(0))


def test_draws_have_the_probabilities_of_the_softmax():
    logits = np.array([0.0, 1.0, 2.0, -1.0], np.float32)
    rng = np.random.default_rng(0)
    draws = [choose(logits, temperature=0.5, rng=rng) for _ in range(4000)]
    expected = np.exp(2 * logits) / np.exp(2 * logits).sum()
    assert np.abs(np.bincount(draws, minlength=4) / 4000 - expected).max() < 0.03


@pytest.mark.parametrize("temperature", [1e-320, 1e-30, 1.0, np.float32(0.5), 3])
def test_any_temperature_above_0_draws_among_equals_and_leaves_out_what_is_hopeless(temperature):
    rng = np.random.default_rng(0)
    logits = np.array([0, -2000, 0, -3000], np.float32)
    draws = [choose(logits, temperature=temperature, rng=rng) for _ in range(200)]
    assert 60 < draws.count(0) < 140
    assert set(draws) == {0, 2}


def test_extreme_logits_are_drawn_without_overflow():
    rng = np.random.default_rng(0)
    assert choose(np.array([-1e30, 1e30, 0], np.float32), temperature=1e-3, rng=rng) == 1
    assert np.allclose(np.exp(log_probabilities(np.array([1e30, 1e30], np.float32))), 0.5)


@pytest.mark.parametrize("ask", [choose, log_probabilities, draw])
@pytest.mark.parametrize(
    ("logits", "error"),
    [
        (np.array([np.nan, 1.0]), r"logits must be finite where they are largest, got \[nan\]"),
        (np.array([0.0, 1.0, np.nan], np.float32), r"must be finite where they are largest, got \[nan\]"),
        (np.array([0.0, np.inf]), r"must be finite where they are largest, got \[inf\]"),
        (np.full(3, -np.inf), r"must be finite where they are largest, got \[-inf\]"),
        (np.array([]), "logits must have"),
        (np.array(1.0), "logits must have"),
        ([0.0, 1.0], "logits must be a numpy array, got list"),
        (None, "logits must be a numpy array, got NoneType"),
    ],
)
def test_logits_without_a_likeliest_token_are_refused(ask, logits, error):
    with pytest.raises((ValueError, TypeError), match=error):
        ask(logits)


def test_a_row_of_logits_gives_a_token_and_a_table_of_them_none():
    with pytest.raises(ValueError, match=r"logits must have the shape \(vocabulary\), got \(2, 3\)"):
        choose(np.zeros((2, 3)))
    table = np.array([[0.0, 0.0], [0.0, np.nan]])
    with pytest.raises(ValueError, match="must be finite where they are largest"):
        log_probabilities(table)
    assert np.allclose(np.exp(log_probabilities(table[:1])), 0.5)


def test_tokens_that_are_ruled_out_are_never_drawn():
    logits = np.array([-np.inf, 0.0, -np.inf])
    assert choose(logits) == draw(logits) == 1
    assert choose(np.array([-1e308, 1e308])) == 1


class Draws(np.random.Generator):
    """Draws one number again and again."""

    def __init__(self, number):
        super().__init__(np.random.PCG64(0))
        self.number = number

    def random(self):
        return self.number


def test_a_draw_on_the_edge_of_two_tokens_takes_the_second_one():
    """A draw of 0 is one like any other: a first token that has no share does not get it."""
    for logits, number, token_id in [
        ([-np.inf, 0.0, 0.0], 0.0, 1),
        ([0.0, 0.0], 0.5, 1),
        ([0.0, -np.inf, 0.0], 0.5, 2),
        ([0.0, 0.0], np.nextafter(0.5, 0), 0),
    ]:
        assert choose(np.array(logits), temperature=1.0, rng=Draws(number)) == token_id


@pytest.mark.parametrize("options", [{}, {"temperature": 0.8}])
def test_a_store_that_holds_nan_ends_in_an_error_and_no_text(model, options):
    cache = paged(model)
    engine = Engine(model, cache)
    [text] = engine.submit([1, 2, 3], max_new_tokens=9, rng=np.random.default_rng(0), **options)
    engine.step()
    for store in cache._stores:
        store.keys[:] = np.nan
    with pytest.raises(ValueError, match="logits must be finite where they are largest"):
        engine.run()
    assert len(text.output) == 1
    assert_nothing_is_held(cache)


def test_a_beam_search_over_nan_ends_in_an_error(model):
    cache = paged(model)

    def spoil(_):
        for store in cache._stores:
            store.values[:] = np.nan

    with pytest.raises(ValueError, match="logits must be finite where they are largest"):
        beam_search(model, cache, [1, 2], num_beams=2, max_new_tokens=4, watch=spoil)
    assert_nothing_is_held(cache)


def test_numbers_of_numpy_are_kept_as_pythons_own(model):
    prompt, rng = [1] * 100, np.random.default_rng(0)
    options = {"max_new_tokens": np.int8(100), "num_samples": np.int8(2), "temperature": np.float32(0.5)}
    [text, _] = Engine(model, paged(model)).submit(prompt, rng=rng, **options)
    assert (type(text.max_new_tokens), type(text.temperature)) == (int, float)
    options = {"num_beams": np.int8(100), "max_new_tokens": np.int8(1), "stop_ids": [0, 1]}
    assert len(beam_search(model, paged(model), prompt, **options)) == 71


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"temperature": np.array(0.5)}, r"temperature must be a number, got array\(0.5\)"),
        ({"max_new_tokens": 0}, "max_new_tokens must be at least 1, got 0"),
        ({"num_samples": 0}, "num_samples must be at least 1, got 0"),
        ({"temperature": -1.0}, "temperature must be a finite number of at least 0, got -1.0"),
        ({"temperature": 0.8}, "rng must be given to draw tokens at a temperature above 0, got None"),
        ({"temperature": float("nan")}, "temperature must be a finite number of at least 0, got nan"),
        ({"temperature": float("inf")}, "temperature must be a finite number of at least 0, got inf"),
        ({"temperature": True}, "temperature must be a number, got True"),
        ({"temperature": "0.8"}, "temperature must be a number, got '0.8'"),
        ({"rng": 7}, "rng must be a numpy.random.Generator, got 7"),
        ({"rng": np.random.RandomState(7), "num_samples": 2}, "rng must be a numpy.random.Generator, got"),
        ({"prompt": []}, "token_ids must hold at least one token, got none"),
        ({"max_new_tokens": 9000}, "must be at most 9000 together, got 9000 for the latter"),
    ],
)
def test_bad_requests_are_refused_and_nothing_is_queued(model, options, error):
    engine = Engine(model, paged(model))
    with pytest.raises((ValueError, TypeError), match=error):
        engine.submit(**{"prompt": [1], "max_new_tokens": 2} | options)
    assert not engine.waiting
    assert engine.submit([1], max_new_tokens=1)[0].seq_id == 0


def test_caches_name_bad_arguments(model):
    with pytest.raises(ValueError, match=r"tile_size must divide max_tokens \(64\), got 5"):
        contiguous(model, tile_size=5)
    with pytest.raises(ValueError, match="num_sequences must be at least 1, got 0"):
        contiguous(model, num_sequences=0)
    with pytest.raises(ValueError, match="num_pages must be at least 1, got 0"):
        paged(model, num_pages=0)
    with pytest.raises(ValueError, match="max_batch must be at least 1, got 0"):
        Engine(model, paged(model), max_batch=0)


def test_a_fork_of_a_run_copies_it_and_needs_room_for_it(model):
    cache = contiguous(model, num_sequences=2)
    cache.start("a", [1, 2, 3])
    model.forward([1, 2, 3], range(3), cache.attend_to({"a": 3}))
    cache.fork("a", "b")
    before = cache.memory_map()
    with pytest.raises(CacheFullError):
        cache.fork("a", "c")
    assert cache.memory_map() == before
    logits = []
    for name in "ab":
        cache.append(name, 4)
        logits.append(model.forward([4], [3], cache.attend_to({name: 1})))
    assert np.array_equal(*logits)


def test_a_token_that_the_model_does_not_know_is_refused_before_a_page_is_taken(model):
    cache = PagedCache(model.spec, num_pages=16)
    num_known = len(model.weights.embedding)
    for ask in (
        lambda: generate(model, cache, [[1, num_known]], max_new_tokens=2),
        lambda: beam_search(model, cache, [1, num_known], num_beams=2, max_new_tokens=2),
    ):
        with pytest.raises(ValueError, match=f"prompt must hold token ids from 0 to {num_known - 1}, got"):
            ask()
        assert cache.allocator.num_free_pages == 16


@pytest.mark.parametrize(
    ("stop_ids", "error"),
    [
        ([VOCABULARY], f"stop_ids must hold token ids from 0 to {VOCABULARY - 1}, got {VOCABULARY}"),
        ([2, -1], f"stop_ids must hold token ids from 0 to {VOCABULARY - 1}, got -1"),
        ([True], "stop_ids must hold whole numbers, got bool"),
        ([2, False], "stop_ids must hold whole numbers, got True or False among them"),
        (["</s>"], "stop_ids must hold whole numbers, got <U4"),
        (2, r"stop_ids must have 1 axis, got the shape \(\)"),
    ],
)
def test_what_is_no_token_id_cannot_end_a_text(model, stop_ids, error):
    cache = paged(model)
    with pytest.raises((ValueError, TypeError), match=error):
        Engine(model, cache, stop_ids=stop_ids)
    with pytest.raises((ValueError, TypeError), match=error):
        beam_search(model, cache, [1], num_beams=2, max_new_tokens=2, stop_ids=stop_ids)
    assert held_pages(cache) == 0
