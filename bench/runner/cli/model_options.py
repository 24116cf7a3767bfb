"""The options that say which models a run uses: from words to `PolicySpec` and `PRMSpec`."""

from __future__ import annotations

import argparse

from bench.runner.checkpoints import DTYPES
from bench.runner.engine_args import split_engine_args
from bench.runner.specs import PolicySpec, PRMSpec
from prm.command_line import urls
from search.errors import UsageError
from search.policies.stepping import Sampling


def policy_spec(args: argparse.Namespace) -> PolicySpec:
    """The policy, from parsed options."""
    return PolicySpec(
        name=args.policy, engine=args.engine, dtype=args.dtype, servers=tuple(args.server),
        tokenizer=args.tokenizer, prompt=args.prompt,
        stop=tuple(text.replace("\\n", "\n") for text in args.stop), segment=args.segment,
        repetition=args.repetition, sampling=Sampling(args.temperature, args.top_p),
        seeded=not args.no_seeded, engine_args=args.policy_args,
    )  # fmt: skip


def prm_spec(args: argparse.Namespace) -> PRMSpec:
    """The reward model, from parsed options."""
    return PRMSpec(
        name=args.prm, engine=args.prm_engine, dtype=args.dtype, engine_args=args.prm_args,
        servers=args.prm_server,
    )


def engine_args(text: str) -> tuple[tuple[str, str], ...]:
    """The value of an option with vLLM's engine arguments."""
    try:
        return tuple(split_engine_args(text).items())
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def add_model_options(options: argparse.ArgumentParser) -> None:
    """Add the group of options on models."""
    add = options.add_argument_group("models").add_argument
    add("--policy", metavar="PATH_OR_ID",
        help="a causal language model: a folder (of a checkpoint or LoRA adapter), a hub id, a GGUF file, "
        "smollm2 or gemma3-270m, which `python -m prm.fetch` fetches, or smollm2-gsm8k, a bundled adapter of "
        "smollm2 (default: the built-in one; for the built-in code task, its own)")  # fmt: skip
    add("--prm", metavar="PATH_OR_ID",
        help="a reward model: a name that `python -m prm.zoo` lists, a specification (YAML), a folder or "
        "hub id with a prm.json, weak, a built-in one that knows no more than the policy, or a bundled "
        "adapter: smollm2-prm800k, or smollm2-gsm8k-orm, which scores whole solutions "
        "(default: the built-in one). For programs also tests, which runs the tests that the question shows, "
        "and tests+PATH_OR_ID, where failing tests overrule the model")  # fmt: skip
    add("--engine", metavar="NAME",
        help="vllm; hf (transformers); or server (any OpenAI-compatible server) (default: vllm if it is "
        "installed, else hf)")  # fmt: skip
    add("--server", metavar="URL", action="append", default=[],
        help="base URL for --engine server, e.g. http://localhost:8000/v1; repeat for more "
        "servers")  # fmt: skip
    add("--prm-server", metavar="URL[,URL]", type=urls, default=(),
        help="score on servers instead of here: of python -m prm.serve, or vLLM's own, for which --prm says "
        "how steps are read")  # fmt: skip
    add("--prm-engine", metavar="NAME", help="vllm or hf, for the reward model (default: as --engine)")
    add("--policy-args", metavar="ARG=VALUE,...", type=engine_args, default=(),
        help="vLLM's engine arguments for the policy, e.g. "
        "tensor_parallel_size=2,max_model_len=8192")  # fmt: skip
    add("--prm-args", metavar="ARG=VALUE,...", type=engine_args, default=(),
        help="the same for the reward model, e.g. gpu_memory_utilization=0.3")  # fmt: skip
    add("--tokenizer", metavar="PATH_OR_ID",
        help="tokenizer of the server's model, for its chat template and to send prefixes as token ids "
        "(default: that of --policy if it is a folder, else none)")  # fmt: skip
    add("--prompt", metavar="NAME_OR_FILE",
        help="a prompt of the task by name, or a text file that contains {question} (default: the "
        "question template that this project trained the policy with, by prm.train --form sft or prm.tune; "
        "else the model's chat template; else the task's first prompt)")  # fmt: skip
    add("--stop", metavar="TEXT", action="append", default=[],
        help="text that ends a solution, in addition to the prompt's own stop strings; \\n is a newline; "
        "repeat for more")  # fmt: skip
    add("--print-prompt", action="store_true", help="print the first problem's prompt and exit")
    add("--temperature", metavar="T", type=float, default=0.8,
        help="sampling temperature of strategies that do not set their own (default: 0.8)")  # fmt: skip
    add("--top-p", metavar="P", type=float, default=1.0, help="nucleus sampling (default: 1, off)")
    add("--dtype", metavar="NAME", default="auto",
        help=f"precision of the weights: {', '.join(DTYPES)} "
        "(default: auto: as stored, or float32 on a CPU without bfloat16; vLLM serves float32 weights in "
        "bfloat16)")  # fmt: skip
    add("--no-seeded", action="store_true",
        help="do not seed each request: may be faster, but runs cannot be repeated")  # fmt: skip
