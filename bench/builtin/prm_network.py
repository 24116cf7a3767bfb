"""The built-in reward model before training: a frozen backbone and new layers that compare tokens.

A language model that predicts the right token has the information to detect an error, but not in one place:
its prediction is in the last layer at the previous token, and the identity of the token itself makes up only
1 % of the hidden state there. A classification head on the last layer, or on additional layers, detects
errors that are visible in the token itself and learns almost nothing about others. The comparison of token
and prediction is therefore built into the initial weights, as the induction head is built into the policy's
(`bench.builtin.networks`). Everything else is learned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification
from transformers.models.llama.modeling_llama import LlamaAttention

from bench.builtin.networks import HEAD, SHARP

ROOM = 64
"""Width added for the code of the token, and again for that of the token that was predicted."""
NEW_LAYERS = 3
"""The first compares; the others learn to interpret the comparison."""
SHARPNESS = 6.0
"""Of the heads that attend one token back: almost all of their attention goes to that token."""
STEP_LENGTH = 5
"""Index of the rotary frequency that turns by a right angle within about two steps (58 tokens)."""
RECENT = 7.5
"""How strongly half of the heads of the last layers initially attend to tokens within one step's length."""
QUIET = 0.2
"""Size of a token's code relative to its embedding: small, so that it hardly affects the backbone's norms."""
ANCHOR = 3.0
"""Size of the constant that fixes the scale of the norms, relative to the backbone's last hidden state."""


@dataclass(frozen=True, slots=True)
class _Parts:
    """Parts of the widened hidden state.

    own: the backbone's hidden state. code: of the token. expected: the code of the predicted token.
    agreement: the logit that the backbone had given the token.
    anchor: a constant, so large that the norms of the new layers divide by the same number at every token.
    """

    hidden: int

    @property
    def own(self) -> slice:
        return slice(0, self.hidden)

    @property
    def code(self) -> slice:
        return slice(self.hidden, self.agreement)

    @property
    def agreement(self) -> int:
        return self.hidden + ROOM - 1

    @property
    def expected(self) -> slice:
        return slice(self.hidden + ROOM, self.anchor)

    @property
    def anchor(self) -> int:
        return self.width - 1

    @property
    def width(self) -> int:
        return self.hidden + 2 * ROOM


@torch.no_grad()
def new_prm(
    backbone: LlamaForCausalLM,
    labels: Sequence[str],
    samples: Sequence[Sequence[int]],
    *,
    seed: int,
    step_length: int = STEP_LENGTH,
) -> LlamaForSequenceClassification:
    """A classifier in float32 whose first layers compute what the backbone's do. They are frozen (`freeze`).

    samples: token ids of questions with solutions, on which the size of the backbone's states is measured.
    step_length: a replacement for `STEP_LENGTH`, for tasks with shorter or longer steps than arithmetic's.
    """
    torch.manual_seed(seed)
    backbone = backbone.float().eval()
    trained, part = backbone.config.num_hidden_layers, _Parts(backbone.config.hidden_size)
    model = LlamaForSequenceClassification(
        LlamaConfig(
            **{
                **backbone.config.to_dict(),
                "architectures": None,
                "dtype": "float32",
                "attn_implementation": "eager",
                "tie_word_embeddings": False,
                "hidden_size": part.width,
                "head_dim": HEAD,
                "num_attention_heads": part.width // HEAD,
                "num_key_value_heads": part.width // HEAD,
                "num_hidden_layers": trained + NEW_LAYERS,
                "attention_bias": True,
                "id2label": dict(enumerate(labels)),
                "label2id": {label: i for i, label in enumerate(labels)},
            }
        )
    ).eval()
    for layer in model.model.layers:
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            getattr(layer.self_attn, name).bias.zero_()
    for layer in model.model.layers[trained:]:
        layer.self_attn.o_proj.weight.zero_()
        layer.mlp.down_proj.weight.zero_()
    texts = [torch.tensor([list(ids)]) for ids in samples]
    axes, scale = _embed(model, backbone, part, texts)
    _widen(model, backbone, part)
    _compare(model, backbone, part, axes, scale, texts)
    for layer in model.model.layers[trained + 1 :]:
        _attend_to_step(layer.self_attn, step_length)
    torch.nn.init.normal_(model.score.weight, std=0.02)
    freeze(model)
    return model


def freeze(model: LlamaForSequenceClassification) -> None:
    """Freeze the embeddings, the backbone's layers and the comparing layer; the layers after them train."""
    for frozen in (model.model.embed_tokens, *model.model.layers[: 1 - NEW_LAYERS]):
        frozen.requires_grad_(False)


def _embed(
    model: LlamaForSequenceClassification,
    backbone: LlamaForCausalLM,
    part: _Parts,
    texts: Sequence[torch.Tensor],
) -> tuple[torch.Tensor, float]:
    """Give each token a code in a part of the hidden state that no layer of the backbone uses.

    The code is the token's coordinates along the axes in which the embeddings differ most. Returns the axes,
    [ROOM - 1, hidden], and the factor by which the codes were scaled.
    """
    embedding = backbone.model.embed_tokens.weight
    used = torch.unique(torch.cat([ids[0] for ids in texts]))
    mean = embedding[used].mean(0)
    axes = torch.linalg.svd(embedding[used] - mean, full_matrices=False).Vh[: ROOM - 1]
    codes = (embedding - mean) @ axes.T
    scale = float(QUIET * _rms(embedding[used]) / _rms(codes[used]))
    wide = model.model.embed_tokens.weight
    wide.zero_()
    wide[:, part.own] = embedding
    wide[:, part.code] = codes * scale
    return axes, scale


