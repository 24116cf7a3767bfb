"""prm.train and prm.tune with --lora write the adapter, too: it is the model that they write."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

pytest.importorskip("peft")

from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from prm.calibrate import main as calibrate
from prm.preference.files import write_trees
from prm.reading.bundled import ADAPTERS
from prm.reading.layout import read_layout
from prm.training.question import question_template
from tests.test_adapters import merged
from tests.test_prm_train import base, data, fit, random_model, scored, weights
from tests.test_tuning_data import two_turns

pytestmark = [pytest.mark.slow]
__all__ = ["base", "data"]  # fixtures

TWO_STEPS = {"steps": 2, "lora": 2, "validation_share": 0.0}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def assert_is_the_checkpoint(adapter: Path, out: Path) -> None:
    """Merged again, it has the checkpoint's weights, rounded to bfloat16."""
    whole, again = weights(out), weights(merged(adapter))
    assert whole.keys() == again.keys()
    assert all(torch.equal(whole[name].to(torch.bfloat16), again[name]) for name in whole)


@pytest.mark.parametrize("form", ["classes3", "tokens", "sft"])
def test_a_trained_adapter_is_the_checkpoint_beside_it(
    form: str, base: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = fit(base, data, tmp_path / "out", form, lr=0.05, **TWO_STEPS)
    adapter = out / "adapter"
    record = "train.json" if form == "sft" else "prm.json"
    files = {"adapter_config.json", "adapter_model.safetensors", "README.md", record}
    generates = set() if form == "classes3" else {"generation_config.json"}
    assert {path.name for path in adapter.iterdir()} == files | generates
    fields = json.loads((adapter / "adapter_config.json").read_text())
    assert fields["base_model_name_or_path"] == str(base)
    assert fields["target_modules"] == sorted(fields["target_modules"])
    assert fields["task_type"] == ("SEQ_CLS" if form == "classes3" else "CAUSAL_LM")
    sizes = [next(folder.glob("*.safetensors")).stat().st_size for folder in (adapter, base)]
    assert sizes[0] < sizes[1] / 2
    assert "[adapter](adapter/README.md)" in (out / "README.md").read_text()
    assert_is_the_checkpoint(adapter, out)
    if form != "sft":
        assert read_layout(str(adapter)) == read_layout(str(out))
        ours, theirs = scored(adapter, "left", "eggs"), scored(out, "left", "eggs")
        assert [s.value for s in ours] == pytest.approx([s.value for s in theirs], abs=0.01)
        assert ours != scored(fit(base, data, tmp_path / "start", form, steps=1, lr=0.0), "left", "eggs")
    if form == "classes3":
        monkeypatch.setitem(ADAPTERS, "bundled", adapter)
        assert calibrate(["--prm", "bundled", "--data", str(data)]) == 0
        assert read_layout(str(adapter)).calibration.bias
        scored(fit(adapter, data, tmp_path / "more", form, **TWO_STEPS), "left")
        model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=3)
        model.load_adapter(str(adapter))  # as transformers alone reads it


def test_a_tuned_adapter_says_what_the_checkpoint_says(tmp_path: Path) -> None:
    pytest.importorskip("trl")
    from transformers import AutoTokenizer

    from prm.tuning.request import TuneRequest
    from prm.tuning.tune import tune

    start, out = random_model(tmp_path / "base", chat=True, tied=True), tmp_path / "out"
    write_trees(tmp_path / "trees", [two_turns(n) for n in range(8)], {})
    tune(TuneRequest(
        method="sft", base=str(start), data=(str(tmp_path / "trees"),), out=out, lr=0.3, warmup=0.0, batch=4,
        max_length=250, **TWO_STEPS,
    ))  # fmt: skip
    adapter = out / "adapter"
    assert_is_the_checkpoint(adapter, out)
    tokenizer = AutoTokenizer.from_pretrained(merged(adapter))
    assert tokenizer.chat_template == AutoTokenizer.from_pretrained(out).chat_template
    assert question_template(str(merged(adapter)), tokenizer) == question_template(str(out), tokenizer)
    ids = tokenizer("Q: What is 6 + 1?", return_tensors="pt").input_ids
    said = [
        AutoModelForCausalLM.from_pretrained(path, dtype="bfloat16").generate(ids, max_new_tokens=20).tolist()
        for path in (merged(adapter), out, start)
    ]
    assert said[0] == said[1] != said[2]
