"""Whole sweeps under mpirun and without it: results, going on, lost workers, failing jobs, bad input."""

import os
import signal
import subprocess
import time

import pytest
from conftest import ROOT
from waiting import wait_until

TWO_MODELS = "model = hard_alibi\nmodel = lstm\ntask = copy"


def test_grid_runs_and_every_point_is_there(sweep):
    sweep.write(TWO_MODELS + "\nseed = 1\nseed = 2", steps=12)
    run = sweep.start()
    assert run.wait() == 0, run.text()
    jobs, evaluations, training = (sweep.table(t) for t in ("jobs", "evaluations", "training"))
    assert sorted(zip(jobs.model, jobs.seed)) == [("hard_alibi", 1), ("hard_alibi", 2), ("lstm", 1), ("lstm", 2)]
    assert set(sweep.states().values()) == {"done"}
    assert len(evaluations) == 4 * 2
    assert (evaluations.step == 12).all() and (evaluations.n == 16).all()
    assert sorted(training.step) == sorted(list(range(1, 13)) * 4)
    assert not list(sweep.folder.glob("results.h5.jobs/*/step-*")), "checkpoints of done jobs are removed"
    assert len(list(sweep.folder.glob("results.h5.logs/*.log"))) == 2


def test_same_numbers_with_mpirun_and_without(sweep, tmp_path_factory):
    sweep.write(TWO_MODELS, steps=8, run="threads = 1")
    assert sweep.start(workers=2).wait() == 0
    alone = type(sweep)(tmp_path_factory.mktemp("alone"))
    alone.write(TWO_MODELS, steps=8, run="threads = 1")
    run = alone.start(workers=None)
    assert run.wait() == 0, run.text()

    def losses(s):
        merged = s.table("training").merge(s.table("jobs")[["job", "id"]], on="job")
        return merged.sort_values(["id", "step"])[["id", "step", "loss"]].values.tolist()

    assert losses(sweep) == losses(alone), "the same bits"
    assert len(losses(alone)) == 16


def test_group_of_two_ranks_trains_as_one(sweep, tmp_path_factory):
    sweep.write(steps=10, run="threads = 1")
    assert sweep.start("--sweep.ranks_per_job=2").wait() == 0
    assert (sweep.table("events").query("job >= 0 and state == 'running'").ranks == 2).all()
    single = type(sweep)(tmp_path_factory.mktemp("single"))
    single.write(steps=10, run="threads = 1")
    assert single.start(workers=1).wait() == 0
    for a, b in zip(sweep.table("training").loss, single.table("training").loss, strict=True):
        assert a == pytest.approx(b, rel=1e-4)


def test_more_workers_than_jobs(sweep):
    sweep.write(steps=5)
    run = sweep.start(workers=3)
    assert run.wait() == 0, run.text()
    assert sweep.states() == {0: "done"}


def test_killed_worker_loses_nothing_and_its_job_goes_on_from_its_checkpoint(sweep):
    sweep.write(TWO_MODELS, steps=300, run="checkpoint_every = 0.05 s\nthreads = 1")
    run = sweep.start()
    sweep.wait_for_step(60, job=0)
    sweep.kill_worker(1)
    assert run.wait() == 0, run.text()
    assert set(sweep.states().values()) == {"done"}
    events = sweep.table("events")
    lost = events[(events.job >= 0) & (events.state == "lost")]
    assert len(lost) == 1
    training = sweep.table("training")
    hit = lost.job.iloc[0]
    second = training[(training.job == hit) & (training["try"] == 2)]
    first = training[(training.job == hit) & (training["try"] == 1)]
    assert 1 < second.step.min() <= first.step.max() + 1, "it went on from a checkpoint"
    assert sorted(second.step) == list(range(second.step.min(), 301))
    other = training[training.job != hit]
    assert set(other["try"]) == {1} and sorted(other.step) == list(range(1, 301)), "the other job never stopped"
    assert len(sweep.table("evaluations").groupby(["job", "length"])) == 4


