"""Which way the arrows point (docs/architecture.md), read off all imports: lazy and typing-only ones too."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
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


@cache
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


def dotted(path: Path) -> str:
    return name_of(path).removesuffix(".py").replace("/", ".").removesuffix(".__init__")


GRAPH = {dotted(path): own(path) for path in FILES}
DOOR_LINES = 20


@cache
def is_door(path: Path) -> bool:
    """A command module of at most twenty lines that does nothing but call a main of `bench.runner`."""
    text = path.read_text(encoding="utf-8")
    if len(text.splitlines()) > DOOR_LINES:
        return False
    body = ast.parse(text).body
    if len(body) < 3:
        return False
    docstring, *body, guard = body
    return (
        isinstance(docstring, ast.Expr)
        and all(isinstance(node, ast.Import | ast.ImportFrom) for node in body)
        and all(module.startswith("bench.runner.") or module == "search.command" for module in own(path))
        and ast.unparse(guard) == "if __name__ == '__main__':\n    sys.exit(main())"
    )


DOORS = {dotted(path) for path in FILES if is_door(path)}


# -- arrows ----------------------------------------------------------------------------------------

MAY_IMPORT = {
    "search": ("search",),
    "prm": ("prm", "search"),
    "mutation": ("mutation", "prm.data", "search"),
    "bench": ("bench", "mutation", "prm", "search"),
}


def within(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_import_points_upwards(path: Path) -> None:
    may = MAY_IMPORT[path.relative_to(ROOT).parts[0]]
    upwards = {module for module in own(path) if not within(module, may)}
    assert not upwards or is_door(path), f"{name_of(path)} imports {upwards}"


def test_the_doors_are_recognised() -> None:
    doors = {name_of(path) for path in FILES if is_door(path)}
    assert {"search/run.py", "search/serve.py", "prm/rollouts.py"} <= doors
    assert "bench/runner/cli/run.py" not in doors and "prm/__init__.py" not in doors


def is_parser(path: Path) -> bool:
    """A module of options, or a command: it defines `main`, and everything else in it is private."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return path.stem.endswith("options") or any(
        isinstance(node, ast.FunctionDef) and node.name in ("main", "add_arguments") for node in tree.body
    )


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_arguments_are_parsed_by_commands_only(path: Path) -> None:
    if any(i.top == "argparse" for i in imports(path)):
        assert is_parser(path)
        rooms = {"reading", "scoring", "training", "evaluation", "experiments", "report", "tasks", "grading"}
        assert not rooms & set(path.relative_to(ROOT).parts), "a room takes typed requests"


# -- circles ---------------------------------------------------------------------------------------


def circle(graph: Mapping[str, set[str]]) -> list[str]:
    """A circle in the graph, [] if there is none."""
    done: set[str] = set()

    def visit(node: str, above: tuple[str, ...]) -> list[str]:
        if node in above:
            return [*above[above.index(node) :], node]
        if node not in done:
            for imported in sorted(graph.get(node, ())):
                if found := visit(imported, (*above, node)):
                    return found
            done.add(node)
        return []

    return next((found for node in sorted(graph) if (found := visit(node, ()))), [])


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circle(GRAPH) == []


def room(module: str) -> str:
    """The folder that a module is in, at the second level; doors and modules at the first are their own."""
    if module in DOORS:
        return module
    parts = module.split(".")
    return ".".join(parts[:2]) if ROOT.joinpath(*parts[:2]).is_dir() else module


def test_no_rooms_import_each_other_in_a_circle() -> None:
    rooms: dict[str, set[str]] = {}
    for module, imported in GRAPH.items():
        rooms.setdefault(room(module), set()).update(room(other) for other in imported)
    assert circle({name: others - {name} for name, others in rooms.items()}) == []


