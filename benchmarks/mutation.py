"""Do the tests notice a wrong line? A seeded sample of mutants, each run against the tests that mirror its module.

    pip install cosmic-ray
    python benchmarks/mutation.py                              all modules of `TARGETS`, 320 mutants
    python benchmarks/mutation.py --only turn.py --count 40

The mutations are cosmic-ray's (its operators and its `mutate_code`), without those that only an annotation or a type
error would feel: bit operators, shifts, `is`, the options of a dataclass, the star of a signature. First a place is
drawn, then what happens to it, so that an operator with eleven replacements does not count eleven times. cosmic-ray's
own runner starts an interpreter a mutant and rewrites the file in place; here each mutant is a fork of one process that
has numpy, scipy and pytest imported, and only its import of the one module is another. `--seconds` is a limit of CPU
time; a mutant that reaches it counts as killed (its loop does not end). Exit code 1: a module's tests do not pass
without a mutant.
"""

from __future__ import annotations

import argparse
import importlib.abc
import importlib.util
import os
import random
import resource
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cosmic_ray.plugins
import hypothesis
import numpy  # noqa: F401  (forks share what is imported here)
import pandas  # noqa: F401
import pydantic  # noqa: F401
import pytest
import scipy.optimize
import scipy.special
import scipy.stats  # noqa: F401
import simpy  # noqa: F401
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code

ROOT = Path(__file__).resolve().parents[1]
CROSSOVER_TESTS = (
    "plan",
    "differences",
    "arms",
    "simulation",
    "waits",
    "words",
    "rule",
    "intervals",
    "traffic",
    "run",
    "overload",
    "derived",
)
CROSSOVER = tuple(f"tests/crossover/test_{name}.py" for name in CROSSOVER_TESTS)
FIT = ("tests/fit/test_cells.py", "tests/fit/test_wire.py", "tests/fit/test_curves.py", "tests/fit/test_run.py")
DECODE = tuple(
    f"tests/des/test_{name}.py"
    for name in ("timelines", "unified_timelines", "overlap_timelines", "mixed_append", "step_wait", "accounts")
)
ANALYTICAL = ("breakeven", "crossing", "queueing", "replications")
TARGETS: dict[str, tuple[str, ...]] = {
    "turn.py": ("tests/test_turn.py",),
    "metrics.py": ("tests/test_metrics.py",),
    **{f"analytical/{name}.py": (f"tests/analytical/test_{name}.py",) for name in ANALYTICAL},
    "analytical/arm_comparison.py": ("tests/analytical/test_breakeven.py", "tests/analytical/test_crossing.py"),
    "validate/rates.py": ("tests/validate/test_rates.py",),
    "des/decode_node.py": DECODE,
    **{
        f"crossover/{path.name}": CROSSOVER
        for path in sorted((ROOT / "ppdsim/crossover").glob("*.py"))
        if path.name != "__init__.py"
    },
    **{f"fit/{name}.py": FIT for name in ("run", "curves", "wire", "cells")},
}
"""Modules below ppdsim/, and the tests that mirror them, the quickest first."""
LEFT_OUT = ("Bit", "Shift", "_Is", "Is_", "IsNot", "Invert", "Variable", "Exception", "UAdd", "_Pow", "Decorator")
"""Parts of the names of operators that are left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One change of a module: an operator of cosmic-ray, and at which of its places."""

    module: str
    operator: str
    occurrence: int
    line: int

    @property
    def name(self) -> str:
        return f"{self.module}#{self.operator.removeprefix('core/')}#{self.occurrence}"

    def source(self) -> str:
        found = cosmic_ray.plugins.get_operator(self.operator)
        return mutate_code((ROOT / "ppdsim" / self.module).read_text(), found(), self.occurrence)

    def words(self) -> str:
        was = (ROOT / "ppdsim" / self.module).read_text().splitlines()
        now = self.source().splitlines()
        changed = [(a.strip(), b.strip()) for a, b in zip(was, now, strict=False) if a != b]
        before, after = changed[0] if changed else ("?", "?")
        return f"line {self.line}: {before}  ->  {after}"


def mutants_of(module: str) -> dict[tuple[int, int, str], list[Mutant]]:
    """Return the mutants of a module by place and kind of change."""
    text = (ROOT / "ppdsim" / module).read_text()
    lines, tree = text.splitlines(), get_ast(text)
    nodes = list(ast_nodes(tree))
    found: dict[tuple[int, int, str], list[Mutant]] = defaultdict(list)
    for name in cosmic_ray.plugins.operator_names():
        if any(part in name for part in LEFT_OUT):
            continue
        operator = cosmic_ray.plugins.get_operator(name)()
        places = [start for node in nodes for start, _ in operator.mutation_positions(node)]
        for occurrence, (line, column) in enumerate(places):
            # The options of a dataclass; the star of a signature, which is no product.
            if lines[line - 1].startswith("@dataclass") or "*," in lines[line - 1]:
                continue
            kind = name.split("_")[0]
            found[line, column, kind].append(Mutant(module=module, operator=name, occurrence=occurrence, line=line))
    return found


