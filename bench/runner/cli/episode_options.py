"""The options of episodes of several turns (docs/guides/episodes.md)."""

from __future__ import annotations

import argparse

from bench.runner.episodes import CRITICS, ENVIRONMENTS, LENGTHS, EpisodeSpec
from search.errors import UsageError
from search.limits import LengthLimits


def add_episode_options(options: argparse.ArgumentParser) -> None:
    """Add the group of options on episodes."""
    episodes = options.add_argument_group("episodes of several turns (docs/guides/episodes.md)")
    add = episodes.add_argument
    add("--episodes", metavar="NAME",
        help=f"search over turns, which are whole messages: {', '.join(ENVIRONMENTS)} runs the code of each "
        "and shows the policy its output")  # fmt: skip
    add("--turns", metavar="N", type=int, help="with --episodes: at most so many messages (default: 5)")
    add("--verdicts", action="store_true",
        help="with --episodes: also tell the policy whether its answer is correct; an episode ends with a "
        "correct one")  # fmt: skip
    add("--critic", metavar="NAME",
        help=f"with --episodes: also show it a critique, by {' or '.join(CRITICS)}: the words of the task's "
        "checker, or the policy's own")  # fmt: skip


def episode_spec(args: argparse.Namespace) -> EpisodeSpec | None:
    """The episodes that the options ask for, if any. Raises UsageError."""
    if args.episodes is None:
        for name in ("turns", "verdicts", "critic"):
            if getattr(args, name):
                raise UsageError(f"--{name} is for --episodes")
        return None
    turns = 5 if args.turns is None else args.turns
    return EpisodeSpec(environment=args.episodes, turns=turns, verdicts=args.verdicts, critic=args.critic)


def length_limits(args: argparse.Namespace) -> LengthLimits:
    """How long steps and solutions, or turns and episodes, may get."""
    usual = LengthLimits() if args.episodes is None else LENGTHS
    return LengthLimits(
        usual.step_tokens if args.step_tokens is None else args.step_tokens,
        usual.solution_tokens if args.solution_tokens is None else args.solution_tokens,
    )
