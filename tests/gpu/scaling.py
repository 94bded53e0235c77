"""Data parallel training over the GPUs of one host: equal losses, sums, steps of one job, a sweep's jobs, a lost rank.

    python3 tests/gpu/scaling.py --programs build/release --gpus 4 [--only steps]
    .venv/bin/python tests/gpu/scaling.py --write docs/measurements.md         makes the page's tables of that, no GPU

FOLDER has `recite` and gpu_nccl_bench (of the target gpu_benches); RECITE_MPI_DIR names another Open MPI, as for the
launcher. Exit code 1: something that was started failed. With --only, the other parts of the file stay as they are.
`--device cpu --small --gpus 2` does the same with tiny models on two ranks, but for the sums: a test of this script.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import h5py
import numpy
from compare_gpu import Run
from scaling_table import MARKER, tables

sys.path.append(str(Path(__file__).resolve().parents[1] / "support"))

from pages import replaced
from waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]

WARM_UP, FEWEST, LOG_EVERY = 10, 20, 2  # steps
FAULT_STEPS, KILLED_AFTER = 5000, 40


@dataclass(frozen=True)
class Sizes:
    layers: dict
    model: dict
    train: dict
    rows: int  # of a step; under weak scaling, of a step on each GPU
    many_rows: int
    pass_rows: int  # of one forward pass
    job: dict  # one of many
    job_steps: int
    jobs: int  # for each GPU
    loss_steps: int


FULL = Sizes(layers={"rope": 12, "mamba": 24}, model={"hidden_size": 1024, "heads": 16, "state_dim": 32},
             train={"min_length": 5, "max_length": 20, "context_length": 220, "precision": "bf16"},
             rows=64, many_rows=512, pass_rows=128,  # more rows of mamba do not fit into 80 GB
             job={"hidden_size": 256, "layers": 4, "heads": 4}, job_steps=1500, jobs=8, loss_steps=60)
SMALL = Sizes(layers={"rope": 1, "mamba": 2}, model={"hidden_size": 32, "heads": 2, "state_dim": 4},
              train={"min_length": 2, "max_length": 5, "context_length": 24, "precision": "float32"},
              rows=4, many_rows=16, pass_rows=4,
              job={"hidden_size": 16, "layers": 1, "heads": 2}, job_steps=200, jobs=2, loss_steps=12)


class Host(Run):
    """What one call runs on, and the folder of its sweeps."""

    def __init__(self, given: argparse.Namespace, folder: Path):
        super().__init__(given.programs, 0, given.minutes)
        self.device, self.gpus, self.steps, self.folder = given.device, given.gpus, given.steps, folder
        self.sizes = SMALL if given.small else FULL
        # As many for one worker as for each of several: what differs is the number of GPUs.
        self.threads = max(1, len(os.sched_getaffinity(0)) // self.gpus)

    def counts(self) -> list[int]:
        """1, 2, 4, ... GPUs."""
        return [2**i for i in range(self.gpus.bit_length())]

    def start(self, name: str, workers: int, text: str, *options: str) -> subprocess.Popen:
        """A sweep of that sweep file into folder/NAME.h5."""
        self.say(f"sweep '{name}' on {workers} {'worker' if workers == 1 else 'workers'}")
        (self.folder / f"{name}.ini").write_text(text)
        with open(self.folder / f"{name}.txt", "w") as output:
            return subprocess.Popen([ROOT / "launch/recite", "-n", str(workers), "sweep", f"{name}.ini",
                                     "-o", f"{name}.h5", f"--run.device={self.device}",
                                     f"--run.threads={self.threads}", *options], cwd=self.folder,
                                    env=os.environ | {"RECITE_PROGRAM": str(self.programs / "recite")},
                                    stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)

    def finish(self, process: subprocess.Popen, name: str) -> Path:
        """The results file, once the sweep has ended; jobs that failed are said and kept. Raises when there is none."""
        try:
            code = process.wait(max(1, self.begin + self.limit - time.monotonic()))
        except subprocess.TimeoutExpired:
            code = "no time was left"
            for _ in range(3):  # the launcher ends a run at once when it is told for the third time
                process.terminate()
                time.sleep(0.5)
            process.wait()
        if code != 0:
            said = (self.folder / f"{name}.txt").read_text().strip().splitlines()
            self.failed.append(f"sweep '{name}' ({code}): {'; '.join(said[-4:])}")
            self.say(f"FAILED: {self.failed[-1]}")
        if not (self.folder / f"{name}.h5").exists():
            raise RuntimeError(f"sweep '{name}' has no results")
        return self.folder / f"{name}.h5"

    def sweep(self, name: str, workers: int, text: str, *options: str) -> Path:
        return self.finish(self.start(name, workers, text, *options), name)


def sweep_file(**sections: dict) -> str:
    """A value that is a list is an axis."""
    lines = []
    for section, options in sections.items():
        lines.append(f"[{section}]")
        for key, values in options.items():
            lines += [f"{key} = {value}" for value in (values if isinstance(values, list) else [values])]
    return "\n".join(lines) + "\n"


def table(results: Path, name: str) -> numpy.ndarray:
    with h5py.File(results, "r", swmr=True) as file:
        rows = file[name][:]
    return rows[rows["valid"] == 1]


# ---- the same losses ----

def losses_of(results: Path) -> dict[tuple, float]:
    models = {job["job"]: job["model"].decode() for job in table(results, "jobs")}
    return {(models[row["job"]], int(row["step"])): float(row["loss"]) for row in table(results, "training")}


def difference(alone: dict, shared: dict) -> dict:
    if not alone or alone.keys() != shared.keys():
        raise RuntimeError("not the same steps: nothing to compare")
    return {"steps": len(alone), "same_bits": alone == shared,
            "largest": max(abs(shared[step] - loss) / abs(loss) for step, loss in alone.items())}


def compare_losses(host: Host) -> list[dict]:
    text = (ROOT / "configs/quickstart.ini").read_text()
    options = [f"--train.steps={host.sizes.loss_steps}", f"--train.batch_size={8 * host.gpus}", "--run.log_every=1",
               "--eval.every=0", "--eval.lengths=8", "--train.precision=float32"]
    alone = losses_of(host.sweep("losses-alone", 1, text, *options))
    rows = []
    for ranks in (1, host.gpus):
        results = host.sweep(f"losses-{ranks}", host.gpus, text, *options, f"--sweep.ranks_per_job={ranks}")
        rows.append({"ranks_per_job": ranks, **difference(alone, losses_of(results))})
        host.say(f"    {rows[-1]}")
    return rows


# ---- sums, and the steps of one job ----

def time_sums(host: Host) -> list[dict]:
    rows = []
    for ranks in host.counts()[1:]:
        host.say(f"gpu_nccl_bench on {ranks} GPUs")
        text = host.output_of(str(ROOT / "launch/mpirun.sh"), "-n", str(ranks), str(host.programs / "gpu_nccl_bench"))
        rows += [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    return rows


def steps_of(local_rows: int, host: Host) -> int:
    """Fewer where a step takes longer."""
    steps = host.steps * host.sizes.rows // local_rows
    return max(FEWEST, min(host.steps, steps)) // LOG_EVERY * LOG_EVERY


def steps_file(host: Host, gpus: int) -> str:
    """Jobs of both models with every batch that is wanted on so many GPUs; on one, also those that are each GPU's part
    when all share a step."""
    sizes = host.sizes
    parts = [sizes.rows // host.gpus, sizes.many_rows // host.gpus] if gpus == 1 else []
    batches = sorted({sizes.rows, sizes.many_rows, sizes.rows * gpus, *parts})
    steps = [steps_of(batch // gpus, host) for batch in batches]
    return sweep_file(
        sweep={"model": list(sizes.layers), "ranks_per_job": gpus, "max_tries": 1,
               "only": [f"train.batch_size={batch}, steps={count}" for batch, count in zip(batches, steps)]},
        run={"log_every": LOG_EVERY, "checkpoint_every": "1 h"}, model=sizes.model,
        train={"batch_size": batches, "steps": sorted(set(steps)), "micro_batch_size": sizes.pass_rows, **sizes.train},
        eval={"lengths": sizes.train["min_length"], "num_batches": 1},
        **{model: {"layers": layers} for model, layers in sizes.layers.items()})


def times_of_steps(results: Path) -> list[dict]:
    """/training has the rate since the row before, measured when steps have ended; neither evaluations nor checkpoints
    fall into it here. The median over the rows after warming up."""
    training, points = table(results, "training"), []
    for job in table(results, "jobs"):
        train = json.loads(job["spec"])["train"]
        late = training[(training["job"] == job["job"]) & (training["step"] > WARM_UP)]
        if len(late):
            seconds = train["batch_size"] * train["context_length"] / numpy.median(late["tokens_per_second"])
            points.append({"model": job["model"].decode(), "batch": train["batch_size"],
                           "parameters": int(job["parameters"]), "steps": int(late["step"][-1]) - WARM_UP,
                           "milliseconds": 1e3 * float(seconds)})
    return points


def time_steps(host: Host) -> list[dict]:
    rows = []
    for gpus in host.counts():
        found = times_of_steps(host.sweep(f"steps-{gpus}", gpus, steps_file(host, gpus)))
        for point in found:
            host.say(f"    {point['model']}, {point['batch']} rows: {point['milliseconds']:.2f} ms")
        rows += [{"gpus": gpus, "strong": point["batch"] in (host.sizes.rows, host.sizes.many_rows), **point}
                 for point in found]
    return rows


def boards_file(host: Host) -> str:
    """A job for each GPU, all alike: a GPU's part of the large batch."""
    sizes, model = host.sizes, "rope"
    rows = sizes.many_rows // host.gpus
    return sweep_file(
        sweep={"model": model, "seed": list(range(1, host.gpus + 1))},
        run={"log_every": LOG_EVERY, "checkpoint_every": "1 h"}, model=sizes.model | {"layers": sizes.layers[model]},
        train={"batch_size": rows, "steps": steps_of(rows, host), "micro_batch_size": sizes.pass_rows, **sizes.train},
        eval={"lengths": sizes.train["min_length"], "num_batches": 1})


