"""A machine makes wrong functions of every solution in the notebooks, and each is told that it is wrong.

It changes a solution at one place: an operator, a comparison, a number, a name, a call, or one line less.
What is right all the same is listed with the reason, and has to be right.
"""

import ast
import pickle
import warnings
from difflib import ndiff

import numpy as np
import pytest
from amounts import amount
from solutions import all_solutions

from paged_demo.course import check
from paged_demo.course.exercises.functions import FunctionExercise
from paged_demo.course.exercises.kinds import EXERCISES

OPERATORS = {
    ast.Add: [ast.Sub, ast.Mult],
    ast.Sub: [ast.Add, ast.Mult],
    ast.Mult: [ast.Add, ast.Sub, ast.FloorDiv],
    ast.FloorDiv: [ast.Mod, ast.Mult, ast.Div],
    ast.Mod: [ast.FloorDiv, ast.Mult],
    ast.MatMult: [ast.Mult],
}
COMPARISONS = {
    ast.Lt: [ast.LtE, ast.Gt, ast.NotEq],
    ast.Gt: [ast.GtE, ast.Lt, ast.NotEq],
    ast.Eq: [ast.NotEq, ast.LtE, ast.GtE],
}
NAMES = {"max": "min", "exp": "exp2", "insert": "append", "divmod": "add", "start_s": "num_tokens"}
NAMES |= {"keys": "values", "values": "keys", "take": "release", "release": "take", "allocate": "free"}
WRAPS = ["-_", "_ + 1", "_ - 1", "_ // 2", "_ % 2", "_[1:]", "_[:-1]", "_[::-1]"]

PAGE = [1, 2, 3, 4]
OTHER_TOKENS = [(place, token + step) for place, token in enumerate(PAGE) for step in (1, -1)]

# By exercise and reason: what takes the place of a line, or two lines that change places.
RIGHT_ALL_THE_SAME = {
    "1.1": {
        "96.0 bytes are 96 bytes": [
            "- return 2 * num_layers * num_kv_heads * head_dim * bits // 8;"
            " + return 2 * num_layers * num_kv_heads * head_dim * bits / 8"
        ]
    },
    "2.2": {
        "releases may come in any order": ["+ pool.release(runs[2]); - pool.release(runs[2])"],
        "the longest of the holes has 4": ["- return 8; + return 8 - 1", "- return 8; + return 7"],
        "holes of 3 and 6, and 9 are free": [
            "- runs = [pool.place(4) for _ in range(3)]; + runs = [pool.place(3) for _ in range(3)]"
        ],
    },
    "3.2": {
        "a remainder is never below 0": [
            "- if num_tokens % page_size == 0:; + if num_tokens % page_size <= 0:"
        ]
    },
    "3.3": {
        "freed three times is freed twice": ["+ pool.release(page_id)"],
        "the two pages are equal": [
            "- return (pool.take(), pool.take()); + return (pool.take(), pool.take())[::-1]"
        ],
    },
    "4.1": {
        "of one head the last is the first": [
            "- return (store.keys[pages, 0, :, offsets], store.values[pages, 0, offsets]);"
            f" + return (store.keys[pages, {key}, :, offsets], store.values[pages, {value}, offsets])"
            for key, value in ((-1, 0), (0, -1))
        ]
    },
    "4.2": {
        "neither line needs the other": [
            "+ weights = np.exp(scores - higher); - weights = np.exp(scores - higher)"
        ],
        "the higher of two, in any order": [
            "- higher = max(highest, scores.max()); + higher = max(scores.max(), highest)"
        ],
    },
    "5.3": {
        "neither line needs the other": [
            f"+ {line}; - {line}" for line in ("copy = None", "counts[copy[1]] = 1", "table[-1] = copy[1]")
        ],
        "an offset is never below 0": ["- if offset == 0:; + if offset <= 0:"],
        "a page that is held has one holder or more": [
            "- elif counts[table[-1]] > 1:; + elif counts[table[-1]] != 1:"
        ],
    },
    "5.4": {
        "a page that is held has one holder or more": [
            "- if counts[page_id] == 0:; + if counts[page_id] <= 0:"
        ]
    },
    "8.4": {
        "neither line needs the other": [
            f"+ {line}; - {line}"
            for line in (
                "head_dim = config.get('head_dim', config['hidden_size'] // heads)",
                "blocks = 0",
                "blocks += 1",
            )
        ],
        "a sum in any order": [
            "- for kind in config['layer_types']:; + for kind in config['layer_types'][::-1]:"
        ],
        "64.0 elements are 64": [
            "- head_dim = config.get('head_dim', config['hidden_size'] // heads);"
            " + head_dim = config.get('head_dim', config['hidden_size'] / heads)"
        ],
        "of two kinds this one is the last in the alphabet": [
            "- if kind == 'sliding_attention':; + if kind >= 'sliding_attention':"
        ],
        "the smaller of two, in any order": [
            "- held = min(config['sliding_window'] - 1 + 2 * 2048, max_model_len);"
            " + held = min(max_model_len, config['sliding_window'] - 1 + 2 * 2048)"
        ],
    },
    "6.1": {
        "the same time is the latest": [
            "- return max(running, key=lambda request: request.start_s).name;"
            f" + return max(running, key=lambda request: request.start_s {shift} 1).name"
            for shift in "+-"
        ]
    },
    "9.5": {
        "nothing is nothing": [
            "- return 0; + return -0",
            "- return 0; + return 0 // 2",
            "- return 0; + return 0 % 2",
            "- for pages in range(full_run, 0, -1):; + for pages in range(full_run, -1, -1):",
        ],
        "the larger of two": [
            "- first = max(0, pages * page_size - window + 1) // page_size;"
            " + first = max(pages * page_size - window + 1, 0) // page_size"
        ],
    },
}


