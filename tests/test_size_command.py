"""``python3 -m paged_demo size``, run as a reader runs it: with no package but the standard library."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_sizing_config import GEMMA_4, LLAMA, QWEN_3_5

from paged_demo.sizing import command

REPOSITORY = Path(__file__).resolve().parent.parent
LINE = "GPU KV cache size: {} tokens, Maximum concurrency for {} tokens per request: {}x"


@pytest.fixture
def path_of(tmp_path):
    def write(config):
        path = tmp_path / "config.json"
        path.write_text(json.dumps(config))
        return str(path)

    return write


def size(*arguments):
    """Run the command with a Python that finds no packages but this one."""
    code = f"import sys; sys.path.insert(0, {str(REPOSITORY)!r}); from runpy import run_module; " + (
        "sys.argv = ['paged_demo', *sys.argv[1:]]; run_module('paged_demo', run_name='__main__')"
    )
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, "size", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def printed(capsys, *arguments):
    code = command.main(arguments)
    out = capsys.readouterr()
    assert not out.err
    return code, out.out.splitlines()


def test_it_runs_without_any_package_and_ends_with_the_servers_line(path_of):
    run = size(path_of(LLAMA), "--gpu", "24GB", "--max-model-len", "20000", "--available", "3.81GiB")
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.splitlines()[-1] == LINE.format("31,200", "20,000", "1.56")


def test_it_takes_less_than_three_tenths_of_a_second_of_a_processor(path_of):
    path = path_of(LLAMA)

    def seconds():
        before = os.times()
        size(path, "--gpu", "24GB", "--max-model-len", "32768")
        after = os.times()
        return after.children_user + after.children_system - before.children_user - before.children_system

    assert min(seconds() for _ in range(3)) < 0.3


def test_a_server_that_does_not_fit_is_refused_in_the_engines_words(path_of, capsys):
    code, lines = printed(capsys, path_of(LLAMA), "--max-model-len", "32768", "--available", "3.81GiB")
    assert code == 1
    assert lines[-1].endswith("the estimated maximum model length is 31184.")
    assert "(4.0 GiB KV cache is needed" in lines[-1]
    helps = [line for line in lines if line.startswith("would help")]
    assert any("--max-model-len 31184: 1.00x" in line for line in helps)
    assert any("--kv-cache-dtype fp8: 1.90x" in line for line in helps)


def test_what_only_a_log_says_is_asked_for_and_counted_once_it_is_given(path_of, capsys):
    path = path_of(LLAMA)
    _, lines = printed(capsys, path, "--gpu", "23.58GiB", "--max-model-len", "20000")
    assert sum("only a log says" in line for line in lines) == 3
    assert lines[-2].startswith("An upper bound")
    log = ["--weights", "14.99GiB", "--activation", "2.07GiB", "--non-torch", "0.35GiB", "--graphs", "0B"]
    share = ["--gpu-memory-utilization", "0.9"]
    _, lines = printed(capsys, path, "--gpu", "23.58GiB", "--max-model-len", "20000", *log, *share)
    assert not any("log says" in line or line.startswith("An upper bound") for line in lines)
    assert "= available           3.81 GiB" in lines
    assert lines[-1] == LINE.format("31,216", "20,000", "1.56")


def test_the_utilization_is_the_versions_unless_it_is_given(path_of, capsys):
    for version, share in {"0.33.0": "0.92", "0.20.0": "0.9"}.items():
        _, lines = printed(
            capsys, path_of(LLAMA), "--gpu", "24GB", "--version", version, "--max-model-len", "99"
        )
        assert any(line.startswith(f"requested             {share} of it") for line in lines)


def test_windows_take_the_batch_of_a_server_on_this_gpu_unless_it_is_given(path_of, capsys):
    path = path_of(GEMMA_4)
    pool = ["--available", "4563402752B", "--max-model-len", "32768"]
    _, lines = printed(capsys, path, *pool, "--max-num-batched-tokens", "2496")
    assert lines[-1] == LINE.format("78,433", "32,768", "2.39")
    assert any("--max-num-batched-tokens 1248" in line for line in lines)
    _, by_default = printed(capsys, path, *pool, "--gpu", "24GB")
    _, given = printed(capsys, path, *pool, "--max-num-batched-tokens", "2048")
    assert by_default[-1] == given[-1]


def test_states_are_counted_in_the_configs_type(path_of, capsys):
    pool = ["--available", "19649475379B", "--max-model-len", "262144"]
    _, lines = printed(capsys, path_of(QWEN_3_5), *pool)
    assert lines[-1] == LINE.format("293,662", "262,144", "1.12")
    assert any("784 tokens, so that its page holds 3,207,168 bytes of state" in line for line in lines)


def test_the_longest_that_fits_is_the_models_own_at_most(path_of, capsys):
    path = path_of(LLAMA)
    _, lines = printed(capsys, path, "--available", "3.81GiB", "--max-model-len", "-1")
    assert lines[-1] == LINE.format("31,200", "31,184", "1.00")
    _, lines = printed(capsys, path, "--available", "100GiB", "--max-model-len", "-1")
    assert "Maximum concurrency for 131,072 tokens" in lines[-1]


def test_stages_may_have_pools_of_their_own(path_of, capsys):
    split = ["--pipeline-parallel-size", "2", "--max-model-len", "20000"]
    _, lines = printed(capsys, path_of(LLAMA), *split, "--available", "3GiB,2GiB")
    assert lines[-1] == LINE.format("32,768", "20,000", "1.64")


def test_a_pool_of_a_flag_is_in_bytes_unless_it_has_a_unit(path_of, capsys):
    pools = (
        ("--kv-cache-memory-bytes", "4563402752"),
        ("--kv-cache-memory-bytes", "4.25GiB"),
        ("--available", "4.25GiB"),
    )
    said = [printed(capsys, path_of(LLAMA), "--max-model-len", "20000", *pool)[1][-1] for pool in pools]
    assert said == [LINE.format("34,816", "20,000", "1.74")] * 3
    assert command.main([path_of(LLAMA), "--kv-cache-memory-bytes", "4.25"]) == 2
    assert "--kv-cache-memory-bytes must be a number with a unit" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        command.main([path_of(LLAMA), "--kv-cache-memory-bytes", "4563402752", "--available", "1GiB"])
    assert "not allowed with argument" in capsys.readouterr().err


def test_a_pool_of_blocks_needs_no_memory(path_of, capsys):
    _, lines = printed(
        capsys, path_of(LLAMA), "--num-gpu-blocks-override", "1952", "--max-model-len", "20000"
    )
    assert lines[-1] == LINE.format("31,232", "20,000", "1.56")


def test_without_any_pool_only_the_need_is_told(path_of, capsys):
    code, lines = printed(capsys, path_of(LLAMA), "--max-model-len", "32768")
    assert code == 0
    assert any("2,048 blocks, 4.0 GiB" in line for line in lines)
    assert lines[-1] == "No pool: give --gpu, --available or --num-gpu-blocks-override."


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--gpu", "24"], "--gpu must be a number with a unit, such as 24GB or 23.58GiB, got '24'"),
        (["--available", "3.81"], "available must be a number with a unit"),
        (["--gpu", "24GB", "--weights", "x"], "--weights must be a number with a unit"),
        (["--gpu", "24GB", "--non-torch", "x"], "--non-torch must be a number with a unit"),
        (["--gpu", "24GB", "--gpu-memory-utilization", "1.5"], "--gpu-memory-utilization must be at most 1"),
        (["--tensor-parallel-size", "3"], "num_key_value_heads must divide"),
        (["--gpu", "0GB"], "--gpu must be at least 1, got 0"),
        (["--kv-cache-memory-bytes", "x"], "--kv-cache-memory-bytes must be a number with a unit"),
        (["--available", "x"], "--available must be a number with a unit"),
        (["--parameters", "0", "--gpu", "24GB"], "--parameters must be at least 1, got 0"),
        (["--tensor-parallel-size", "0"], "--tensor-parallel-size must be at least 1, got 0"),
        (["--pipeline-parallel-size", "33"], "--pipeline-parallel-size must be at most the 32 layers"),
        (["--decode-context-parallel-size", "0"], "--decode-context-parallel-size must be at least 1, got 0"),
        (
            ["--decode-context-parallel-size", "3", "--tensor-parallel-size", "4"],
            "--decode-context-parallel-size must divide the 4 of --tensor-parallel-size, got 3",
        ),
        (["--block-size", "0"], "--block-size must be"),
        (["--max-num-batched-tokens", "0"], "--max-num-batched-tokens must be at least 1, got 0"),
        (["--num-gpu-blocks-override", "0"], "--num-gpu-blocks-override must be"),
        (["--speculative-tokens", "-1"], "--speculative-tokens must be"),
        (["--kv-cache-dtype", "fp7"], "--kv-cache-dtype must be one of"),
        (["--max-model-len", "0"], "--max-model-len must be at least 1, got 0"),
        (["--version", "new"], "--version must be one such as 0.33.0"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(path_of, capsys, arguments, told):
    assert command.main([path_of(LLAMA), *arguments]) == 2
    out = capsys.readouterr()
    assert not out.out
    assert told in out.err
    assert "Traceback" not in out.err


def test_weights_that_are_not_estimated_have_to_be_given(path_of, capsys):
    path = path_of(GEMMA_4)
    assert command.main([path, "--gpu", "24GB", "--max-model-len", "4096"]) == 2
    assert "--weights, --parameters or --available must be given" in capsys.readouterr().err
    _, lines = printed(
        capsys, path, "--gpu", "64GiB", "--max-model-len", "4096", "--parameters", "25200000000"
    )
    assert any("46.94 GiB, an estimate" in line for line in lines)


def test_no_config_is_said_as_such():
    run = size(str(REPOSITORY))
    assert run.returncode == 2
    assert "is a directory; give the path of the config.json in it" in run.stderr