def time_boards(host: Host) -> list[dict]:
    """GPUs of one host differ, and a group is as fast as its slowest."""
    found = times_of_steps(host.sweep("boards", host.gpus, boards_file(host)))
    if len(found) != host.gpus:
        raise RuntimeError("some jobs have no times")
    rows = [{"model": found[0]["model"], "batch": found[0]["batch"],
             "milliseconds": sorted(point["milliseconds"] for point in found)}]
    host.say(f"    {rows[0]}")
    return rows


# ---- the jobs of a sweep ----

def seconds_of_jobs(results: Path) -> float:
    """From the start of the first to the end of the last: the start of the ranks is left out."""
    events = table(results, "events")
    begun, done = (events["time"][(events["job"] >= 0) & (events["state"] == state)] for state in (b"running", b"done"))
    if len(done) != len(table(results, "jobs")):
        raise RuntimeError("some jobs were not done")
    return float(done.max() - begun.min())


def time_jobs(host: Host) -> list[dict]:
    sizes, rows = host.sizes, []
    for gpus in (1, host.gpus):
        text = sweep_file(sweep={"model": "rope", "seed": list(range(1, sizes.jobs * gpus + 1))},
                          run={"log_every": 100}, model=sizes.job,
                          train={"batch_size": 32, "steps": sizes.job_steps, **sizes.train},
                          eval={"lengths": sizes.train["min_length"]})
        seconds = seconds_of_jobs(host.sweep(f"jobs-{gpus}", gpus, text))
        rows.append({"gpus": gpus, "jobs": sizes.jobs * gpus, "seconds": seconds})
        host.say(f"    {rows[-1]}")
    return rows


