"""How many small mistakes the tests would catch: random changes of one token, each tested.

    python tools/mutants.py --number 50 --seed 1            # takes hours: survivors meet every test
    python tools/mutants.py --number 50 --seed 1 --quick    # only the tests that concern the file
    python tools/mutants.py --only src/sightsound/seeding.py:12   # every change of one line
    python tools/mutants.py --number 20 --within data,media --list  # what would be changed

Each mutant is made in a copy of the tracked files, so the checkout may be worked in meanwhile. The
test modules nearest to the changed module run first: those that import it, then those that reach it
over one and over two other modules. A mutant that passes them meets the whole suite, unless
`--quick`. It is caught if a test fails that passes without the change, or if the tests take longer
than `--limit` seconds. Survivors are printed to be judged: some change nothing that anybody could
notice, which no tool can tell.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from source_figures import import_graph, read_modules

ROOT = Path(__file__).resolve().parents[1]
REMOVES = 2  # test modules further away from the changed module are left to the whole suite
ROUNDS = (4, 8)  # numbers of test modules that run first, and then, nearest first

_COMPARISONS: dict[type[ast.cmpop], tuple[str, str]] = {
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"),
    ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
}
_ARITHMETIC: dict[type[ast.operator], tuple[str, str]] = {
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "/"),
    ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "*"),
    ast.Mod: ("%", "*"),
}
_NAMES = {"min": "max", "max": "min", "any": "all", "all": "any"}


@dataclass(frozen=True)
class Mutant:
    """One change: `old` at `line` and `column` (both from 1) of `path` becomes `new`."""

    path: str  # relative to the root
    line: int
    column: int
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}  {self.old} -> {self.new}"


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant: the test that failed, or `None`."""

    mutant: Mutant
    caught_by: str | None
    seconds: float


def main(argv: list[str] | None = None) -> int:
    """The exit code."""
    options = _parser().parse_args(argv)
    root = options.root.resolve()
    chosen = choose(root, options)
    if options.list:
        print("\n".join(map(str, chosen)))
        return 0
    verdicts = []
    with tempfile.TemporaryDirectory(prefix="mutants-") as temporary:
        suite = Suite(copied(root, Path(temporary)), limit=options.limit)
        for number, mutant in enumerate(chosen, start=1):
            verdict = suite.judge(mutant, quick=options.quick)
            verdicts.append(verdict)
            word = f"caught by {verdict.caught_by}" if verdict.caught_by else "SURVIVED"
            seconds = f"{verdict.seconds:.0f} s"
            print(f"{number}/{len(chosen)} {mutant}  {word} ({seconds})", flush=True)
            if options.json:
                options.json.write_text(json.dumps([asdict(v) for v in verdicts], indent=1) + "\n")
    print(summary(root, verdicts))
    if suite.broken:
        print(f"left out, since they fail without a change: {', '.join(sorted(suite.broken))}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--number", type=int, default=50, help="Mutants to draw (default: %(default)s).")
    add("--seed", type=int, default=0, help="Other mutants (default: %(default)s).")
    add("--within", metavar="PARTS", help="Folders or files of the package, joined by commas.")
    add("--only", action="append", metavar="FILE:LINE", help="All mutants of a line; repeatable.")
    add("--quick", action="store_true", help="Leave the whole suite out.")
    add("--limit", type=float, default=600, help="Seconds for the nearest tests; all: 4 times it.")
    add("--list", action="store_true", help="Print the mutants, test nothing.")
    add("--json", type=Path, metavar="FILE", help="Also write the verdicts to FILE.")
    add("--root", type=Path, default=ROOT, metavar="DIR", help="Another checkout.")
    return parser


# --- mutants ------------------------------------------------------------------------------------


def choose(root: Path, options: argparse.Namespace) -> list[Mutant]:
    """The mutants that the command line asks for, files drawn by their number of changes."""
    if options.only:
        found = []
        for place in options.only:
            path, _, line = place.partition(":")
            found += [m for m in mutants_of(root, Path(path)) if str(m.line) == line]
            if not any(m.path == path and str(m.line) == line for m in found):
                raise SystemExit(f"nothing to change at {place}; give FILE:LINE with code")
        return found
    paths = sorted(path.relative_to(root) for path in (root / "src").rglob("*.py"))
    if options.within:
        parts = options.within.split(",")
        paths = [p for p in paths if any(_is_below(p, part) for part in parts)]
    everything = [mutant for path in paths for mutant in mutants_of(root, path)]
    if not everything:
        raise SystemExit(f"nothing to change within {options.within}; name folders of the package")
    generator = random.Random(options.seed)
    return generator.sample(everything, min(options.number, len(everything)))


