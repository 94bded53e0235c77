import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT))

from results_file import START, Sweep  # noqa: E402

LENGTHS = (10, 20, 40, 50, 60, 80, 100)
STEPS = (500, 1000)


def accuracy(model: str, seed: int, length: int, step: int) -> float:
    """What the synthetic models score: simple numbers that differ by model, seed, length and step."""
    top = {"rope": 1.0, "mamba": 0.9}[model] - 0.02 * (seed - 1)
    beyond = max(length - 50, 0)
    fall = {"rope": 0.01, "mamba": 0.09}[model]
    return max(top - fall * beyond, 0.0) * step / 1000


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    """Two models with two seeds each, all done after 1000 steps; job 3 needed a second try from step 500 on."""
    sweep = Sweep(tmp_path / "results.h5")
    for model in ("rope", "mamba"):
        for seed in (1, 2):
            job = sweep.job(model, seed=seed)
            sweep.event(job, "running", time=START + 10)
            for step in STEPS:
                sweep.training(job, step, loss=3.0 / (1 + step / 100) + 0.1 * seed)
                for length in LENGTHS:
                    sweep.evaluation(job, length, accuracy(model, seed, length, step), step, examples=8 * step + seed)
    for length in LENGTHS:  # the first try's measurements at step 1000 do not count
        sweep.evaluation(3, length, accuracy("mamba", 2, length, 1000) / 2, step=1000, attempt=2, examples=8002)
    sweep.training(3, 1000, loss=0.125, attempt=2)
    for job in range(4):
        sweep.event(job, "done", time=START + 110, step=1000, attempt=2 if job == 3 else 1)
    sweep.event(-1, "done", time=START + 120)
    return sweep


@pytest.fixture
def results_path(sweep: Sweep) -> Path:
    return sweep.write()


@pytest.fixture
def live_sweep(tmp_path: Path) -> Sweep:
    """One job done, one running, one that was lost, one that failed; the run goes on."""
    sweep = Sweep(tmp_path / "live.h5")
    for model in ("rope", "mamba", "lstm", "alibi"):
        sweep.job(model)
    sweep.event(0, "running", time=START + 10)
    sweep.event(0, "done", time=START + 60, step=1000)
    sweep.event(1, "running", time=START + 10)
    sweep.training(1, 240, loss=1.5, speed=4000.0)
    sweep.training(1, 250, loss=1.25, speed=5000.0)
    sweep.evaluation(1, 20, 0.75, step=200)
    sweep.evaluation(1, 40, 0.25, step=200)
    sweep.event(2, "running", time=START + 10)
    sweep.event(2, "lost", time=START + 20, step=100)
    sweep.event(3, "running", time=START + 10)
    sweep.event(3, "failed", time=START + 30, step=7, message="loss is NaN at step 7")
    return sweep
