"""The explorer of notebook 08, its log reader, its four servers and its pictures."""

import itertools
import re
from dataclasses import replace

import nbformat
import pytest
from drawn import texts
from explorers import move, unseen  # noqa: F401 - a fixture
from solutions import CHECK, FOLDER, source_of

from paged_demo.course import nb08, nb08_log, nb08_plots, nb08_server
from paged_demo.course.exercises.kinds import EXERCISES
from paged_demo.sizing.batch import GPUS, cache_bytes, step_seconds
from paged_demo.sizing.cache_types import cache_type
from paged_demo.sizing.plan import blocks_printed_as, plan
from paged_demo.sizing.presets import CONFIGS, model_of
from paged_demo.sizing.server import Server
from paged_demo.sizing.units import bytes_of, in_gib
from paged_demo.views.picture import new_axes

LLAMA = model_of(nb08.MODEL).layers
LOG = """
Loading model weights took 14.9888 GB
total_gpu_memory=23.58GiB peak_torch_memory=17.06GiB non_torch_memory=0.35GiB
kv_cache_size=3.81GiB gpu_memory_utilization=0.90
# GPU blocks: 1952
Maximum concurrency for 20000 tokens per request: 1.56x
"""
QWEN = Server(tensor_parallel=2, kv_cache_dtype="fp8")
LINE = (
    "Available KV cache memory: 4.99 GiB\n"
    "GPU KV cache size: 302,921 tokens, Maximum concurrency for 131,072 tokens per request: 2.31x"
)


@pytest.fixture(scope="module")
def chain():
    return nb08.explore_chain()


def test_the_explorer_says_what_the_server_prints(chain):
    for length, share, gpus, kind in itertools.product(
        (2048, 131_072), (0.7, 0.9), (1, 8), ("bfloat16", "fp8")
    ):
        setting = {"max_model_len": length, "gpu_memory_utilization": share}
        move(chain, **setting, tensor_parallel=gpus, kv_type=kind)
        available = nb08.memory_of(share, gpus).available_bytes
        server = Server(max_model_len=length, tensor_parallel=gpus, kv_cache_dtype=kind)
        assert str(plan(LLAMA, server, available)) in chain.words


def test_the_longest_that_is_named_starts_and_one_token_more_does_not(chain):
    for share, gpus, kind in itertools.product((0.8, 0.9, 0.98), (1, 2), ("bfloat16", "nvfp4")):
        longest = nb08.longest_of(share, gpus, kind)
        move(chain, gpu_memory_utilization=share, tensor_parallel=gpus, kv_type=kind)
        assert f"{longest:,}" in chain.panels["curve"].get_title()
        assert nb08.plan_of(longest, share, gpus, kind).refusal is None
        if longest < nb08.LENGTHS[-1]:
            assert nb08.plan_of(longest + 1, share, gpus, kind).refusal is not None


def test_the_bars_add_up_to_the_card():
    memory = nb08.memory_of(0.9)
    taken = memory.total_bytes - memory.requested_bytes + sum(size for _, size in memory.parts)
    assert taken + memory.available_bytes == bytes_of("total", nb08.TOTAL)
    ax = nb08_plots.waterfall(memory, nb08.plan_of(20_000, 0.9, 1, "bfloat16"), ax=new_axes())
    written = texts(ax)
    assert written[0] == in_gib(memory.total_bytes)
    assert written[-2:] == [in_gib(memory.available_bytes), in_gib(1250 * 2**21)]


def test_where_nothing_is_left_the_server_refuses_and_no_curve_is_drawn(chain):
    move(chain, max_model_len=20_000, gpu_memory_utilization=0.7, tensor_parallel=1, kv_type="bfloat16")
    assert "No available memory" in chain.words
    assert chain.panels["curve"].get_title() == "no length starts"


def test_a_log_is_explained_by_its_terms_and_its_blocks():
    told = nb08_log.explain(LOG, CONFIGS[nb08.MODEL])
    assert "2.07 peak of the trial run + 0.35 outside torch + 0.00 that no line names" in told
    assert "fits 1,952 blocks" in told
    assert "1.56x" in told


