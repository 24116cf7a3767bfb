#!/usr/bin/env bash
# its_hub 1.2.0: beam search and particle filtering do not see where the model ends its answer.
#
# - `StepGeneration` looks for its `stop_token` in the text and counts steps; that the model ended its turn
#   (finish_reason "stop" without a stop string) is never read, and end-of-turn tokens are not in the text of an
#   OpenAI-compatible response. So each answer is continued, after its end, up to `max_steps`, and each of these
#   continuations is scored. Without `stop_token` (the default), four answers of one step cost 44 completions
#   and 44 scores, and the result is the answer 11 times over.
# - `max_steps=10` allows 11 steps.
# - The first level of beam search samples budget / beam_width candidates, not `budget`, and the beam grows by
#   that factor until it is full: with budget 8 and beam_width 4, the levels have 2, 4 and 8 candidates, and
#   nothing is pruned before the third.
#
# Why it matters: cost is 11 times what is due, the PRM scores text after the end, and nothing fails.
#
# Output seen with Python 3.11:
#   no stop_token: 44 completions, 44 scores, 11 steps: "The answer is 4.\n" x 11
#   stop_token in the text: 4 completions, 4 scores, 1 step: "The answer is 4.\n" x 1
#   beam search, budget 8, beam_width 4: candidates at each level [2, 4, 8]
#
# Exits with 0 while the behaviour is as described, with 1 if it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "its_hub==1.2.0" "numpy==2.3.5"
cat > "$folder/check.py" <<'PY'
import asyncio
import sys

from its_hub.core.algorithms.beam_search import BeamSearch
from its_hub.core.algorithms.particle_gibbs import ParticleFiltering
from its_hub.core.lms.step_generation import StepGeneration

ANSWER, END = "The answer is 4.\n", "<|end|>"


class Model:
    """Ends every answer after one step, as a server says by finish_reason, which its_hub's interface drops."""

    def __init__(self, mark=""):
        self.mark, self.levels, self.scores = mark, [], 0

    async def agenerate(self, messages, stop=None, **how):
        self.levels.append(len(messages))
        return [{"role": "assistant", "content": ANSWER + self.mark, "finish_reason": "stop"} for _ in messages]

    async def ascore(self, prompt, texts):
        self.scores += len(texts)
        return [0.5] * len(texts)


def particles(model, stop_token):
    steps = StepGeneration(10, "\n", stop_token, include_stop_str_in_output=True)
    search = ParticleFiltering(steps, model)
    found = asyncio.run(search.ainfer(model, "2 + 2?", 4, return_response_only=False))
    text, used = found.the_one["content"], found.steps_used_lst[found.selected_index]
    times = text.count(ANSWER)
    label = "stop_token in the text" if stop_token else "no stop_token"
    steps = "1 step" if used == 1 else f"{used} steps"
    print(
        f"{label}: {sum(model.levels)} completions, {model.scores} scores, {steps}: "
        f'"The answer is 4.\\n" x {times}'
    )
    return sum(model.levels), model.scores, used, times


same = [particles(Model(), None) == (44, 44, 11, 11), particles(Model(END), END) == (4, 4, 1, 1)]
model = Model()
asyncio.run(BeamSearch(StepGeneration(2, "\n", include_stop_str_in_output=True), model, 4).ainfer(model, "?", 8))
print(f"beam search, budget 8, beam_width 4: candidates at each level {model.levels}")
same.append(model.levels == [2, 4, 8])
sys.exit(not all(same))
PY
"$folder/venv/bin/python" "$folder/check.py"
