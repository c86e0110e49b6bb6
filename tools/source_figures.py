"""Figures of a source tree, read from its text: lines, functions, helpers called once, circles.

Only the standard library; nothing of the tree is imported. What each figure counts:

* source lines: lines that are not blank; code lines: those that hold more than a comment or a
  docstring;
* functions: every `def`, also methods and nested ones; the length of one is its code lines, with
  its signature and without its decorators;
* a helper called once: a private function (`_name`, not `__name__`) of a module or class that is
  named exactly once outside its own body: in its module, as a name or an attribute, or in another
  module, as an attribute or after it was imported by name;
* a circle of imports: files that import one another, directly or over others. Imports inside
  functions and under `if TYPE_CHECKING:` count only in the figures that say so.
"""

from __future__ import annotations

import ast
import io
import statistics
import tokenize
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SHORT = 5  # code lines: a helper called once that is no longer may go back into its caller
LONG, TOO_LONG = 40, 60

_NO_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
    tokenize.ENCODING,
}

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Function:
    """One `def`."""

    path: Path
    line: int
    name: str  # with its class: "Loader._run"
    length: int  # code lines
    is_nested: bool  # inside another function


class Module:
    """One parsed file."""

    def __init__(self, path: Path, *, root: Path) -> None:
        self.path = path
        self.text = path.read_text(encoding="utf-8")
        self.tree = ast.parse(self.text)
        parts = path.relative_to(root).with_suffix("").parts
        self.is_package = parts[-1] == "__init__"
        self.name = ".".join(parts[:-1] if self.is_package else parts)
        self.code_lines = _code_lines(self.text, self.tree)
        self.functions = list(self._functions(self.tree, prefix="", is_nested=False))

    def _functions(
        self, node: ast.AST, *, prefix: str, is_nested: bool
    ) -> Iterator[tuple[Function, FunctionNode]]:
        for child in ast.iter_child_nodes(node):
            inner, nested = prefix, is_nested
            if isinstance(child, FunctionNode):
                own = range(child.lineno, (child.end_lineno or child.lineno) + 1)
                length = len(self.code_lines.intersection(own))
                name = prefix + child.name
                yield Function(self.path, child.lineno, name, length, is_nested), child
                inner, nested = f"{name}.", True
            elif isinstance(child, ast.ClassDef):
                inner = f"{prefix}{child.name}."
            yield from self._functions(child, prefix=inner, is_nested=nested)


def read_modules(source: Path) -> list[Module]:
    """Every Python file below `source`, the folder that holds the packages."""
    return [Module(path, root=source) for path in sorted(source.rglob("*.py"))]


def _code_lines(text: str, tree: ast.Module) -> set[int]:
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in _NO_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            if isinstance(node.value.value, str):  # a docstring, also that of an attribute
                lines.difference_update(range(node.lineno, (node.end_lineno or 0) + 1))
    return lines


# --- lines and functions ------------------------------------------------------------------------


def line_figures(modules: list[Module]) -> dict[str, int]:
    """Files, lines that are not blank, and lines of code."""
    return {
        "files": len(modules),
        "source lines": sum(bool(line.strip()) for m in modules for line in m.text.splitlines()),
        "code lines": sum(len(module.code_lines) for module in modules),
    }


def function_figures(modules: list[Module]) -> dict[str, float]:
    """Number of functions, their median length, and how many are long."""
    lengths = [function.length for module in modules for function, _ in module.functions]
    return {
        "functions": len(lengths),
        "median lines of a function": statistics.median(lengths) if lengths else 0,
        f"functions over {LONG} lines": sum(length > LONG for length in lengths),
        f"functions over {TOO_LONG} lines": sum(length > TOO_LONG for length in lengths),
    }


# --- helpers called once ------------------------------------------------------------------------


