#!/usr/bin/env bash
# math-verify 0.9.0 (with antlr4 4.13.2): `verify(gold, answer)` depends on the order of its arguments, and an
# ordered pair or open interval equals the set of its two ends.
#
# - An equation as the answer is reduced to its right side, whatever its left side is: the answer
#   "x^2+y^2=13" is right for the gold answer "13", but "13" is wrong for the gold answer "x^2+y^2=13".
#   Swapping the arguments by mistake, or voting with `verify` as if it were an equality, changes verdicts.
# - "(2,4)" equals "\{2,4\}" and "x=2 \text{ or } x=4", in both orders, although an interval (or a point) and a
#   pair of solutions are different answers.
#
# Why it matters: graders and majority votes treat `verify` as an equality relation. It is not symmetric, and
# it merges answers that a mathematician tells apart.
#
# Output seen with Python 3.11:
#   gold=13 answer=x^2+y^2=13: True
#   gold=x^2+y^2=13 answer=13: False
#   gold=0 answer=5x-7y+11z+4=0: True
#   gold=5x-7y+11z+4=0 answer=0: False
#   gold=(2,4) answer=\{2,4\}: True
#   gold=\{2,4\} answer=(2,4): True
#   gold=(2,4) answer=x=2 \text{ or } x=4: True
#
# Exits with 0 while the behaviour is as described, with 1 if it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "math-verify[antlr4_13_2]==0.9.0" "latex2sympy2_extended==1.11.0"
cat > "$folder/check.py" <<'PY'
import sys

from math_verify import parse, verify

EXPECTED = [
    ("13", "x^2+y^2=13", True),
    ("x^2+y^2=13", "13", False),
    ("0", "5x-7y+11z+4=0", True),
    ("5x-7y+11z+4=0", "0", False),
    ("(2,4)", r"\{2,4\}", True),
    (r"\{2,4\}", "(2,4)", True),
    ("(2,4)", r"x=2 \text{ or } x=4", True),
]


def read(text):
    return parse(f"${text}$", parsing_timeout=60)  # the default of 5 s is too little on a loaded machine


changed = False
for gold, answer, expected in EXPECTED:
    seen = verify(read(gold), read(answer), timeout_seconds=60)
    print(f"gold={gold} answer={answer}: {seen}")
    changed |= seen is not expected
sys.exit(1 if changed else 0)
PY
"$folder/venv/bin/python" "$folder/check.py"