def test_killed_worker_of_a_group_of_two(sweep):
    sweep.write(steps=200, run="checkpoint_every = 0.05 s\nthreads = 1")
    run = sweep.start("--sweep.ranks_per_job=2")
    sweep.wait_for_step(40)
    sweep.kill_worker(2)
    assert run.wait() == 0, run.text()
    events = sweep.table("events").query("job == 0")
    assert list(events.state) == ["planned", "running", "lost", "planned", "running", "done"]
    assert list(events.ranks[events.state == "running"]) == [2, 1], "the survivor goes on alone"


def test_every_rank_outlives_a_broken_connection(sweep):
    sweep.write(steps=300)
    run = sweep.start()
    sweep.wait_for_step(20)
    for pid in [sweep.coordinator_pid(), *sweep.worker_pids().values()]:
        os.kill(pid, signal.SIGPIPE)    # as of a write to a lost peer
    assert run.wait() == 0, run.text()
    assert list(sweep.table("events").query("job == 0").state) == ["planned", "running", "done"]


def test_killed_at_sixty_percent_the_first_step_is_the_last_checkpoints_plus_one(sweep):
    sweep.write(steps=600, run="checkpoint_every = 0.05 s\nthreads = 1")
    run = sweep.start(workers=1)
    sweep.wait_for_step(360)
    workers = sweep.worker_pids().values()
    os.kill(sweep.coordinator_pid(), signal.SIGKILL)
    for pid in workers:
        wait_until(lambda p=pid: not os.path.exists(f"/proc/{p}"), 10)
    assert run.wait() == 75, run.text()
    checkpoints = sorted(int(p.stem.split("-")[1]) for p in sweep.folder.glob("results.h5.jobs/*/step-*.json"))
    assert checkpoints, "a checkpoint was written"
    before = len(sweep.table("training"))

    again = sweep.start(workers=1)
    assert again.wait() == 0, again.text()
    second = sweep.table("training")[before:]
    assert second.step.iloc[0] == checkpoints[-1] + 1
    assert list(second.step) == list(range(checkpoints[-1] + 1, 601))
    assert set(sweep.table("runs").run) == {0, 1}


def test_stopped_and_resumed_gives_the_bits_of_one_never_stopped(sweep, tmp_path_factory):
    sweep.write(steps=600, run="threads = 1")
    run = sweep.start(workers=1)
    sweep.wait_for_step(30)
    run.process.send_signal(signal.SIGINT)
    assert run.wait() == 75, run.text()
    assert sweep.states() == {0: "stopped"}
    assert sweep.start(workers=1).wait() == 0
    whole = type(sweep)(tmp_path_factory.mktemp("whole"))
    whole.write(steps=600, run="threads = 1")
    assert whole.start(workers=1).wait() == 0
    resumed = sweep.table("training").drop_duplicates("step", keep="last").sort_values("step")
    assert list(resumed.loss) == list(whole.table("training").loss)
    for column in ("string_accuracy", "char_accuracy"):
        assert list(sweep.table("evaluations")[column]) == list(whole.table("evaluations")[column])


def test_done_jobs_are_not_run_again_and_new_jobs_are_added(sweep):
    sweep.write(steps=5)
    assert sweep.start().wait() == 0
    rows = len(sweep.table("training"))
    run = sweep.start()
    assert run.wait() == 0 and "0 to do, 1 done before" in run.text()
    assert len(sweep.table("training")) == rows
    sweep.write(TWO_MODELS, steps=5)
    assert sweep.start().wait() == 0
    assert sweep.states() == {0: "done", 1: "done"}
    assert len(sweep.table("training")) == 2 * rows


def test_new_lengths_of_a_done_job_use_its_saved_model(sweep):
    sweep.write(steps=5, run="save_models = yes")
    assert sweep.start().wait() == 0
    rows = len(sweep.table("training"))
    run = sweep.start("--eval.lengths=2,5,9")
    assert run.wait() == 0, run.text()
    assert len(sweep.table("training")) == rows, "nothing is trained again"
    evaluations = sweep.table("evaluations")
    assert set(evaluations.length) == {2, 5, 9}
    two = evaluations[evaluations.length == 5]
    assert two.char_accuracy.nunique() == 1, "the same model on the same strings"


