#!/usr/bin/env bash
# PEFT 0.21.2: adapter_config.json is written in another order by every process. `LoraConfig` keeps
# `target_modules` and `exclude_modules` as sets of strings, and `save_pretrained` writes them as lists in the
# order in which the set happens to be walked, which depends on Python's hash seed.
#
# - Two runs of one training, with equal weights bit for bit, have adapter folders that differ.
# - With PYTHONHASHSEED fixed, they are equal; a program that was started without it cannot set it any more.
#
# Why it matters: whoever keys a cache of merged models by a hash of the adapter's files merges again, and
# whoever checks that a run can be repeated by comparing files sees a difference where there is none. Sorting
# both fields of the config before saving avoids it.
#
# Output seen with Python 3.11, torch 2.13.0 and transformers 5.19.0:
#   orders of target_modules in 6 processes: 6
#   with one hash seed: 1
#   after sorting: 1
# The first number varies; the others do not.
#
# Exits with 0 while the behaviour is as described, with 1 if it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "peft==0.21.2" "transformers==5.19.0" "torch==2.13.0" "accelerate==1.15.0"
cat > "$folder/save.py" <<'PY'
import sys

from peft import LoraConfig

names = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
config = LoraConfig(target_modules=names)
if len(sys.argv) > 2:
    config.target_modules = sorted(config.target_modules)
config.save_pretrained(sys.argv[1])
PY
save() { "$folder/venv/bin/python" "$folder/save.py" "$@" 2> "$folder/errors" || { cat "$folder/errors"; exit 1; }; }
for run in 1 2 3 4 5 6; do
    save "$folder/plain-$run"
    save "$folder/sorted-$run" sorted
    PYTHONHASHSEED=0 save "$folder/seeded-$run"
done
count() { cat "$folder/$1"-*/adapter_config.json > /dev/null; sha256sum "$folder/$1"-*/adapter_config.json | cut -d' ' -f1 | sort -u | wc -l; }
echo "orders of target_modules in 6 processes: $(count plain)"
echo "with one hash seed: $(count seeded)"
echo "after sorting: $(count sorted)"
[ "$(count plain)" -ge 2 ] && [ "$(count seeded)" -eq 1 ] && [ "$(count sorted)" -eq 1 ]
