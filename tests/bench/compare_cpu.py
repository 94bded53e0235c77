"""A training step of `recite` on the CPU beside eager PyTorch's, on the same threads, in one run.

    .venv/bin/python tests/bench/compare_cpu.py [--threads 2] [--json FILE] [--write docs/measurements.md]

Peers: Hugging Face GPT-NeoX and Mamba, and torch.nn.LSTM, each with AdamW, on random tokens of the same shape, with the
loss of every place; `recite` trains on strings, with the loss of the answers, about half of the places. With --write
the table replaces what stands between the two markers in that file.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import torch
import transformers

sys.path.append(str(Path(__file__).resolve().parents[1] / "support"))

from pages import replaced

ROOT = Path(__file__).resolve().parents[2]

BATCH, TIME, HIDDEN, LAYERS, HEADS, STATE, VOCABULARY = 32, 128, 128, 2, 4, 16, 30
DROPOUT = 0.65  # of recite's LSTM, by default
ROUNDS = 5


class Lstm(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(VOCABULARY, HIDDEN)
        self.lstm = torch.nn.LSTM(HIDDEN, HIDDEN, LAYERS, batch_first=True, dropout=DROPOUT)
        self.head = torch.nn.Linear(HIDDEN, VOCABULARY)

    def forward(self, tokens):
        return self.head(self.lstm(self.embedding(tokens))[0])


def peers() -> dict:
    neox = transformers.GPTNeoXConfig(vocab_size=VOCABULARY, hidden_size=HIDDEN, num_hidden_layers=LAYERS,
                                      num_attention_heads=HEADS, intermediate_size=4 * HIDDEN, use_cache=False)
    mamba = transformers.MambaConfig(vocab_size=32, hidden_size=HIDDEN, num_hidden_layers=LAYERS, state_size=STATE,
                                     use_cache=False)
    return {"rope": transformers.GPTNeoXForCausalLM(neox), "mamba": transformers.MambaForCausalLM(mamba),
            "lstm": Lstm()}


class Peer:
    """A model that trains on random tokens, after one step to warm up."""

    def __init__(self, model: torch.nn.Module, dtype: torch.dtype):
        self.model, self.dtype = model.train(), dtype
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
        self.tokens = torch.randint(0, VOCABULARY, (BATCH, TIME + 1))
        self.step()

    def step(self) -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.dtype == torch.bfloat16):
            out = self.model(self.tokens[:, :-1])
            logits = out if isinstance(out, torch.Tensor) else out.logits
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), self.tokens[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def seconds(self, budget: float) -> float:
        """The median step."""
        seconds, begin = [], time.perf_counter()
        while not seconds or time.perf_counter() - begin < budget:
            started = time.perf_counter()
            self.step()
            seconds.append(time.perf_counter() - started)
        return statistics.median(seconds)


def seconds_of_recite(model: str, precision: str, threads: int, budget: float) -> float:
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        subprocess.run([ROOT / "launch/recite", "bench", "--model", model, f"--run.threads={threads}",
                        "--run.device=cpu", f"--train.precision={precision}", f"--seconds={budget}", "--json",
                        file.name], check=True, stdout=subprocess.DEVNULL)
        rows = json.loads(Path(file.name).read_text())["rows"]
    return next(row["seconds"] for row in rows if row["what"].startswith("training step"))


def measure(threads: int, budget: float) -> list[dict]:
    """Each side in turns, so that both meet what else the machine does: medians of the rounds, and of their ratios."""
    torch.set_num_threads(threads)
    rows = []
    for name in ("rope", "mamba", "lstm"):
        for precision in ("float32", "bf16"):
            peer = Peer(peers()[name], torch.bfloat16 if precision == "bf16" else torch.float32)
            rounds = [(seconds_of_recite(name, precision, threads, budget / ROUNDS), peer.seconds(budget / ROUNDS))
                      for _ in range(ROUNDS)]
            row = {"model": name, "precision": precision, "recite": statistics.median(ours for ours, _ in rounds),
                   "peer": statistics.median(theirs for _, theirs in rounds),
                   "ratio": statistics.median(theirs / ours for ours, theirs in rounds)}
            rows.append(row)
            print(f"{name} {precision}: {1e3 * row['recite']:.1f} ms, peer {1e3 * row['peer']:.1f} ms, "
                  f"{row['ratio']:.2f} times", flush=True)
    return rows


def table(rows: list[dict], threads: int) -> str:
    name = {"rope": "Hugging Face GPT-NeoX", "mamba": "Hugging Face Mamba", "lstm": "torch.nn.LSTM"}
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    lines = [f"{date.today()}, {cpu}, {threads} threads, torch {torch.__version__.split('+')[0]}, "
             f"transformers {transformers.__version__}; batch {BATCH} x {TIME}, hidden {HIDDEN}, {LAYERS} layers:", "",
             "| model | precision | recite, ms | eager PyTorch, ms | times faster |", "|---|---|---|---|---|"]
    for row in rows:
        lines.append(f"| {row['model']} | {row['precision']} | {1e3 * row['recite']:.1f} | {1e3 * row['peer']:.1f} "
                     f"({name[row['model']]}) | {row['ratio']:.2f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--seconds", type=float, default=10, help="for each side of a row [10]")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--write", type=Path)
    given = parser.parse_args()
    rows = measure(given.threads, given.seconds)
    print("\n" + table(rows, given.threads))
    if given.json:
        given.json.write_text(json.dumps({"date": str(date.today()), "threads": given.threads, "rows": rows}, indent=2))
    if given.write:
        given.write.write_text(replaced(given.write.read_text(), table(rows, given.threads), "compare_cpu"))


if __name__ == "__main__":
    main()
