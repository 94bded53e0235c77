"""`recite` on a GPU beside its peers, both sides in one call: kernels, steps of decoding, training steps, whole texts.

    python3 tests/gpu/compare_gpu.py --programs build/release [--only kernels|generation|steps|text]
    python3 tests/gpu/figures_table.py            then makes the pages' tables of docs/gpu_figures.json

FOLDER has `recite` and the programs of the target gpu_benches. Peers: PyTorch, transformers, and, where they can be
imported, mamba-ssm and causal-conv1d. A peer that fails is recorded with its reason. Exit code 1: a program of ours
failed. With --only, the other parts of the file stay as they are.
"""

import argparse
import gc
import json
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from figures import NOT_BEGUN, with_peers

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("kernels", "generation", "steps", "text")
GENERATING = ("attention", "selective_scan", "product")  # their benches have steps of one token
KERNELS = (*GENERATING, "causal_conv1d", "residual_norm", "gelu", "adamw")
DECODING = ("attention", "selective scan", "product of few rows")  # of these, a "step" is one token of generation


def step_shape(model: str, layers: int, batch: int = 64, **more: int) -> dict:
    return {"model": model, "B": batch, "T": 220, "layers": layers, "hidden": 1024, **more}


STEPS = [(step_shape("rope", 12, heads=16), "bf16"), (step_shape("rope", 12, batch=8, heads=16), "bf16"),
         (step_shape("mamba", 24, state=32), "bf16"), (step_shape("mamba", 12, state=32), "bf16"),
         (step_shape("lstm", 4), "bf16"), (step_shape("lstm", 4), "tf32"),
         *((step_shape(model, 12, heads=16), "bf16") for model in ("alibi", "hard_alibi", "nope"))]
OPTIONS = {"model": "model", "B": "train.batch_size", "T": "train.context_length", "layers": "layers",
           "hidden": "hidden_size", "heads": "heads", "state": "state_dim"}  # of recite, for a shape's names


class Run:
    """What one call may take, what it says, and what of ours failed."""

    def __init__(self, programs: Path, seconds: float, minutes: float):
        self.programs, self.seconds = programs.resolve(), seconds
        self.begin, self.limit = time.monotonic(), 60 * minutes
        self.failed: list[str] = []

    def say(self, text: str) -> None:
        print(f"[{time.monotonic() - self.begin:6.1f} s] {text}", flush=True)

    def over(self) -> bool:
        return time.monotonic() - self.begin > self.limit

    def output_of(self, program: str, *arguments: str) -> str:
        """Of a program of ours; empty when it failed, which is said and kept."""
        try:
            return subprocess.run([self.programs / program, *arguments], check=True, text=True, capture_output=True,
                                  timeout=max(1, self.limit)).stdout
        except (OSError, subprocess.SubprocessError) as error:
            said = getattr(error, "stderr", None)  # of a program that ran out of time: bytes
            lines = said.strip().splitlines() if isinstance(said, str) else []
            self.failed.append(f"{lines[-1] if lines else error}: {' '.join([program, *arguments])}")
            self.say(f"FAILED: {self.failed[-1]}")
            return ""


