from hypothesis import given
from hypothesis import strategies as st

from paged_demo import PagedAllocator, Request
from paged_demo.serving.rules import fits_budget, pages_held, pages_without_sharing


@given(
    num_prompt_tokens=st.integers(1, 40),
    num_generated=st.integers(0, 40),
    num_samples=st.integers(1, 5),
    page_size=st.integers(1, 20),
)
def test_pages_held_are_those_an_allocator_takes(num_prompt_tokens, num_generated, num_samples, page_size):
    allocator = PagedAllocator(num_pages=500, page_size=page_size)
    allocator.allocate(0, range(num_prompt_tokens))
    for sample in range(1, num_samples):
        allocator.fork(0, sample)
    for _ in range(num_generated):
        for sample in range(num_samples):
            allocator.append(sample, 7)
    request = Request(0, num_prompt_tokens, 40, num_samples=num_samples)
    assert pages_held(request, num_generated, page_size) == 500 - allocator.num_free_pages
    tables = [allocator.page_table(sample) for sample in range(num_samples)]
    assert pages_without_sharing(request, num_generated, page_size) == sum(map(len, tables))


def test_a_prompt_beyond_the_budget_starts_only_without_other_prompts():
    assert fits_budget(10, 3, 0, budget=8)
    assert not fits_budget(10, 3, 1, budget=8)


def test_decoding_and_prompts_share_the_budget():
    assert fits_budget(5, 2, 1, budget=8)
    assert not fits_budget(5, 2, 2, budget=8)