def test_measuring_saved_models_can_be_interrupted(sweep):
    sweep.write(TWO_MODELS, steps=5, run="save_models = yes")
    assert sweep.start().wait() == 0
    rows = len(sweep.table("training"))
    stopped = sweep.start("--eval.lengths=2,5,9", "--max-hours=1e-9")
    assert stopped.wait() == 75, stopped.text()
    assert set(sweep.states().values()) == {"planned"}
    run = sweep.start("--eval.lengths=2,5,9")
    assert run.wait() == 0, run.text()
    assert len(sweep.table("training")) == rows, "nothing is trained again"
    assert set(sweep.states().values()) == {"done"} and set(sweep.table("evaluations").length) == {2, 5, 9}


def test_jobs_stay_done_when_new_lengths_were_planned_alone(sweep):
    sweep.write(steps=5)
    assert sweep.start().wait() == 0
    rows = len(sweep.table("training"))
    assert sweep.start("--eval.lengths=2,5,9", "--max-hours=1e-9").wait() == 75
    assert sweep.start().wait() == 0
    assert set(sweep.states().values()) == {"done"} and len(sweep.table("training")) == rows


def test_failing_job_is_tried_again_then_recorded_with_its_message(sweep):
    sweep.write("model = hard_alibi\ntask = copy\nmax_tries = 2", steps=20,
                train="learning_rate = 1e-3\nlearning_rate = 1e30\nwarmup_steps = 1\ngradient_clip = 0")
    run = sweep.start()
    assert run.wait() == 3, run.text()
    events, jobs = sweep.table("events"), sweep.table("jobs")
    bad = jobs.job[jobs.learning_rate == 1e30].iloc[0]
    assert list(events[events.job == bad].state) == ["planned", "running", "failed", "planned", "running", "failed"]
    message = events[(events.job == bad) & (events.state == "failed")].message.iloc[-1]
    assert "nan" in message.lower() or "inf" in message.lower()
    assert ".log" in message and sweep.states()[1 - bad] == "done"

    assert sweep.start().wait() == 3, "failed jobs are left alone"
    assert len(sweep.table("events")[sweep.table("events").job == bad]) == 6
    assert sweep.start("--retry-failed").wait() == 3
    assert len(sweep.table("events")[sweep.table("events").job == bad]) == 12


def test_out_of_memory_names_the_bytes_and_the_sweep_goes_on(sweep):
    sweep.write("model = lstm\ntask = copy\nmax_tries = 1", steps=3)
    text = (sweep.folder / "small.ini").read_text()
    (sweep.folder / "small.ini").write_text(text.replace("hidden_size = 16", "hidden_size = 16\nhidden_size = 4000000"))
    run = sweep.start(workers=1)
    assert run.wait() == 3, run.text()
    assert sorted(sweep.states().values()) == ["done", "failed"]
    events = sweep.table("events")
    message = events[(events.job >= 0) & (events.state == "failed")].message.iloc[0]
    assert "memory" in message and "bytes" in message and "--train." in message


def test_results_can_be_read_from_their_creation_on(sweep):
    sweep.write(TWO_MODELS, steps=60)
    run = sweep.start()
    reads = 0
    while run.process.poll() is None:
        if sweep.results.exists():
            sweep.table("training")
            reads += 1
        time.sleep(0.01)
    assert run.wait() == 0, run.text()
    assert reads > 10


def test_second_writer_is_refused(sweep):
    sweep.write(steps=20000)
    run = sweep.start(workers=1)
    sweep.wait_for_step(5)
    second = sweep.start(workers=1)
    assert second.wait() == 2
    assert "results.h5" in second.text() and "process" in second.text()
    run.process.send_signal(signal.SIGTERM)
    assert run.wait() == 75


