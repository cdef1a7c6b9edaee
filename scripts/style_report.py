"""Measures the code against the targets of its style; `--check` fails on what is never allowed.

Lines are counted from the first to the last of a module or function, blank ones and docstrings
included; arguments without `self` and `cls`. Sizes are of what is shipped, the rest of all.
"""

from __future__ import annotations

import argparse
import ast
import re
import statistics
import sys
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("libs", "services", "cli", "exporter", "bench", "scripts", "tests")
OWN = ("clawdbot", *FOLDERS)
IGNORE = re.compile(r"#\s*(type:\s*ignore|noqa)(\[[\w, -]*\]|:\s*[A-Z]+\d+(,\s*[A-Z]+\d+)*)?")
PATCH = re.compile(r"(.*\.)?(patch(\.object|\.dict|\.multiple)?|monkeypatch\.setattr)")
Function = ast.FunctionDef | ast.AsyncFunctionDef
Sizes = dict[str, int]


@dataclass
class Found:
    """What the walk over all modules found, by place: `file:line`."""

    lines: int = 0
    modules: Sizes = field(default_factory=dict)
    functions: Sizes = field(default_factory=dict)
    arguments: Sizes = field(default_factory=dict)
    public: int = 0
    undocumented: list[str] = field(default_factory=list)
    suppressions: list[str] = field(default_factory=list)
    unexplained: list[str] = field(default_factory=list)
    broad: list[str] = field(default_factory=list)
    patches: list[str] = field(default_factory=list)
    todos: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Figure:
    """A line of the report."""

    name: str
    value: float
    target: float
    places: Sequence[str] = ()
    """What to look at when the target is missed."""
    is_hard: bool = False


def measure(root: Path) -> Found:
    """Return what the Python files of the project at `root` are like."""
    found = Found()
    for path in sorted(path for folder in FOLDERS for path in (root / folder).rglob("*.py")):
        name = path.relative_to(root).as_posix()
        tree = ast.parse(path.read_bytes())
        found.lines += len(path.read_bytes().splitlines())
        _comments(found, name, path)
        if "/tests/" in f"/{name}":
            found.patches += [f"{name}:{line}" for line in patches(tree)]
            continue
        found.broad += [f"{name}:{line}" for line in broad_handlers(tree)]
        if "/src/" in name:
            found.modules[f"{name}:1"] = len(path.read_bytes().splitlines())
            _functions(found, name, tree)
        if name.startswith(("libs/schema/src/", "libs/runtime/src/")) or path.name == "ports.py":
            _docstrings(found, name, tree)
    return found


def patches(tree: ast.Module) -> list[int]:
    """Return the lines on which a test replaces a part of our own code."""
    ours, calls = set(OWN), []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            origin = getattr(node, "module", None)
            for alias in node.names:
                if (origin or alias.name).split(".")[0] in OWN:
                    ours.add((alias.asname or alias.name).split(".")[0])
        elif isinstance(node, ast.Call) and node.args and PATCH.fullmatch(ast.unparse(node.func)):
            target = ast.unparse(node.args[0]).strip("'\"")
            calls.append((node.lineno, target.split(".")[0]))
    return [line for line, root in calls if root in ours]


def broad_handlers(tree: ast.Module) -> list[int]:
    """Return the lines of handlers that take whatever comes."""
    handlers = [node for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler)]
    return [
        handler.lineno
        for handler in handlers
        if handler.type is None or re.search(r"\bException\b", ast.unparse(handler.type))
    ]


def figures(found: Found) -> Iterator[Figure]:
    """Yield each figure with the most that it may be."""
    modules, functions, arguments = found.modules, found.functions, found.arguments
    yield Figure("module lines, median", statistics.median(modules.values()), 120)
    yield Figure("module lines, p90", _p90(modules), 300, _over(modules, 300))
    yield Figure("module lines, max", max(modules.values()), 500, _over(modules, 500), True)
    yield Figure("function lines, median", statistics.median(functions.values()), 10)
    yield Figure("function lines, p90", _p90(functions), 30, _over(functions, 30))
    yield Figure("arguments, p90", _p90(arguments), 4, _over(arguments, 4))
    bare, ignored = len(found.undocumented), len(found.suppressions)
    yield Figure("public without docstring, %", 100 * bare / found.public, 0, found.undocumented)
    yield Figure("suppressions per 1,000 lines", 1000 * ignored / found.lines, 2)
    yield Figure("suppressions without a reason", len(found.unexplained), 0, found.unexplained)
    yield Figure("broad except", len(found.broad), 1, found.broad, True)
    yield Figure("patches of own code in tests", len(found.patches), 0, found.patches, True)
    yield Figure("TODOs", len(found.todos), 0, found.todos)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the report; return 1 when `--check` is given and a hard limit is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail when a hard limit is broken")
    parser.add_argument("--all", action="store_true", help="name places of met targets, too")
    parser.add_argument("--root", type=Path, default=ROOT, help="the project")
    options = parser.parse_args(arguments)
    is_broken = False
    for figure in figures(measure(options.root)):
        is_met = figure.value <= figure.target
        is_broken = is_broken or (figure.is_hard and not is_met)
        print(f"{'ok' if is_met else 'OVER':<5}{figure.name:<31}{figure.value:7.1f}", end=" ")
        print(f"of at most {figure.target:g}{', never more' if figure.is_hard else ''}")
        if options.all or not is_met:
            print("".join(f"        {place}\n" for place in figure.places), end="")
    return 1 if options.check and is_broken else 0


def _comments(found: Found, name: str, path: Path) -> None:
    with path.open("rb") as source:
        comments = [t for t in tokenize.tokenize(source.readline) if t.type == tokenize.COMMENT]
    for comment in comments:
        place = f"{name}:{comment.start[0]}"
        if IGNORE.match(comment.string):
            found.suppressions.append(place)
            if not IGNORE.sub("", comment.string).strip(" -#"):
                found.unexplained.append(place)
        if re.search(r"\b(TODO|FIXME|XXX)\b", comment.string):
            found.todos.append(place)


def _functions(found: Found, name: str, tree: ast.Module) -> None:
    for node in ast.walk(tree):
        if isinstance(node, Function):
            place = f"{name}:{node.lineno}"
            found.functions[place] = (node.end_lineno or node.lineno) - node.lineno + 1
            given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            found.arguments[place] = sum(one.arg not in {"self", "cls"} for one in given)


def _docstrings(found: Found, name: str, tree: ast.Module) -> None:
    for node in (tree, *_public(tree)):
        found.public += 1
        if ast.get_docstring(node) is None:
            found.undocumented.append(f"{name}:{getattr(node, 'lineno', 1)}")


def _public(parent: ast.Module | ast.ClassDef) -> Iterator[Function | ast.ClassDef]:
    for node in parent.body:
        if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from _public(node)


def _p90(sizes: Sizes) -> float:
    return statistics.quantiles(sizes.values(), n=10, method="inclusive")[-1]


def _over(sizes: Sizes, limit: int) -> list[str]:
    worst = sorted(sizes.items(), key=lambda item: -item[1])
    return [f"{place} ({size})" for place, size in worst if size > limit]


if __name__ == "__main__":
    sys.exit(main())
