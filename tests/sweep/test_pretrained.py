"""Pretrained models asked by sweeps and by the verb: answers, faults, going on, bad input."""

import json
import math
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
import tiny_models
from conftest import DEVICE, ROOT, Run
from waiting import wait_until

SWEEP = """
[sweep]
name = asked
{sweep}
[pretrained]
{pretrained}
c4_corpus = {folder}/texts.json.gz
squad_file = {folder}/squad.json
[train]
precision = float32
[run]
device = {device}
threads = 1
log_samples = yes
[eval]
lengths = {lengths}
batch_size = 4
num_batches = 2
"""

MANY = ", ".join(map(str, range(3, 24)))


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """The models neox and mamba, texts.json.gz and squad.json."""
    folder = tmp_path_factory.mktemp("made")
    for name, make in (("neox", tiny_models.make_neox), ("mamba", tiny_models.make_mamba)):
        (folder / name).mkdir()
        make(folder / name)
    tiny_models.make_texts(folder / "texts.json.gz")
    tiny_models.make_squad(folder / "squad.json")
    return folder


@pytest.fixture
def asked(sweep, made):
    """The sweep with a file of pretrained jobs instead of small.ini."""

    def write(tasks=("phone_book",), models=("neox",), lengths="3, 5", more="") -> None:
        pretrained = "\n".join(f"model = {made}/{model}" for model in models) + "\n" + more
        text = SWEEP.format(sweep="\n".join(f"task = {task}" for task in tasks), pretrained=pretrained, folder=made,
                            lengths=lengths, device=DEVICE)
        (sweep.folder / "small.ini").write_text(text)

    sweep.write = write
    return sweep


def run(folder: Path, *words) -> subprocess.CompletedProcess:
    return subprocess.run([ROOT / "launch/recite", *map(str, words)], cwd=folder, text=True, capture_output=True,
                          timeout=120)


def samples(sweep, model: str, task: str, length: int) -> list[dict]:
    jobs = sweep.table("jobs")
    (id,) = jobs.id[(jobs.model == model) & (jobs.task == task)]
    path = sweep.folder / f"{sweep.results.name}.jobs" / id / f"samples-{task}-{length}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_cell_has_the_answers_of_transformers(asked, made):
    """Two models, three tasks, two lengths over two workers: the same texts, to the letter."""
    asked.write(("c4_copy", "phone_book", "squad"), ("neox", "mamba"), "50, 100", more="text_order = random")
    started = asked.start("--sweep.exclude=task=phone_book")
    assert started.wait() == 0, started.text()
    started = asked.start("--eval.lengths=4,9", "--sweep.exclude=task=c4_copy", "--sweep.exclude=task=squad")
    assert started.wait() == 0, started.text()
    rows = asked.table("evaluations").merge(asked.table("jobs")[["job", "model"]], on="job")
    assert len(rows) == 12 and (rows["mode"] == "greedy").all() and (rows.step == 0).all()
    for model in ("neox", "mamba"):
        reference = tiny_models.Reference(made / model)
        for row in rows[rows.model == model].itertuples():
            found = samples(asked, model, row.task, row.length)
            assert [sample["index"] for sample in found] == list(range(row.n))
            assert row.n == (25 if row.task == "squad" else 8)
            for sample in found[:3] if row.length in (9, 100) else []:
                assert sample["prediction"] == reference.prediction(row.task, sample["prompt"])
            assert row.string_accuracy == row.exact_match
            assert row.exact_match == pytest.approx(sum(sample["exact_match"] for sample in found) / row.n)
            assert math.isnan(row.char_accuracy) and math.isnan(row.f1) == (row.task != "squad")
            if row.task == "squad":
                assert row.f1 == pytest.approx(sum(sample["f1"] for sample in found) / row.n)
    for task, length in (("c4_copy", 50), ("phone_book", 9), ("squad", 100)):
        one, other = (samples(asked, model, task, length) for model in ("neox", "mamba"))
        assert [sample["prompt"] for sample in one] == [sample["prompt"] for sample in other]


@pytest.mark.parametrize("precision", ["float16", "bf16", "float64"])
def test_other_precisions(asked, precision):
    asked.write(models=("neox", "mamba"), lengths="3")
    started = asked.start(f"--train.precision={precision}", workers=1)
    assert started.wait() == 0, started.text()
    assert asked.table("evaluations").n.tolist() == [8, 8]
    for model in ("neox", "mamba"):
        assert any(sample["prediction"] for sample in samples(asked, model, "phone_book", 3))


def test_killed_worker_loses_no_measured_point(asked):
    asked.write(lengths=MANY)
    started = asked.start()
    wait_until(lambda: len(asked.table("evaluations")) >= 3, 60)
    asked.kill_worker(asked.busy_worker())
    assert started.wait() == 0, started.text()
    rows = asked.table("evaluations")
    assert sorted(rows.length) == list(range(3, 24)), "each once"
    assert set(rows["try"]) == {1, 2}
    assert list(asked.table("events").query("job == 0").state) == ["planned", "running", "lost", "planned", "running",
                                                                  "done"]