def _is_below(path: Path, part: str) -> bool:
    """Whether `path`, such as src/sightsound/data/loader.py, is `part` or in it: data."""
    inner = path.relative_to(*path.parts[:1]).as_posix().partition("/")[2]
    return inner == part or inner.startswith(part.rstrip("/") + "/")


def mutants_of(root: Path, path: Path) -> list[Mutant]:
    """Every change of one token of a file, in the order of its lines."""
    text = (root / path).read_text(encoding="utf-8")
    finder = _Finder(path.as_posix(), text)
    finder.visit(ast.parse(text))
    return sorted(finder.found, key=lambda m: (m.line, m.column, m.new))


class _Finder(ast.NodeVisitor):
    """Collects the mutants of a file: none in annotations, messages, docstrings and imports."""

    def __init__(self, path: str, text: str) -> None:
        self.path = path
        self.lines = text.splitlines()
        self.found: list[Mutant] = []

    # what is left alone

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for default in [*node.args.defaults, *filter(None, node.args.kw_defaults)]:
            self.visit(default)
        for statement in node.body:
            self.visit(statement)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """Texts are for people: another word is no mistake in behaviour."""

    def visit_Raise(self, node: ast.Raise) -> None:
        """As above."""

    def visit_Assert(self, node: ast.Assert) -> None:
        """What we guarantee ourselves."""

    def visit_If(self, node: ast.If) -> None:
        if not ast.unparse(node.test).endswith("TYPE_CHECKING"):
            self.generic_visit(node)

    # what is changed

    def visit_Compare(self, node: ast.Compare) -> None:
        places = [node.left, *node.comparators]
        for left, right, operator in zip(places, places[1:], node.ops, strict=False):
            old, new = _COMPARISONS[type(operator)]
            self._between(left, right, old, new)
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        texts = [node.left, node.right]
        is_text = any(isinstance(n, ast.JoinedStr) or _is_string(n) for n in texts)
        if type(node.op) in _ARITHMETIC and not is_text:
            self._between(node.left, node.right, *_ARITHMETIC[type(node.op)])
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if isinstance(node.op, ast.Add | ast.Sub):
            old, new = _ARITHMETIC[type(node.op)]
            self._between(node.target, node.value, f"{old}=", f"{new}=")
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        old, new = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        for left, right in zip(node.values, node.values[1:], strict=False):
            self._between(left, right, old, new)
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, ast.Not):
            self._at(node.lineno, node.col_offset, "not ", "")
        elif isinstance(node.op, ast.USub):
            self._at(node.lineno, node.col_offset, "-", "+")
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        value = node.value
        old = ast.get_source_segment("\n".join(self.lines), node) or ""
        if isinstance(value, bool):
            self._at(node.lineno, node.col_offset, old, str(not value))
        elif isinstance(value, int | float):
            for new in (value + 1, value - 1):
                self._at(node.lineno, node.col_offset, old, f"({new!r})" if new < 0 else repr(new))

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Name) and node.func.id in _NAMES:
            self._at(node.lineno, node.col_offset, node.func.id, _NAMES[node.func.id])
        self.generic_visit(node)

    def visit_Return(self, node: ast.Return) -> None:
        value = node.value
        is_none = isinstance(value, ast.Constant) and value.value is None
        if value is not None and not is_none and value.lineno == value.end_lineno == node.lineno:
            line = self.lines[node.lineno - 1].encode()
            old = line[value.col_offset : value.end_col_offset].decode()
            self._at(value.lineno, value.col_offset, old, "None")
        self.generic_visit(node)

    def _between(self, left: ast.expr, right: ast.expr, old: str, new: str) -> None:
        """The operator `old` between two operands; over lines it is left alone."""
        if left.end_lineno != right.lineno:
            return
        line = self.lines[right.lineno - 1].encode()
        gap = line[left.end_col_offset : right.col_offset].decode()
        pattern = rf"\b{re.escape(old)}\b" if old.isalpha() or " " in old else re.escape(old)
        if match := re.search(pattern, gap):
            start = (left.end_col_offset or 0) + len(gap[: match.start()].encode())
            self._at(right.lineno, start, old, new)

    def _at(self, line: int, offset: int, old: str, new: str) -> None:
        """`offset`: in bytes, as the parser counts."""
        column = len(self.lines[line - 1].encode()[:offset].decode())
        if self.lines[line - 1][column:].startswith(old):
            self.found.append(Mutant(self.path, line, column + 1, old, new))


