#!/usr/bin/env bash
# optillm 0.4.0: three approaches that are meant to choose among samples give the first one, whatever the scores and
# votes are.
#
# - `mcts`, by default, runs 2 simulations. One visits a random reply, the other the first one that has no visit, so
#   two of the three replies have one visit each, and the first in the list is always one of them. It is the result,
#   because ties go to the earlier one: the evaluations change nothing, and 22 completions yield what one would. With
#   3 simulations it is the same; from 4 on they count.
# - `self_consistency` groups whole texts by difflib's similarity (from 0.8 on), and gives the first text of the
#   largest group. Solutions that differ in little more than their result are one group, so there is no vote.
# - `majority_voting` does not look for \boxed. Without "answer:" or "answer is", it takes a heading "###", or a letter
#   from A to E that begins a line: all solutions that begin with "### Step 1", or with "A box", vote alike.
#
# Why it matters: word problems begin with "A train", and the solutions of chat models with a heading. The search and
# the votes cost as much as expected, and do as well as one sample, without a warning.
#
# The package's own __init__ imports the server, with torch and transformers, which the approaches do not need, so an
# empty package takes its place. The model is scripted: as a judge it rates its first reply 0, and the others 1.
#
# Output seen with Python 3.11:
#   mcts, 2 simulations, seeds 0 to 19: rated 0 is the result 20 times, 22 completions each
#   mcts, 4 simulations, seeds 0 to 19: rated 0 is the result 0 times, 44 completions each
#   self_consistency, 1 solution has 41 and 4 have 42: 41
#   majority_voting, "A box", 1 solution has 41 and 7 have 42: 41
#   majority_voting, "### Step 1", 1 solution has 41 and 7 have 42: 41
#   majority_voting, "The answer is", 1 solution has 41 and 7 have 42: 42
#
# Exits with 0 while the behaviour is as described, with 1 if it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "numpy==2.3.5" "networkx==3.6.1"
"$folder/venv/bin/pip" install --quiet --no-deps "optillm==0.4.0"
cat > "$folder/check.py" <<'PY'
import importlib.util
import random
import sys
import types
from types import SimpleNamespace as Record

package = types.ModuleType("optillm")
package.__path__ = list(importlib.util.find_spec("optillm").submodule_search_locations)
sys.modules["optillm"] = package

from optillm.mcts import chat_with_mcts
from optillm.plugins import majority_voting_plugin
from optillm.self_consistency import advanced_self_consistency_approach


class Model:
    def __init__(self, *replies):
        self.replies, self.singles, self.made = replies, 0, 0
        self.chat = Record(completions=self)

    def create(self, messages, n=1, **settings):
        self.made += n
        texts = self.replies[:n]
        if messages[-1]["content"].startswith("Evaluate the quality"):
            texts = [next(m["content"] for m in messages if m["role"] == "assistant").removeprefix("rated ")]
        elif n == 1:
            texts = [self.replies[self.singles % len(self.replies)]]
            self.singles += 1
        choices = [Record(message=Record(content=text), finish_reason="stop") for text in texts]
        return Record(choices=choices, usage=Record(completion_tokens=n))


same = []
for simulations, wanted in ((2, (20, 22)), (4, (0, 44))):
    times = 0
    for seed in range(20):
        random.seed(seed)
        model = Model("rated 0", "rated 1", "rated 1")
        times += chat_with_mcts("", "?", model, "model", num_simulations=simulations)[0] == "rated 0"
    print(
        f"mcts, {simulations} simulations, seeds 0 to 19: "
        f"rated 0 is the result {times} times, {model.made} completions each"
    )
    same.append((times, model.made) == wanted)

BOX = "A box holds 6 pens, and there are 7 boxes.\nMultiplied, these are {} pens.\n{}"
STEP = "### Step 1: Multiply\n7 boxes with 6 pens each hold {} pens.\n{}"
for name, vote, label, start, end, count, wanted in (
    ("self_consistency", advanced_self_consistency_approach, "", BOX, r"\boxed{%s}", 5, "41"),
    ("majority_voting", majority_voting_plugin.run, '"A box", ', BOX, r"\boxed{%s}", 8, "41"),
    ("majority_voting", majority_voting_plugin.run, '"### Step 1", ', STEP, r"\boxed{%s}", 8, "41"),
    ("majority_voting", majority_voting_plugin.run, '"The answer is", ', BOX, "The answer is %s.", 8, "42"),
):
    model = Model(*(start.format(n, end % n) for n in [41] + [42] * (count - 1)))
    text = vote("", "?", model, "model")[0]
    result = "41" if "41" in text else "42"
    print(f"{name}, {label}1 solution has 41 and {count - 1} have 42: {result}")
    same.append(result == wanted)
sys.exit(not all(same))
PY
"$folder/venv/bin/python" "$folder/check.py"
