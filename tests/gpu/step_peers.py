"""The peers of a training step: Hugging Face's GPT-NeoX, the same blocks with other positions, mamba-ssm, cuDNN's LSTM.

Each trains on the same tokens again and again, which lie on the GPU, with the loss of every place, clipping and fused
AdamW. `recite` makes new strings for each step, and its loss is of the answers, about half of the places.
"""

from contextlib import nullcontext

import attend
import torch
from goals import FLEX, LSTM_TF32, MAMBA_AUTOCAST, NEOX_COMPILED
from kernel_peers import let_mamba_ssm_load
from queued import step_microseconds
from torch.nn.attention.flex_attention import flex_attention
from torch.nn.functional import cross_entropy, gelu, scaled_dot_product_attention

VOCABULARY = 30


class Block(torch.nn.Module):
    """A layer of GPT-NeoX: attention and MLP side by side, each after a norm of its own."""

    def __init__(self, hidden: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm, self.norm_of_mlp = torch.nn.LayerNorm(hidden), torch.nn.LayerNorm(hidden)
        self.qkv, self.out = torch.nn.Linear(hidden, 3 * hidden), torch.nn.Linear(hidden, hidden)
        self.up, self.down = torch.nn.Linear(hidden, 4 * hidden), torch.nn.Linear(4 * hidden, hidden)

    def forward(self, x: torch.Tensor, attention) -> torch.Tensor:
        B, T, hidden = x.shape
        qkv = self.qkv(self.norm(x)).view(B, T, self.heads, 3, hidden // self.heads)
        mixed = attention(*(part.transpose(1, 2) for part in qkv.unbind(3))).transpose(1, 2).reshape(B, T, hidden)
        return x + self.out(mixed) + self.down(gelu(self.up(self.norm_of_mlp(x))))


class Transformer(torch.nn.Module):
    """`attention`: of q, k, v (B, H, T, d), which has the position in it."""

    def __init__(self, hidden: int, layers: int, heads: int, attention):
        super().__init__()
        self.attention = attention
        self.embedding, self.norm = torch.nn.Embedding(VOCABULARY, hidden), torch.nn.LayerNorm(hidden)
        self.blocks = torch.nn.ModuleList(Block(hidden, heads) for _ in range(layers))
        self.head = torch.nn.Linear(hidden, VOCABULARY, bias=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x, self.attention)
        return self.head(self.norm(x))


class Lstm(torch.nn.Module):
    def __init__(self, hidden: int, layers: int, dropout: float = 0.65):
        super().__init__()
        self.embedding = torch.nn.Embedding(VOCABULARY, hidden)
        self.lstm = torch.nn.LSTM(hidden, hidden, layers, batch_first=True, dropout=dropout)
        self.head = torch.nn.Linear(hidden, VOCABULARY)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.lstm(self.embedding(tokens))[0])


class Training:
    """Calling it is one step. `dtype`: of the weights; `autocast`: bf16 where PyTorch thinks it right."""

    def __init__(self, model: torch.nn.Module, shape: dict, dtype: torch.dtype = torch.float32, *,
                 autocast: bool = False, compiled: str | None = None, device: str = "cuda"):
        self.model = model.to(device=device, dtype=dtype).train()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4, weight_decay=0.1, fused=True)
        self.tokens = torch.randint(0, VOCABULARY, (shape["B"], shape["T"] + 1), device=device)
        self.precision = torch.autocast(device, torch.bfloat16) if autocast else nullcontext()
        self.loss = torch.compile(self.loss_of, dynamic=False, mode=compiled) if compiled else self.loss_of

    def loss_of(self, tokens: torch.Tensor) -> torch.Tensor:
        out = self.model(tokens[:, :-1])
        logits = out if isinstance(out, torch.Tensor) else out.logits
        return cross_entropy(logits.flatten(0, 1).float(), tokens[:, 1:].flatten())

    def __call__(self) -> torch.Tensor:
        with self.precision:
            loss = self.loss(self.tokens)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.detach()


