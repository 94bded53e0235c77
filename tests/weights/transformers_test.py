"""What we save, opened by `transformers` and `safetensors`; what `safetensors` saves, opened by us.

WEIGHTS_HELPER names the program that runs our side (weights_helper.cpp).
"""

import json
import os
import subprocess

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM


def helper(*arguments):
    subprocess.run([os.environ["WEIGHTS_HELPER"], *map(str, arguments)], check=True)


@pytest.mark.parametrize("architecture, model_class", [("rope", "GPTNeoXForCausalLM"), ("mamba", "MambaForCausalLM")])
def test_transformers_opens_a_saved_model(architecture, model_class, tmp_path):
    folder = tmp_path / "model"
    helper("save", architecture, folder)
    model, loading = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert type(model).__name__ == model_class
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"):
        assert not loading.get(kind), (kind, loading[kind])

    expected = load_file(f"{folder}.expected")
    with torch.no_grad():
        logits = model.eval()(expected["tokens"]).logits
    assert logits.shape == expected["logits"].shape
    difference = (logits - expected["logits"]).abs().max().item()
    assert difference <= 1e-4
    assert expected["logits"].abs().max() > 0.1

    config = model.config
    letters = 21
    assert (config.bos_token_id, config.eos_token_id, config.pad_token_id) == (letters, letters + 2, letters + 3)


@pytest.mark.parametrize("architecture", ["nope", "alibi", "hard_alibi", "lstm"])
def test_other_architectures_say_that_they_are_ours(architecture, tmp_path):
    helper("save", architecture, tmp_path / "model")
    config = json.loads((tmp_path / "model/config.json").read_text())
    assert config["model_type"] == "recite"
    assert config["architecture"] == architecture
    with pytest.raises(ValueError):
        AutoModelForCausalLM.from_pretrained(tmp_path / "model")


def test_reads_and_writes_what_safetensors_does(tmp_path):
    torch.manual_seed(2)
    types = [torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.int32, torch.int16,
             torch.int8, torch.uint8, torch.bool]  # fmt: skip
    tensors = {f"{kind}.{shape}": (torch.randn(shape) * 50).to(kind) for kind in types for shape in [(3, 7), (1,), ()]}
    tensors["empty"] = torch.empty(0, 4)
    metadata = {"format": "pt", "who": "é \"quoted\""}
    save_file(tensors, tmp_path / "theirs", metadata=metadata)
    helper("copy", tmp_path / "theirs", tmp_path / "ours")

    with safe_open(tmp_path / "ours", framework="pt") as file:
        assert file.metadata() == metadata
    copied = load_file(tmp_path / "ours")
    assert copied.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert copied[name].dtype == tensor.dtype, name
        assert torch.equal(copied[name], tensor), name