def test_a_line_of_a_model_with_states_is_derived_from_its_config():
    told = nb08_log.explain(LINE, CONFIGS["Qwen/Qwen3.5-27B"], server=QWEN)
    assert "the printed line fits 208 blocks" in told
    assert told.endswith(LINE.splitlines()[1])


def test_flags_that_do_not_give_the_line_are_told_so():
    told = nb08_log.explain(
        LINE, CONFIGS["Qwen/Qwen3.5-27B"], server=replace(QWEN, kv_cache_dtype="bfloat16")
    )
    assert "none of them gives the printed line" in told
    assert "look at the flags" in told


def test_the_terms_of_other_versions_are_read():
    old = "model weights take 21.21GiB; non_torch_memory takes 0.20GiB; "
    old += "PyTorch activation peak memory takes 0.37GiB"
    said = nb08_log.read_log(f"total_gpu_memory (23.58GiB) x gpu_memory_utilization (0.99) = 23.35GiB\n{old}")
    assert (said.total, said.utilization, said.weights) == ("23.58", "0.99", "21.21")
    assert (said.non_torch, said.peak) == ("0.20", "0.37")
    new = "Desired GPU memory utilization is (0.85, 40.27 GiB). 0.57 GiB for peak activation"
    assert nb08_log.read_log(new).requested == "40.27"
    assert nb08_log.read_log(new).peak == "0.57"


@pytest.mark.parametrize(("text", "error"), [("hello", ValueError), ("", ValueError), (3, TypeError)])
def test_what_is_no_log_is_told_so(text, error):
    with pytest.raises(error, match=r"^text must"):
        nb08_log.read_log(text)


def test_a_log_without_its_pool_says_what_it_lacks():
    told = nb08_log.explain("Loading model weights took 15 GB", CONFIGS[nb08.MODEL])
    assert "the log lacks" in told
    assert "no pool in the log" in told


@pytest.fixture(scope="module")
def runs():
    return nb08_server.four_runs()


def served(name, **changed):
    return nb08_server.run_of(replace(nb08_server.SETTINGS[name], **changed))[-1]


def test_each_of_the_four_servers_lacks_another_thing(runs):
    last = {name: readings[-1] for name, readings in runs.items()}
    assert last["A"].usage > 0.95
    assert last["A"].preemptions > 0
    assert [last[name].preemptions for name in "BCD"] == [0, 0, 0]
    assert max(last["B"].usage, last["C"].usage) < 0.5
    assert min(last[name].waiting for name in "ABC") > 100
    assert last["B"].running == nb08_server.SETTINGS["B"].max_num_seqs
    assert last["D"].waiting == last["D"].found == 0


def test_the_flag_that_is_advised_helps():
    assert served("B", max_num_seqs=32).running == 32
    before, after = served("C"), served("C", max_num_batched_tokens=512)
    assert after.running > 2 * before.running
    assert after.generated_tokens > 1.5 * before.generated_tokens
    asked = served("D", block_size=16)
    assert 0.7 < asked.found / asked.asked < 370 / 500


def test_a_larger_pool_lets_more_requests_run(monkeypatch):
    before = served("A").running
    monkeypatch.setattr(nb08_server, "NUM_BLOCKS", 2 * nb08_server.NUM_BLOCKS)
    # Another duration, for what was served is kept.
    assert nb08_server.run_of(nb08_server.SETTINGS["A"], duration_s=39.0)[-1].running > 1.5 * before


def test_every_token_is_counted_once():
    setting = replace(nb08_server.SETTINGS["D"], num_common=0, rate_rps=0.5)
    last = nb08_server.run_of(setting, duration_s=400.0)[-1]
    started, rest = divmod(last.asked, 500)
    assert (rest, last.prompt_tokens) == (0, last.asked)
    assert 300 * (started - last.running) <= last.generated_tokens <= 300 * started
    assert started > 100


def test_the_ten_second_line_is_of_the_last_ten_seconds(runs):
    line = nb08_server.ten_second_line(runs["B"])
    last = runs["B"][-1]
    before = [each for each in runs["B"] if each.time_s <= last.time_s - 10][-1]
    rate = (last.generated_tokens - before.generated_tokens) / (last.time_s - before.time_s)
    assert re.search(r"Avg generation throughput: ([\d.]+) ", line)[1] == f"{rate:.1f}"
    assert "Running: 16 reqs" in line
    assert "Preemptions" not in line
    assert f"Preemptions: {runs['A'][-1].preemptions}, " in nb08_server.ten_second_line(runs["A"])
    with pytest.raises(ValueError, match="readings must hold at least one reading"):
        nb08_server.ten_second_line(())


