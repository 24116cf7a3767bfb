"""The recipe on a pretrained language model, here a tiny one, and the problems that a package brings."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from zipfile import ZipFile

import pytest
from safetensors.torch import load_file

from bench.experiments.adapters import CONFIG
from bench.real import demo, recipe
from bench.real.problems import MEMBERS, to_lines
from bench.real.recipe import RealRequest, Sizes, by_length, run, values_of_samples
from bench.runner.resolve import resolve_policy, resolve_prm
from bench.runner.specs import PolicySpec, PRMSpec
from bench.tasks import TASKS
from prm.data import load
from prm.reading import bundled
from prm.reading.local import local_policy
from prm.reading.zoo import find
from search.errors import UsageError
from search.prompts import Prompt
from tests.test_prm_train import fit, random_model

SIZES = Sizes(
    worked=32, sampled=4, samples=4, top_layers=0, lora=2, bf16=False, batch=8, max_length=192, epochs=1,
    lr=1e-3, orm_epochs=1, orm_lr=1e-3, orm_lora=2,
)  # fmt: skip


def rows(path: Path, n: int) -> Path:
    """Worked problems, the longest first. The answer is 2 or 3, and nothing tells which."""
    lines = []
    for i in range(n, 0, -1):
        answer = f"1 + {i % 2} = <<1+{i % 2}={1 + i % 2}>>{1 + i % 2}\n#### {2 + i % 2}"
        row = {"question": f"A hen lays {'many ' * (i // 9)}eggs. {i % 5}?", "answer": answer}
        lines.append(json.dumps(row) + "\n")
    path.write_text("".join(lines))
    return path


def test_short_problems_come_first_and_ties_stay_in_order(tmp_path: Path) -> None:
    texts = [("aaa", "b"), ("a", "<<1+1=2>>b"), ("aa", "bb"), ("a", "b")]
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps({"question": q, "answer": a}) + "\n" for q, a in texts))
    assert [row.number for row in by_length(path)] == [2, 4, 1, 3]
    path.write_text('{"problem": "What?", "answer": "1"}\n')
    with pytest.raises(UsageError, match="line 1"):
        by_length(path)


@pytest.mark.slow
def test_the_recipe_runs_to_its_end_is_not_repeated_and_its_adapters_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    data = rows(tmp_path / "train.jsonl", 40)
    base = fit(  # one that has learnt to answer already: LoRA does not teach random weights much
        random_model(tmp_path / "random"), Path(f"worked:{data}"), tmp_path / "base", "sft", steps=80,
        question_template=recipe.TEMPLATE,
    )  # fmt: skip
    monkeypatch.setattr(recipe, "BASE", str(base))
    monkeypatch.setattr(recipe, "HERE", tmp_path / "out")  # the adapters that are found by name
    for name in ("smollm2-gsm8k", "smollm2-gsm8k-orm"):
        monkeypatch.setitem(bundled.ADAPTERS, name, tmp_path / "out" / bundled.ADAPTERS[name].name)
    for look_up in (local_policy, find):
        with pytest.raises(UsageError, match=r"python -m bench\.real\.make"):
            look_up("smollm2-gsm8k")
    request = RealRequest(
        data=data, sizes=SIZES, work=tmp_path / "work", out=tmp_path / "out",
        engine="hf",
    )  # fmt: skip
    run(request)
    records = list(load(f"labels:{tmp_path / 'work/labels.jsonl'}"))
    assert {record.outcome for record in records} == {True, False}
    for record in records:
        assert set(record.labels) == {1 if record.outcome else -1}
    trace = tmp_path / "work/samples/self_consistency.jsonl"
    assert [(r.steps, r.outcome) for r in values_of_samples(trace)] == [(r.steps, r.outcome) for r in records]

    policy = resolve_policy(PolicySpec(name="smollm2-gsm8k", engine="hf"), TASKS["gsm8k"](), [])
    assert policy.prompt == Prompt(recipe.TEMPLATE)
    merged = local_policy("smollm2-gsm8k")
    assert merged is not None and merged == local_policy(str(tmp_path / "out/policy"))
    before, after = load_file(base / "model.safetensors"), load_file(Path(merged) / "model.safetensors")
    assert before.keys() == after.keys()
    orm = resolve_prm(PRMSpec(name="smollm2-gsm8k-orm", engine="hf"), TASKS["gsm8k"](), "hf")
    assert orm is not None and orm.model is not None
    layout = find(orm.model).layout
    assert (layout.head.kind, layout.template.question) == ("outcome", recipe.TEMPLATE)

    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "work").rglob("README.md")}
    run(request)
    assert times == {path: path.stat().st_mtime_ns for path in (tmp_path / "work").rglob("README.md")}
    with pytest.raises(UsageError, match="another worked and"):
        run(replace(request, sizes=recipe.SIZES["cpu"]))
    with pytest.raises(UsageError, match="another data: choose"):
        run(replace(request, data=rows(tmp_path / "other.jsonl", 41)))
    with pytest.raises(UsageError, match="is the folder of the stages"):
        run(replace(request, out=request.work))
    (tmp_path / "taken" / "orm").mkdir(parents=True)
    with pytest.raises(UsageError, match="is not replaced"):
        run(replace(request, out=tmp_path / "taken"))
    assert not (tmp_path / "taken" / "policy").exists()
    monkeypatch.undo()
    monkeypatch.setattr(recipe, "BASE", str(base))
    run(replace(request, out=tmp_path / "mine"))  # what stands on a policy of one's own names that policy
    own = json.loads((tmp_path / "mine" / "orm" / CONFIG).read_text())
    assert own["base_model_name_or_path"] == str(tmp_path / "mine" / "policy")


def test_a_file_that_is_not_there_is_said_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"give GSM8K's train\.jsonl"):
        run(RealRequest(data=tmp_path / "none", sizes=SIZES, work=tmp_path / "work"))
    assert not (tmp_path / "work").exists()


def wheel(path: Path) -> Path:
    with ZipFile(path, "w") as archive:
        for name, place, sum_of in (("0001", 7, "1 + 1"), ("0000", 30, "2 + 2")):
            answer = f'answer = """\nIt is {sum_of}.\n#### 9\n"""\n'
            text = f'question = "What is {sum_of}?"\n{answer}id_orig = {place}\n'
            archive.writestr(f"{MEMBERS}{name}.toml", text)
        archive.writestr(f"{MEMBERS}about.txt", "no problem")
    return path


