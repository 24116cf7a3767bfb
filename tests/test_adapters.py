"""LoRA adapters by folder: merged once into their base, then read as any checkpoint."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("peft")

from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from bench.report.sizes import sizes_of
from bench.runner.resolve import resolve_policy, resolve_prm
from bench.runner.specs import PolicySpec, PRMSpec
from bench.tasks import TASKS
from prm.reading import local
from prm.reading.calibration import Calibration
from prm.reading.content import fingerprint
from prm.reading.fingerprint import prm_fingerprint
from prm.reading.head import LABELS
from prm.reading.layout import Layout, save_layout
from prm.reading.local import is_adapter, local_base, local_policy, merged_folder
from prm.reading.template import Template
from prm.reading.zoo import find
from prm.scoring.scorers import HFScorer
from prm.training.question import question_template
from search.policies.hf import HFPolicy
from search.prompts import Prompt
from search.types import Problem, Until
from tests.contracts import PolicyContract, ScorerContract, check_policy, check_scorer, tokens
from tests.test_prm_train import random_model

TASK = TASKS["gsm8k"]()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "prm-search" / "models"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_model(tmp_path_factory.mktemp("base"))


def adapter(folder: Path, base: Path, *, head: bool = False, target: Any = "all-linear") -> Path:
    """An adapter of random weights, as PEFT writes it.

    head: a reward model's, of three outputs. target: the layers with LoRA; all but the output layer.
    """
    torch.manual_seed(3)
    kind = AutoModelForSequenceClassification if head else AutoModelForCausalLM
    model = kind.from_pretrained(base, dtype="float32", **({"num_labels": 3} if head else {}))
    config = LoraConfig(
        r=4, target_modules=target, exclude_modules=["score"] if head else None,
        modules_to_save=["score"] if head else None, task_type="SEQ_CLS" if head else "CAUSAL_LM",
    )  # fmt: skip
    adapted = get_peft_model(model, config)
    for name, weight in adapted.named_parameters():
        if "lora_" in name or "score" in name:
            torch.nn.init.normal_(weight, std=0.3)
    config.base_model_name_or_path = str(base)
    adapted.save_pretrained(folder, save_embedding_layers=False)
    if head:
        save_layout(Layout(Template("Q: {question}\n")), folder)
    return folder


def merged(folder: Path) -> Path:
    found = merged_folder(str(folder))
    assert found is not None
    return Path(found)


def edit(folder: Path, **fields: Any) -> Path:
    """Change fields of adapter_config.json; None removes one."""
    path = folder / "adapter_config.json"
    now = json.loads(path.read_text()) | fields
    path.write_text(json.dumps({name: value for name, value in now.items() if value is not None}))
    return folder


def change_weights(folder: Path) -> None:
    """One bit, the least of a number's."""
    path = folder / "adapter_model.safetensors"
    content = bytearray(path.read_bytes())
    content[-4] ^= 1
    path.write_bytes(content)


# -- policies ------------------------------------------------------------------------------------------


def test_a_policy_is_its_base_with_the_adapter_merged(
    base: Path, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = adapter(tmp_path / "mine", base)
    assert is_adapter(str(folder)) and not is_adapter(str(base)) and not is_adapter("owner/name")
    assert local_policy(str(folder), fetch=False) is None
    capsys.readouterr()
    resolved = resolve_policy(PolicySpec(name=str(folder), engine="hf", prompt="few-shot"), TASK, [])
    path = Path(resolved.path)
    assert (resolved.name, path.parent) == (str(folder), cache)
    assert path.name.startswith(f"{tmp_path.name}-mine-")
    assert resolved.identity()["policy_weights"] == fingerprint(str(path))
    told = f"{folder}: merging the adapter into {base}, once\n{folder}: merged, kept in {path}\n"
    assert capsys.readouterr().err == told
    assert local_policy(str(folder), fetch=False) == local_base(str(folder)) == str(path)
    assert not capsys.readouterr().err, "it is merged once"
    assert json.loads((path / "config.json").read_text())["dtype"] == "bfloat16"
    theirs = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype="float32"), folder)
    expected = theirs.merge_and_unload().to(torch.bfloat16).state_dict()
    ours = load_file(path / "model.safetensors")
    assert ours.keys() == expected.keys() and all(torch.equal(ours[name], expected[name]) for name in ours)
    before = load_file(base / "model.safetensors")
    name = "model.layers.0.self_attn.q_proj.weight"
    assert not torch.equal(ours[name], before[name].to(torch.bfloat16))
    assert sizes_of(str(folder), None).policy == sum(weight.numel() for weight in before.values())
    shutil.rmtree(path)
    assert sizes_of(str(folder), None).policy is None, "a report merges no policy"