def test_the_picture_of_the_servers_tells_their_ends(runs):
    ax = nb08_plots.servers(runs)
    for name, readings in runs.items():
        assert f"{name} at the end: {readings[-1].running} running" in ax.get_label()
        assert f"max_num_seqs {nb08_server.SETTINGS[name].max_num_seqs}" in nb08_plots.flags_of(name)
    with pytest.raises(ValueError, match="runs must hold"):
        nb08_plots.servers({})


def test_one_pool_has_as_many_blocks_however_its_requests_are_drawn():
    gemma = model_of("google/gemma-4-26B-A4B-it").layers
    plans = [plan(gemma, Server(max_model_len=n, max_num_batched_tokens=2496), 2**32) for n in (8192, 65_536)]
    ax = nb08_plots.one_pool_twice(plans, ax=new_axes())
    widths = [patch.get_width() for patch in ax.patches]
    assert sum(widths) == 2 * plans[0].blocks == 2 * plans[1].blocks
    assert ax.get_label().startswith(f"the same {plans[0].blocks:,} blocks")
    with pytest.raises(ValueError, match="plans must hold"):
        nb08_plots.one_pool_twice([])


def test_the_bars_of_a_step_are_its_seconds():
    steps = [
        step_seconds(GPUS["H100"], size, weights_bytes=2**34, cache_bytes_each=2**26)
        for size in (1, 64, 1024)
    ]
    ax = nb08_plots.seconds_of_steps(steps, output_tokens=100, most_requests=64, ax=new_axes())
    heights = [patch.get_height() for patch in ax.patches]
    assert sum(heights) == pytest.approx(1e3 * sum(step.total_s for step in steps))
    assert "The pool holds 64" in ax.get_label()
    with pytest.raises(ValueError, match="steps must hold"):
        nb08_plots.seconds_of_steps([], output_tokens=1, most_requests=1)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("bfloat16", "the rate grows up to {:.1f}, at a batch of 76"),
        ("fp8", "1 / (300 x 0.272 ms) = {:.1f}"),
    ],
)
def test_where_computing_takes_longest_a_larger_batch_brings_nothing_and_fewer_bytes_a_token_do(kind, said):
    card = GPUS["RTX 3090"]
    each = cache_bytes(LLAMA, 650, cache=cache_type(kind))

    def rate(batch):
        step = step_seconds(card, batch, weights_bytes=2 * 8_030_261_248, cache_bytes_each=each)
        return step.requests_per_s(300)

    assert round(card.compute_bound_batch()) == 76
    assert rate(47) < rate(64) < rate(76)
    assert rate(76) == pytest.approx(rate(256), rel=0.005)
    assert said.format(rate(256)) in source_of("08_your_server", "now")


CELLS = nbformat.read(FOLDER / "08_your_server.ipynb", as_version=4).cells
FOLD = re.compile(r"<details><summary>(.*?)</summary>(.*?)</details>", re.DOTALL)


def test_between_two_exercises_of_the_notebook_something_is_taught():
    told, taught = "", []
    for cell in CELLS:
        if cell.cell_type == "markdown":
            told += FOLD.sub("", cell.source)
        elif CHECK.search(cell.source):
            taught.append(len(told.split("### Exercise", maxsplit=1)[0].split()))
            told = ""
    assert len(taught) == 8
    assert min(taught) > 30


def test_every_solution_of_the_notebook_says_why():
    folds = [fold for cell in CELLS for fold in FOLD.findall(cell.source)]
    solutions = [text.rpartition("```")[2] for title, text in folds if title == "Solution"]
    assert len(solutions) == 8
    assert all(len(why.split()) > 5 for why in solutions)
    said = [re.match(r"[\d,]+(?=:)", why.strip()) for why in solutions]
    numbers = [EXERCISES[name].right_number() for name in ("8.1", "8.2", "8.3", "8.5", "8.6", "8.8")]
    assert [each[0] for each in said if each] == [f"{number:,.0f}" for number in numbers]