def test_killed_run_goes_on_and_new_lengths_are_asked_alone(asked):
    asked.write(lengths=MANY)
    started = asked.start(workers=1)
    wait_until(lambda: len(asked.table("evaluations")) >= 3, 60)
    os.kill(asked.coordinator_pid(), signal.SIGKILL)
    assert started.wait() == 75, started.text()
    before = len(asked.table("evaluations"))
    assert 3 <= before < 21
    again = asked.start(workers=1)
    assert again.wait() == 0, again.text()
    assert sorted(asked.table("evaluations").length) == list(range(3, 24))
    more = asked.start("--eval.lengths=3,30", workers=1)
    assert more.wait() == 0, more.text()
    rows = asked.table("evaluations")
    assert len(rows) == 22 and rows.length.iloc[-1] == 30
    assert "0 to do" in run(asked.folder, "sweep", "small.ini", "-o", "results.h5").stdout


def test_group_of_two_ranks_answers_as_one(asked, tmp_path_factory):
    asked.write(("squad",), lengths="")
    assert asked.start("--sweep.ranks_per_job=2").wait() == 0
    alone = type(asked)(tmp_path_factory.mktemp("alone"))
    shutil.copy(asked.folder / "small.ini", alone.folder)
    assert alone.start(workers=None).wait() == 0
    columns = ["length", "n", "exact_match", "f1", "string_accuracy_std"]
    assert (asked.table("events").query("state == 'running' and job == 0").ranks == 2).all()
    assert asked.table("evaluations")[columns].equals(alone.table("evaluations")[columns])
    assert samples(asked, "neox", "squad", 100) == samples(alone, "neox", "squad", 100)


def test_prompt_longer_than_the_model_has_positions_is_recorded_as_not_run(asked):
    asked.write(models=("neox", "mamba"), lengths="3, 60")
    started = asked.start()
    assert started.wait() == 0, started.text()
    jobs, rows, events = (asked.table(table) for table in ("jobs", "evaluations", "events"))
    (neox,), (mamba,) = jobs.job[jobs.model == "neox"], jobs.job[jobs.model == "mamba"]
    (long,) = rows[(rows.job == neox) & (rows.length == 60)].itertuples()
    assert long.n == 0 and math.isnan(long.exact_match) and math.isnan(long.string_accuracy)
    assert (rows[rows.job == mamba].n == 8).all(), "no limit there"
    message = events[(events.job == neox) & (events.state == "done")].message.iloc[0]
    assert "phone_book 60 was not run" in message and f"{tiny_models.POSITIONS} positions" in message
    assert any("was not run" in log.read_text() for log in asked.folder.glob("results.h5.logs/*.log"))


def test_verb_prints_the_table_and_takes_published_names(asked, made):
    said = run(asked.folder, "pretrained", "--model", made / "neox", "--task", "squad", "--squad_file",
               made / "squad.json", "--eval_batch_size", 10, "--device", "cpu", "-o", "results.h5")
    assert said.returncode == 0, said.stdout + said.stderr
    assert "exact match" in said.stdout and "F1" in said.stdout and "letters" not in said.stdout
    assert list(asked.table("evaluations").length) == [50, 100], "all bins"
    said = run(asked.folder, "pretrained", "--model", made / "neox", "--task", "c4_copy", "--c4_corpus",
               made / "texts.json.gz", "--text_order", "random", "--min_eval_len", 10, "--max_eval_len", 20,
               "--eval_len_step", 5, "--eval_num_batches", 1, "--device", "cpu", "-o", "results.h5")
    assert said.returncode == 0, said.stdout + said.stderr
    rows = asked.table("evaluations").query("task == 'c4_copy'")
    assert list(rows.length) == [10, 15, 20] and (rows.n == 32).all()
    exported = run(asked.folder, "export", "results.h5").stdout.splitlines()
    assert len(exported) == 6 and ",neox,c4_copy,0,0,0,," in exported[-1], "no learning rate"
    assert "2 jobs: 2 done" in run(asked.folder, "status", "results.h5").stdout


def test_model_that_was_trained_here_is_asked_with_another_tokenizer(asked):
    trained = run(asked.folder, *"train --model rope --hidden_size 16 --heads 2 --layers 1 --steps 3 --max_train_len 9 "
                  "--max_eval_len 10 --save-models --device cpu -o trained.h5".split())
    assert trained.returncode == 0, trained.stdout + trained.stderr
    model = next(asked.folder.glob("trained.h5.jobs/*/model"))
    letters = {letter: number for number, letter in enumerate("abcdefghijklmnopqrstuvwxyz")}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    (asked.folder / "letters.json").write_text(json.dumps({
        "version": "1.0", "added_tokens": [], "normalizer": None, "pre_tokenizer": byte_level, "decoder": byte_level,
        "post_processor": None,
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "vocab": letters,
                  "merges": []}}))
    words = ("pretrained", "--model", model, "--task", "phone_book", "--lengths", 3, "--device", "cpu")
    lacking = run(asked.folder, *words, "-o", "results.h5")
    assert lacking.returncode == 2 and "tokenizer.json" in lacking.stderr
    said = run(asked.folder, *words, "--tokenizer", "letters.json", "-o", "results.h5")
    assert said.returncode == 0, said.stdout + said.stderr
    assert asked.table("evaluations").n.tolist() == [96]