def test_looking_whether_it_is_merged_fetches_no_base(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = adapter(tmp_path / "mine", base)

    def pretrained(name: str, *, fetch: bool = True) -> None:
        assert not fetch, "it would be fetched"

    monkeypatch.setattr(local, "pretrained_folder", pretrained)
    above = adapter(tmp_path / "above", base)
    for one, below in ((folder, "smollm2"), (above, str(folder))):
        config = json.loads((one / "adapter_config.json").read_text())
        (one / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": below}))
        assert merged_folder(str(one), merge=False) is None


def test_the_tokenizer_is_the_adapters_or_else_the_bases(base: Path, tmp_path: Path) -> None:
    folder = adapter(tmp_path / "mine", base)
    first = merged(folder)
    assert AutoTokenizer.from_pretrained(first).chat_template is None
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.chat_template = "{{ messages[0]['content'] }}"
    tokenizer.save_pretrained(folder)
    assert (second := merged(folder)) != first
    assert AutoTokenizer.from_pretrained(second).chat_template == tokenizer.chat_template


def test_a_change_of_the_adapter_or_its_base_is_another_model(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "base"
    shutil.copytree(base, own)
    folder = adapter(tmp_path / "mine", own)
    seen = {str(merged(folder)): fingerprint(str(merged(folder)))}
    change_weights(folder)
    seen[str(merged(folder))] = fingerprint(str(merged(folder)))
    (own / "generation_config.json").write_text('{"eos_token_id": [1, 2]}')
    seen[str(merged(folder))] = fingerprint(str(merged(folder)))
    assert len(seen) == len(set(seen.values())) == 3
    moved = folder.rename(tmp_path / "moved")
    assert fingerprint(str(merged(moved))) in seen.values(), "its name is no part of it"
    shutil.copytree(merged(moved), tmp_path / "copy")
    copied = fingerprint(str(tmp_path / "copy"))
    assert copied not in seen.values(), "outside the cache, a folder is what its files are"


def test_an_adapter_may_stand_on_another_and_is_trained_further(base: Path, tmp_path: Path) -> None:
    first = adapter(tmp_path / "first", base)
    record = {"base": str(base), "method": "kto", "question": "Task: {question}\n"}
    (first / "tune.json").write_text(json.dumps(record))
    second = edit(adapter(tmp_path / "second", base), base_model_name_or_path=str(first))
    folder = local_base(str(second))
    assert question_template(folder, AutoTokenizer.from_pretrained(folder)) == "Task: {question}\n"
    ours, theirs = (load_file(path / "model.safetensors") for path in (Path(folder), merged(first)))
    name = "model.layers.0.mlp.up_proj.weight"
    assert not torch.equal(ours[name], theirs[name])
    change_weights(first)
    assert local_base(str(second)) != folder


# -- reward models -------------------------------------------------------------------------------------


def test_a_reward_model_is_read_by_the_files_beside_its_adapter(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = adapter(tmp_path / "prm", base, head=True)
    entry, resolved = find(str(folder)), resolve_prm(PRMSpec(name=str(folder), engine="hf"), TASK, None)
    assert entry.model == entry.tokenizer == str(merged(folder)) and entry.layout == resolved.layout
    assert entry.layout.template.question == "Q: {question}\n"
    fields = json.loads((Path(entry.model) / "config.json").read_text())
    assert fields["architectures"] == ["LlamaForSequenceClassification"]
    assert list(fields["id2label"].values()) == list(LABELS)
    head = load_file(Path(entry.model) / "model.safetensors")["score.weight"]
    given = load_file(folder / "adapter_model.safetensors")["base_model.model.score.weight"]
    assert torch.equal(head, given.to(torch.bfloat16))
    before, raw = prm_fingerprint(str(folder)), prm_fingerprint(str(folder), calibrated=False)
    capsys.readouterr()
    save_layout(replace(entry.layout, calibration=Calibration(reject=0.3, temperature=2.0)), folder)
    assert resolve_prm(PRMSpec(name=str(folder), engine="hf"), TASK, None).thresholds == {"reject": 0.3}
    assert prm_fingerprint(str(folder)) != before and prm_fingerprint(str(folder), calibrated=False) == raw
    assert not capsys.readouterr().err, "nothing was merged again"
    (tmp_path / "prm.json").write_text('{"members": ["prm", "prm"]}')
    assert find(str(tmp_path)).members == (str(folder), str(folder))
    assert find(f"weak={folder}").model == entry.model
    change_weights(folder)
    assert prm_fingerprint(str(folder), calibrated=False) != raw


class Answers(PolicyContract):
    max_tokens = 40


class Scores(ScorerContract):
    atol = 0.02  # bfloat16


@pytest.mark.slow
@pytest.mark.vllm
async def test_vllm_reads_adapters_as_transformers_does(base: Path, tmp_path: Path) -> None:
    from prm.scoring.scorers import VLLMScorer
    from search.policies.vllm import VLLMPolicy

    prm, folder = str(adapter(tmp_path / "prm", base, head=True)), adapter(tmp_path / "policy", base)
    problem, steps = Problem("p", "Q?"), Scores().steps(Scores.solutions[2])
    theirs = await HFScorer(prm, dtype="float32").score(problem, steps)
    async with VLLMScorer(prm, dtype="float32") as scorer:
        ours = await scorer.score(problem, steps)
    assert [score.value for score in ours] == pytest.approx([score.value for score in theirs], abs=1e-4)
    options: dict[str, Any] = {"prompt": Prompt("{question}\n"), "dtype": "float32"}
    greedy: dict[str, Any] = {"until": Until.END, "max_tokens": 20, "seed": 0, "temperature": 0.0}
    expected = await HFPolicy(str(merged(folder)), **options).propose(problem, [], **greedy)
    async with VLLMPolicy(str(merged(folder)), **options) as policy:
        assert tokens(await policy.propose(problem, [], **greedy)) == tokens(expected)


@pytest.mark.slow
async def test_adapters_meet_the_contracts_on_transformers(base: Path, tmp_path: Path) -> None:
    await check_scorer(HFScorer(str(adapter(tmp_path / "prm", base, head=True))), Scores())
    folder = adapter(tmp_path / "policy", base)
    policy = HFPolicy(str(merged(folder)), prompt=Prompt("{question}\n"), dtype="float32")
    await check_policy(policy, Answers())
    plain = HFPolicy(str(base), prompt=Prompt("{question}\n"), dtype="float32")
    said = [
        await one.propose(Problem("p", "What?"), [], until=Until.END, max_tokens=20, seed=0, temperature=0.0)
        for one in (policy, plain)
    ]
    assert tokens(said[0]) != tokens(said[1])