# ---- a lost rank ----

def pids_of(results: Path, model: str) -> list[int]:
    """Of the ranks that train the model, as their logs say."""
    logs = [log.read_text() for log in sorted(Path(f"{results}.logs").glob("*.log"))]
    return [int(re.search(r" pid (\d+)", log)[1]) for log in logs if re.search(rf"\b{model} .*: try 1 as one of", log)]


def what_went_on(events: numpy.ndarray, training: numpy.ndarray, killed: int) -> dict:
    """Of the job whose rank was killed, and of the others: never stopped means one try, with every step once. That they
    were still at work when the rank was lost says whether it means anything."""
    def steps(job: int, attempt: int) -> list[int]:
        return [int(step) for step in training["step"][(training["job"] == job) & (training["try"] == attempt)]]

    def whole(job: int) -> bool:
        return steps(job, 1) == list(range(1, FAULT_STEPS + 1)) and not steps(job, 2)

    of_jobs = events[events["job"] >= 0]
    last = {int(event["job"]): event["state"] for event in of_jobs}
    lost = of_jobs["time"][of_jobs["state"] == b"lost"]
    ends = of_jobs[(of_jobs["state"] == b"done") & (of_jobs["job"] != killed)]
    again = steps(killed, 2)
    return {"others": len(last) - 1, "all_done": set(last.values()) == {b"done"},
            "others_never_stopped": all(whole(job) for job in last if job != killed),
            "others_were_at_work": len(lost) > 0 and bool((ends["time"] > lost[0]).all()),
            "killed_after": max(steps(killed, 1), default=0), "went_on_at": min(again, default=0),
            "went_on_to_the_end": bool(again) and again == list(range(again[0], FAULT_STEPS + 1))}