BF16, AUTOCAST = {"dtype": torch.bfloat16}, {"autocast": True}
COMPILED, GRAPHS = {"compiled": "default"}, {"compiled": "reduce-overhead"}


def neox(shape: dict) -> torch.nn.Module:
    import transformers
    config = transformers.GPTNeoXConfig(
        vocab_size=VOCABULARY, hidden_size=shape["hidden"], num_hidden_layers=shape["layers"],
        num_attention_heads=shape["heads"], intermediate_size=4 * shape["hidden"], use_cache=False,
        attn_implementation="sdpa")
    return transformers.GPTNeoXForCausalLM(config)


POSITIONS = {"alibi": "ALiBi", "hard_alibi": "Hard-ALiBi"}


def transformer(shape: dict, attention) -> torch.nn.Module:
    return Transformer(shape["hidden"], shape["layers"], shape["heads"], attention)


def nope(shape: dict) -> torch.nn.Module:
    return transformer(shape, lambda q, k, v: scaled_dot_product_attention(q, k, v, is_causal=True))


def biased(shape: dict) -> torch.nn.Module:
    return transformer(shape, attend.peers(POSITIONS[shape["model"]], shape["heads"], shape["T"],
                                           torch.bfloat16)[attend.BIAS]())


def flex(shape: dict) -> torch.nn.Module:
    """To be compiled, and flex_attention with the rest."""
    return transformer(shape, attend.flex(POSITIONS[shape["model"]], shape["heads"], shape["T"], "cuda",
                                          flex_attention))


def mamba(shape: dict) -> torch.nn.Module:
    let_mamba_ssm_load()
    from mamba_ssm.models.config_mamba import MambaConfig
    from mamba_ssm.models.mixer_seq_simple import MambaLMHeadModel
    config = MambaConfig(d_model=shape["hidden"], n_layer=shape["layers"], vocab_size=VOCABULARY,
                         ssm_cfg={"layer": "Mamba1", "d_state": shape["state"]}, rms_norm=True, residual_in_fp32=True,
                         fused_add_norm=True, pad_vocab_size_multiple=8)
    return MambaLMHeadModel(config)


def lstm(shape: dict) -> torch.nn.Module:
    torch.set_float32_matmul_precision("high")  # tf32; cuDNN's LSTM takes it by default
    return Lstm(shape["hidden"], shape["layers"])


def kinds(shape: dict) -> dict:
    """Each peer of a model: how to make it, and the options of Training. Those that matter most come first."""
    model = shape["model"]
    if model == "rope":
        compiled = {NEOX_COMPILED: (neox, BF16 | COMPILED)}
        if shape["B"] < 64:  # launches are most of it
            compiled = {"GPT-NeoX, SDPA, bf16, torch.compile with CUDA graphs": (neox, BF16 | GRAPHS)}
        return compiled | {"GPT-NeoX, SDPA, bf16": (neox, BF16), "GPT-NeoX, SDPA, bf16 autocast": (neox, AUTOCAST)}
    if model == "mamba":
        return {MAMBA_AUTOCAST: (mamba, AUTOCAST), "mamba-ssm, bf16": (mamba, BF16)}
    if model == "lstm":
        return {LSTM_TF32: (lstm, {}), "cuDNN, bf16 autocast": (lstm, AUTOCAST), "cuDNN, bf16": (lstm, BF16)}
    if model == "nope":
        return {"PyTorch, SDPA, bf16": (nope, BF16)}
    return {"PyTorch, SDPA with bias, bf16": (biased, BF16),
            f"PyTorch, {FLEX}, bf16, torch.compile": (flex, BF16 | COMPILED)}


def peers(shape: dict, seconds: float) -> dict:
    """{name: a function that measures {"step": microseconds}}."""
    def measure(make, options: dict) -> dict[str, float]:
        torch._dynamo.reset()
        with torch.device("cuda"):  # where weights are drawn sooner
            model = make(shape)
        return {"step": step_microseconds(Training(model, shape, **options), seconds)}
    return {name: lambda kind=kind: measure(*kind) for name, kind in kinds(shape).items()}