@pytest.mark.parametrize(("options", "said"), [
    (["--train.stepz=3"], "train.steps"),
    (["--sweep.model=mambo"], "mamba"),
    (["--model.heads=3"], "heads"),
    (["--sweep.ranks_per_job=5"], "ranks_per_job"),
    (["--run.device=cuda"], "GPU"),
    (["--train.max_length=100"], "context_length"),
])
def test_wrong_use_is_refused_before_anything_is_written(sweep, options, said):
    sweep.write(steps=5)
    run = sweep.start(*options, workers=1)
    assert run.wait() == 2, run.text()
    assert said in run.text()
    assert not sweep.results.exists()


def test_published_example_evaluates_length_20(sweep):
    command = ("train --model T_rope --train_task copy --eval_task copy --min_train_len 5 --max_train_len 20 "
               "--min_eval_len 20 --max_eval_len 20 --hidden_size 16 --heads 2 --layers 1 --steps 3")
    result = subprocess.run([ROOT / "launch/recite", *command.split(), "-o", "results.h5"], cwd=sweep.folder, text=True,
                            capture_output=True)
    assert result.returncode == 0, result.stdout + result.stderr
    assert list(sweep.table("evaluations").length) == [20]
    assert "string accuracy" in result.stdout


def test_saved_model_is_evaluated_by_the_verb(sweep):
    sweep.write(steps=5, run="save_models = yes")
    assert sweep.start(workers=None).wait() == 0
    model = next(sweep.folder.glob("results.h5.jobs/*/model"))
    command = [ROOT / "launch/recite", "eval", "--model", model, "--lengths", "2,5", "-o", "eval.h5"]
    result = subprocess.run(command, cwd=sweep.folder, text=True, capture_output=True)
    assert result.returncode == 0, result.stderr
    measured = sweep.table("evaluations")
    sweep.results = sweep.folder / "eval.h5"
    assert list(sweep.table("evaluations").char_accuracy) == list(measured.char_accuracy)


def test_training_stops_early_at_an_accuracy(sweep):
    sweep.write(steps=400)
    options = ["--task.vocab_size=1", "--eval.every=20", "--eval.stop_at_accuracy=0.95", "--train.learning_rate=1e-2"]
    run = sweep.start(*options, workers=1)
    assert run.wait() == 0, run.text()
    evaluations = sweep.table("evaluations")
    last = evaluations.step.max()
    assert last < 400 and last % 20 == 0
    reached = evaluations[evaluations.length == 5].groupby("step").string_accuracy.max()
    assert reached[last] >= 0.95 and (reached[reached.index < last] < 0.95).all()


def long_last_measuring(sweep):
    """One job that stops early, at a step that a try which goes on there would train beyond, and that has so much to
    measure at the end that it can be met there."""
    sweep.write(steps=400)
    return ["--sweep.model=rope", "--task.vocab_size=1", "--eval.every=20", "--eval.every_lengths=5",
            "--eval.stop_at_accuracy=0.95", "--train.learning_rate=1e-2", "--eval.num_batches=200",
            "--eval.lengths=5:20"]


def wait_for_a_last_point(sweep):
    wait_until(lambda: sweep.results.exists() and (sweep.table("evaluations").length > 5).any(), 60)


def test_a_try_killed_while_it_measures_goes_on_measuring(sweep):
    run = sweep.start(*long_last_measuring(sweep))
    wait_for_a_last_point(sweep)
    os.kill(sweep.worker_pids()[sweep.busy_worker()], signal.SIGKILL)
    assert run.wait() == 0, run.text()
    evaluations = sweep.table("evaluations")
    last = evaluations[evaluations.length > 5]
    assert set(last["try"]) == {1, 2} and last.step.nunique() == 1, "the second try trained nothing"
    assert len(last) == 15 and set(last.length) == set(range(6, 21)), "and measured what the first had not"
    assert sweep.table("training").step.max() == last.step.max()