def put(field, value):
    return lambda copy: setattr(copy, field, value)


def changed_operators(node):
    for kinds, field in ((OPERATORS, "op"), (COMPARISONS, "ops")):
        old = getattr(node, field, None)
        in_list = isinstance(old, list)
        for kind in kinds.get(type(old[0] if in_list else old), []):
            yield put(field, [kind()] if in_list else kind())
    if isinstance(node, ast.UnaryOp):
        yield put("op", ast.UAdd())
    if isinstance(node, ast.If | ast.IfExp):
        yield from (put("test", ast.Constant(value=value)) for value in (True, False))


def changed_values(node, arguments):
    if isinstance(node, ast.Constant) and type(node.value) is int:
        yield from (put("value", node.value + step) for step in (1, -1))
    if isinstance(node, ast.Constant) and type(node.value) is str:
        yield put("value", "used" if node.value != "used" else "reserved")
    if isinstance(node, ast.Name) and node.id in arguments and isinstance(node.ctx, ast.Load):
        yield from (put("id", other) for other in arguments if other != node.id)
    for field in ("id", "attr"):
        if getattr(node, field, None) in NAMES:
            yield put(field, NAMES[getattr(node, field)])
    for field in ("value", "body", "iter"):
        old = getattr(node, field, None)
        if isinstance(node, ast.Return | ast.Lambda | ast.For) and isinstance(old, ast.expr):
            for wrap in WRAPS:
                yield put(field, ast.parse(wrap.replace("_", f"({ast.unparse(old)})"), mode="eval").body)


def changed_order(node):
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub | ast.FloorDiv | ast.Mod):
        yield lambda copy: copy.__dict__.update(left=copy.right, right=copy.left)
    if isinstance(node, ast.Call) and len(node.args) == 2:
        yield lambda copy: copy.args.reverse()
    if isinstance(node, ast.List | ast.Tuple) and isinstance(node.ctx, ast.Load):
        yield lambda copy: copy.elts.reverse()
    if isinstance(node, ast.Call) and node.keywords:
        yield put("keywords", [])
    if isinstance(node, ast.FunctionDef | ast.For | ast.If):
        for index, line in enumerate(node.body):
            before, after = node.body[:index], node.body[index + 1 :]
            yield put("body", [*before, ast.Pass(), *after])
            yield put("body", [*before, *after[:1], line, *after[1:]])
            if isinstance(line, ast.Expr | ast.AugAssign):
                yield put("body", [*before, line, line, *after])


def wrong_functions(source):
    """Return the sources that differ from this one at one place, by the lines that differ."""
    tree = ast.parse(source)
    right, pickled = ast.unparse(tree), pickle.dumps(tree)
    arguments = [argument.arg for argument in tree.body[-1].args.args]
    made: dict[str, str] = {}
    for index, node in enumerate(ast.walk(tree)):
        for change in (*changed_operators(node), *changed_values(node, arguments), *changed_order(node)):
            copy = pickle.loads(pickled)
            change(list(ast.walk(copy))[index])
            text = ast.unparse(copy)
            lines = ndiff(right.splitlines(), text.splitlines())
            if text not in (right, *made.values()):
                made["; ".join(f"{line[0]} {line[2:].strip()}" for line in lines if line[0] in "+-")] = text
    return made


def call_it(name, source):
    names = {"np": np}
    with warnings.catch_warnings(action="ignore", category=SyntaxWarning):
        exec(compile(source, "<cell>", "exec"), names)
    return names[name]


SOLUTIONS = {
    exercise_id: all_solutions()[exercise_id]
    for exercise_id, exercise in EXERCISES.items()
    if isinstance(exercise, FunctionExercise)
}


@pytest.mark.parametrize("exercise_id", SOLUTIONS)
def test_every_wrong_function_that_a_machine_makes_of_a_solution_is_told_so(exercise_id):
    name, source = SOLUTIONS[exercise_id]
    made = wrong_functions(source)
    listed = {change for changes in RIGHT_ALL_THE_SAME.get(exercise_id, {}).values() for change in changes}
    assert listed <= set(made)
    assert len(made) - len(listed) >= 15
    tried = dict(list(made.items())[:: amount(short=6, long=1)])
    taken = {
        change for change, text in tried.items() if check(exercise_id, call_it(name, text)).mark != "wrong"
    }
    assert taken == listed & set(tried)