def test_problems_of_the_package_are_in_gsm8ks_format_and_order(tmp_path: Path) -> None:
    (tmp_path / "test.jsonl").write_text(to_lines(wheel(tmp_path / "package.whl")))
    examples = TASKS["gsm8k"]().load(tmp_path / "test.jsonl", None)
    assert [example.problem.question for example in examples] == ["What is 1 + 1?", "What is 2 + 2?"]
    assert {example.reference for example in examples} == {"9"}
    (tmp_path / "other.whl").write_text("not a wheel")
    with pytest.raises(UsageError, match="not the package that was expected"):
        to_lines(tmp_path / "other.whl")


def test_the_demo_asks_for_what_it_says_and_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = list[list[str]]()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, "pretrained_folder", lambda name, agreed: name)
    monkeypatch.setattr(demo, "bundled_adapter", lambda name: name)
    monkeypatch.setattr(demo, "packaged_problems", lambda: tmp_path / "test.jsonl")

    def search(words: list[str]) -> int:
        asked.append(words)
        return 0

    monkeypatch.setattr(demo, "search", search)
    assert demo.main(["--limit", "5"]) == 0
    demo.OUT.mkdir(parents=True)
    assert demo.main([]) == 0
    assert asked[0][-2:] == ["--limit", "5"] and "--resume" not in asked[0]
    assert "--resume" in asked[1]
    monkeypatch.setattr(demo, "packaged_problems", lambda: pytest.fail("they are not needed"))
    assert demo.main(["--data=mine.jsonl", "--out=elsewhere"]) == 0
    assert "--data" not in asked[2] and "--out" not in asked[2] and "--resume" not in asked[2]
    assert str(tmp_path / "test.jsonl") in asked[0]