def measured(run: Run, peers: dict) -> dict[str, dict]:
    """{name: {direction: microseconds} or {"error": reason}}; one peer's failure is no other's."""
    times = {}
    for name, measure in peers.items():
        if run.over():
            times[name] = NOT_BEGUN
            continue
        try:
            times[name] = measure()
        except Exception as error:  # whatever a foreign library throws
            if not isinstance(error, ImportError):
                traceback.print_exc(limit=-3)
            times[name] = {"error": f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"}
        clear()
        run.say(f"    {name}: {times[name]}")
    return times


def clear() -> None:
    import torch
    gc.collect()
    torch.cuda.empty_cache()


def of_direction(times: dict[str, dict], direction: str) -> dict[str, dict]:
    """The peers of one row."""
    return {name: {"microseconds": found[direction]} if direction in found else found
            for name, found in times.items()}


def rows_of_bench(run: Run, name: str, *arguments: str) -> list[dict]:
    run.say(f"gpu_{name}_bench")
    return [json.loads(line) for line in run.output_of(f"gpu_{name}_bench", *arguments).splitlines()]


def rows_of_benches(run: Run, part: str) -> list[dict]:
    """`generation` has the steps of decoding, `kernels` the rest, and the copy of the first program alone."""
    rows = []
    for kernel in GENERATING if part == "generation" else KERNELS:
        rows += rows_of_bench(run, kernel, *([", step"] if part == "generation" else []))
    if part == "generation":
        return [row for row in rows if row["direction"] == "step" and row["operation"] != "copy"]
    copies = [row for row in rows if row["operation"] == "copy"]
    decoding = [row for row in rows if row["direction"] == "step" and row["operation"] in DECODING]
    return copies[:1] + [row for row in rows if row not in copies + decoding]


def compare_kernels(run: Run, part: str) -> Iterator[dict]:
    import kernel_peers

    known = {}
    for row in rows_of_benches(run, part):
        shape = row["shape"] | ({"position": "none"} if row["shape"].get("position") == "RoPE" else {})
        key = json.dumps([row["operation"], shape, row["dtype"], row["direction"] == "step"])
        if key not in known:  # a backward's peers came with the forward's
            run.say(f"{row['operation']} {row['dtype']} {shape}")
            known[key] = measured(run, kernel_peers.peers(row | {"shape": shape}, run.seconds))
        yield with_peers(row, of_direction(known[key], row["direction"]))


def step_of_recite(run: Run, shape: dict, precision: str) -> dict | None:
    options = [f"--{OPTIONS[name]}={value}" for name, value in shape.items()]
    if shape["model"] == "hard_alibi":
        options.append(f"--num_masked_heads={shape['heads'] // 2}")
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        run.output_of("recite", "bench", *options, f"--train.precision={precision}", "--run.device=cuda",
                      f"--seconds={run.seconds}", "--json", file.name)
        text = Path(file.name).read_text()
    rows = json.loads(text)["rows"] if text else []
    step = next((row for row in rows if row["what"].startswith("training step")), None)
    return step and {"operation": "training step", "shape": shape, "dtype": precision, "direction": "step",
                     "microseconds": 1e6 * step["seconds"], "bytes": step["bytes"], "flops": step["flops"]}


def compare_steps(run: Run) -> Iterator[dict]:
    import step_peers

    known = {}
    for shape, precision in STEPS:
        run.say(f"training step, {precision}, {shape}")
        row = step_of_recite(run, shape, precision)
        if row:
            run.say(f"    recite: {row['microseconds']:.0f} us")
            key = json.dumps(shape)
            known[key] = known.get(key) or measured(run, step_peers.peers(shape, run.seconds))
            yield with_peers(row, of_direction(known[key], "step"))


def compare_text(run: Run) -> Iterator[dict]:
    import generation_peers

    for row in rows_of_bench(run, "generation"):
        run.say(f"generation, {row['dtype']}, {row['shape']}: {row['microseconds']:.0f} us a token")
        times = measured(run, generation_peers.peers(row["shape"], run.seconds))
        yield with_peers(row, of_direction(times, row["direction"]))


def versions(run: Run) -> dict[str, str]:
    import torch

    commit = [line.split()[1] for line in run.output_of("recite", "version").splitlines() if line.startswith("commit ")]
    found = {"recite": commit[0].rstrip(":")[:10] if commit else "unknown", "CUDA": torch.version.cuda,
             "cuDNN": str(torch.backends.cudnn.version())}
    try:
        query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        found["driver"] = subprocess.run(query, check=True, text=True, capture_output=True).stdout.splitlines()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        found["driver"] = "unknown"
    for package in ("torch", "triton", "transformers", "mamba-ssm", "causal-conv1d"):
        try:
            found[package] = version(package).split("+")[0]
        except PackageNotFoundError:
            found[package] = "not there"
    return found


def compare(run: Run, part: str) -> Iterator[dict]:
    """The part after each of its rows."""
    import torch
    from queued import ceilings

    limits = ceilings(run.seconds)
    clear()
    run.say(f"{part}: a product reaches {limits['product_flops_per_second'] * 1e-12:.0f} TFLOP/s, a copy "
            f"{limits['copy_bytes_per_second'] * 1e-12:.2f} TB/s")
    found = {"date": str(date.today()), "device": torch.cuda.get_device_name(), "versions": versions(run),
             "ceilings": limits, "rows": []}
    rows = {"steps": compare_steps, "text": compare_text}.get(part, lambda run: compare_kernels(run, part))
    for row in rows(run):
        found["rows"].append(row)
        yield found


def keep(rows_so_far: Iterator[dict], part: str, path: Path) -> None:
    """Into the file after each row, so that a call that ends early loses none; the part's place is for a whole one."""
    figures = json.loads(path.read_text()) if path.exists() else {"parts": {}}

    def write() -> None:
        path.write_text(json.dumps(figures, indent=1) + "\n")
    for found in rows_so_far:
        figures["unfinished"] = {part: found}
        write()
    if "unfinished" in figures:
        figures["parts"].update(figures.pop("unfinished"))
        write()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--json", type=Path, default=ROOT / "docs/gpu_figures.json")
    parser.add_argument("--only", choices=PARTS)
    parser.add_argument("--seconds", type=float, default=0.5, help="at most, for the runs of each row [0.5]")
    parser.add_argument("--minutes", type=float, default=5, help="after which no further peer is begun [5]")
    given = parser.parse_args()

    import torch
    if not torch.cuda.is_available():
        parser.error("PyTorch sees no GPU here: run it on a machine that has one")
    run = Run(given.programs, given.seconds, given.minutes)
    for part in [given.only] if given.only else PARTS:
        keep(compare(run, part), part, given.json)
        run.say(f"{part} is in {given.json}")
    return 1 if run.failed else 0


if __name__ == "__main__":
    sys.exit(main())
