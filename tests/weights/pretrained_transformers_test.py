"""Pretrained folders, made by `transformers` and `torch.save` with random weights, opened by us: logits, and 64 tokens
of greedy decoding, against those of `transformers`; and damaged ones.

PRETRAINED_ORACLE names the program that runs our side (pretrained_oracle.cpp), once for all models.
"""

import collections
import copy
import json
import os
import pickle
import random
import shutil
import subprocess
import zipfile

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, MambaConfig, MambaForCausalLM

TOLERANCE = 1e-4  # of logits in float32
CONTINUED = 64
LOWER = {"bf16": torch.bfloat16, "float16": torch.float16}


def randomise(model, generator):
    """Every weight away from its special initial value, so that none can be left out unseen; those of embeddings small
    and of attention large, so that what is decoded does not repeat itself at once."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=generator)
            if name.endswith(("A_log", ".D")) or "norm" in name:
                weight.add_(0.3 * noise)
            elif weight.dim() == 1:
                weight.copy_(0.2 * noise)
            else:
                scale = 0.2 if "embed" in name else 4 if "query_key_value" in name else 1
                weight.copy_(scale * noise / max(weight[0].numel(), 2) ** 0.5)
    return model.eval()


def neox(generator, *, heads, head_size, layers=2, vocabulary=37, mlp=None, share=0.25, base=10000.0, parallel=True,
         tied=False, eps=1e-5):  # fmt: skip
    hidden = heads * head_size
    config = GPTNeoXConfig(
        hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads, intermediate_size=mlp or 4 * hidden,
        vocab_size=vocabulary, max_position_embeddings=512, use_parallel_residual=parallel, layer_norm_eps=eps,
        tie_word_embeddings=tied, hidden_act="gelu", eos_token_id=3, attn_implementation="eager",
        rope_parameters={"rope_type": "default", "rope_theta": base, "partial_rotary_factor": share})  # fmt: skip
    return randomise(GPTNeoXForCausalLM(config), generator)


def mamba(generator, *, hidden, layers=2, vocabulary=37, states=16, expand=2, conv=4, rank="auto", eps=1e-5,
          residual=True):  # fmt: skip
    config = MambaConfig(
        hidden_size=hidden, num_hidden_layers=layers, state_size=states, vocab_size=vocabulary, expand=expand,
        conv_kernel=conv, time_step_rank=rank, layer_norm_epsilon=eps, residual_in_fp32=residual)  # fmt: skip
    return randomise(MambaForCausalLM(config), generator)


# ---- how a model lies in its folder ----


def published_names(model):
    """The state dict by the names in published files: `transformers` 5 calls GPT-NeoX's output otherwise in memory."""
    weights = model.state_dict()
    return collections.OrderedDict((name.replace("lm_head", "embed_out") if isinstance(model, GPTNeoXForCausalLM)
                                    else name, weight) for name, weight in weights.items())  # fmt: skip


def safetensors(model, folder):
    model.save_pretrained(folder)
    assert (folder / "model.safetensors").exists()


def sharded_safetensors(model, folder):
    model.save_pretrained(folder, max_shard_size="6KB")
    assert len(list(folder.glob("*.safetensors"))) > 1 and (folder / "model.safetensors.index.json").exists()


def torch_bin(model, folder):
    model.config.save_pretrained(folder)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")


def sharded_bin(model, folder):
    model.config.save_pretrained(folder)
    shards, where = [collections.OrderedDict() for _ in range(3)], {}
    for number, (name, weight) in enumerate(published_names(model).items()):
        shards[number % 3][name] = weight
        where[name] = f"pytorch_model-{number % 3 + 1:05}-of-00003.bin"
    for number, shard in enumerate(shards):
        torch.save(shard, folder / f"pytorch_model-{number + 1:05}-of-00003.bin")
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))


