"""Which way the arrows point (docs/architecture.md), read off the imports."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import search

ROOT = Path(__file__).parent.parent
OURS = ("search", "prm", "mutation", "bench")
HEAVY = {"torch", "transformers", "vllm"}
FILES = sorted(path for package in OURS for path in (ROOT / package).rglob("*.py"))


@dataclass(frozen=True)
class Import:
    """lazy: inside a function. typing: only under TYPE_CHECKING."""

    module: str
    lazy: bool
    typing: bool

    @property
    def top(self) -> str:
        return self.module.partition(".")[0]


def imports(path: Path) -> list[Import]:
    return list(_walk(ast.parse(path.read_text(encoding="utf-8")), lazy=False, typing=False))


def _walk(node: ast.AST, lazy: bool, typing: bool) -> Iterator[Import]:
    match node:
        case ast.Import(names=names):
            yield from (Import(alias.name, lazy, typing) for alias in names)
        case ast.ImportFrom(module=module, names=names, level=level):
            assert level == 0 and module, "imports are absolute"
            for alias in names:
                inner = f"{module}.{alias.name}"
                yield Import(inner if _is_module(inner) else module, lazy, typing)
        case ast.If(test=ast.Name(id="TYPE_CHECKING"), body=body):
            for guarded in body:
                yield from _walk(guarded, lazy, True)
        case _:
            inside = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            for child in ast.iter_child_nodes(node):
                yield from _walk(child, inside, typing)


def _is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return name.startswith(OURS) and (path.with_suffix(".py").exists() or path.is_dir())


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def outside(path: Path, *, also: set[str]) -> set[str]:
    """What a file imports beside the standard library and `also`, for running."""
    found = {i.module for i in imports(path) if not i.typing and i.top not in sys.stdlib_module_names}
    return found - also


def own(path: Path) -> set[str]:
    """Modules of this project that a file imports, for running or for typing."""
    return {i.module for i in imports(path) if i.top in OURS}


def test_the_types_import_the_standard_library_only() -> None:
    assert outside(ROOT / "search/types.py", also={"search.errors"}) == set()
    for leaf in ("errors", "limits", "seeds", "microbatch"):
        assert outside(ROOT / f"search/{leaf}.py", also=set()) == set()


STRATEGY_FILES = [p for p in (ROOT / "search/strategies").glob("*.py") if p.name != "__init__.py"]


@pytest.mark.parametrize("path", STRATEGY_FILES, ids=lambda path: path.stem)
def test_a_strategy_imports_the_tree_the_types_and_the_values(path: Path) -> None:
    assert own(path) <= {"search.tree", "search.types", "search.values"}
    assert outside(path, also={"search.tree", "search.types", "search.values"}) == set()
    harmless = {"__future__", "collections", "dataclasses", "enum", "functools", "itertools", "math",
                "operator", "statistics", "typing"}  # fmt: skip
    assert {i.top for i in imports(path)} <= harmless | {"search"}


ENGINE = [p for p in FILES if name_of(p).startswith("search/")]
COMPOSITION = ("search/run.py", "search/cli/", "search/server.py")
"""The command line and what serves: where policies, reward models and tasks are put together."""


@pytest.mark.parametrize("path", ENGINE, ids=name_of)
def test_the_engine_knows_neither_reward_models_nor_benchmarks(path: Path) -> None:
    others = {module for module in own(path) if not module.startswith("search")}
    assert not others or name_of(path).startswith(COMPOSITION), f"{name_of(path)} imports {others}"


PRM_MAY = {
    "search.types", "search.errors", "search.limits", "search.lock", "search.microbatch", "search.part",
    "search.precision", "search.vllm_engine",
}  # fmt: skip


@pytest.mark.parametrize("path", [p for p in FILES if name_of(p).startswith("prm/")], ids=name_of)
def test_a_reward_model_knows_the_types_and_little_else(path: Path) -> None:
    may = PRM_MAY | ({"search.tree"} if name_of(path) == "prm/estimation.py" else set())
    others = {m for m in own(path) if not m.startswith("prm")} - may
    assert not others or name_of(path) == "prm/rollouts.py"  # a command that puts policies and tasks together
    for imported in imports(path):
        assert imported.module != "search.vllm_engine" or imported.lazy or imported.typing


@pytest.mark.parametrize("path", [p for p in FILES if name_of(p).startswith("mutation/")], ids=name_of)
def test_mutation_knows_the_label_format_and_what_a_step_is(path: Path) -> None:
    may = {"prm.labels", "search.errors", "search.segment", "search.terminal"}
    assert {m for m in own(path) if not m.startswith("mutation")} <= may


INSIDE = [p for p in FILES if name_of(p).startswith("mutation/inside/")]


@pytest.mark.parametrize("path", INSIDE, ids=name_of)
def test_what_runs_in_the_sandbox_needs_nothing_that_is_not_there(path: Path) -> None:
    assert all(module.startswith("mutation.inside") for module in outside(path, also=set()))


def test_there_are_no_circles() -> None:
    graph = {
        name_of(p).removesuffix(".py").replace("/", ".").removesuffix(".__init__"): {
            i.module for i in imports(p) if i.top in OURS and not i.typing and not i.lazy
        }
        for p in FILES
    }
    done: set[str] = set()

    def visit(module: str, above: tuple[str, ...]) -> None:
        assert module not in above, " -> ".join([*above, module])
        if module not in done:
            for imported in graph.get(module, ()):
                visit(imported, (*above, module))
            done.add(module)

    for module in graph:
        visit(module, ())


HEAVY_MAY = {
    "search/vllm_engine.py", "search/precision.py",
    "prm/model.py", "prm/scorer.py", "prm/layout.py", "prm/tree_cache.py", "prm/train.py",
    "prm/evaluate.py", "prm/vllm_decoders.py", "prm/sequences.py", "prm/trainer.py",
    "prm/attention.py", "prm/objectives.py", "prm/muon.py", "bench/models.py", "bench/prm_cache.py",
    "bench/from_scratch.py", "bench/side_by_side.py", "bench/throughput.py", "bench/tree_training.py",
    "bench/prm_study/models.py",
}  # fmt: skip
# What is itself only imported late, or only ever run to make the models.
HEAVY_AT_ONCE = {
    "prm/tree_cache.py", "prm/attention.py", "prm/objectives.py", "prm/trainer.py", "prm/muon.py",
    "bench/builtin/training.py", "bench/builtin/make.py", "bench/builtin/card.py",
    "bench/builtin/judge.py", "bench/builtin/make_code.py",
    "bench/builtin/networks.py",
}  # fmt: skip


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_heavy_libraries_stay_at_the_rim_and_are_imported_late(path: Path) -> None:
    name = name_of(path)
    heavy = [i for i in imports(path) if i.top in HEAVY and not i.typing]
    rim = name in HEAVY_MAY or name.startswith(("search/policies/", "bench/builtin/"))
    assert rim or not heavy, f"{name} imports {heavy[0].module}"
    late = all(i.lazy for i in heavy)
    assert late or name in HEAVY_AT_ONCE, f"{name} imports a heavy library where the module is loaded"


# -- import search ---------------------------------------------------------------------------------

MEASURE = """
import sys, time
begin = time.process_time()
import search
print(time.process_time() - begin, *(name for name in {heavy} if name in sys.modules))
"""


def test_importing_the_engine_is_quick_and_needs_no_model() -> None:
    """In seconds of this process's own, for the machine may be busy; the best of some runs."""
    code = MEASURE.format(heavy=sorted(HEAVY | {"numpy", "rich", "sympy", "datasets", "prm", "bench"}))
    best = 9.0
    for _ in range(5):
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
        )
        seconds, *loaded = done.stdout.split()
        assert loaded == []
        best = min(best, float(seconds))
        if best < 0.2:
            return
    raise AssertionError(f"import search takes {best:.2f} s")


def test_the_public_names_are_sorted_and_all_there() -> None:
    assert set(search.__all__) >= set(
        "STRATEGIES Answers Budget Judgement Label Limits Node Outcome Policy Problem Step StepScorer Stop "
        "Strategy Trace Tree Until Usage solve solve_all ContextError PolicyError ScorerError SearchError "
        "TraceError UsageError".split()
    )
    shouted, classes, functions = (
        [n for n in search.__all__ if n.isupper()],
        [n for n in search.__all__ if not n.isupper() and not n.islower()],
        [n for n in search.__all__ if n.islower()],
    )
    assert [*shouted, *classes, *functions] == search.__all__
    for group in (shouted, classes, functions):
        assert group == sorted(group)
    assert all(hasattr(search, name) for name in search.__all__)