def test_a_stop_is_heeded_between_points(sweep):
    options = long_last_measuring(sweep)
    run = sweep.start(*options)
    wait_for_a_last_point(sweep)
    run.process.send_signal(signal.SIGINT)
    assert run.wait() == 75, run.text()
    measured = sweep.table("evaluations")
    assert len(measured[measured.length > 5]) < 15
    assert sweep.start(*options).wait() == 0
    evaluations = sweep.table("evaluations")
    last = evaluations[evaluations.length > 5]
    assert len(last) == 15 and last.step.nunique() == 1
    assert sweep.table("training").step.max() == last.step.max()


def test_greedy_string_accuracy_is_that_of_teacher_forcing(sweep):
    sweep.write(steps=150)
    options = ["--task.vocab_size=2", "--run.save_models=yes", "--sweep.model=rope", "--train.learning_rate=1e-2"]
    assert sweep.start(*options, workers=1).wait() == 0
    model = next(sweep.folder.glob("results.h5.jobs/*/model"))
    forced = sweep.table("evaluations").set_index("length").string_accuracy
    command = [ROOT / "launch/recite", "eval", "--model", model, "--eval.mode=greedy", "-o", "greedy.h5"]
    subprocess.run(command, cwd=sweep.folder, check=True, capture_output=True)
    sweep.results = sweep.folder / "greedy.h5"
    greedy = sweep.table("evaluations")
    assert set(greedy["mode"]) == {"greedy"}
    assert greedy.set_index("length").string_accuracy.to_dict() == forced.to_dict()


def test_a_group_saves_the_model_that_it_measured(sweep):
    sweep.write(steps=150, run="save_models = yes")
    options = ["--sweep.ranks_per_job=2", "--train.precision=bf16", "--task.vocab_size=2", "--sweep.model=rope",
               "--train.learning_rate=1e-2", "--eval.num_batches=10"]
    assert sweep.start(*options).wait() == 0
    measured = sweep.table("evaluations").set_index("length").char_accuracy
    assert (measured > 0.6).any(), "better than at first"
    model = next(sweep.folder.glob("results.h5.jobs/*/model"))
    subprocess.run([ROOT / "launch/recite", "eval", "--model", model, "-o", "again.h5"], cwd=sweep.folder, check=True,
                   capture_output=True)
    sweep.results = sweep.folder / "again.h5"
    again = sweep.table("evaluations").set_index("length").char_accuracy
    assert again.to_dict() == measured.to_dict()


def test_a_worker_that_stands_still_is_ended_and_its_job_runs_again(sweep):
    sweep.write(steps=400, run="checkpoint_every = 0.05 s\nstall_timeout = 2 s\nthreads = 1")
    run = sweep.start()
    sweep.wait_for_step(40)
    stalled = sweep.busy_worker()
    os.kill(sweep.worker_pids()[stalled], signal.SIGSTOP)
    assert run.wait() == 0, run.text()
    assert f"worker {stalled} " in run.text() and "made no progress for 2 s" in run.text()
    assert list(sweep.table("events").query("job == 0").state) == ["planned", "running", "lost", "planned", "running",
                                                                  "done"]


def test_a_member_of_a_group_that_stands_still(sweep):
    sweep.write(steps=400, run="checkpoint_every = 0.05 s\nstall_timeout = 2 s\nthreads = 1")
    run = sweep.start("--sweep.ranks_per_job=2")
    sweep.wait_for_step(40)
    os.kill(sweep.worker_pids()[2], signal.SIGSTOP)
    assert run.wait() == 0, run.text()
    events = sweep.table("events").query("job == 0")
    assert list(events.state) == ["planned", "running", "lost", "planned", "running", "done"]


def test_a_pause_of_the_whole_machine_is_no_stall(sweep):
    sweep.write(steps=300, run="stall_timeout = 1 s\nthreads = 1")
    run = sweep.start(workers=1)
    sweep.wait_for_step(40)
    everybody = run.descendants()
    for pid in everybody:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(2.5)    # longer than the limit: the pause itself is what is tested
    for pid in everybody:
        os.kill(pid, signal.SIGCONT)
    assert run.wait() == 0, run.text()
    assert list(sweep.table("events").query("job == 0").state) == ["planned", "running", "done"]


