"""Compares a converted GGUF file with llama.cpp's own reading of it: tokens, and greedy output.

llama.cpp continues each prompt greedily. The converted model is then given prompt and continuation at once
and predicts each token of it. Up to the first token that it would not have chosen, its own greedy decode has
the same prefix, so that place is where the two decodes part; one forward pass shows it. llama.cpp also
quantizes activations, which a converted model does not, so near ties are expected to fall differently: for
each token that differs, the report says how much less probable llama.cpp's token is than the converted
model's choice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import httpx

from bench.runner.checkpoints import tokenizer_of
from search.errors import UsageError
from search.jsonl import JsonLinesFile
from search.policies.stepping import encode_prompt
from search.prompts import Prompt

PACKAGE = "xllamacpp==2026.10.11549"
NEAR = 0.1
"""Two tokens whose log-probabilities differ by less than this, in nats, are called a near tie."""
ODD_TEXTS = (
    "", " ", "\n", "\n\n", " a", "  a", "a ", "\ta\n", "1234 + 5 = 1,239", "x\n  12\n\n    3. y", "\n \n1",
    "So $\\frac{1}{2}$ of 48 = 24.\n\nThe answer is 24.", "def f(x):\n    return x\n\n\n", "a\r\nb",
    "Zoë hat “12” Äpfel — ½", "数学 は 楽しい", "🙂👍🏽", "it's we'll I'M", "<b>bold</b>", "end.<eos>",
    "<|im_end|>\n", "\x7f",
)  # fmt: skip
"""Texts that tokenizers disagree about: white space, digits, line ends, scripts, special tokens in a text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufCheckRequest:
    """file: the GGUF file. folder: its conversion. questions: the prompts. tokens: per continuation, at most.

    keep: where llama.cpp's continuations are kept, so that an interrupted command continues. threads: of
        either model.
    """

    file: Path
    folder: str
    questions: Sequence[str]
    tokens: int
    keep: Path
    threads: int


@dataclass(frozen=True, slots=True)
class Agreement:
    """Predictions of the converted model along llama.cpp's continuations.

    same: tokens both choose, of `tokens`. whole: continuations without a difference, of `prompts`.
    parted: the number of equal tokens before the first difference, of those with one. gaps: in nats, at each
    token that differs, how much less probable llama.cpp's choice is; near: those below `NEAR`.
    """

    prompts: int
    tokens: int
    same: int
    whole: int
    parted: list[int]
    gaps: list[float]

    @property
    def near(self) -> int:
        return sum(gap < NEAR for gap in self.gaps)


@dataclass(frozen=True, slots=True)
class GgufReport:
    """same_tokens: texts with equal tokens, of `texts`; other_texts: those without.

    as_transformers_reads_it: texts with equal tokens by the tokenizer that transformers makes of the file.
    """

    file: str
    texts: int
    same_tokens: int
    other_texts: list[str]
    as_transformers_reads_it: int
    agreement: Agreement

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def text(self) -> str:
        a = self.agreement
        parted = (
            f"the others part after {min(a.parted)} to {max(a.parted)} tokens, median {median(a.parted):g}"
            if a.parted else "none parts"
        )  # fmt: skip
        gaps = f"; gaps: median {median(a.gaps):.3f} nats, at most {max(a.gaps):.2f}" if a.gaps else ""
        return "\n".join((
            f"{self.file} against llama.cpp ({PACKAGE})",
            f"texts with equal tokens: {self.same_tokens} of {self.texts}; "
            f"as transformers itself reads the file: {self.as_transformers_reads_it}",
            *(f"  other tokens: {text!r}" for text in self.other_texts),
            f"greedy continuations: {a.prompts}, {a.tokens} tokens",
            f"same choice: {a.same} of {a.tokens} tokens ({100 * a.same / max(1, a.tokens):.2f} %)",
            f"same continuation: {a.whole} of {a.prompts}; {parted}",
            f"differences: {len(a.gaps)}, of which {a.near} near ties (below {NEAR} nats){gaps}",
        ))  # fmt: skip


Progress = Callable[[Sequence[str], str], Iterable[str]]