def _widen(model: LlamaForSequenceClassification, backbone: LlamaForCausalLM, part: _Parts) -> None:
    """Copy the backbone's layers, which ignore the added width. Norms divide by the width, so rescale."""
    for number, old in enumerate(backbone.model.layers):
        layer = model.model.layers[number]
        for name in ("input_layernorm", "post_attention_layernorm"):
            first = number == 0 and name == "input_layernorm"
            filled = part.hidden + (QUIET**2 * (ROOM - 1) if first else 0.0)
            getattr(layer, name).weight[part.own] = getattr(old, name).weight * (filled / part.width) ** 0.5
        for block in ("self_attn", "mlp"):
            for name, linear in getattr(old, block).named_children():
                if isinstance(linear, torch.nn.Linear):
                    wider = getattr(getattr(layer, block), name).weight
                    (wider if name in ("o_proj", "down_proj") else wider[:, part.hidden :]).zero_()
                    rows, columns = linear.weight.shape
                    wider[:rows, :columns] = linear.weight


def _compare(
    model: LlamaForSequenceClassification,
    backbone: LlamaForCausalLM,
    part: _Parts,
    axes: torch.Tensor,
    scale: float,
    texts: Sequence[torch.Tensor],
) -> None:
    """Set the weights of the first new layer, which compares each token with the prediction.

    Heads that attend one token back fetch the prediction made there; feed-forward units multiply it by the
    token's code; the sum of the products approximates the logit of the token.
    """
    trained, n = backbone.config.num_hidden_layers, ROOM - 1
    layer = model.model.layers[trained]
    attention, norm = layer.self_attn, backbone.model.norm.weight
    states = torch.cat(
        [model.model(input_ids=ids, output_hidden_states=True).hidden_states[trained][0] for ids in texts]
    )
    size = _rms(states[:, part.own])
    anchored = ANCHOR * size

    layer.input_layernorm.weight[part.own] = norm * (part.hidden / part.width) ** 0.5
    expected = torch.nn.functional.rms_norm(states[:, part.own], (part.hidden,), norm) @ axes.T
    gain = size / _rms(expected)
    angles = model.model.rotary_emb.inv_freq[:SHARP]
    for head in range(ROOM // HEAD):
        first = head * HEAD
        for projection in (attention.q_proj, attention.k_proj, attention.v_proj):
            projection.weight[first : first + HEAD] = 0.0
        second = first + HEAD // 2
        attention.q_proj.bias[first : first + SHARP] = SHARPNESS * torch.cos(angles)
        attention.q_proj.bias[second : second + SHARP] = -SHARPNESS * torch.sin(angles)
        attention.k_proj.bias[first : first + SHARP] = SHARPNESS
    attention.v_proj.weight[:n, part.own] = axes
    attention.o_proj.weight[part.expected, :n] = gain * torch.eye(n)
    attention.o_proj.bias[part.anchor] = anchored * part.width**0.5

    norm_after = layer.post_attention_layernorm.weight
    norm_after[part.code], norm_after[part.expected] = anchored / scale, anchored / gain
    gate, up = layer.mlp.gate_proj.weight, layer.mlp.up_proj.weight
    gate[: 2 * n], up[: 2 * n] = 0.0, 0.0
    for start, sign in ((0, 1.0), (n, -1.0)):  # silu(x) y + silu(-x) (-y) = x y
        gate[start : start + n, part.expected] = sign * torch.eye(n)
        up[start : start + n, part.code] = sign * torch.eye(n)
    layer.mlp.down_proj.weight[part.agreement, : 2 * n] = anchored / 3  # a few units after the next norm

    for later in model.model.layers[trained + 1 :]:
        _rescale(later.input_layernorm.weight, part)
        _rescale(later.post_attention_layernorm.weight, part)
    _rescale(model.model.norm.weight, part)


def _rescale(weight: torch.Tensor, part: _Parts) -> None:
    """Scale a norm so that its output has a size of about 1, although it divides by the anchor's size."""
    weight[part.own], weight[part.expected] = ANCHOR, ANCHOR
    weight[part.anchor] = 0.05


def _attend_to_step(attention: LlamaAttention, step_length: int) -> None:
    """Initialise half of a layer's heads to attend to the latest tokens, about as many as one step has."""
    for head in range(attention.q_proj.out_features // HEAD // 2):
        rows = slice(head * HEAD, (head + 1) * HEAD)
        for projection in (attention.q_proj, attention.k_proj):
            projection.weight[rows] *= 0.3
            projection.bias[head * HEAD + step_length] = RECENT


def _rms(values: torch.Tensor) -> float:
    return float(values.pow(2).mean().sqrt())
