"""What notebook 09 says of layers that keep less: beside the allocator, the configs and the package."""

from collections import Counter
from random import Random

import numpy as np
import pytest
from solutions import all_solutions, source_of

from paged_demo import FullGroup, GroupedAllocator, SlidingGroup, latent_attention
from paged_demo.course import nb09_exercises as exercises
from paged_demo.course import nb09_layers as nb09
from paged_demo.course.exercises.kinds import EXERCISES
from paged_demo.sizing.plan import plan
from paged_demo.sizing.presets import CONFIGS, model_of
from paged_demo.sizing.server import Server

GIB = 2**30


def test_in_the_story_pages_come_free_and_others_take_them():
    moments = nb09.tell_growth()
    came_free = {page_id for moment in moments for page_id in moment.given_back}
    taken = {page_id: holder for page_id, holder in moments[-1].holders.items() if page_id in came_free}
    assert {seq_id for seq_id, _ in taken.values()} == {"A", "B"}
    assert ("A", "full") in taken.values()
    for moment in moments:
        lengths = [len(table) * (nb09.GROUPS[name].page_size or 4) for name, table in moment.tables.items()]
        assert all(moment.num_tokens <= length < moment.num_tokens + 8 for length in lengths)
        held = [page_id for table in moment.tables.values() for page_id in table if page_id is not None]
        assert len(held) == len(set(held)) == sum(seq_id == "A" for seq_id, _ in moment.holders.values())


@pytest.mark.parametrize(
    ("window", "page_size", "chunk"), [(1, 4, 1), (6, 4, 1), (7, 3, 5), (9, 4, 8), (5, 1, 3)]
)
def test_most_pages_are_what_an_allocator_comes_to_hold_and_never_more(window, page_size, chunk):
    most = 0
    for first in range(1, 2 * page_size + 1):  # wherever the window begins in its page
        pool = GroupedAllocator(200, page_size, [SlidingGroup(window=window)])
        pool.allocate("A", range(100), budget=first)
        while len(pool.slots("A")) + chunk <= 100:
            pool.extend("A", chunk)
            held = sum(page_id is not None for page_id in pool.page_tables("A")[0])
            most = max(most, held)
    assert most == exercises.most_pages(window, page_size, chunk)


def test_what_both_groups_find_is_what_the_allocator_finds():
    rng, told = Random(3), set()
    for _ in range(300):
        page_size, window = rng.choice([1, 2, 4]), rng.randint(1, 12)
        num_pages = rng.randint(1, 6)
        pool = GroupedAllocator(
            60, page_size, [FullGroup(), SlidingGroup(window=window)], prefix_caching=True
        )
        prompt = list(range(num_pages * page_size + 1))
        pool.allocate("A", prompt)
        full, sliding = (table[:num_pages] for table in pool.page_tables("A"))
        pool.free("A")
        lost = {page_id for page_id in full + sliding if rng.random() < 0.25}
        for page_id in lost:
            pool._pool._evict(page_id)
        run = next((k for k, page_id in enumerate(full) if page_id in lost), num_pages)
        found = [k for k, page_id in enumerate(sliding) if page_id not in lost]
        expected = exercises.found_by_both(run, found, window, page_size)
        assert pool.find(prompt) == expected
        told.add(expected // page_size)
    assert len(told) > 4


def test_the_requests_that_fit_are_those_that_the_exercise_says():
    asked = {
        "a": ("meta-llama/Llama-3.1-8B", 131_072),
        "b": (nb09.GEMMA, 131_072),
        "c": (nb09.DEEPSEEK, 163_840),
        "d": (nb09.QWEN, 262_144),
        "e": ("openai/gpt-oss-120b", 131_072),
    }
    fits = [
        letter
        for letter, (name, length) in asked.items()
        if nb09.bytes_of_request(model_of(name), length) <= 12 * GIB
    ]
    assert "".join(fits) == EXERCISES["9.3"].right_letters
    for name, length in asked.values():
        assert length <= CONFIGS[name].get("max_position_embeddings", 131_072)


def test_the_numbers_of_gemma_are_those_of_its_layers():
    wrong, right, *_ = nb09.requests_of(131_072).values()
    assert wrong == 62 * 8192 * 131_072
    assert right == (10 * 131_072 + 52 * 1024) * 8192
    assert 5.9 < wrong / right < 6
    wrong, right, *_ = nb09.requests_of(1024).values()
    assert wrong == right


def test_the_latent_kernel_of_the_notebook_is_the_packages():
    made = {"np": np}
    exec(source_of("09_other_layers", "latent"), made)
    rng = np.random.default_rng(1)
    shapes = ((6, 16), (6, 8), (50, 24), (50, 8))
    given, (to_keys, to_values) = (
        [rng.standard_normal(shape) for shape in shapes],
        rng.standard_normal((2, 6, 16, 24)),
    )
    ours = made["latent_attention"](*given, to_keys, to_values)
    theirs = latent_attention(*given, to_keys=to_keys, to_values=to_values)
    np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)


def test_a_token_of_deepseek_v3_takes_what_its_config_says():
    exercise = EXERCISES["9.2"]
    config = CONFIGS[nb09.DEEPSEEK]
    assert exercise.right_number() == nb09.bytes_of_request(model_of(nb09.DEEPSEEK), 1) == 70_272
    asked = {"layers": "num_hidden_layers", "latent": "kv_lora_rank", "rope": "qk_rope_head_dim"}
    assert all(exercise.numbers[name] == config[field] for name, field in asked.items())
    assert exercises.keys_and_values_of_all_heads(**exercise.numbers) == 3_997_696


def test_the_shortest_prompt_that_finds_something_is_what_an_allocator_says():
    made = {}
    exec(all_solutions()["9.4"][1], made)
    assert made["num_tokens"] == exercises.shortest_hit(**EXERCISES["9.4"].numbers)
    assert exercises.found_of_700() == 0


def test_the_batch_of_the_notebook_is_several_times_that_of_full_layers():
    by_kind, full = (nb09.pool_of_gemma("80GiB", by_kind=by_kind) for by_kind in (True, False))
    assert [len(pool.groups) for pool in (by_kind, full)] == [7, 1]
    short, long = (
        nb09.most_running(by_kind, context) / nb09.most_running(full, context) for context in (8192, 131_072)
    )
    assert 3 < short < 4 < long


def test_the_notebook_counts_the_empty_places_of_gemmas_groups():
    gemma = model_of("google/gemma-3-27b-it").layers
    groups = plan(gemma, Server()).groups
    kinds = Counter(group.kind for group in groups)
    most = max(len(group.layers) for group in groups)
    assert (kinds["full"], kinds["sliding"], most) == (1, 6, 10)
    places, of_each_kind = most * len(groups), Counter(map(type, gemma)).values()
    assert not any(number % 2 for number in of_each_kind)
    told = source_of("09_other_layers", "end")
    assert f"{places - len(gemma)} of the {places} stay empty" in told
    assert f"there would be {len(gemma) // 2}, and each" in told