def kill_a_rank(host: Host) -> list[dict]:
    """Groups of two, one job each."""
    workers = max(4, host.gpus)
    models = ["rope", "mamba", "hard_alibi", "lstm"][:workers // 2]
    text = sweep_file(sweep={"model": models, "ranks_per_job": 2}, run={"log_every": 1, "checkpoint_every": "0.05 s"},
                      model={"hidden_size": 16, "layers": 1, "heads": 2, "num_masked_heads": 1, "state_dim": 4},
                      train={"batch_size": 4, "steps": FAULT_STEPS, **SMALL.train}, eval={"lengths": 5})
    process, results = host.start("fault", workers, text), host.folder / "fault.h5"

    def all_are_at_work() -> bool:
        training = table(results, "training")
        return all((training["step"][training["job"] == job] >= KILLED_AFTER).any() for job in range(len(models)))

    try:
        wait_until(all_are_at_work, 100, lambda: "a sweep in which a rank is to be killed has not begun",
                   lambda: process.poll() is not None)
        killed = table(results, "jobs")[0]
        os.kill(pids_of(results, killed["model"].decode())[-1], signal.SIGKILL)
    finally:
        host.finish(process, "fault")
    found = what_went_on(table(results, "events"), table(results, "training"), int(killed["job"]))
    host.say(f"    {found}")
    return [{"workers": workers, "ranks_per_job": 2, "steps": FAULT_STEPS, **found}]


# ---- a call ----

PARTS = {"losses": compare_losses, "sums": time_sums, "steps": time_steps, "boards": time_boards, "jobs": time_jobs,
         "fault": kill_a_rank}


def about(host: Host) -> dict:
    under_mpirun = [str(ROOT / "launch/mpirun.sh"), "-n", "1", str(host.programs / "recite"), "version"]
    versions = [line for line in host.output_of(*under_mpirun).splitlines()
                if line.startswith(("commit", "LibTorch", "Open MPI", "NCCL"))]
    device = "CPU"
    if host.device == "cuda":
        query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
        said = subprocess.run(query, check=True, text=True, capture_output=True).stdout
        device, driver = said.splitlines()[0].split(", ")
        versions.append(f"driver {driver}")
    return {"date": str(date.today()), "device": device, "gpus": host.gpus, "versions": versions}


def folder_of_sweeps() -> tempfile.TemporaryDirectory:
    """In memory where there is room: a job ends with a checkpoint, and writing 2 GB to a disk takes longer than the
    steps."""
    memory = Path("/dev/shm")
    roomy = memory.exists() and shutil.disk_usage(memory).free > 16e9
    return tempfile.TemporaryDirectory(prefix="recite-scaling-", dir=memory if roomy else None)


def measure(given: argparse.Namespace, figures: dict) -> list[str]:
    """Fills the parts of `figures`; what failed."""
    with folder_of_sweeps() as folder:
        host = Host(given, Path(folder))
        facts = about(host)
        wanted = [given.only] if given.only else [part for part in PARTS if part != "sums" or given.device == "cuda"]
        for part in wanted:
            try:
                rows = PARTS[part](host)
            except Exception as error:  # one part's failure is no other's
                host.failed.append(f"{part}: {error}")
                host.say(f"FAILED: {host.failed[-1]}")
                continue
            if rows:
                figures["parts"][part] = facts | {"rows": rows}
                given.json.write_text(json.dumps(figures, indent=1) + "\n")
                host.say(f"wrote {part} to {given.json}")
        return host.failed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=Path, metavar="FOLDER", help="without it nothing is measured")
    parser.add_argument("--gpus", type=int, default=2, metavar="N", help="of this host: a power of two [2]")
    parser.add_argument("--json", type=Path, default=ROOT / "docs/scaling_figures.json")
    parser.add_argument("--only", choices=PARTS)
    parser.add_argument("--steps", type=int, default=50, help="of each job that is timed, at most; with large batches "
                        f"fewer, at least {FEWEST}; the first {WARM_UP} warm up [50]")
    parser.add_argument("--minutes", type=float, default=8, help="after which what runs is ended [8]")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the tables between its markers")
    given = parser.parse_args()
    if given.gpus < 2 or given.gpus & (given.gpus - 1):
        parser.error("--gpus: 2, 4, 8, ...")

    if given.write:
        replaced(given.write.read_text(), "", MARKER)  # a page without them is refused before anything is measured
    figures = json.loads(given.json.read_text()) if given.json.exists() else {"parts": {}}
    failed = measure(given, figures) if given.programs else []
    if figures["parts"]:
        text = tables(figures["parts"])
        print(f"\n{text}")
        if given.write:
            given.write.write_text(replaced(given.write.read_text(), text, MARKER))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
