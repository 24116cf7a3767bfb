#!/usr/bin/env bash
# mathruler 0.1.0, openrlhf 0.11.2 (`openrlhf.utils.math_utils`) and verl 0.9.1 (`reward_score.prime_math`): the
# parentheses that a LaTeX fraction implies are lost. The three graders descend from that of PRM800K.
#
# - With pylatexenc's latex2text, \frac{a+b}{2} becomes a+b/2, which is then compared as a string and by sympy. So
#   1+\frac{\sqrt{5}}{2} is right for \frac{1+\sqrt{5}}{2}, and (1+\sqrt{5})/2, the same number, is wrong for it.
# - mathruler and openrlhf delete all braces before they compare: 2^n-1 is right for 2^{n-1}.
# - Whole numbers pass through a float, so neighbours above 2^53 are equal. And 0 equals every number up to 1e-7.
#
# Why it matters: these graders are rewards of reinforcement learning (verl's default for six data sets of Numina,
# where `compute_score` accepts what `grade_answer` accepts). Typical slips of algebra and off-by-one errors of
# counting are rewarded, and right answers that keep the parentheses are not. Sums in a numerator or denominator, and
# numbers of 16 digits and more, need another grader.
#
# The packages import torch, Ray and more for their other modules. The graders use none of it, so empty packages take
# the place of the ones above them, and verl's time limit is left out.
#
# Output seen with Python 3.11 (`grade_answer` of mathruler, openrlhf, verl):
#   gold \frac{1+\sqrt{5}}{2} answer 1+\frac{\sqrt{5}}{2}: True True True
#   gold \frac{1+\sqrt{5}}{2} answer (1+\sqrt{5})/2: False False False
#   gold \frac{1}{2n} answer \frac{n}{2}: True True True
#   gold \frac{3}{x+2} answer \frac{3}{x}+2: True True True
#   gold 2^{n-1} answer 2^n-1: True True False
#   gold 18446744073709551615 answer 18446744073709551616: True True True
#   gold 0 answer 0.00000005: True True True
#
# Exits with 0 while the behaviour is as described, with 1 if it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "sympy==1.14.0" "pylatexenc==2.11" "tqdm==4.67.1"
"$folder/venv/bin/pip" install --quiet --no-deps "mathruler==0.1.0" "openrlhf==0.11.2" "verl==0.9.1"
cat > "$folder/check.py" <<'PY'
import importlib.util
import sys
import types

for name in ("openrlhf", "openrlhf.utils", "verl", "verl.utils", "verl.utils.reward_score"):
    package = types.ModuleType(name)
    package.__path__ = list(importlib.util.find_spec(name).submodule_search_locations)
    sys.modules[name] = package
limit = types.ModuleType("verl.utils.py_functional")
limit.timeout_limit = lambda seconds: lambda function: function
sys.modules[limit.__name__] = limit

from mathruler import grader as mathruler
from openrlhf.utils import math_utils as openrlhf
from verl.utils.reward_score import prime_math as verl

GRADERS = (mathruler, openrlhf, verl)
PAIRS = {
    (r"\frac{1+\sqrt{5}}{2}", r"1+\frac{\sqrt{5}}{2}"): [True, True, True],
    (r"\frac{1+\sqrt{5}}{2}", r"(1+\sqrt{5})/2"): [False, False, False],
    (r"\frac{1}{2n}", r"\frac{n}{2}"): [True, True, True],
    (r"\frac{3}{x+2}", r"\frac{3}{x}+2"): [True, True, True],
    ("2^{n-1}", "2^n-1"): [True, True, False],
    (str(2**64 - 1), str(2**64)): [True, True, True],
    ("0", "0.00000005"): [True, True, True],
}
seen = {(gold, answer): [grader.grade_answer(answer, gold) for grader in GRADERS] for gold, answer in PAIRS}
for (gold, answer), verdicts in seen.items():
    print(f"gold {gold} answer {answer}:", *verdicts)
sys.exit(seen != PAIRS)
PY
"$folder/venv/bin/python" -W ignore "$folder/check.py"
