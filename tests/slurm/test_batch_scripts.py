"""The batch scripts of slurm/ from sbatch to the end: sweeps, the time limit, preemption, cancelling, a lost node."""

import os
import signal

import pytest
from sandbox import run
from waiting import wait_until

STEPS = 5000
RESUMABLE = [f"--train.steps={STEPS}", "--run.checkpoint_every=0.1 s"]
ENDLESS = "--train.steps=10000000"


@pytest.mark.parametrize(("script", "resources", "workers"), [
    ("one_gpu.sbatch", ["--ntasks-per-node=1"], 1),
    ("one_node.sbatch", [], 2),
    ("many_nodes.sbatch", ["--nodes=3"], 6),
])
def test_sweep_completes_in_one_allocation(sweep, script, resources, workers):
    job = sweep.submit(script, f"--sweep.ranks_per_job={min(workers, 2)}", resources=resources)
    assert job.wait_for_end() == "COMPLETED", job.text()
    assert job.restarts() == 0
    sweep.assert_complete(steps=50)
    assert list(sweep.results().runs.workers) == [workers]


def test_time_limit_writes_checkpoints_and_the_next_allocation_goes_on_from_them(sweep):
    job = sweep.submit("one_node.sbatch", *RESUMABLE, resources=["--signal=B:USR1@60"])
    workers = sweep.freeze(job)
    run("scontrol", "update", f"JobId={job.number}", "TimeLimit=1")
    wait_until(lambda: "asked to stop" in job.text(), 60, job.text)
    for pid in workers:
        os.kill(pid, signal.SIGCONT)
    job.wait_for_restart()
    run("scontrol", "update", f"JobId={job.number}", "TimeLimit=10")
    assert job.wait_for_end() == "COMPLETED", job.text()
    assert job.restarts() == 1 and "stopped early: back into the queue" in job.text()
    sweep.assert_complete(STEPS, runs=2)

    events = sweep.results().events
    stopped = events[(events.state == "stopped") & (events.job >= 0)].set_index("job").step.sort_index()
    assert list(stopped.index) == [0, 1] and (stopped < STEPS).all()
    went_on = sweep.training(run=1).groupby("job").step.min()
    assert (went_on == stopped + 1).all(), "no step was lost or taken twice"


def test_preempted_job_goes_back_into_the_queue_and_on_where_it_was(sweep):
    job = sweep.submit("one_node.sbatch", *RESUMABLE)
    sweep.freeze(job)
    checkpoints = sweep.checkpoints()
    run("sbatch", "--partition=urgent", "--nodes=3", "--exclusive", "--output=/dev/null", "--wrap=true")
    job.wait_for_restart()
    assert job.wait_for_end() == "COMPLETED", job.text()
    assert job.restarts() == 1
    sweep.assert_complete(STEPS, runs=2)
    sweep.assert_went_on(checkpoints)


def test_scancel_ends_the_job_for_good_and_the_sweep_can_go_on(sweep):
    job = sweep.submit("one_node.sbatch", *RESUMABLE)
    sweep.freeze(job)
    checkpoints = sweep.checkpoints()
    run("scancel", job.number)
    assert job.wait_for_end() == "CANCELLED", job.text()
    wait_until(lambda: not run("squeue", "-h"), 30, job.text)
    assert job.state() == "CANCELLED" and job.restarts() == 0, job.text()

    again = sweep.submit("many_nodes.sbatch", *RESUMABLE, resources=["--nodes=2"])
    assert again.wait_for_end() == "COMPLETED", again.text()
    sweep.assert_complete(STEPS, runs=2)
    sweep.assert_went_on(checkpoints)


def test_term_to_the_script_writes_checkpoints_and_does_not_requeue(sweep):
    job = sweep.submit("one_node.sbatch", ENDLESS)
    sweep.wait_for_both_jobs(job)
    run("scancel", "--batch", "--signal=TERM", job.number)
    assert job.wait_for_end() == "FAILED", job.text()
    assert (job.exit_code(), job.restarts()) == (75, 0)
    events = sweep.results().events
    assert sorted(events.job[events.state == "stopped"]) == [-1, 0, 1]


def test_node_without_slurmd_keeps_the_old_script_and_the_second_writer_is_refused(sweep, slurm):
    node = slurm.nodes[0]
    job = sweep.submit("one_node.sbatch", ENDLESS)
    sweep.wait_for_both_jobs(job)
    assert job.field("NodeList") == node
    slurm.kill_node(node)
    job.wait_for_restart(90)
    assert job.wait_for_end() == "FAILED", job.text()
    assert job.exit_code() == 2 and job.field("NodeList") != node
    assert f"{sweep.path.name}: being written by process {sweep.writer_pid()}" in job.text()

    rows = len(sweep.training(run=0))
    wait_until(lambda: len(sweep.training(run=0)) > rows, 60, job.text)
    assert len(sweep.results().runs) == 1, "the old one goes on alone"
    os.kill(sweep.writer_pid(), signal.SIGKILL)
    wait_until(lambda: not old_script_lives(job.number), 20, job.text)
    assert job.state() == "FAILED", "the old script does not bring the job back to life"
    slurm.start_node(node)


def old_script_lives(number: str) -> bool:
    return bool(run("pgrep", "--full", f"job{int(number):05}/slurm_script", check=False))


@pytest.mark.parametrize(("options", "code"), [
    (["--train.learning_rate=1e30", "--train.warmup_steps=1", "--train.gradient_clip=0"], 3),
    (["--model.heads=3"], 2),
])
def test_failed_jobs_and_wrong_use_are_not_requeued(sweep, options, code):
    job = sweep.submit("one_node.sbatch", *options)
    assert job.wait_for_end() == "FAILED", job.text()
    assert (job.exit_code(), job.restarts()) == (code, 0), job.text()


def test_run_that_ends_early_unasked_is_put_back_a_limited_number_of_times(sweep):
    job = sweep.submit("one_node.sbatch", ENDLESS, resources=["--export=ALL,RECITE_RESTARTS=1"])
    sweep.wait_for_both_jobs(job)
    os.kill(sweep.writer_pid(), signal.SIGKILL)
    job.wait_for_restart()
    sweep.wait_for_both_jobs(job, run=1)
    os.kill(sweep.writer_pid(), signal.SIGKILL)
    assert job.wait_for_end() == "FAILED", job.text()
    assert (job.exit_code(), job.restarts()) == (75, 1)
