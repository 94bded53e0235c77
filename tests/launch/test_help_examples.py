"""Every example of every verb's help, run as it stands: in a folder with a short form of the sweep file it names,
and small models under the names of pretrained ones."""

import os
import re
import subprocess
from pathlib import Path

import pytest
import tiny_models
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

ROOT = Path(__file__).resolve().parents[2]
VERBS = ("sweep", "plan", "status", "train", "eval", "pretrained", "sample", "tokenize", "bench", "export", "doctor",
         "version", "completion")


def examples(verb: str) -> list[str]:
    text = subprocess.run([ROOT / "launch/recite", "help", verb], capture_output=True, text=True, check=True).stdout
    return re.findall(r"^  (\S.*)$", text[text.index("Examples:"):], re.MULTILINE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    made = tmp_path_factory.mktemp("examples")
    (made / "bin").mkdir()
    (made / "bin/recite").symlink_to(ROOT / "launch/recite")
    (made / "configs").mkdir()
    text = (ROOT / "configs/quickstart.ini").read_text()
    for model, make in (("pythia-410m", tiny_models.make_neox), ("mamba-370m", tiny_models.make_mamba)):
        (made / "models" / model).mkdir(parents=True)
        make(made / "models" / model)
    tiny_models.make_texts(made / "c4.json.gz")
    tiny_models.make_squad(made / "dev-v2.0.json")
    (made / "configs/quickstart.ini").write_text(re.sub(r"^(steps|every) = .*", r"\1 = 4", text, flags=re.MULTILINE))
    write_tokenizer(made / "tokenizer.json")
    (made / "text.txt").write_text("to be or not to be\nwhat it reads\n")
    return made


def write_tokenizer(path: Path) -> None:
    """Of bytes alone."""
    tokenizer = Tokenizer(models.BPE({letter: i for i, letter in enumerate(pre_tokenizers.ByteLevel.alphabet())}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(path))


def as_run(example: str) -> str:
    """The same command, but one that never ends is interrupted, and training is made short."""
    if "--watch" in example:
        return f"timeout --preserve-status -s INT 3 {example}"
    if "T_rope" in example:
        return example + " --hidden_size 16 --heads 2 --layers 1 --steps 3"
    if example.startswith("recite train"):
        return example + " --train.context_length=60 --max_train_len 20"
    return example


@pytest.mark.parametrize("verb", VERBS)
def test_three_examples_work(folder, verb):
    """In the order of the verbs: later ones read what earlier ones wrote."""
    commands = examples(verb)
    assert len(commands) == 3
    for command in commands:
        if "zsh" in command:
            continue    # sourced by another shell; tests/commands reads what it prints
        result = subprocess.run(["bash", "-c", as_run(command)], cwd=folder, capture_output=True, text=True,
                                timeout=200, env={**os.environ, "PATH": f"{folder}/bin:{os.environ['PATH']}"})
        assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