def test_circles_are_found() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert circle({"a": {"a"}}) == ["a", "a"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


# -- the engine ------------------------------------------------------------------------------------


def test_the_types_import_the_standard_library_only() -> None:
    assert outside(ROOT / "search/types.py", also={"search.errors"}) == set()
    for leaf in ("errors", "limits", "seeds", "microbatch"):
        assert outside(ROOT / f"search/{leaf}.py", also=set()) == set()


STRATEGY_FILES = [p for p in (ROOT / "search/strategies").glob("*.py") if p.name != "__init__.py"]
STRATEGY_MAY = {"search.limits", "search.node", "search.tree", "search.types", "search.values"}


@pytest.mark.parametrize("path", STRATEGY_FILES, ids=lambda path: path.stem)
def test_a_strategy_imports_the_tree_the_types_and_the_values(path: Path) -> None:
    assert own(path) <= STRATEGY_MAY
    assert outside(path, also=STRATEGY_MAY) == set()
    harmless = {"__future__", "collections", "dataclasses", "enum", "functools", "itertools", "math",
                "operator", "statistics", "typing"}  # fmt: skip
    assert {i.top for i in imports(path)} <= harmless | {"search"}


INSIDE = [p for p in FILES if name_of(p).startswith("mutation/sandbox/inside/")]


@pytest.mark.parametrize("path", INSIDE, ids=name_of)
def test_what_runs_in_the_sandbox_needs_nothing_that_is_not_there(path: Path) -> None:
    assert all(module.startswith("mutation.sandbox.inside") for module in outside(path, also=set()))


# -- heavy libraries -------------------------------------------------------------------------------

HEAVY_MAY = {
    "search/vllm_engine.py", "search/precision.py", "prm/reading/layout.py",
    "prm/scoring/model.py", "prm/scoring/scorers.py", "prm/scoring/tree_cache.py",
    "prm/scoring/vllm_decoders.py", "bench/runner/checkpoints.py",
}  # fmt: skip
RIM = (
    "search/policies/", "prm/pretrained/", "prm/training/", "prm/tuning/", "prm/evaluation/",
    "bench/builtin/", "bench/experiments/",
)  # fmt: skip
# What is itself only imported late, or only ever run to make the models.
HEAVY_AT_ONCE = {
    "prm/scoring/tree_cache.py", "prm/training/attention.py", "prm/training/objectives.py",
    "prm/training/trunk.py",
    "prm/training/trainer.py", "prm/training/muon.py",
    "bench/builtin/training.py", "bench/builtin/recipe.py", "bench/builtin/card.py",
    "bench/builtin/prm_network.py", "bench/builtin/code_recipe.py", "bench/builtin/networks.py",
}  # fmt: skip


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_heavy_libraries_stay_at_the_rim_and_are_imported_late(path: Path) -> None:
    name = name_of(path)
    heavy = [i for i in imports(path) if i.top in HEAVY and not i.typing]
    rim = name in HEAVY_MAY or name.startswith(RIM)
    assert rim or not heavy, f"{name} imports {heavy[0].module}"
    late = all(i.lazy for i in heavy)
    assert late or name in HEAVY_AT_ONCE, f"{name} imports a heavy library where the module is loaded"


WEB = {"fastapi", "prometheus_client", "pydantic", "starlette", "uvicorn"}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_the_server_is_the_only_one_that_needs_a_web_framework(path: Path) -> None:
    """And only once it is started: its options are shown, and refused, without one."""
    web = [i for i in imports(path) if i.top in WEB and not i.typing]
    inside = name_of(path).startswith(("bench/runner/server/", "bench/experiments/"))
    assert inside or (all(i.lazy for i in web) and (not web or path.stem == "serve"))


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_ray_is_imported_late_and_where_engines_are(path: Path) -> None:
    uses = [i for i in imports(path) if i.top == "ray" and not i.typing]
    inside = name_of(path).startswith(("bench/runner/ray/", "bench/experiments/"))
    assert not uses or (inside and all(i.lazy for i in uses))


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_trl_is_imported_by_one_module_which_is_imported_late(path: Path) -> None:
    late = {"trl", "prm.tuning.trainers"}
    uses = [i for i in imports(path) if (i.top == "trl" or i.module in late) and not i.typing]
    assert name_of(path) == "prm/tuning/trainers.py" or all(i.lazy and i.top != "trl" for i in uses)


# -- import search ---------------------------------------------------------------------------------

MEASURE = """
import sys, time
begin = time.process_time()
import asyncio, concurrent.futures, dataclasses, enum, json, logging, re, typing
standard = time.process_time()
import search
end = time.process_time()
print((end - standard) / (standard - begin), *(name for name in {heavy} if name in sys.modules))
"""


def test_importing_the_engine_is_quick_and_needs_no_model() -> None:
    """It takes less than three times what it needs of the standard library does: 0.15 s against 0.08 s. The
    best of some runs, for the machine may be busy.
    """
    code = MEASURE.format(heavy=sorted(HEAVY | WEB | {"numpy", "rich", "sympy", "datasets", "prm", "bench"}))
    ratios = []
    for _ in range(5):
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
        )
        ratio, *loaded = done.stdout.split()
        assert loaded == []
        ratios.append(float(ratio))
        if ratios[-1] < 3:
            return
    raise AssertionError(f"import search takes {min(ratios):.1f} times the time of the standard library")


def test_the_public_names_are_sorted_and_all_there() -> None:
    assert set(search.__all__) >= set(
        "STRATEGIES Answers Cost CostLimits Events Label LengthLimits Node Outcome Policy Problem Step "
        "StepScore StepScorer Stop Strategy Trace Tree TreeEvent Until charge solve solve_all ContextError "
        "PolicyError ScorerError SearchError TraceError UsageError".split()
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