def check(request: GgufCheckRequest, progress: Progress) -> GgufReport:
    """Raises UsageError if llama.cpp is not installed, or the file cannot be read by it."""
    tokenizer = tokenizer_of(request.folder)
    chat = bool(tokenizer.chat_template)
    prompt = Prompt("{question}", chat=True) if chat else Prompt("Question: {question}\nAnswer:")
    texts = [encode_prompt(tokenizer, prompt, question).text for question in request.questions]
    opened = LlamaCpp(request.file, request.threads)
    with closing(opened) as llama, closing(JsonLinesFile(request.keep)) as kept:
        done = {row["prompt"]: row for row in kept.rows}
        for text in progress([text for text in texts if text not in done], "llama.cpp"):
            ids = llama.tokenize(text, add_special=not chat)
            row = {"prompt": text, "ids": ids, "continued": llama.continued(ids, request.tokens)}
            kept.append([row])
            done[text] = row
        rows = [done[text] for text in texts]
        plain = [*ODD_TEXTS, *(llama.detokenize(row["continued"]) for row in rows)]
        theirs = [llama.tokenize(text, add_special=True) for text in plain] + [row["ids"] for row in rows]
    ours = [tokenizer(text).input_ids for text in plain]
    ours += [tokenizer(text, add_special_tokens=not chat).input_ids for text in texts]
    every = [*plain, *texts]
    others = [text for text, a, b in zip(every, ours, theirs, strict=True) if a != b]
    along = [(row["ids"], row["continued"]) for row in rows]
    return GgufReport(
        request.file.name, len(every), len(every) - len(others), others,
        _as_transformers(request.file, every, theirs),
        agreement(request.folder, along, request.threads, progress),
    )  # fmt: skip


def _as_transformers(file: Path, texts: Sequence[str], theirs: Sequence[list[int]]) -> int:
    """How many texts have llama.cpp's tokens by the tokenizer that transformers makes of the file."""
    from transformers import AutoTokenizer

    raw = AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name)
    return sum(raw(text).input_ids == ids for text, ids in zip(texts, theirs, strict=True))


def agreement(
    folder: str, rows: Sequence[tuple[list[int], list[int]]], threads: int, progress: Progress
) -> Agreement:
    """What the model of a folder would choose along each continuation. rows: (prompt, continuation)."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(threads)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    same, tokens, whole, parted, gaps = 0, 0, 0, list[int](), list[float]()
    for name in progress([str(i) for i in range(len(rows))], "converted model"):
        prompt, continued = rows[int(name)]
        if not continued:
            continue
        with torch.inference_mode():
            ids = torch.tensor([[*prompt, *continued]])
            logits = model(ids, logits_to_keep=len(continued) + 1).logits[0, :-1]
        wanted = torch.tensor(continued)
        chosen = logits.argmax(-1)
        differ = (chosen != wanted).nonzero().ravel().tolist()
        logprobs = logits.log_softmax(-1)
        gaps += [float(logprobs[i, chosen[i]] - logprobs[i, wanted[i]]) for i in differ]
        tokens, same = tokens + len(continued), same + len(continued) - len(differ)
        whole += not differ
        parted += differ[:1]
    return Agreement(len(rows), tokens, same, whole, parted, gaps)


# -- llama.cpp, by the package xllamacpp ---------------------------------------------------------------


class LlamaCpp:
    """llama.cpp's server in this process, asked on the loopback interface. Raises UsageError."""

    def __init__(self, file: Path, threads: int):
        try:
            import xllamacpp
        except ImportError as error:
            raise UsageError(f"this check needs llama.cpp: python -m pip install {PACKAGE}") from error
        params = xllamacpp.CommonParams()
        params.model.path = str(file)
        params.n_ctx, params.n_parallel, params.port, params.warmup = 2048, 1, 0, False
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
        try:
            self._server = xllamacpp.Server(params)
        except RuntimeError as error:
            raise UsageError(f"{file}: llama.cpp cannot read it: {error}") from error
        self._client = httpx.Client(base_url=self._server.listening_address, timeout=None, trust_env=False)

    def close(self) -> None:
        self._client.close()
        del self._server

    def tokenize(self, text: str, *, add_special: bool) -> list[int]:
        asked = {"content": text, "add_special": add_special, "parse_special": True}
        return list(self._ask("/tokenize", asked)["tokens"])

    def detokenize(self, tokens: Sequence[int]) -> str:
        return str(self._ask("/detokenize", {"tokens": list(tokens)})["content"])

    def continued(self, prompt: Sequence[int], most: int) -> list[int]:
        """At most `most` tokens of the greedy continuation."""
        asked = {"prompt": list(prompt), "n_predict": most, "temperature": 0, "cache_prompt": False}
        return list(self._ask("/completion", {**asked, "return_tokens": True})["tokens"])

    def _ask(self, path: str, asked: dict[str, Any]) -> Any:
        answer = self._client.post(path, json=asked)
        if answer.is_error:
            raise UsageError(f"llama.cpp refuses {path}: {answer.text[:200]}")
        return answer.json()