def called_once(modules: list[Module]) -> list[Function]:
    """Private functions that are named exactly once outside their own body."""
    uses = {module.name: _uses(module.tree) for module in modules}
    imports: dict[str, list[str]] = defaultdict(list)  # {"module._name": modules that import it}
    for module in modules:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    imports[f"{node.module}.{alias.name}"].append(module.name)
    attributes = Counter(
        node.attr
        for module in modules
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Attribute)
    )
    found = []
    for module in modules:
        own_attributes = Counter(
            n.attr for n in ast.walk(module.tree) if isinstance(n, ast.Attribute)
        )
        for function, node in module.functions:
            name = node.name
            if function.is_nested or not name.startswith("_") or name.endswith("__"):
                continue
            count = uses[module.name][name] - _uses(node)[name]
            for other in imports[f"{module.name}.{name}"]:
                count += uses[other][name]
            if count == 1 or (count == 0 and attributes[name] - own_attributes[name] == 1):
                found.append(function)
    return found


def _uses(tree: ast.AST) -> Counter[str]:
    """How often each name is read, also as an attribute or named in a string of `getattr`."""
    uses: Counter[str] = Counter()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            uses[node.id] += 1
        elif isinstance(node, ast.Attribute):
            uses[node.attr] += 1
    return uses


def helper_figures(modules: list[Module]) -> dict[str, float]:
    """Number and share of helpers called once, and of the short ones among them."""
    helpers = called_once(modules)
    num_functions = sum(len(module.functions) for module in modules)
    return {
        "helpers called once": len(helpers),
        "helpers called once, share": round(len(helpers) / max(1, num_functions), 4),
        f"helpers called once, up to {SHORT} lines": sum(h.length <= SHORT for h in helpers),
    }


# --- circles of imports -------------------------------------------------------------------------


def import_graph(
    modules: list[Module], *, nested: bool = False, type_checking: bool = False
) -> dict[str, set[str]]:
    """{module: modules of the tree that it imports}, as its file names them.

    Args:
        nested: also imports inside functions.
        type_checking: also imports under `if TYPE_CHECKING:`.
    """
    known = {module.name for module in modules}
    graph: dict[str, set[str]] = {}
    for module in modules:
        nodes = _imports(module.tree, nested=nested, type_checking=type_checking)
        targets = {t for node in nodes for t in _targets(node, module, known)}
        graph[module.name] = targets - {module.name}
    return graph


def _imports(
    node: ast.AST, *, nested: bool, type_checking: bool
) -> Iterator[ast.Import | ast.ImportFrom]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        elif isinstance(child, FunctionNode) and not nested:
            continue
        elif isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            parts = [*child.body * type_checking, *child.orelse]
            yield from _imports(ast.Module(parts, []), nested=nested, type_checking=type_checking)
        else:
            yield from _imports(child, nested=nested, type_checking=type_checking)


def _targets(node: ast.Import | ast.ImportFrom, module: Module, known: set[str]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name in known)
        return
    base = node.module or ""
    if node.level:
        parts = module.name.split(".")
        parts = parts[: len(parts) - node.level + module.is_package]
        base = ".".join([*parts, base] if base else parts)
    for alias in node.names:
        inner = f"{base}.{alias.name}"
        if inner in known:
            yield inner
        elif base in known:
            yield base


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """The sets of modules that import one another, largest first (Tarjan's algorithm)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in sorted(graph.get(name, ())):
            if other not in index:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            place = stack.index(name)
            part = sorted(stack[place:])
            del stack[place:]
            if len(part) > 1:
                found.append(part)

    for name in sorted(graph):
        if name not in index:
            visit(name)
    return sorted(found, key=len, reverse=True)


def circle_figures(modules: list[Module]) -> dict[str, list[list[str]]]:
    """Circles at import, then with imports inside functions, then also with those of types."""
    return {
        "import circles": circles(import_graph(modules)),
        "import circles, also in functions": circles(import_graph(modules, nested=True)),
        "import circles, also of types": circles(
            import_graph(modules, nested=True, type_checking=True)
        ),
    }