def truncated(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def of_another_kind(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "gpt2"}))


def with_a_large_tokenizer(folder: Path) -> None:
    content = json.loads((folder / "tokenizer.json").read_text())
    ids = [*content["model"]["vocab"].values(), *(token["id"] for token in content["added_tokens"])]
    content["added_tokens"] += [{"id": id, "content": f"<extra {id}>", "single_word": False, "lstrip": False,
                                 "rstrip": False, "normalized": False, "special": True}
                                for id in range(max(ids) + 1, 1000)]
    (folder / "tokenizer.json").write_text(json.dumps(content))


@pytest.mark.parametrize(("spoil", "said"), [
    (lambda folder: shutil.rmtree(folder), ["spoilt"]),
    (lambda folder: (folder / "config.json").unlink(), ["spoilt/config.json"]),
    (lambda folder: (folder / "tokenizer.json").unlink(), ["spoilt/tokenizer.json", "pretrained.tokenizer"]),
    (lambda folder: (folder / "tokenizer.json").write_text("{"), ["spoilt/tokenizer.json"]),
    (of_another_kind, ["spoilt/config.json", "gpt2"]),
    (with_a_large_tokenizer, ["spoilt/tokenizer.json", "999", "408 rows"]),
    (truncated, ["spoilt/model.safetensors"]),
])
def test_spoilt_folder_is_refused_before_work_starts(asked, made, spoil, said):
    shutil.copytree(made / "neox", asked.folder / "spoilt")
    spoil(asked.folder / "spoilt")
    tried = run(asked.folder, "pretrained", "--model", "spoilt", "--task", "phone_book", "-o", "results.h5")
    assert tried.returncode == 2, tried.stdout + tried.stderr
    assert all(part in tried.stderr for part in said), tried.stderr
    assert not asked.results.exists()


@pytest.mark.parametrize(("task", "options", "said"), [
    ("c4_copy", ["--pretrained.c4_corpus=none.json.gz"], ["none.json.gz"]),
    ("c4_copy", ["--eval.lengths=100000"], ["texts.json.gz", "100000"]),
    ("squad", ["--pretrained.squad_file=none.json"], ["none.json"]),
    ("squad", ["--eval.lengths=500"], ["squad.json", "50, 100"]),
    ("squad", ["--eval.lengths=20"], ["eval.lengths = 20", "squad_bins"]),
    ("phone_book", ["--eval.lengths=2"], ["eval.lengths = 2", "3"]),
    ("copy", [], ["sweep.task = copy", "phone_book"]),
    ("phone_book", ["--train.precision=float8"], ["float8", "bf16"]),
])
def test_sweep_that_cannot_run_is_refused_by_plan_and_sweep(asked, task, options, said):
    asked.write((task,), lengths="50")
    planned = run(asked.folder, "plan", "small.ini", *options)
    assert planned.returncode == 2, planned.stdout
    assert all(part in planned.stderr for part in said), planned.stderr
    tried = run(asked.folder, "sweep", "small.ini", "-o", "results.h5", *options)
    assert tried.returncode == 2 and tried.stderr.replace("recite sweep", "recite plan") == planned.stderr
    assert not asked.results.exists()


def test_plan_knows_sizes_and_what_is_measured(asked):
    asked.write(("phone_book",), ("neox", "mamba"))
    planned = run(asked.folder, "plan", "small.ini")
    assert planned.returncode == 0, planned.stderr
    assert "2 jobs, 0 to train, 2 to ask pretrained models; 4 evaluation points" in planned.stdout
    assert asked.start(workers=1).wait() == 0
    planned = run(asked.folder, "plan", "small.ini", "-o", "results.h5", "--eval.lengths=3,8")
    assert planned.stdout.count("new points to measure") == 2


def test_stop_keeps_what_was_measured(asked):
    asked.write(lengths=MANY)
    started: Run = asked.start(workers=1)
    wait_until(lambda: len(asked.table("evaluations")) >= 2, 60)
    started.process.send_signal(signal.SIGINT)
    assert started.wait() == 75, started.text()
    assert asked.states() == {0: "stopped"}
    again = asked.start(workers=1)
    assert again.wait() == 0, again.text()
    assert sorted(asked.table("evaluations").length) == list(range(3, 24))
