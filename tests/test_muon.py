"""Muon: torch's update, of the matrices that are meant, and its state survives a checkpoint."""

from copy import deepcopy

import torch

from prm.training.muon import Muon, muon


def matrix(shape: tuple[int, int], seed: int = 0) -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.randn(shape, generator=torch.Generator().manual_seed(seed)))


def moved(optimizer: torch.optim.Optimizer, *parameters: torch.nn.Parameter, steps: int, seed: int) -> None:
    """Some steps with gradients that are the same whenever seed and shapes are."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        for parameter in parameters:
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()


def test_matrices_move_as_torchs_do() -> None:
    """To bfloat16's rounding: torch's computes in it."""
    for shape in ((24, 60), (60, 24)):
        mine, theirs, begin = matrix(shape), matrix(shape), matrix(shape)
        moved(Muon([{"params": [mine], "matrices": True}], lr=0.1, weight_decay=0.01), mine, steps=3, seed=1)
        reference = torch.optim.Muon([theirs], lr=0.1, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
        moved(reference, theirs, steps=3, seed=1)
        assert (mine - theirs).norm() < 0.02 * (mine - begin).norm()


def test_other_groups_move_as_adamws_do() -> None:
    mine, theirs, beside = matrix((8, 6)), matrix((8, 6)), matrix((8, 6), seed=2)
    settings = {"lr": 0.1, "betas": (0.9, 0.95), "weight_decay": 0.1}
    groups = [{"params": [mine]}, {"params": [beside], "matrices": True}]
    moved(Muon(groups, **settings), mine, steps=3, seed=1)
    moved(torch.optim.AdamW([theirs], **settings), theirs, steps=3, seed=1)
    assert torch.equal(mine, theirs)


def test_it_goes_on_from_a_saved_state_as_if_it_had_not_stopped() -> None:
    def made() -> tuple[Muon, list[torch.nn.Parameter]]:
        parameters = [matrix((8, 6)), matrix((5, 4))]
        groups = [{"params": parameters[:1], "matrices": True}, {"params": parameters[1:]}]
        return Muon(groups, lr=0.1), parameters

    whole, wanted = made()
    moved(whole, *wanted, steps=2, seed=1)
    state = deepcopy(whole.state_dict())  # loading shares tensors
    second, resumed = made()
    second.load_state_dict(state)
    for parameter, value in zip(resumed, wanted, strict=True):
        parameter.data.copy_(value.data)
    for optimizer, parameters in ((whole, wanted), (second, resumed)):
        moved(optimizer, *parameters, steps=2, seed=3)
    assert all(torch.equal(a, b) for a, b in zip(wanted, resumed, strict=True))


def test_layers_get_muon_and_embeddings_heads_and_norms_do_not() -> None:
    from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification

    config = LlamaConfig(
        vocab_size=32, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=1,
        num_key_value_heads=1, tie_word_embeddings=True, num_labels=3,
    )  # fmt: skip
    for kind in (LlamaForCausalLM, LlamaForSequenceClassification):
        model = kind(config)
        model.model.layers[0].mlp.up_proj.weight.requires_grad_(False)
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        groups = muon(model, lr=0.1, weight_decay=0.5, beta2=0.95).param_groups
        by_name = {names[id(p)]: group for group in groups for p in group["params"]}
        assert len(by_name) == len(names) - 1 and "model.layers.0.mlp.up_proj.weight" not in by_name
        for name, group in by_name.items():
            in_layer = name.endswith("_proj.weight")
            assert bool(group.get("matrices")) == in_layer, name
            assert (group["weight_decay"] == 0) == ("norm" in name), name
