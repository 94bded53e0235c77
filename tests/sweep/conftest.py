"""A sweep as users start it: through launch/recite, with faults injected for real from outside."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import pandas
import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "support"))

from waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]

# cuda: the same sweeps on a GPU, where groups train over NCCL.
DEVICE = os.environ.get("RECITE_TEST_DEVICE", "cpu")

SMALL = """
[sweep]
name = small
{sweep}
[model]
hidden_size = 16
layers = 1
heads = 2
num_masked_heads = 1
state_dim = 4
dropout = 0
[train]
steps = {steps}
batch_size = 4
min_length = 2
max_length = 5
context_length = 24
learning_rate = 1e-3
precision = float32
{train}
[run]
log_every = 1
device = {device}
{run}
[eval]
lengths = 2, 5
batch_size = 8
num_batches = 2
"""


class Run:
    """A running `launch/recite`; its output goes to a file so that no pipe can block it."""

    def __init__(self, folder: Path, arguments: list[str]):
        self.output = folder / f"output-{time.monotonic_ns()}.txt"
        with open(self.output, "w") as out:
            self.process = subprocess.Popen([ROOT / "launch/recite", *arguments], cwd=folder, stdout=out,
                                            stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)

    def wait(self, seconds: float = 100) -> int:
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"still running after {seconds} s:\n{self.text()}") from None

    def text(self) -> str:
        return self.output.read_text()

    def descendants(self) -> list[int]:
        """Process ids of the launcher and of everything that it started."""
        found = [self.process.pid]
        for pid in found:
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                found += map(int, children.read_text().split())
        return found


class Sweep:
    """A sweep file in a folder of its own, and what its results file says."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.results = folder / "results.h5"

    def write(self, sweep: str = "model = hard_alibi\ntask = copy", steps: int = 30, train: str = "", run: str = ""):
        (self.folder / "small.ini").write_text(SMALL.format(sweep=sweep, steps=steps, train=train, run=run,
                                                                   device=DEVICE))

    def start(self, *options: str, workers: int | None = 2) -> Run:
        ranks = ["-n", str(workers)] if workers else []
        return Run(self.folder, [*ranks, "sweep", "small.ini", "-o", "results.h5", *options])

    def table(self, name: str) -> pandas.DataFrame:
        with h5py.File(self.results, "r", swmr=True) as file:
            frame = pandas.DataFrame.from_records(file[name][:])
        for column in frame.columns:
            if frame[column].dtype == object:
                frame[column] = frame[column].map(lambda v: v.decode() if isinstance(v, bytes) else v)
        return frame

    def states(self) -> dict[int, str]:
        """Each job's last event."""
        events = self.table("events")
        return events[events.job >= 0].groupby("job").state.last().to_dict()

    def wait_for_step(self, step: int, seconds: float = 60, job: int | None = None) -> None:
        """Until /training has that step (of that job)."""
        def reached() -> bool:
            rows = self.table("training")
            return bool(len(rows)) and bool((rows[rows.job == job] if job is not None else rows).step.max() >= step)

        wait_until(lambda: self.results.exists() and reached(), seconds)

    def worker_pids(self) -> dict[int, int]:
        """rank -> process id, from the ranks' logs."""
        pids = {}
        for log in (self.folder / "results.h5.logs").glob("*.log"):
            found = re.findall(r"worker (\d+) of .* pid (\d+)", log.read_text())
            if found:
                pids[int(found[-1][0])] = int(found[-1][1])
        return pids

    def busy_worker(self) -> int:
        """The rank that runs the one job."""
        logs = (self.folder / "results.h5.logs").glob("*-*.log")
        busy = [log for log in logs if "try 1 as one of" in log.read_text()]
        assert len(busy) == 1
        return int(busy[0].stem.rsplit("-", 1)[1])

    def coordinator_pid(self) -> int:
        """The writer of the results file, as its lock says."""
        return json.loads(Path(f"{self.results}.lock").read_text().rstrip("\0 \n"))["pid"]

    def kill_worker(self, rank: int) -> None:
        os.kill(self.worker_pids()[rank], signal.SIGKILL)


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    return Sweep(tmp_path)
