"""The peers of generation: `generate` of transformers, and, for Mamba, mamba-ssm's own with CUDA graphs.

Models have the shapes of published ones and random weights in bf16. Texts have no end mark, and the time of a token is
found as in gpu_generation_bench: whole calls by the clock on the wall, the pass over the prompts taken off.
"""

import statistics
import time

import torch
from goals import GENERATE, GENERATE_COMPILED
from kernel_peers import let_mamba_ssm_load

# As in generation_gpu_bench.cpp. Mamba has no heads.
MODELS = {"pythia-410m": {"hidden": 1024, "layers": 24, "heads": 16},
          "pythia-2.8b": {"hidden": 2560, "layers": 32, "heads": 32},
          "mamba-370m": {"hidden": 1024, "layers": 48}, "mamba-2.8b": {"hidden": 2560, "layers": 64}}
PYTHIA_VOCABULARY, MAMBA_VOCABULARY, STATES = 50304, 50280, 16
ENOUGH_TOKENS = 33  # where Python launches each kernel: every token takes as long, and 128 of them seconds


def transformers_model(size: dict) -> torch.nn.Module:
    import transformers
    shape = {"hidden_size": size["hidden"], "num_hidden_layers": size["layers"], "eos_token_id": None}
    if "heads" in size:
        config = transformers.GPTNeoXConfig(
            **shape, vocab_size=PYTHIA_VOCABULARY, num_attention_heads=size["heads"],
            intermediate_size=4 * size["hidden"], rotary_pct=0.25, attn_implementation="sdpa")
    else:
        config = transformers.MambaConfig(**shape, vocab_size=MAMBA_VOCABULARY, state_size=STATES)
    return transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).eval()


def fast_transformers_model(size: dict) -> torch.nn.Module:
    """Mamba's own kernels have to be there before transformers looks for them: without them it takes a slow path."""
    if "heads" not in size:
        let_mamba_ssm_load()
        import causal_conv1d  # noqa: F401
        import mamba_ssm  # noqa: F401
    return transformers_model(size)


def mamba_ssm_model(size: dict) -> torch.nn.Module:
    let_mamba_ssm_load()
    from mamba_ssm.models.config_mamba import MambaConfig
    from mamba_ssm.models.mixer_seq_simple import MambaLMHeadModel
    config = MambaConfig(d_model=size["hidden"], n_layer=size["layers"], vocab_size=MAMBA_VOCABULARY,
                         ssm_cfg={"layer": "Mamba1", "d_state": STATES})
    return MambaLMHeadModel(config, dtype=torch.bfloat16).eval()


def with_transformers(model: torch.nn.Module, prompts: torch.Tensor, **options):
    """A function of how many tokens each prompt gets: prompts and texts."""
    return lambda count: model.generate(prompts, do_sample=False, max_new_tokens=count, **options)


def with_mamba_ssm(model: torch.nn.Module, prompts: torch.Tensor):
    return lambda count: model.generate(prompts, max_length=prompts.shape[1] + count, cg=True)


def random_prompts(batch: int, length: int, device: str = "cuda") -> torch.Tensor:
    return torch.randint(1, MAMBA_VOCABULARY, (batch, length), device=device)  # 0 would be taken for padding


def token_microseconds(generate, tokens: int, seconds: float) -> float:
    """Of each token after the first, by the medians of three calls or more for one token and for all of them."""
    def timed(count: int) -> float:
        begin = time.perf_counter()
        generate(count).cpu()
        return time.perf_counter() - begin

    timed(tokens)  # compiles, and records graphs
    first, all_of_them, begin = [], [], time.perf_counter()
    while len(first) < 3 or time.perf_counter() - begin < seconds:
        first.append(timed(1))
        all_of_them.append(timed(tokens))
    return 1e6 * (statistics.median(all_of_them) - statistics.median(first)) / (tokens - 1)


def kinds(shape: dict) -> dict:
    """Each peer of a model: how to make it, how it generates, its options, and how many tokens say enough."""
    few = min(shape["tokens"], ENOUGH_TOKENS)
    found = {GENERATE: (fast_transformers_model, with_transformers, {}, few)}
    if shape["model"].startswith("mamba"):
        return found | {"mamba-ssm, generate with CUDA graphs":
                        (mamba_ssm_model, with_mamba_ssm, {}, shape["tokens"])}
    if (shape["model"], shape["B"]) == ("pythia-410m", 1):  # of it alone: compiling takes long
        found[GENERATE_COMPILED] = (transformers_model, with_transformers, {"cache_implementation": "static"},
                                    shape["tokens"])
    return found


def peers(shape: dict, seconds: float) -> dict:
    """{name: a function that measures {"token": microseconds}}."""
    def measure(make, with_model, options: dict, tokens: int) -> dict[str, float]:
        torch._dynamo.reset()
        with torch.device("cuda"):  # where weights are drawn sooner
            model = make(MODELS[shape["model"]])
        generate = with_model(model, random_prompts(shape["B"], shape["prompt"]), **options)
        return {"token": token_microseconds(generate, tokens, seconds)}
    return {name: lambda kind=kind: measure(*kind) for name, kind in kinds(shape).items()}
