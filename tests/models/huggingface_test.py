"""Our models against those of `transformers` with the same random weights: logits, and the gradient of every weight.

MODELS_ORACLE names the program that runs ours (models_oracle.cpp).
"""

import json
import os
import random
import subprocess

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, MambaConfig, MambaForCausalLM

TOLERANCE = 1e-4
CASES = 24

# The names in memory that differ from those in the files of the published checkpoints.
RENAMED = {"lm_head.weight": "embed_out.weight"}


def randomise(model, generator):
    """Every weight away from its special initial value, so that none can be left out unseen."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=generator)
            if name.endswith(("A_log", ".D")) or "norm" in name:
                weight.add_(0.3 * noise)
            elif weight.dim() == 1:
                weight.copy_(0.2 * noise)
            else:
                weight.copy_(noise / max(weight[0].numel(), 2) ** 0.5)


def neox_case(draw):
    heads = draw.choice([1, 2, 3, 4, 5, 6, 7, 8])
    head_size = draw.choice([4, 5, 8, 12, 16, 20, 24, 31, 32, 64])
    hidden, layers, vocabulary = heads * head_size, draw.randint(1, 3), draw.randint(2, 40)
    config = GPTNeoXConfig(
        hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads, intermediate_size=4 * hidden,
        vocab_size=vocabulary, hidden_act="gelu", max_position_embeddings=512, use_parallel_residual=True,
        layer_norm_eps=1e-5, tie_word_embeddings=False, attention_dropout=0.0, hidden_dropout=0.0,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.25},
        attn_implementation="eager")  # fmt: skip
    spec = dict(architecture="rope", hidden_size=hidden, layers=layers, heads=heads)
    return GPTNeoXForCausalLM(config), spec, vocabulary, draw.choice([1, 2, 3, 17, 64, 129, 257])


def mamba_case(draw):
    hidden = draw.choice([3, 8, 16, 17, 24, 33, 40])
    layers, vocabulary, states = draw.randint(1, 3), draw.randint(2, 40), draw.choice([1, 4, 16, 33])
    config = MambaConfig(
        hidden_size=hidden, num_hidden_layers=layers, state_size=states, vocab_size=-(-vocabulary // 8) * 8, expand=2,
        conv_kernel=4, time_step_rank=-(-hidden // 16), use_bias=False, use_conv_bias=True, hidden_act="silu",
        layer_norm_epsilon=1e-5, residual_in_fp32=True, use_mambapy=False, tie_word_embeddings=True)  # fmt: skip
    spec = dict(architecture="mamba", hidden_size=hidden, layers=layers, state_dim=states)
    return MambaForCausalLM(config), spec, vocabulary, draw.choice([1, 2, 3, 5, 17, 33, 65])


def reference(model, tokens, logit_weights):
    """Logits and gradients by name; a tied weight has one name and one gradient."""
    model.train()
    logits = model(tokens).logits
    (logits * logit_weights).sum().backward()
    named = {RENAMED.get(name, name): weight for name, weight in model.named_parameters()}
    return logits.detach(), named


def relative(actual, expected):
    """The larger of the error's norm over the tensor's, and the largest error over the largest value."""
    error = (actual - expected).double()
    by_norm = error.norm() / expected.double().norm().clamp_min(1e-12)
    by_max = error.abs().max() / expected.double().abs().max().clamp_min(1e-12)
    return max(by_norm.item(), by_max.item())


@pytest.mark.parametrize("make_case", [neox_case, mamba_case])
def test_logits_and_every_gradient(make_case, tmp_path):
    draw, generator = random.Random(1), torch.Generator().manual_seed(1)
    descriptions, references = [], []
    for number in range(CASES):
        model, spec, vocabulary, time = make_case(draw)
        randomise(model, generator)
        tokens = torch.randint(0, vocabulary, (draw.randint(1, 3), time), generator=generator)
        logit_weights = torch.randn(*tokens.shape, model.config.vocab_size, generator=generator)
        logits, named = reference(model, tokens, logit_weights)
        assert all(weight.grad is not None and weight.grad.abs().max() > 0 for name, weight in named.items()
                   if time > 1), "a weight of the reference was left untouched"
        name = f"case{number}"
        weights = {name: weight.detach() for name, weight in named.items()}
        save_file({**weights, "tokens": tokens, "logit_weights": logit_weights}, tmp_path / f"{name}.in.safetensors")
        descriptions.append({"name": name, "spec": spec, "vocabulary": vocabulary})
        references.append((logits, {name: weight.grad for name, weight in named.items()}))
    (tmp_path / "cases.json").write_text(json.dumps(descriptions))

    subprocess.run([os.environ["MODELS_ORACLE"], tmp_path], check=True)

    for description, (logits, gradients) in zip(descriptions, references, strict=True):
        ours = load_file(tmp_path / f"{description['name']}.out.safetensors")
        assert ours.keys() == {"logits"} | {f"gradient.{name}" for name in gradients}, description
        assert relative(ours["logits"], logits) <= TOLERANCE, description
        for name, gradient in gradients.items():
            assert ours[f"gradient.{name}"].shape == gradient.shape
            assert relative(ours[f"gradient.{name}"], gradient) <= TOLERANCE, (description, name)
