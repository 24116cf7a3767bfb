"""From a LoRA adapter and its base to a checkpoint folder as transformers and vLLM read it.

PEFT merges, in float32. The weights are stored in bfloat16, as those of converted files are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from search.errors import SearchError, UsageError

CLASSIFIER, LANGUAGE_MODEL = "ForSequenceClassification", ("ForCausalLM", "ForConditionalGeneration")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json", "vocab.txt")
IN_ADAPTER = "base_model.model."
"""What PEFT puts before the names of the model's own modules."""


def merge(adapter: Path, base: str, folder: Path, *, labels: Sequence[str]) -> None:
    """Write the checkpoint of an adapter merged into its base to a new folder.

    adapter: a folder, as PEFT writes it. base: a folder or hub id.
    labels: names of a classifier's outputs, if there are as many.
    Raises UsageError if PEFT is not installed, or if the adapter cannot be merged into this base.
    """
    if find_spec("peft") is None:
        raise UsageError(f"{adapter}: merging a LoRA adapter needs peft: pip install 'prm-search[train]'")
    with _quiet():
        with _failing(adapter, base):
            model, tokenizer = _merged(adapter, base, labels)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars, nor what transformers says of weights that the adapter brings."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


@contextmanager
def _failing(adapter: Path, base: str) -> Iterator[None]:
    """Turn what the libraries raise into one line."""
    try:
        yield
    except SearchError:
        raise
    except Exception as error:  # their errors have no common base
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        sizes = [line for line in lines if line.startswith("size mismatch")]
        if sizes:
            raise UsageError(f"{adapter} does not fit its base model {base}: {sizes[0]}") from error
        raise UsageError(f"{adapter}: cannot be merged into {base}: {lines[0]}") from error


def _merged(adapter: Path, base: str, labels: Sequence[str]) -> tuple[Any, Any]:
    """The model in bfloat16, and its tokenizer."""
    import torch
    from peft import PeftConfig, get_peft_model, set_peft_model_state_dict
    from safetensors.torch import load_file
    from transformers import AutoTokenizer

    config = PeftConfig.from_pretrained(str(adapter))
    config.base_model_name_or_path = None  # else it warns if the base's folder is called otherwise
    weights = load_file(adapter / "adapter_model.safetensors")
    has_own = any((adapter / name).is_file() for name in TOKENIZER_FILES)
    tokenizer = AutoTokenizer.from_pretrained(str(adapter) if has_own else base)
    if _classifies(adapter, config, base):
        head = weights.get(f"{IN_ADAPTER}score.weight")
        model, missing = _classifier(base, None if head is None else head.shape[0], labels)
    else:
        model, missing = _language_model(adapter, base)
    if absent := [name for name in missing if f"{IN_ADAPTER}{name}" not in weights]:
        raise UsageError(f"{adapter}: neither it nor its base model {base} has weights for {absent[0]}")
    _check_tied(adapter, base, model, weights)
    if model.config.pad_token_id is None:
        model.config.pad_token_id = tokenizer.pad_token_id
    adapted: Any = get_peft_model(model, config)
    try:
        result: Any = set_peft_model_state_dict(adapted, weights)
    except KeyError as error:  # of a module that is in the adapter as a whole
        raise UsageError(f"{adapter}: has no weights for {error.args[0]}") from error
    untouched = [name for name in result.missing_keys if ".default." in f"{name}."]
    for names, fault in ((result.unexpected_keys, "has weights for"), (untouched, "has no weights for")):
        if names:
            raise UsageError(
                f"{adapter} does not fit its base model {base}: it {fault} {names[0]} ({len(names)} in all)"
            )
    return adapted.merge_and_unload(safe_merge=True).to(torch.bfloat16), tokenizer


def _check_tied(adapter: Path, base: str, model: Any, weights: Iterable[str]) -> None:
    """Raise UsageError if the adapter changes only one of two layers that share their weights in the base."""
    ends = (model.get_input_embeddings(), model.get_output_embeddings())
    if None in ends or ends[0].weight is not ends[1].weight:
        return
    names = [f"{IN_ADAPTER}{name}." for name, module in model.named_modules() if module in ends]
    if changed := next((name for name in weights if name.startswith(tuple(names))), None):
        raise UsageError(
            f"{adapter} changes {changed}: its base model {base} has the same weights as embeddings and as "
            "output layer, and merging would change both"
        )


def _classifies(adapter: Path, config: Any, base: str) -> bool:
    """Whether the merged model is a sequence classifier rather than a language model. Raises UsageError."""
    from transformers import AutoConfig

    known = {"SEQ_CLS": True, "CAUSAL_LM": False}
    if config.task_type is not None:
        if config.task_type not in known:
            raise UsageError(f"{adapter}: made for the task {config.task_type}; there is {', '.join(known)}")
        return known[config.task_type]
    trained = (config.auto_mapping or {}).get("base_model_class", "")  # of models that PEFT knows no task of
    if trained.endswith((CLASSIFIER, *LANGUAGE_MODEL)):
        return bool(trained.endswith(CLASSIFIER))
    architectures = AutoConfig.from_pretrained(base).architectures or [""]
    return "score" in (config.modules_to_save or ()) or architectures[0].endswith(CLASSIFIER)


def _classifier(base: str, outputs: int | None, labels: Sequence[str]) -> tuple[Any, list[str]]:
    """The base with a head of so many outputs (its own if None), and the names of weights it lacks."""
    from transformers import AutoModelForSequenceClassification

    fields: dict[str, Any] = {} if outputs is None else {"num_labels": outputs}
    if outputs == len(labels):
        fields["id2label"] = dict(enumerate(labels))
        fields["label2id"] = {name: i for i, name in enumerate(labels)}
    return _load(AutoModelForSequenceClassification, base, ignore_mismatched_sizes=True, **fields)


def _language_model(adapter: Path, base: str) -> tuple[Any, list[str]]:
    """The base, with the adapter's own generation_config.json if there is one; names of weights it lacks."""
    from transformers import AutoModelForCausalLM, GenerationConfig

    model, missing = _load(AutoModelForCausalLM, base)
    if (adapter / "generation_config.json").is_file():
        model.generation_config = GenerationConfig.from_pretrained(str(adapter))
    return model, missing


def _load(kind: Any, base: str, **options: Any) -> tuple[Any, list[str]]:
    model, info = kind.from_pretrained(base, dtype="float32", output_loading_info=True, **options)
    return model, sorted({*info["missing_keys"], *(key[0] for key in info["mismatched_keys"])})
