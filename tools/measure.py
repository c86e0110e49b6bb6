"""How large and how hard to enter the source is: the figures of `docs/LOG.md`, before and after.

    python tools/measure.py                          # everything, of the tree this file lies in
    python tools/measure.py --json before.json --root OTHER_TREE
    python tools/measure.py --before before.json     # both, side by side
    python tools/measure.py --list                   # helpers called once, file by file
    python tools/measure.py --entered "file to batch"   # the functions of one behaviour

What the figures mean is said in `source_figures.py` (read from the text) and `behaviours.py`
(measured while it runs). Commands run with the interpreter that runs this file, so it needs the
package's dependencies, for type errors also mypy.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import groupby
from pathlib import Path
from typing import Any

import source_figures

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("text", "behaviours", "times", "types")
BEHAVIOURS = ("training step", "file to batch", "fusion", "evaluate")
REPEATS = 5  # runs of which the median is told

Figures = dict[str, Any]


def main(argv: list[str] | None = None) -> int:
    """The exit code."""
    options = _parser().parse_args(argv)
    root = options.root.resolve()
    if not (root / "src").is_dir():
        raise SystemExit(f"{root} holds no folder 'src'; give a checkout with --root")
    if options.list:
        print(helper_list(root))
        return 0
    if options.entered:
        print(entered_list(root, options.entered))
        return 0
    figures = measure(root, options.parts or PARTS)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    before = json.loads(options.before.read_text()) if options.before else None
    print(table(figures, before=before))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("parts", nargs="*", choices=[*PARTS, []], metavar="PART", help=f"Of {', '.join(PARTS)}.")
    add("--root", type=Path, default=ROOT, metavar="DIR", help="Another checkout to measure.")
    add("--json", type=Path, metavar="FILE", help="Also write the figures to FILE.")
    add("--before", type=Path, metavar="FILE", help="Show those of FILE beside them.")
    add("--list", action="store_true", help="List the helpers called once and do nothing else.")
    add("--entered", choices=BEHAVIOURS, help="List the functions of one behaviour.")
    return parser


def measure(root: Path, parts: tuple[str, ...] | list[str]) -> Figures:
    """{figure: value} of the chosen `PARTS` of the checkout `root`."""
    figures: Figures = {}
    if "text" in parts:
        figures |= text_figures(root)
    if "behaviours" in parts:
        for name, trace in traces(root).items():
            for figure in ("files", "functions", "depth"):
                figures[f"{name}, {figure}"] = trace[figure]
    if "times" in parts:
        figures |= _seconds(root, "import", "-c", "import sightsound")
        figures |= _seconds(root, "--help", "-m", "sightsound", "--help")
    if "types" in parts:
        figures["type errors"] = type_errors(root)
    return figures


def text_figures(root: Path) -> Figures:
    """What `source_figures` reads from `root/src`, and the number of lines of tests."""
    modules = source_figures.read_modules(root / "src")
    figures: Figures = source_figures.line_figures(modules)
    tests = source_figures.read_modules(root / "tests") if (root / "tests").is_dir() else []
    figures["test lines"] = source_figures.line_figures(tests)["source lines"]
    figures |= source_figures.function_figures(modules)
    figures |= source_figures.helper_figures(modules)
    return figures | source_figures.circle_figures(modules)


def helper_list(root: Path) -> str:
    """Helpers called once: a heading for each file, then line, code lines and name of each."""
    helpers = source_figures.called_once(source_figures.read_modules(root / "src"))
    lines = []
    for path, inside in groupby(
        sorted(helpers, key=lambda h: (h.path.parent, h.path, h.line)), lambda h: h.path
    ):
        found = list(inside)
        num_short = sum(helper.length <= source_figures.SHORT for helper in found)
        lines.append(f"{path.relative_to(root)}: {len(found)}, short {num_short}")
        lines += [f"  {h.line:5} {h.length:4} lines  {h.name}" for h in found]
    return "\n".join(lines)


def entered_list(root: Path, behaviour: str) -> str:
    """Where each function of a behaviour stands, and its deepest chain of calls."""
    trace = traces(root)[behaviour]
    return "\n".join([*trace["entered"], "", "deepest:", *trace["deepest"]])


def traces(root: Path) -> dict[str, Figures]:
    """What `behaviours.measure` says of `root`, run in a process of its own."""
    script = Path(__file__).with_name("behaviours.py")
    done = _python(root, "-W", "ignore", str(script))
    if done.returncode:
        raise SystemExit(f"{script} failed:\n{done.stderr}")
    return json.loads(done.stdout)


def type_errors(root: Path) -> int | str:
    """Errors that mypy, set up as in `pyproject.toml`, finds in `src`; or "mypy not installed"."""
    done = _python(root, "-m", "mypy", "src", cwd=root)
    if "No module named mypy" in done.stderr:
        return "mypy not installed"
    if "Success" in done.stdout:
        return 0
    found = re.search(r"Found (\d+) error", done.stdout)
    if found is None:
        raise SystemExit(f"mypy failed:\n{done.stdout}{done.stderr}")
    return int(found[1])


def _seconds(root: Path, name: str, *arguments: str) -> Figures:
    """Median wall time and CPU time of a start of Python, after one that is not counted.

    Where others use the machine, CPU time is the one to compare.
    """
    walls, cpus = [], []
    for _ in range(REPEATS + 1):
        started, used = time.perf_counter(), _cpu_seconds()
        _python(root, *arguments).check_returncode()
        walls.append(time.perf_counter() - started)
        cpus.append(_cpu_seconds() - used)
    return {
        f"{name}, seconds": round(statistics.median(walls[1:]), 3),
        f"{name}, CPU seconds": round(statistics.median(cpus[1:]), 3),
    }


def _cpu_seconds() -> float:
    """What processes that were started here and have ended used."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _python(root: Path, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess:
    """Python with the package of `root`, which comes before one that is installed."""
    environment = os.environ | {"PYTHONPATH": str(root / "src"), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *arguments],
        env=environment,
        cwd=cwd or tempfile.gettempdir(),
        capture_output=True,
        text=True,
    )


def table(figures: Figures, *, before: Figures | None = None) -> str:
    """One line for each figure; those of `before` on the left, where given."""
    width = max(map(len, figures))
    lines = []
    for name, value in figures.items():
        cells = [before.get(name, ""), value] if before is not None else [value]
        lines.append(f"{name:{width}}" + "".join(f"  {_cell(cell):>10}" for cell in cells))
    circles = [
        f"  circle: {' '.join(c)}" for v in figures.values() if isinstance(v, list) for c in v
    ]
    return "\n".join(lines + list(dict.fromkeys(circles)))


def _cell(value: object) -> str:
    return str(len(value)) if isinstance(value, list) else str(value)


if __name__ == "__main__":
    sys.exit(main())