def test_the_words_of_the_notebook_are_explained_before_they_are_needed():
    told = "\n".join(cell.source for cell in CELLS if cell.cell_type == "markdown")
    words = [
        "tensor parallel",
        "data parallel",
        "null block",
        "window",
        "state",
        "MLA",
        "group",
        "seats",
        "budget",
    ]
    explained = [told.index(f"**{word}**") for word in words]
    assert explained == sorted(explained)
    assert max(explained) < told.index("| you see |")
    assert told.index("**window**") < told.index("sliding_window")


def test_the_blocks_of_the_log_are_one_more_than_its_printed_terms_leave():
    blocks = (0.9 * 23.58 - 17.06 - 0.35) * 2**30 / 2**21
    assert f"leave {blocks:,.1f}" in source_of("08_your_server", "ex-gpus")
    assert 1952 in blocks_printed_as("3.81 GiB", plan(LLAMA, Server()))
    assert in_gib(1952 * 2**21) == in_gib(int(blocks) * 2**21) == "3.81"


def test_the_numbers_that_the_notebook_teaches_with_are_planned():
    llama = plan(LLAMA, Server(max_model_len=20_000))
    assert f"= {llama.block_bytes[0] // 16:,} bytes a token" in source_of("08_your_server", "ex-token")
    assert f"**needs** {llama.need:,}," in source_of("08_your_server", "core-intro")
    gpt_oss = plan(model_of("openai/gpt-oss-120b").layers, Server(max_num_batched_tokens=2048))
    windows = {gpt_oss.blocks_for(length)[0] for length in (8192, 131_072)}
    assert f"**{windows.pop()} blocks, however long" in source_of("08_your_server", "ex-need")
    assert not windows
    assert f"{gpt_oss.block_bytes[0]:,} bytes" in source_of("08_your_server", "ex-slope")
    qwen = model_of("Qwen/Qwen3.5-27B")
    grown = [
        plan(
            qwen.layers, replace(QWEN, kv_cache_dtype=kind, tensor_parallel=1, state_bytes=4)
        ).raised.block_size
        for kind in ("bfloat16", "fp8")
    ]
    assert "to {} tokens, with `fp8` to {:,}".format(*grown) in source_of("08_your_server", "ex-next")
    gemma = model_of("google/gemma-4-26B-A4B-it").layers
    needs = [
        plan(gemma, Server(max_model_len=length, max_num_batched_tokens=2496)).blocks_for(length)
        for length in (32_768, 131_072)
    ]
    windows, full = zip(*((needed[:-1], needed[-1]) for needed in needs), strict=True)
    assert set(windows) == {(377,) * 5}
    told = "windows take 5 x 377 blocks; full layers, in blocks of 32 tokens, {:,} and {:,}."
    assert told.format(*full) in source_of("08_your_server", "ex-next")
    card = GPUS["RTX 3090"]
    computing = 2e3 * nb08_server.PARAMETERS / card.flops
    reading = 1e3 * cache_bytes(LLAMA, 650) / card.bytes_per_s
    told = f"adds {computing:.3f} ms of computing and {reading:.3f} ms of reading"
    assert told in source_of("08_your_server", "now")
    assert f"(300 x {computing + reading / 2:.3f} ms)" in source_of("08_your_server", "now")


def test_what_the_notebook_says_of_seats_and_budget_bounds_the_blocks_that_are_held(runs):
    setting = nb08_server.SETTINGS
    at_the_end = -(-(500 + 300) // 16)
    assert f"{at_the_end} blocks of 16" in source_of("08_your_server", "runs-intro")
    answer = source_of("08_your_server", "ex-flag")
    assert f"B has seats for {setting['B'].max_num_seqs * at_the_end} blocks" in answer
    assert f"C has a budget for {setting['C'].max_num_batched_tokens} requests" in answer
    for name in "BC":
        most = min(setting[name].max_num_seqs, setting[name].max_num_batched_tokens)
        assert max(each.running for each in runs[name]) <= most
        assert most * at_the_end < setting[name].num_blocks
    # What comes to D in the seconds of 300 steps holds two blocks of 784 each, at most.
    assert max(each.usage for each in runs["D"]) < 1
