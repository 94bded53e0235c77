"""The live view."""

import io
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import PROJECT
from results_file import START, Sweep

from analysis.live import QUIET, duration, follow, progress, render, seconds_left
from analysis.read import Results, read_results
from analysis.views import job_states


def at(sweep: Sweep, written: float) -> Results:
    """The sweep's results as if the file had last changed `written` seconds after the start."""
    path = sweep.write()
    os.utime(path, (START + written, START + written))
    return read_results(path)


def test_progress_of_a_running_job(live_sweep: Sweep) -> None:
    results = at(live_sweep, 60)
    (job,) = progress(results, job_states(results), now=START + 61)
    assert job.label == "Mamba, copy, seed 1"
    assert (job.step, job.steps, job.loss, job.tokens_per_second) == (250, 1000, 1.25, 5000.0)
    assert (job.accuracy, job.length) == (0.25, 40)  # the measured length nearest to 50
    assert job.seconds_left == pytest.approx(750 / (250 / 50))


def test_time_left_after_a_resume_counts_the_new_try_alone(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path / "results.h5")
    job = sweep.job("rope")
    sweep.event(job, "running", attempt=1, time=START)
    sweep.event(job, "running", attempt=2, time=START + 100, step=600)
    sweep.training(job, 700, 1.0, attempt=2)
    results = at(sweep, 150)
    (running,) = progress(results, job_states(results), now=START + 151)
    assert running.seconds_left == pytest.approx(300 / (100 / 50))


def test_time_left_of_the_sweep(live_sweep: Sweep) -> None:
    results = at(live_sweep, 60)
    states = job_states(results)
    running = progress(results, states, START + 60)
    # 1250 of 1000 + 250 + (750 and 1000, less 100 that the lost job had done) steps in 60 s.
    left = seconds_left(results, states, running, START + 60)
    assert left == pytest.approx((750 + 900) * 60 / 1250)


def test_render(live_sweep: Sweep) -> None:
    text = render(at(live_sweep, 60), now=START + 61)
    assert text.splitlines()[:2] == [
        "Length generalisation", "4 jobs: 1 running, 1 planned, 1 done, 1 failed, about 1 min 19 s left",
    ]
    (line,) = [line for line in text.splitlines() if "Mamba" in line]
    assert line.count("█") == 5 and line.count("░") == 15
    for part in ("250/1000", "loss 1.250", "right 0.250 at 40", "5k tokens/s", "2 min 30 s left"):
        assert part in line
    assert "failed: ALiBi, copy, seed 1: loss is NaN at step 7" in text
    assert "Nothing was written" not in text


def test_a_silent_file_is_said(live_sweep: Sweep) -> None:
    assert f"Nothing was written for {duration(QUIET + 1)}" in render(at(live_sweep, 60), now=START + 61 + QUIET)


def test_a_run_that_ended_early_leaves_jobs(live_sweep: Sweep) -> None:
    live_sweep.event(-1, "stopped", time=START + 200)
    text = render(read_results(live_sweep.write()), now=START + 300)
    assert "The run has ended; 2 of 4 jobs are left: the same command goes on." in text


def test_lines_are_cut_to_the_terminal(live_sweep: Sweep) -> None:
    assert max(map(len, render(at(live_sweep, 60), now=START + 61, width=40).splitlines())) == 40


def test_a_job_without_any_row_yet(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path / "results.h5")
    sweep.event(sweep.job("rope"), "running", time=START)
    text = render(at(sweep, 5), now=START + 5)
    assert "RoPE, copy, seed 1" in text and "0/1000" in text and "nan" not in text


@pytest.mark.parametrize("seconds, text", [(0, "0 s"), (59.6, "1 min 00 s"), (61, "1 min 01 s"), (3700, "1 h 01 min")])
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_once_in_a_process_writes_plain_lines_and_the_figure(live_sweep: Sweep, tmp_path: Path) -> None:
    figure = tmp_path / "overview.png"
    command = [sys.executable, "-m", "analysis", "live", str(live_sweep.write()), "--once", "--figure", str(figure)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    assert "4 jobs: 1 running, 1 planned, 1 done, 1 failed" in done.stdout
    assert "\x1b" not in done.stdout and done.stderr == ""
    assert figure.read_bytes().startswith(b"\x89PNG")


def test_following_ends_with_the_sweep(results_path: Path) -> None:
    out = io.StringIO()
    start = time.monotonic()
    follow(results_path, every=60.0, once=False, figure=None, out=out)
    assert time.monotonic() - start < 30
    assert out.getvalue().count("4 jobs: 4 done") == 1
    assert "The sweep has ended." in out.getvalue()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_is_redrawn_in_place(live_sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    path, out = live_sweep.write(), Terminal()

    def pause(_: float) -> None:
        live_sweep.event(-1, "stopped", time=START + 200)
        live_sweep.write()

    monkeypatch.setattr(time, "sleep", pause)
    follow(path, every=2.0, once=False, figure=None, out=out)
    text = out.getvalue()
    assert text.count("\x1b[H\x1b[J") == 2
    assert text.startswith("\x1b[?25l") and text.endswith("\x1b[?25h")
    assert text.index("1 running") < text.index("The run has ended; 2 of 4 jobs are left")
