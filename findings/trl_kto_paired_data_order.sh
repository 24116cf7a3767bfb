#!/usr/bin/env bash
# TRL 1.16.0: KTOTrainer accepts a paired preference data set (columns prompt, chosen, rejected) and "unpairs" it.
# With its default settings, it then trains on right actions alone first, and on wrong actions alone after them.
#
# - Unpairing maps the data set in chunks of 1,000 rows, and writes all `chosen` sides of a chunk before all its
#   `rejected` sides. The order of the rows is kept in training: the loss "kto" needs, and the default is,
#   train_sampling_strategy="sequential". So no batch has both, unless it lies on the border of a chunk.
# - Up to 1,000 pairs, the first half of the run raises the probability of right actions only, and the second
#   half lowers that of wrong ones only, at the lower learning rates of the schedule's end.
# - `rewards/margins` is logged only where a batch has both sides: here, never.
#
# Why it matters: whoever trains KTO on the pairs that DPO takes, as the documentation offers, gets a curriculum
# of two parts and no margins, with no warning. Unpairing the data set and shuffling it beforehand avoids this.
#
# Output seen with Python 3.11, torch 2.13.0 and transformers 5.19.0:
#   labels of the batches: 1111 1111 0000 0000
#   steps with rewards/margins: 0 of 4
#   labels of the batches, unpaired and shuffled first: 1010 1111 0010 0010
#
# Exits with 0 while the behaviour is as described, with 1 if it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "trl==1.16.0" "transformers==5.19.0" "torch==2.13.0" "datasets==5.2.0" "accelerate==1.15.0"
cat > "$folder/check.py" <<'PY'
import sys
from contextlib import redirect_stdout
from io import StringIO

from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import KTOConfig, KTOTrainer
from trl.data_utils import unpair_preference_dataset

folder = sys.argv[1]
words = ["<eos>", "<unk>", "?", "right", "wrong", *map(str, range(10))]
tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="<unk>"))
tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", unk_token="<unk>", pad_token="<eos>")
LlamaForCausalLM(LlamaConfig(
    vocab_size=len(words), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=1,
    num_key_value_heads=1,
)).save_pretrained(folder)
fast.save_pretrained(folder)
pairs = Dataset.from_list([{"prompt": f"{n} ?", "chosen": " right", "rejected": " wrong"} for n in range(8)])


def run(data):
    config = KTOConfig(
        output_dir=folder, per_device_train_batch_size=4, num_train_epochs=1, logging_steps=1, report_to="none",
        use_cpu=True, bf16=False, save_strategy="no", disable_tqdm=True,
    )
    trainer = KTOTrainer(folder, args=config, train_dataset=data, processing_class=fast)
    batches = ["".join(str(int(label)) for label in batch["label"]) for batch in trainer.get_train_dataloader()]
    with redirect_stdout(StringIO()):
        trainer.train()
    steps = [row for row in trainer.state.log_history if "loss" in row]
    return batches, sum("rewards/margins" in row for row in steps), len(steps)


batches, with_margins, steps = run(pairs)
shuffled, _, _ = run(unpair_preference_dataset(pairs).shuffle(seed=0))
print("labels of the batches:", *batches)
print(f"steps with rewards/margins: {with_margins} of {steps}")
print("labels of the batches, unpaired and shuffled first:", *shuffled)
described = batches == ["1111", "1111", "0000", "0000"] and with_margins == 0
sys.exit(0 if described and any(len(set(batch)) == 2 for batch in shuffled) else 1)
PY
export HF_HUB_DISABLE_TELEMETRY=1
"$folder/venv/bin/python" "$folder/check.py" "$folder/model" 2>/dev/null
