"""What `recite plan` says of memory against the peak of a process that trains the job."""

import os
import re
import subprocess

import pytest
from conftest import ROOT


def planned_bytes(folder, options: list[str]) -> float:
    (folder / "plan.ini").write_text("[sweep]\nname = plan\ntask = copy\n")
    out = subprocess.run([ROOT / "launch/recite", "plan", "plan.ini", *options], cwd=folder, capture_output=True,
                         text=True, check=True).stdout
    number, unit = re.search(r"([\d.]+) ([KMG])iB", out).groups()
    return float(number) * {"K": 2**10, "M": 2**20, "G": 2**30}[unit]


def peak_bytes(folder, options: list[str]) -> float:
    process = subprocess.Popen([ROOT / "launch/recite", "train", *options, "-o", "train.h5"], cwd=folder,
                               stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_maxrss * 1024


@pytest.mark.parametrize("model", ["rope", "hard_alibi", "mamba", "lstm"])
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_peak_is_near_what_plan_says(tmp_path, model, precision):
    options = [f"--sweep.model={model}", "--model.hidden_size=256", "--model.layers=4", "--model.heads=8",
               "--model.num_masked_heads=4", "--model.state_dim=16", "--train.batch_size=32",
               "--train.context_length=128", "--train.steps=4", "--train.max_length=20", "--eval.lengths=20",
               "--eval.num_batches=1", "--eval.batch_size=32", f"--train.precision={precision}", "--run.device=cpu"]
    planned, peak = planned_bytes(tmp_path, options), peak_bytes(tmp_path, options)
    assert planned / 1.2 < peak < 1.2 * planned, f"planned {planned / 2**20:.0f} MiB, peak {peak / 2**20:.0f} MiB"