def sample(modules: list[str], count: int, seed: int) -> list[Mutant]:
    """Draw `count` places over all modules, and one change at each."""
    rng = random.Random(seed)  # noqa: S311
    places = [options for module in modules for _, options in sorted(mutants_of(module).items())]
    chosen = rng.sample(places, min(count, len(places)))
    return sorted((rng.choice(options) for options in chosen), key=lambda each: (each.module, each.line))


class _Mutated(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module from other source than its file's."""

    def __init__(self, name: str, path: Path, source: str) -> None:
        self._name, self._path, self._source = name, path, source

    def find_spec(self, fullname, path, target=None):
        if fullname != self._name:
            return None
        return importlib.util.spec_from_file_location(fullname, self._path, loader=self)

    def create_module(self, spec):
        return None

    def exec_module(self, module) -> None:
        exec(compile(self._source, str(self._path), "exec"), module.__dict__)  # noqa: S102


def passes(module: str, source: str | None, seconds: int) -> tuple[bool, float]:
    """Return whether the tests of a module pass with this source (None: its own), and the CPU seconds they took."""
    child = os.fork()
    if not child:
        os.nice(1)
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
        resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        if source is not None:
            path = ROOT / "ppdsim" / module
            name = "ppdsim." + module.removesuffix(".py").replace("/", ".")
            sys.meta_path.insert(0, _Mutated(name, path, source))
        # hypothesis is imported before pytest may rewrite its assertions.
        options = ["-x", "-q", "-p", "no:cacheprovider", "--tb=no", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
        code = pytest.main([*options, *TARGETS[module]])
        os._exit(int(code))
    started = time.monotonic()
    while True:
        ended, status, usage = os.wait4(child, os.WNOHANG)
        if ended:
            return status == 0, usage.ru_utime + usage.ru_stime
        if time.monotonic() - started > 10 * seconds:  # it sleeps
            os.kill(child, signal.SIGKILL)
        time.sleep(0.05)


def run(mutants: list[Mutant], seconds: int) -> Iterator[tuple[Mutant, bool]]:
    """Yield each mutant and whether it was killed."""
    for module in dict.fromkeys(mutant.module for mutant in mutants):
        passed, took_s = passes(module, None, seconds)
        print(f"{module}: the tests {'pass' if passed else 'FAIL'} without a mutant, {took_s:.1f} s of CPU", flush=True)
        if not passed:
            sys.exit(1)
        for mutant in (each for each in mutants if each.module == module):
            survived, _ = passes(module, mutant.source(), seconds)
            if survived:
                print(f"  SURVIVED {mutant.name} {mutant.words()}", flush=True)
            yield mutant, not survived


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=320)
    parser.add_argument("--seed", type=int, default=16)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--only", action="append", help="a module of TARGETS, or the beginning of its name; repeatable")
    parser.add_argument(
        "--survivors-of", type=Path, metavar="LOG", help="only what survived in an earlier run's output"
    )
    asked = parser.parse_args()
    os.chdir(ROOT)
    # The same examples in every run, and none kept from one mutant to the next.
    hypothesis.settings.register_profile("mutation", derandomize=True, database=None, deadline=None)
    hypothesis.settings.load_profile("mutation")
    modules = [name for name in TARGETS if not asked.only or name.startswith(tuple(asked.only))]
    killed: dict[str, int] = defaultdict(int)
    tried: dict[str, int] = defaultdict(int)
    # All modules share one sample, so that a part of them is a part of it.
    chosen = [each for each in sample(list(TARGETS), asked.count, asked.seed) if each.module in modules]
    if asked.survivors_of is not None:
        names = {line.split()[1] for line in asked.survivors_of.read_text().splitlines() if "SURVIVED" in line}
        chosen = [each for each in chosen if each.name in names]
    for mutant, was_killed in run(chosen, asked.seconds):
        tried[mutant.module] += 1
        killed[mutant.module] += was_killed
    print(f"\n{'module':34}{'killed':>8}{'of':>6}{'share':>8}")
    for module in tried:
        print(f"{module:34}{killed[module]:>8}{tried[module]:>6}{killed[module] / tried[module]:>8.0%}")
    total, dead = sum(tried.values()), sum(killed.values())
    print(f"{'all':34}{dead:>8}{total:>6}{dead / max(total, 1):>8.0%}")


if __name__ == "__main__":
    main()
