#!/usr/bin/env bash
# transformers 5.19.0: a Llama loaded from a GGUF file (`gguf_file=`) is another model than llama.cpp runs from the
# same file, and nothing is said.
#
# - `rope_freqs.weight`, the tensor in which llama.cpp's converter stores the rotary scaling of Llama 3.1, 3.2 and
#   3.3, is ignored: the model has rope_type "default", and its low frequencies are up to 32 times too high.
# - `tokenizer.ggml.add_bos_token` is ignored: no text begins with BOS. (Llama 3 and Gemma are trained with it.)
# - `tokenizer.ggml.pre` is looked up in a table of some 20 names. Those that are not in it, such as SmolLM2's
#   "smollm" and StarCoder's, are split as GPT-2's: a line end and a space before a digit are two tokens, not one.
#
# Why it matters: these files are loaded to evaluate, fine-tune and convert models. Positions, the first token and
# the tokens around numbers differ from those of training, and results are worse without an error.
#
# The file is tiny, has random weights, and is written by llama.cpp's own package `gguf`. llama.cpp reads it, by
# the package xllamacpp, to show the tokens that it makes.
#
# Output seen with Python 3.11:
#   rope_freqs.weight: factors from 1 to 32; transformers: rope_type default, lowest frequency 32.0 times too high
#   add_bos_token=True: transformers ['a'], llama.cpp ['<s>', 'a']
#   pre=smollm: transformers ['a', 'Ċ', 'Ġ', '1'], llama.cpp ['a', 'ĊĠ', '1']
#
# Exits with 0 while the behaviour is as described, with 1 if it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "transformers==5.19.0" "accelerate==1.15.0" "torch==2.13.0" "numpy==2.3.5" \
    "gguf==0.19.0" "xllamacpp==2026.10.11549"
cat > "$folder/check.py" <<'PY'
import json
import math
import sys
from pathlib import Path
from urllib.request import ProxyHandler, Request, build_opener

import numpy as np
import xllamacpp
from gguf import GGUFWriter
from tokenizers.pre_tokenizers import ByteLevel

HIDDEN, HEAD, THETA, FACTOR = 64, 32, 500000.0, 32.0
MERGES = ["Ċ Ġ"]
TOKENS = ["<s>", "</s>", *sorted(ByteLevel.alphabet()), *(merge.replace(" ", "") for merge in MERGES)]


def llama3_factors():
    """As in llama.cpp's convert_hf_to_gguf.py, for Llama 3.2: what each frequency is divided by."""
    for i in range(HEAD // 2):
        turns = 8192 / (2 * math.pi * THETA ** (2 * i / HEAD))
        smooth = min(1.0, max(0.0, (turns - 1) / (4 - 1)))
        yield 1 / ((1 - smooth) / FACTOR + smooth)


def write(path, pre, add_bos):
    writer, random = GGUFWriter(path, "llama"), np.random.default_rng(0)
    writer.add_name("tiny")
    writer.add_context_length(131072)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(1)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_rope_dimension_count(HEAD)
    writer.add_rope_freq_base(THETA)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(TOKENS))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(TOKENS)
    writer.add_token_types([3, 3] + [1] * (len(TOKENS) - 2))
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_add_bos_token(add_bos)
    square = (HIDDEN, HIDDEN)
    for name, shape in {
        "token_embd": (len(TOKENS), HIDDEN), "output_norm": (HIDDEN,), "blk.0.attn_norm": (HIDDEN,),
        "blk.0.ffn_norm": (HIDDEN,), "blk.0.attn_q": square, "blk.0.attn_k": square, "blk.0.attn_v": square,
        "blk.0.attn_output": square, "blk.0.ffn_gate": square, "blk.0.ffn_up": square, "blk.0.ffn_down": square,
    }.items():
        writer.add_tensor(f"{name}.weight", random.normal(0, 0.1, shape).astype(np.float32))
    writer.add_tensor("rope_freqs.weight", np.array(list(llama3_factors()), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def tokens(path, text):
    from transformers import AutoTokenizer

    ids = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)(text).input_ids
    params = xllamacpp.CommonParams()
    params.model.path, params.n_ctx, params.port, params.warmup = str(path), 64, 0, False
    server = xllamacpp.Server(params)
    asked = Request(
        f"{server.listening_address}/tokenize", json.dumps({"content": text, "add_special": True}).encode(),
        {"Content-Type": "application/json"},
    )
    with build_opener(ProxyHandler({})).open(asked) as answer:
        theirs = json.load(answer)["tokens"]
    return [TOKENS[i] for i in ids], [TOKENS[i] for i in theirs]


folder = Path(sys.argv[1])
write(folder / "bos.gguf", "gpt-2", True)
write(folder / "smollm.gguf", "smollm", False)

from transformers import AutoModelForCausalLM, GgufConfig

model = AutoModelForCausalLM.from_pretrained(
    folder, gguf_file="bos.gguf", quantization_config=GgufConfig(dequantize=True)
)
kind = model.config.rope_parameters["rope_type"]
*_, largest = factors = list(llama3_factors())
right = THETA ** (-(HEAD - 2) / HEAD) / largest
off = float(model.model.rotary_emb.inv_freq[-1]) / right
print(
    f"rope_freqs.weight: factors from {min(factors):g} to {max(factors):g}; "
    f"transformers: rope_type {kind}, lowest frequency {off:.1f} times too high"
)
bos = tokens(folder / "bos.gguf", "a")
print(f"add_bos_token=True: transformers {bos[0]}, llama.cpp {bos[1]}")
split = tokens(folder / "smollm.gguf", "a\n 1")
print(f"pre=smollm: transformers {split[0]}, llama.cpp {split[1]}")
same = [
    kind == "default" and round(off, 1) == FACTOR,
    bos == (["a"], ["<s>", "a"]),
    split == (["a", "Ċ", "Ġ", "1"], ["a", "ĊĠ", "1"]),
]
sys.exit(not all(same))
PY
"$folder/venv/bin/python" "$folder/check.py" "$folder" 2> "$folder/log" || { cat "$folder/log" >&2; exit 1; }
