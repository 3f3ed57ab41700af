"""Count the modules and the code lines of the package, room by room.

``python tests/count_lines.py`` prints a row for each module and each room. A code line holds code:
blank lines, comments and docstrings are not counted. ``__init__`` files do not count as modules.
"""

import ast
import io
import sys
import tokenize
from collections import Counter
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "paged_demo"

WITH_DOCSTRING = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)

SILENT = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}


def count_code_lines(source):
    """Count the lines of a source text that hold code."""
    told = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, WITH_DOCSTRING) and ast.get_docstring(node) is not None:
            told.update(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    held = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in SILENT:
            held.update(range(token.start[0], token.end[0] + 1))
    return len(held - told)


def main(package):
    """Print the counts."""
    files, rooms, modules = [], Counter(), Counter()
    for path in sorted(package.rglob("*.py")):
        source = path.read_text(encoding="utf-8")
        place = path.relative_to(package)
        room = place.parts[0] if len(place.parts) > 1 else "."
        num_code = count_code_lines(source)
        files.append((num_code, len(source.splitlines()), place.as_posix()))
        rooms[room] += num_code
        modules[room] += path.name != "__init__.py"
    for num_code, num_lines, name in files:
        print(f"{num_code:6,} code {num_lines:6,} lines  {name}")
    for room, num_code in sorted(rooms.items()):
        print(f"{num_code:6,} code {modules[room]:6} modules  {room}")
    total, course = sum(rooms.values()), rooms["course"]
    print(f"{total:6,} code {sum(modules.values()):6} modules  in all; {total - course:,} outside course/")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else PACKAGE)