def old_bin(model, folder):
    """As Pythia lies on the hub: the configuration of transformers 4, masks and rotary tables among the weights, which
    are Parameters, some of them parts of a larger storage or transposed."""
    model.config.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    rotary = config.pop("rope_parameters")
    config |= {"rotary_pct": rotary["partial_rotary_factor"], "rotary_emb_base": int(rotary["rope_theta"]),
               "rope_scaling": None, "torch_dtype": "float16"}  # fmt: skip
    config.pop("attention_bias")
    (folder / "config.json").write_text(json.dumps(config))
    weights = published_names(model)
    for layer in range(model.config.num_hidden_layers):
        prefix = f"gpt_neox.layers.{layer}.attention."
        weights[prefix + "bias"] = torch.ones(1, 1, 12, 12, dtype=torch.uint8).tril()
        weights[prefix + "masked_bias"] = torch.tensor(-1e9)
        weights[prefix + "rotary_emb.inv_freq"] = torch.ones(3)
        name = prefix + "dense.weight"
        weights[name] = weights[name].t().contiguous().t()
    embedding = weights["gpt_neox.embed_in.weight"]
    weights["gpt_neox.embed_in.weight"] = torch.cat([embedding, embedding])[len(embedding):]
    torch.save(collections.OrderedDict((name, torch.nn.Parameter(weight, False)) for name, weight in weights.items()),
               folder / "pytorch_model.bin")  # fmt: skip


