"""Sweeps as users of a cluster start them: sbatch slurm/SCRIPT, in a Slurm that lives as long as the tests."""

import json
import os
import re
import shutil
import signal
import sys
from pathlib import Path

import pandas
import pytest
from sandbox import BatchJob, Sandbox, run
from waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from analysis.read import Results, ResultsError, read_results  # noqa: E402

# What a user of a small cluster without GPUs says in place of what the scripts ask for.
SMALL_CLUSTER = ["--nodes=1", "--ntasks-per-node=2", "--cpus-per-task=1", "--gpus-per-node=0", "--time=10"]


class Sweep:
    """A sweep of two jobs, submitted from a folder of its own."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.path = folder / "results.h5"

    def submit(self, script: str, *options: str, resources: tuple[str, ...] = ()) -> BatchJob:
        number = run("sbatch", "--parsable", *SMALL_CLUSTER, *resources, ROOT / "slurm" / script,
                     ROOT / "tests/slurm/small.ini", self.path.name, *options, cwd=self.folder).strip()
        return BatchJob(number, self.folder / f"recite-{number}.out")

    def results(self) -> Results:
        return read_results(self.path)

    def training(self, run: int) -> pandas.DataFrame:
        """The logged steps of one run; nothing as long as there is no file."""
        try:
            training = self.results().training
        except ResultsError:
            return pandas.DataFrame({"job": [], "step": []})
        return training[training.run == run]

    def wait_for_both_jobs(self, job: BatchJob, run: int = 0) -> None:
        wait_until(lambda: set(self.training(run).job) == {0, 1}, 60, job.text)

    def checkpoints(self) -> dict[str, int]:
        """Of each job that has one, by its id: the step of the newest."""
        paths = self.folder.glob("results.h5.jobs/*/step-*.json")
        return dict(sorted((path.parent.name, int(path.stem.split("-")[1])) for path in paths))

    def freeze(self, job: BatchJob) -> list[int]:
        """Stops the workers once each has a checkpoint, so that no machine is too fast for what is to come."""
        wait_until(lambda: len(self.checkpoints()) == 2, 60, job.text)
        self.wait_for_both_jobs(job)
        logs = "".join(path.read_text() for path in self.folder.glob("results.h5.logs/*.log"))
        workers = [int(pid) for pid in re.findall(r"worker \d+ of .* pid (\d+)", logs)]
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)
        return workers

    def writer_pid(self) -> int:
        """0: nobody writes the results file."""
        return json.loads(Path(f"{self.path}.lock").read_text())["pid"]

    def assert_complete(self, steps: int, runs: int = 1) -> None:
        """Both jobs done, each once, with every point measured once, after the last step of the last run."""
        results = self.results()
        assert len(results.runs) == runs
        events = results.events[results.events.job >= 0]
        assert sorted(events.job[events.state == "done"]) == [0, 1]
        assert set(results.evaluations.step) == {steps}
        assert sorted(zip(results.evaluations.job, results.evaluations.length)) == [(0, 2), (0, 5), (1, 2), (1, 5)]

    def assert_went_on(self, checkpoints: dict[str, int]) -> None:
        """The second run took up each job after its checkpoint; the first may have written a newer one."""
        began = self.training(run=1).groupby("job").step.min()
        jobs = self.results().jobs
        assert sorted(checkpoints) == sorted(jobs.id)
        for job, name in zip(jobs.job, jobs.id):
            assert began[job] > checkpoints[name] > 0


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory):
    missing = [name for name in ("slurmctld", "slurmd", "sbatch", "munged") if not shutil.which(name)]
    assert not missing, f"no {', '.join(missing)} here: install the Debian packages slurm-wlm and munge"
    box = Sandbox(tmp_path_factory.mktemp("slurm"), nodes=3, cpus=4)
    try:
        box.start()
        yield box
    finally:
        box.stop()


@pytest.fixture
def slurm(sandbox):
    yield sandbox
    sandbox.cancel_all()
    sandbox.wait_until_idle()


@pytest.fixture
def sweep(slurm, tmp_path) -> Sweep:
    return Sweep(tmp_path)
