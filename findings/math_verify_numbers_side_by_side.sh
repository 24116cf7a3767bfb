#!/usr/bin/env bash
# math-verify 0.9.0 (latex2sympy2_extended 1.11.0, antlr4 4.13.2): numbers that stand side by side are added, or
# multiplied, and `verify` compares the result.
#
# - Whole numbers are added, as the parts of a mixed number are: the answer "1 2 3" is right for the gold answer
#   6, and "10 2" for 12.
# - With a leading zero or a decimal point they are multiplied: "3 .5" is right for 1.5, and "10\,000", the usual
#   way to set ten thousand in LaTeX, is 0: wrong for 10000 and right for 0.
#
# Why it matters: a model that lists several numbers (roots, coordinates, steps of a sum) where one is asked for
# is graded right if they happen to add up to it, in evaluation, in votes and as a training reward. And right
# answers of five digits and more, set with a thin space, are graded wrong. Graders have to reject the first and
# close the gaps of the second before they call `verify`.
#
# Output seen with Python 3.11:
#   gold 6 answer 1 2 3: True
#   gold 12 answer 10 2: True
#   gold 1.5 answer 3 .5: True
#   gold 10000 answer 10\,000: False
#   gold 0 answer 10\,000: True
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

PAIRS = {
    ("6", "1 2 3"): True, ("12", "10 2"): True, ("1.5", "3 .5"): True,
    ("10000", r"10\,000"): False, ("0", r"10\,000"): True,
}
seen = {pair: verify(*(parse(f"${text}$") for text in pair)) for pair in PAIRS}
for (gold, answer), verdict in seen.items():
    print(f"gold {gold} answer {answer}: {verdict}")
sys.exit(seen != PAIRS)
PY
"$folder/venv/bin/python" "$folder/check.py"
