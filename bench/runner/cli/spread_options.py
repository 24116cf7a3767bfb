"""The options that spread a run over machines: from words to a `Shard` and a `ClusterSpec`."""

from __future__ import annotations

import argparse
import math

from bench.runner.ray.spec import LOCAL, ClusterSpec
from bench.runner.shards import Shard, parse_shard
from search.errors import UsageError


def cluster_spec(args: argparse.Namespace) -> ClusterSpec | None:
    """The engines, from parsed options; None runs on this machine. Raises UsageError."""
    if args.ray is None:
        for name in ("engines", "policy_gpus", "prm_gpus", "cpus"):
            if getattr(args, name) is not None:
                raise UsageError(f"--{name.replace('_', '-')} is for --ray")
        return None
    return ClusterSpec(
        address=args.ray, engines=args.engines or 1, policy_gpus=args.policy_gpus,
        prm_gpus=args.prm_gpus or 0.0, cpus=1.0 if args.cpus is None else args.cpus,
    )  # fmt: skip


def add_spread_options(options: argparse.ArgumentParser) -> None:
    """Add the group of options on several machines."""
    spread = options.add_argument_group("several machines (docs/guides/scale.md)")
    add = spread.add_argument
    add("--shard", metavar="I/N", type=_shard,
        help="only share I of N of the problems, I from 1 to N, recorded in a folder in --out; with --resume "
        "it is begun or continued. `python -m bench.merge` joins the shares")  # fmt: skip
    add("--ray", metavar="ADDRESS",
        help=f"solve on a Ray cluster: auto (the one of this machine), HOST:PORT, or {LOCAL}, which starts "
        "Ray here for this run. This command alone records, in --out")  # fmt: skip
    add("--engines", metavar="N", type=_count,
        help="with --ray: policies, each with its reward model, that solve problems side by side "
        "(default: 1). --concurrency is of each")  # fmt: skip
    add("--policy-gpus", metavar="G", type=_amount,
        help="with --ray: GPUs of each engine, whole or a fraction of one (default: 1 for vLLM where the "
        "cluster has GPUs, else 0)")  # fmt: skip
    add("--prm-gpus", metavar="G", type=_amount,
        help="with --ray: GPUs of each engine for the reward model alone, or the fraction of the policy's "
        "GPU that is left to it (default: 0, both share, by the sizes of their weights)")  # fmt: skip
    add("--cpus", metavar="C", type=_amount,
        help="with --ray: CPUs that Ray reserves for each engine (default: 1)")  # fmt: skip


def _shard(text: str) -> Shard:
    try:
        return parse_shard(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error).removeprefix("--shard ")) from None


def _amount(text: str) -> float:
    try:
        amount = float(text)
    except ValueError:
        amount = -1.0
    if not 0 <= amount < math.inf:
        raise argparse.ArgumentTypeError(f"takes a number of 0 or more, not {text!r}")
    return amount


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"takes a whole number of at least 1, not {text!r}")
    return int(text)
