"""What identifies a model: any change to what its output depends on is noticed, whatever a cache holds."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.runner.checkpoints import BUILTIN
from bench.runner.cli.run import main
from bench.runner.identity import as_recorded
from bench.runner.resolve import resolve_policy, resolve_prm
from bench.runner.specs import PolicySpec, PRMSpec
from bench.tasks.builtin import Builtin
from prm.reading import content as module
from prm.reading.content import fingerprint, old_fingerprint
from prm.reading.fingerprint import old_prm_fingerprint, prm_fingerprint
from prm.reading.zoo import find
from tests.test_recorded import RECORDED

LATE = 1_000_000
"""An offset far behind the first 64 KiB."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the built-in reward model, and a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shutil.copytree(BUILTIN / "prm", tmp_path / "prm")
    return tmp_path / "prm"


def change_weights(folder: Path, at: int = LATE) -> None:
    """Change one byte of the weights, and nothing that a listing of the folder shows."""
    path = folder / "model.safetensors"
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def write(name: str, text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(text) and None


CHANGES: dict[str, Callable[[Path], None]] = {
    "one byte of the weights": change_weights,
    "a second file of weights": write("model-2.safetensors", "x"),
    "weights of PyTorch": write("pytorch_model.bin", "x"),
    "an adapter": write("adapter_config.json", "{}"),
    "the configuration": write("config.json", "{}"),
    "how it generates": write("generation_config.json", '{"eos_token_id": [1, 2]}'),
    "the tokenizer": write("tokenizer.json", "{}"),
    "the settings of the tokenizer": write("tokenizer_config.json", "{}"),
    "a sentencepiece model": write("tokenizer.model", "x"),
    "the chat template": write("chat_template.jinja", "x"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_to_what_the_output_depends_on_is_noticed(change: str, folder: Path) -> None:
    before = fingerprint(str(folder)), prm_fingerprint(str(folder))
    CHANGES[change](folder)
    if change == "the configuration":  # what is left is no reward model
        assert fingerprint(str(folder)) != before[0]
        return
    after = fingerprint(str(folder)), prm_fingerprint(str(folder))
    assert before[0] != after[0] and before[1] != after[1]


@pytest.mark.parametrize("name", ["README.md", "train.json", "optimizer.pt", "loss.png"])
def test_other_files_are_not_part_of_the_model(name: str, folder: Path) -> None:
    before = fingerprint(str(folder))
    (folder / name).write_text("{}")
    assert fingerprint(str(folder)) == before


def test_a_copy_at_another_place_is_the_same_model(folder: Path) -> None:
    assert fingerprint(str(folder)) == fingerprint(str(BUILTIN / "prm"))
    assert prm_fingerprint(str(folder)) == prm_fingerprint("builtin") != prm_fingerprint("weak")


def test_the_layout_and_the_calibration_are_part_of_a_reward_model(folder: Path) -> None:
    path = folder / "prm.json"
    fields = json.loads(path.read_text())
    seen = {prm_fingerprint(str(folder))}
    raw = {prm_fingerprint(str(folder), calibrated=False)}
    for change in ({"temperature": 2.0}, {"reject": 0.3}, {"aggregate": "min"}):
        path.write_text(json.dumps(fields | change))
        seen.add(prm_fingerprint(str(folder)))
        raw.add(prm_fingerprint(str(folder), calibrated=False))
    assert len(seen) == 4 and len(raw) == 1
    path.write_text(json.dumps(fields | {"question": "Q: {question}\n"}))
    assert prm_fingerprint(str(folder)) not in seen
    assert prm_fingerprint(str(folder), calibrated=False) not in raw
    path.write_text(json.dumps(fields, indent=8))  # the same layout, written otherwise
    assert prm_fingerprint(str(folder)) in seen


def test_an_ensemble_is_its_members_and_its_layout(folder: Path, tmp_path: Path) -> None:
    def ensemble(**fields: object) -> str:
        (tmp_path / "both").mkdir(exist_ok=True)
        (tmp_path / "both" / "prm.json").write_text(json.dumps({"members": ["weak", str(folder)], **fields}))
        return prm_fingerprint(str(tmp_path / "both"))

    before = ensemble()
    assert ensemble(temperature=2.0) != before == ensemble()
    change_weights(folder)
    assert ensemble() != before


def test_a_zoo_model_is_its_layout_and_the_weights_it_is_given(folder: Path) -> None:
    assert prm_fingerprint("qwen-prm-7b") != prm_fingerprint("qwen-prm-72b") != prm_fingerprint("skywork-7b")
    given = prm_fingerprint(f"qwen-prm-7b={folder}")
    change_weights(folder)
    assert given not in (prm_fingerprint(f"qwen-prm-7b={folder}"), prm_fingerprint("qwen-prm-7b"))


# -- the cache of hashes -------------------------------------------------------------------------------


@pytest.fixture
def hashed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of files that are read and hashed; all are large enough to be cached, and settled."""
    read: list[str] = []
    really = module._hashed

    def noted(file: Path) -> str:
        read.append(file.name)
        return really(file)

    monkeypatch.setattr(module, "_hashed", noted)
    monkeypatch.setattr(module, "CACHED_FROM", 1_000_000)
    monkeypatch.setattr(module, "SETTLED_NS", -(10**18))
    monkeypatch.setattr(module, "_IN_MEMORY", {})
    return read


def test_large_files_are_hashed_once(folder: Path, hashed: list[str]) -> None:
    first = fingerprint(str(folder))
    module._IN_MEMORY.clear()  # another process
    second = fingerprint(str(folder))
    assert first == second and hashed.count("model.safetensors") == 1 and hashed.count("config.json") == 2


def test_the_cache_sees_a_change_that_restores_size_and_time(folder: Path, hashed: list[str]) -> None:
    seen = {fingerprint(str(folder))}
    for at in range(LATE, LATE + 20):  # within one second
        change_weights(folder, at)
        seen.add(fingerprint(str(folder)))
    assert len(seen) == 21


def test_a_file_that_changed_a_moment_ago_is_not_cached(
    folder: Path, hashed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SETTLED_NS", 3600 * 10**9)
    coarse = (0, 0, (folder / "model.safetensors").stat().st_size, 0, 2**62)  # a clock that ticks rarely
    monkeypatch.setattr(module, "_stamp", lambda file: coarse)
    seen = {fingerprint(str(folder))}
    change_weights(folder)
    seen.add(fingerprint(str(folder)))
    assert len(seen) == 2


def test_a_damaged_or_unwritable_cache_is_no_error(
    folder: Path, hashed: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = fingerprint(str(folder))
    [entry] = (tmp_path / "cache" / "prm-search" / "hashes").iterdir()
    for damage in ("", "[]", '{"stamp": 3}', "\x00"):
        entry.write_text(damage)
        module._IN_MEMORY.clear()
        assert fingerprint(str(folder)) == before
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    module._IN_MEMORY.clear()
    hashed.clear()
    assert fingerprint(str(folder)) == fingerprint(str(folder)) == before
    assert hashed.count("model.safetensors") == 1, "a process remembers what it cannot write"


# -- models on the hub ---------------------------------------------------------------------------------


def test_a_model_on_the_hub_is_the_commit_in_its_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants, file_download

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(file_download.constants, "HF_HUB_CACHE", str(tmp_path))
    assert fingerprint("owner/name") is None and fingerprint("http://x") is None
    for commit in ("a" * 40, "b" * 40):
        repo = tmp_path / "models--owner--name"
        (repo / "snapshots" / commit).mkdir(parents=True)
        (repo / "snapshots" / commit / "config.json").write_text("{}")
        (repo / "refs").mkdir(exist_ok=True)
        (repo / "refs" / "main").write_text(commit)
        assert fingerprint("owner/name") == commit


# -- traces --------------------------------------------------------------------------------------------


def test_a_trace_of_version_0_1_0_is_resumed_with_the_same_weights_only(folder: Path, tmp_path: Path) -> None:
    task = Builtin()
    policy = resolve_policy(PolicySpec(engine="hf"), task, [])
    trace = tmp_path / "hgs.jsonl"
    shutil.copy(RECORDED / "hgs.jsonl", trace)
    recorded = json.loads(trace.read_bytes().splitlines()[0])["config"]
    builtin = resolve_prm(PRMSpec(engine="hf"), task, None)
    now = {**policy.identity(), **builtin.identity()}
    assert len(now["policy_weights"]) == len(now["prm_weights"]) == 32
    old = as_recorded(trace, now, policy, builtin)
    assert [old[name] for name in ("policy_weights", "prm_weights")] == [
        recorded[name] for name in ("policy_weights", "prm_weights")
    ]
    weak = resolve_prm(PRMSpec(name="weak", engine="hf"), task, None)
    assert as_recorded(trace, now, policy, weak)["prm_weights"] != recorded["prm_weights"]
    assert as_recorded(tmp_path / "absent", now, policy, builtin) == now
    told = {**now, "aggregate": "min"}
    assert "aggregate" not in as_recorded(trace, told, policy, builtin)
    assert as_recorded(tmp_path / "absent", told, policy, builtin)["aggregate"] == "min"
    assert old_prm_fingerprint("builtin") == old_fingerprint(find("builtin").model)


@pytest.mark.slow
def test_a_run_is_not_resumed_with_a_retrained_or_calibrated_reward_model(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["--engine", "hf", "--limit", "1", "--prm", str(folder), "--out", str(tmp_path / "run")]
    words += ["--strategy", "hgs", "--no-baseline", "--set", "max_samples=2"]
    assert main(words) == 0
    assert main([*words, "--resume"]) == 0
    fields = json.loads((folder / "prm.json").read_text())
    (folder / "prm.json").write_text(json.dumps(fields | {"temperature": 2.0}))
    assert main([*words, "--resume"]) == 2
    (folder / "prm.json").write_text(json.dumps(fields))
    assert main([*words, "--resume"]) == 0
    change_weights(folder)
    assert main([*words, "--resume"]) == 2
    assert "prm_weights was" in capfd.readouterr().err