def _is_string(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def changed(text: str, mutant: Mutant) -> str:
    """`text` of the file with the mutant's change."""
    lines = text.splitlines(keepends=True)
    line, start = lines[mutant.line - 1], mutant.column - 1
    assert line[start:].startswith(mutant.old), mutant
    lines[mutant.line - 1] = line[:start] + mutant.new + line[start + len(mutant.old) :]
    return "".join(lines)


# --- tests --------------------------------------------------------------------------------------


def copied(root: Path, target: Path) -> Path:
    """The tracked files of `root`, as they are now, in `target`."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=root, check=True, capture_output=True, text=True
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (root / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / name, target / name)
    return target


class Suite:
    """The tests of a copy, in which files are changed and changed back."""

    def __init__(self, root: Path, *, limit: float) -> None:
        self.root = root
        self.limit = limit
        self.broken: set[str] = set()  # tests that fail without a change
        modules = read_modules(root / "src")
        self._names = {m.path.relative_to(root).as_posix(): m.name for m in modules}
        self._graph = import_graph(modules, nested=True)
        known = set(self._graph)
        self._imports = {
            file.relative_to(root).as_posix(): _imported(file, known)
            for file in sorted((root / "tests").rglob("test_*.py"))
        }

    def judge(self, mutant: Mutant, *, quick: bool) -> Verdict:
        """Make the change, run tests until one fails, and take the change back."""
        path = self.root / mutant.path
        text = path.read_text(encoding="utf-8")
        started = time.perf_counter()
        nearest, caught_by = self.nearest(mutant.path), None
        rounds = [(nearest[: ROUNDS[0]], 1), (nearest[ROUNDS[0] : sum(ROUNDS)], 1)]
        rounds += [] if quick else [(["tests"], 4)]
        for tests, times in rounds:
            while tests and caught_by is None:
                path.write_text(changed(text, mutant), encoding="utf-8")
                try:
                    caught_by = self._first_failure(tests, limit=times * self.limit)
                finally:
                    path.write_text(text, encoding="utf-8")
                if caught_by is None or not self._is_broken(caught_by):
                    break
                caught_by = None
        return Verdict(mutant, caught_by, round(time.perf_counter() - started, 1))

    def nearest(self, path: str) -> list[str]:
        """Test modules that reach the module `path` by imports, fewest steps first.

        Of those as near, one of the module's name comes first, then quick ones, which lie in
        `unit`, then those that import less: they are likelier to be about the module.
        """
        stem, found = Path(path).stem, []
        reached = {self._names[path]}

        def order(file: str) -> tuple[bool, bool, int]:
            return stem not in Path(file).stem, "/unit/" not in file, len(self._imports[file])

        for _ in range(REMOVES + 1):
            files = [f for f, names in self._imports.items() if names & reached and f not in found]
            found += sorted(files, key=order)
            reached |= {name for name, targets in self._graph.items() if targets & reached}
        return found

    def _is_broken(self, test: str) -> bool:
        """Whether a test fails without a change, too; it is left out from then on."""
        if "::" not in test or self._first_failure([test], limit=self.limit) is None:
            return False
        self.broken.add(test)
        return True

    def _first_failure(self, tests: list[str], *, limit: float) -> str | None:
        """The first of the `tests` that fails, or `None`; also a limit that is passed."""
        left_out = [f"--deselect={test}" for test in sorted(self.broken)]
        process = subprocess.Popen(
            [sys.executable, "-m", "pytest", "-xq", "--tb=no", *left_out, *tests],
            cwd=self.root,
            env=os.environ | {"PYTHONPATH": str(self.root / "src"), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            said, _ = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return f"the limit of {limit:.0f} s"
        if process.returncode in (0, 5):  # 5: all tests of these files have their own target
            return None
        match = re.search(r"^(?:FAILED|ERROR) (\S+)", said, re.MULTILINE)
        return match[1] if match else f"exit code {process.returncode}"


def _imported(file: Path, known: set[str]) -> set[str]:
    """Modules of the package that a test file imports or names in a string, as for monkeypatch."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names.add(node.value.rpartition(".")[0])
    return names & known


def summary(root: Path, verdicts: list[Verdict]) -> str:
    """The share caught, and the lines of those that were not."""
    survivors = [verdict.mutant for verdict in verdicts if not verdict.caught_by]
    num_caught = len(verdicts) - len(survivors)
    lines = [f"caught {num_caught} of {len(verdicts)}: {num_caught / len(verdicts):.0%}"]
    for mutant in survivors:
        line = (root / mutant.path).read_text(encoding="utf-8").splitlines()[mutant.line - 1]
        lines += [f"survived: {mutant}", f"    {line.strip()}"]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
