#!/usr/bin/env bash
# treequest 0.3.3: `ABMCTSA(reward_average_priors=...)` changes nothing where there is one generate function.
#
# - The argument is documented to set prior means of the reward, for all actions or for each. It sets the
#   prior of the choice among actions only. The posteriors that decide between a new child and going deeper,
#   and between children, always start from `prior_config`. With one action there is no choice among actions:
#   with expected rewards of 0.01, 0.99 or the default of 0, the search makes the same trees from the same seeds.
# - `prior_config=PriorConfig("gaussian", GaussianPrior(m=0.99))` does set those priors.
#
# Why it matters: a prior mean of 0, where rewards are about 0.5, makes the search go wider at first; who sets
# `reward_average_priors` against it changes nothing, without a warning.
#
# Output seen with Python 3.11, numbers of children of the root after 20 samples of reward 0.5, seeds 0 to 9:
#   default: [16, 7, 20, 16, 18, 17, 9, 10, 15, 15]
#   reward_average_priors=0.01: [16, 7, 20, 16, 18, 17, 9, 10, 15, 15]
#   reward_average_priors=0.99: [16, 7, 20, 16, 18, 17, 9, 10, 15, 15]
#   prior_config with m=0.99: [9, 10, 10, 10, 10, 9, 10, 11, 10, 11]
#
# Exits with 0 while the behaviour is as described, with 1 if it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "treequest==0.3.3" "numpy==2.3.5" "scipy==1.17.1"
cat > "$folder/check.py" <<'PY'
import sys

import numpy as np
import treequest as tq
from treequest.algos.ab_mcts_a.prob_state import GaussianPrior, PriorConfig


def widths(label, **settings):
    seen = []
    for seed in range(10):
        np.random.seed(seed)
        search = tq.ABMCTSA(**settings)
        state = search.init_tree()
        for _ in range(20):
            state = search.step(state, {"model": lambda parent: ("text", 0.5)})
        seen.append(len(state.tree.root.children))
    print(f"{label}: {seen}")
    return seen


default = widths("default")
same = [
    widths("reward_average_priors=0.01", reward_average_priors=0.01) == default,
    widths("reward_average_priors=0.99", reward_average_priors=0.99) == default,
    widths("prior_config with m=0.99", prior_config=PriorConfig("gaussian", GaussianPrior(m=0.99))) != default,
]
sys.exit(not all(same))
PY
"$folder/venv/bin/python" "$folder/check.py"