def state_spaces(model, folder):
    """As state-spaces/mamba-* lie on the hub."""
    folder.mkdir(exist_ok=True)
    config = model.config
    assert config.vocab_size % 8 == 0 and config.layer_norm_epsilon == 1e-5
    layer = {key: value for key, value, usual in [
        ("d_state", config.state_size, 16), ("d_conv", config.conv_kernel, 4), ("expand", config.expand, 2),
        ("dt_rank", config.time_step_rank, -(-config.hidden_size // 16))] if value != usual}  # fmt: skip
    (folder / "config.json").write_text(json.dumps({
        "d_model": config.hidden_size, "n_layer": config.num_hidden_layers, "vocab_size": config.vocab_size - 3,
        "ssm_cfg": layer, "rms_norm": True, "residual_in_fp32": True, "fused_add_norm": True,
        "pad_vocab_size_multiple": 8}))  # fmt: skip
    weights = {name.replace("embeddings", "embedding"): weight for name, weight in model.state_dict().items()}
    weights["lm_head.weight"] = weights["backbone.embedding.weight"]
    torch.save(weights, folder / "pytorch_model.bin")


MODELS = {
    "neox": (neox, dict(heads=4, head_size=16), safetensors),
    "neox_half_rotated": (neox, dict(heads=3, head_size=12, share=0.5, base=500.0, mlp=50), sharded_safetensors),
    "neox_all_rotated": (neox, dict(heads=2, head_size=20, share=1.0, eps=1e-2), torch_bin),
    "neox_sequential": (neox, dict(heads=5, head_size=8, parallel=False, layers=3, mlp=33), sharded_bin),
    "neox_sequential_tied": (neox, dict(heads=1, head_size=32, parallel=False, tied=True, vocabulary=101), safetensors),
    "neox_tied_bin": (neox, dict(heads=6, head_size=8, tied=True, share=0.5), torch_bin),
    "neox_old": (neox, dict(heads=2, head_size=24, layers=3, base=200.0), old_bin),
    "neox_odd_head": (neox, dict(heads=3, head_size=21, vocabulary=7), safetensors),
    "mamba": (mamba, dict(hidden=24), safetensors),
    "mamba_wide": (mamba, dict(hidden=20, states=5, expand=3, conv=2, rank=7, eps=1e-2), sharded_safetensors),
    "mamba_bin": (mamba, dict(hidden=33, states=1, expand=1, conv=3, vocabulary=53), torch_bin),
    "mamba_sharded_bin": (mamba, dict(hidden=16, layers=4, states=8, residual=False), sharded_bin),
    "state_spaces": (mamba, dict(hidden=40, vocabulary=48), state_spaces),
    "state_spaces_unusual": (mamba, dict(hidden=17, vocabulary=8, states=3, conv=2, expand=4, rank=5), state_spaces),
}
STORED = {"neox_half_rotated": torch.float16, "neox_old": torch.float16, "state_spaces": torch.float16,
          "neox_sequential": torch.bfloat16, "mamba_wide": torch.bfloat16, "mamba_bin": torch.float64}  # fmt: skip
STORED_NAMES = {torch.float16: "float16", torch.bfloat16: "bf16", torch.float64: "float64", torch.float32: "float32"}


def in_type(model, type):
    """The same model, whose weights are of this type; its tables of angles stay as they are."""
    for weight in model.parameters():
        weight.data = weight.data.to(type)
    return model


def lower_logits(model, tokens, type):
    """As `transformers` itself computes them in a lower precision."""
    with torch.no_grad():
        return in_type(copy.deepcopy(model), type)(tokens).logits.float()


def reference(model, tokens):
    with torch.no_grad():
        logits = model(tokens).logits
        model.generation_config.eos_token_id = None
        model.generation_config.pad_token_id = 0
        decoded = model.generate(tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=CONTINUED,
                                 do_sample=False)  # fmt: skip
    return logits, decoded[:, tokens.shape[1]:]


def run_oracle(folder, cases):
    (folder / "cases.json").write_text(json.dumps(cases))
    subprocess.run([os.environ["PRETRAINED_ORACLE"], folder], check=True)
    return {case["name"]: json.loads((folder / f"{case['name']}.json").read_text()) for case in cases}


Opened = collections.namedtuple("Opened", "folder models tokens references headers")


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pretrained")
    draw, generator = random.Random(2), torch.Generator().manual_seed(2)
    models, tokens_of, references, cases = {}, {}, {}, []
    for name, (make, sizes, save) in MODELS.items():
        model = in_type(make(generator, **sizes), STORED.get(name, torch.float32))
        save(model, folder / f"{name}.model")
        models[name] = in_type(model, torch.float32)
        tokens = torch.randint(0, model.config.vocab_size, (draw.randint(1, 3), draw.choice([1, 9, 17, 40])),
                               generator=generator)  # fmt: skip
        tokens_of[name], references[name] = tokens, reference(models[name], tokens)
        for precision in ["float32", *LOWER]:
            case = f"{name}.{precision}"
            save_file({"tokens": tokens}, folder / f"{case}.in.safetensors")
            cases.append({"name": case, "folder": str(folder / f"{name}.model"), "precision": precision})
    return Opened(folder, models, tokens_of, references, run_oracle(folder, cases))


def relative(actual, expected):
    """The larger of the error's norm over the tensor's, and the largest error over the largest value."""
    error = (actual - expected).double()
    return max((error.norm() / expected.double().norm()).item(),
               (error.abs().max() / expected.double().abs().max()).item())  # fmt: skip


def outcome(opened, case):
    assert "refused" not in opened.headers[case], opened.headers[case]
    return load_file(opened.folder / f"{case}.out.safetensors")


@pytest.mark.parametrize("name", MODELS)
def test_logits_and_greedy_tokens(opened, name):
    ours, (logits, decoded) = outcome(opened, f"{name}.float32"), opened.references[name]
    assert ours["logits"].shape == logits.shape
    assert relative(ours["logits"], logits) <= TOLERANCE
    assert decoded.shape[1] == CONTINUED and len(decoded.unique()) > 2
    assert torch.equal(ours["greedy"], decoded)


@pytest.mark.parametrize("precision", LOWER)
@pytest.mark.parametrize("name", MODELS)
def test_lower_precisions_are_as_near_as_theirs(opened, name, precision):
    ours, (logits, _) = outcome(opened, f"{name}.{precision}"), opened.references[name]
    theirs = lower_logits(opened.models[name], opened.tokens[name], LOWER[precision])
    assert ours["logits"].dtype == torch.float32
    assert 0 < (ours["logits"] - logits).norm() <= 1.5 * (theirs - logits).norm()


@pytest.mark.parametrize("name", MODELS)
def test_headers(opened, name):
    model, header = opened.models[name], opened.headers[f"{name}.float32"]
    assert header["vocabulary"] == model.config.vocab_size
    assert header["parameters"] == header["counted"] == sum(weight.numel() for weight in model.parameters())
    assert header["stored"] == STORED_NAMES[STORED.get(name, torch.float32)]
    is_neox = isinstance(model, GPTNeoXForCausalLM)
    assert header["max_positions"] == (512 if is_neox else 0)
    assert header["end_of_text"] == (3 if is_neox else None if name.startswith("state_spaces") else 0)


# ---- damage ----


def rewritten(source, target, change):
    """A copy of a zip archive; `change` gives each member's new bytes, or None to leave it out."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for member in old.infolist():
            content = change(member.filename.split("/", 1)[1], old.read(member))
            if content is not None:
                new.writestr(member.filename, content)


class Shell:
    def __reduce__(self):
        return os.system, ("touch was-run",)


def compressed(path):
    with zipfile.ZipFile(path) as old:
        members = [(member, old.read(member)) for member in old.infolist()]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for member, content in members:
            new.writestr(member.filename, content)


def in_place(change):
    def rewrite(path):
        rewritten(path, path.with_suffix(".new"), change)
        path.with_suffix(".new").replace(path)
    return rewrite


def save_again(change, **options):
    return lambda path: torch.save(change(torch.load(path)), path, **options)


def flip(path):
    """One bit of one weight; the archive's checksum is what finds it."""
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        member = next(member for member in archive.infolist() if member.filename.endswith("/data/7"))
    name_length, extra_length = (int.from_bytes(content[member.header_offset + at:][:2], "little") for at in (26, 28))
    content[member.header_offset + 30 + name_length + extra_length] ^= 1
    path.write_bytes(content)


FIRST = "backbone.layers.0.mixer.A_log"  # of which flip() changes a bit, and others the rest
DAMAGES = {
    "cut": (lambda path: os.truncate(path, path.stat().st_size - 1000), ["no whole zip archive"]),
    "cut_to_nothing": (lambda path: os.truncate(path, 0), ["no file of torch.save"]),
    "bit": (flip, ["tensor '", "is damaged", "CRC-32"]),
    "shell": (save_again(lambda weights: {**weights, "x": Shell()}), ["posix.system"]),
    "module": (save_again(lambda weights: torch.nn.Linear(2, 3)), ["torch.nn.modules.linear.Linear"]),
    "list": (save_again(lambda weights: list(weights.values())), ["opcode 0x5d"]),
    "nested": (save_again(lambda weights: {"state_dict": weights}), ["'state_dict' is no tensor"]),
    "quantised": (save_again(lambda weights: {"q": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)}),
                  ["names 'torch."]),
    "old": (save_again(lambda weights: weights, _use_new_zipfile_serialization=False), ["before 1.6", "torch.save"]),
    "protocol_4": (save_again(lambda weights: weights, pickle_protocol=4), ["protocol 4"]),
    "bare_pickle": (lambda path: path.write_bytes(pickle.dumps({"a": 1})), ["torch.load"]),
    "compressed": (compressed, ["compressed"]),
    "big_endian": (in_place(lambda name, content: b"big" if name == "byteorder" else content), ["byte order 'big'"]),
    "no_bytes": (in_place(lambda name, content: None if name == "data/7" else content), ["lacks the member", "data/7"]),
    "fewer_bytes": (in_place(lambda name, content: content[4:] if name == "data/7" else content), ["data/7", "bytes"]),
    "no_pickle": (in_place(lambda name, content: None if name == "data.pkl" else content), ["data.pkl"]),
    "missing": (save_again(lambda weights: {name: w for name, w in weights.items() if name != FIRST}), [FIRST]),
    "extra": (save_again(lambda weights: {**weights, "extra.weight": torch.ones(2)}), ["'extra.weight'"]),
    "misshapen": (save_again(lambda weights: {**weights, FIRST: torch.ones(3, 4)}), [FIRST, "(3, 4)"]),
    "integers": (save_again(lambda weights: {**weights, FIRST: weights[FIRST].int()}), [FIRST, "Int"]),
    "not_a_number": (save_again(lambda weights: {**weights, FIRST: weights[FIRST] * torch.nan}), [FIRST, "finite"]),
}


@pytest.fixture(scope="module")
def refusals(tmp_path_factory):
    folder = tmp_path_factory.mktemp("damaged")
    torch_bin(mamba(torch.Generator().manual_seed(3), hidden=16), folder / "whole")
    cases = []
    for name, (damage, _) in DAMAGES.items():
        shutil.copytree(folder / "whole", folder / f"{name}.model")
        damage(folder / f"{name}.model/pytorch_model.bin")
        cases.append({"name": name, "folder": str(folder / f"{name}.model"), "precision": "float32"})
    return folder, run_oracle(folder, cases)


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_files_are_refused_by_name(refusals, name):
    folder, said = refusals
    assert "refused" in said[name], "taken"
    for part in [str(folder / f"{name}.model"), *DAMAGES[name][1]]:
        assert part in said[name]["refused"]
    assert not list(folder.rglob("was-run")) and not os.path.exists("was-run")


def test_every_changed_byte_is_refused_or_makes_no_difference(tmp_path):
    weights = {"a": torch.arange(40.0).view(5, 8), "b": torch.arange(9).half(), "empty": torch.ones(0, 3)}
    torch.save(weights, tmp_path / "whole.bin")
    command = [os.environ["PRETRAINED_ORACLE"], "damage", tmp_path / "whole.bin", tmp_path / "changed.bin"]
    counts = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert counts["refused"] + counts["equal"] == (tmp_path / "whole.bin").stat().st_size
    assert counts["refused"] > 40 * 4 + 9 * 2  # at least each byte of a number