def test_ctrl_c_that_also_ends_who_reads_the_output(sweep):
    sweep.write(steps=5000)
    process = subprocess.Popen([ROOT / "launch/recite", "sweep", "small.ini", "-o", "results.h5"], cwd=sweep.folder,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    sweep.wait_for_step(5)
    process.stdout.close()
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 75
    assert list(sweep.folder.glob("results.h5.jobs/*/step-*.safetensors"))


def test_what_goes_on_says_where(sweep):
    sweep.write(steps=400)
    run = sweep.start(workers=1)
    sweep.wait_for_step(20)
    run.process.send_signal(signal.SIGINT)
    assert run.wait() == 75, run.text()
    step = int(next(sweep.folder.glob("results.h5.jobs/*/step-*.json")).stem.removeprefix("step-"))
    plan = subprocess.run([ROOT / "launch/recite", "plan", "small.ini", "-o", "results.h5"], cwd=sweep.folder,
                          text=True, capture_output=True)
    assert f"goes on at step {step}" in plan.stdout, plan.stdout
    again = sweep.start(workers=1)
    assert again.wait() == 0, again.text()
    assert f"goes on at step {step}" in again.text()
    events = sweep.table("events")
    assert list(events[(events.job == 0) & (events.state == "running")].step) == [0, step]


def test_without_a_whole_checkpoint_it_begins_again(sweep):
    sweep.write(steps=400)
    run = sweep.start("--eval.every=100", workers=1)
    sweep.wait_for_step(20)
    run.process.send_signal(signal.SIGINT)
    assert run.wait() == 75, run.text()
    for checkpoint in sweep.folder.glob("results.h5.jobs/*/step-*.safetensors"):
        os.truncate(checkpoint, 100)
    assert sweep.start("--eval.every=100", workers=1).wait() == 0
    training = sweep.table("training")
    assert list(training[training["try"] == 2].step) == list(range(1, 401))
    assert set(sweep.table("evaluations").step) == {100, 200, 300, 400}, "nothing is measured before it is trained"


def test_ctrl_c_twice_ends_at_once_and_the_same_command_goes_on(sweep):
    sweep.write(steps=20000, run="checkpoint_every = 0.2 s\nthreads = 1")
    run = sweep.start(workers=1)
    wait_until(lambda: list(sweep.folder.glob("results.h5.jobs/*/step-*.json")), 60)
    run.process.send_signal(signal.SIGINT)
    run.process.send_signal(signal.SIGINT)
    assert run.wait(20) == 75, run.text()
    assert sweep.states()[0] in ("running", "stopped", "lost")
    again = sweep.start("--train.steps=20000", "--max-hours=0.0003", workers=1)
    assert again.wait() == 75
    assert sweep.table("training")["try"].max() == 2


def test_ranks_that_do_not_find_each_other_are_started_again(sweep, tmp_path, monkeypatch):
    """One rank dies before MPI knows it, the first time: the start hangs, and the launcher's watchdog begins anew."""
    program = os.environ.get("RECITE_PROGRAM", ROOT / "build/release/recite")
    flaky = tmp_path / "flaky"
    flaky.write_text(f"""#!/usr/bin/env bash
if [ "${{OMPI_COMM_WORLD_RANK:-}}" = 1 ] && mkdir "{tmp_path}/died" 2>/dev/null; then kill -9 $$; fi
exec "{program}" "$@"
""")
    flaky.chmod(0o755)
    monkeypatch.setenv("RECITE_PROGRAM", str(flaky))
    monkeypatch.setenv("RECITE_START_TIMEOUT", "6")
    sweep.write(steps=5)
    run = sweep.start()
    assert run.wait() == 0, run.text()
    assert "did not find each other in 6 s (try 1 of 3)" in run.text()
    assert sweep.states() == {0: "done"}
