"""Published prompts, by model family. The texts are as their authors print them.

few-shot     for base models. GSM8K: the 8 exemplars of Wei et al. 2022, arXiv:2201.11903, table 20.
             MATH: the 4 exemplars of Minerva, Lewkowycz et al. 2022, arXiv:2206.14858, appendix D.2
             (the stray brace in the first problem is theirs).
instruction  Alpaca's template as WizardMath asks it for chain of thought (Luo et al. 2023,
             arXiv:2308.09583; WizardMath/inference in github.com/nlpxucan/WizardLM). Its stop words
             there are the bare "Instruction" and "Response", which also cut solutions that use
             the words; here they must begin a section.
eurus        Eurus-7B-SFT, -KTO, -NCA (Yuan et al. 2024, arXiv:2404.02078): see eurus.py.
eurus-pot    the same, for programs that `--episodes python` runs.
chat         models with a chat template; system turn of Qwen2.5-Math (Yang et al. 2024,
             arXiv:2409.12122).
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files

from bench.tasks.prompts import eurus
from search.prompts import Prompt

_INSTRUCTION = Prompt(
    "Below is an instruction that describes a task. Write a response that appropriately completes the "
    "request.\n\n### Instruction:\n{question}\n\n### Response: Let's think step by step.",
    stop=("\n### Instruction", "\n### Response"),
)
_CHAT = Prompt(
    "{question}",
    chat=True,
    system="Please reason step by step, and put your final answer within \\boxed{}.",
)


def _few_shot(name: str, stop: str) -> Prompt:
    text = files(__name__).joinpath(name).read_text(encoding="utf-8")
    return Prompt(text.removesuffix("\n"), stop=(stop,))


GSM8K: Mapping[str, Prompt] = {
    "few-shot": _few_shot("gsm8k_8_shot.txt", "\nQ:"),
    "instruction": _INSTRUCTION,
    "eurus": eurus.COT,
    "eurus-pot": eurus.POT,
    "chat": _CHAT,
}
MATH: Mapping[str, Prompt] = {
    "few-shot": _few_shot("math_4_shot.txt", "\nProblem:"),
    "instruction": _INSTRUCTION,
    "eurus": eurus.COT,
    "eurus-pot": eurus.POT_MATH,
    "chat": _CHAT,
}
THEOREMQA: Mapping[str, Prompt] = {
    **MATH, "eurus": eurus.COT_THEOREMQA, "eurus-pot": eurus.POT_THEOREMQA
}  # fmt: skip
