"""Scores, answers and SQuAD prompts against their rules in Python, whose `str` and `re` the published code is made of.

PROMPTS_ORACLE names the program that runs ours (prompts_oracle.cpp). With SQUAD_FILE, the prompts of that file are read
too, and its bins are printed.
"""

import collections
import json
import os
import random
import re
import string
import subprocess
import unicodedata
from pathlib import Path

import pytest

PAIRS = 8000

PIECES = (
    "a an the A An THE aN ab then b c d ä É ß Ω İstanbul ΣΟΦΟΣ Σ oΣx straße naïve".split()
    + "東京 日本 ½ ² Ⅷ ٣ 10th 1066 3.5".split()
    + ["_", "-", ".", ",", "'", '"', "!", "(", ")", "[", "^", "`", "{", "~", "@", "\\", "/", "|", "$"]
    + ["‘", "’", "´", "“", "”", "—", "…", "€", "\u0301", "\u0307", "·", "\u200b"]
    + [" ", " ", " ", "  ", "\t", "\n", "\r", "\u00a0", "\u2003", "\u3000", "\u2028", "\x1c", "\x85"]
)


def oracle(what, lines):
    text = "".join(json.dumps(line) + "\n" for line in lines)
    run = subprocess.run([os.environ["PROMPTS_ORACLE"], what], input=text, capture_output=True, check=True, text=True)
    answers = [json.loads(line) for line in run.stdout.split("\n") if line]
    assert len(answers) == len(lines)
    return answers


def normalise(text, rule):
    text = text.lower()
    if rule == "published":
        for mark in string.punctuation + "‘’´`":
            text = text.replace(mark, " ")
    else:
        text = text.translate(dict.fromkeys(map(ord, string.punctuation)))
    return " ".join(re.sub(r"\b(?:the|an|a)\b", " ", text).split())


def f1(answer, gold):
    answer, gold = collections.Counter(answer.split()), collections.Counter(gold.split())
    shared = (answer & gold).total()
    if not shared:
        return 0.0
    precision, recall = shared / answer.total(), shared / gold.total()
    return 2 * precision * recall / (precision + recall)


def drawn_text(draw):
    return "".join(draw.choice(PIECES) for _ in range(draw.randint(0, 12)))


def changed(draw, text):
    """Often equal or alike once normalised."""
    for _ in range(draw.randint(0, 3)):
        at = draw.randint(0, len(text))
        text = text[:at] + draw.choice([" ", " the ", "’", ".", "_", "x", drawn_text(draw)]) + text[at:]
    return text.upper() if draw.random() < 0.1 and text.isascii() else text


@pytest.mark.parametrize("rule", ["published", "official"])
def test_squad_scores(rule):
    draw = random.Random(rule)
    lines = []
    for _ in range(PAIRS):
        gold = [drawn_text(draw) for _ in range(draw.randint(1, 4))]
        lines.append({"task": "squad", "normalisation": rule, "answer": changed(draw, draw.choice(gold)), "gold": gold})
    exact, partial, different = 0, 0, 0
    for line, ours in zip(lines, oracle("scores", lines), strict=True):
        answer = normalise(line["answer"], rule)
        golds = [normalise(gold, rule) for gold in line["gold"]]
        assert ours["normalised"] == answer, line
        assert ours["exact_match"] == max(answer == gold for gold in golds), line
        assert ours["f1"] == max(f1(answer, gold) for gold in golds), line
        exact += ours["exact_match"]
        partial += 0 < ours["f1"] < 1
        different += answer != " ".join(line["answer"].split())
    assert exact > PAIRS / 10 and partial > PAIRS / 10 and different > PAIRS / 2


def test_scores_of_every_character():
    """Each beside letters and spaces. Python's Unicode is older than ours: it says which characters there are."""
    points = [p for p in range(1, 0x20000) if not 0xD800 <= p < 0xE000 and unicodedata.category(chr(p)) != "Cn"]
    for rule in ("published", "official"):
        lines = [{"task": "squad", "normalisation": rule, "answer": f"a{chr(p)}the {chr(p)}X{chr(p)}", "gold": ["x"]}
                 for p in points]  # fmt: skip
        wrong = [line["answer"] for line, ours in zip(lines, oracle("scores", lines), strict=True)
                 if ours["normalised"] != normalise(line["answer"], rule)]  # fmt: skip
        assert wrong == []


CLEANUP = [(" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"),
           (" n't", "n't"), (" 'm", "'m"), (" 's", "'s"), (" 've", "'ve"), (" 're", "'re")]  # fmt: skip


def answer_of(task, cleanup, text):
    for old, new in CLEANUP if cleanup == "published" else []:
        text = text.replace(old, new)
    if task == "c4_copy":
        return text.split("\n\n")[0].replace("\n", " ").strip()
    if task == "phone_book":
        return text.split("\n")[0].strip()
    return text.split("\n\n")[0].split("<|endoftext|>")[0].strip()


def test_answers():
    draw = random.Random(1)
    pieces = PIECES + ["\n", "\n\n", "<|endoftext|>", " n't", " 's", " 've", " ' ", " .", " ,", " '", "' "]
    lines = []
    for _ in range(PAIRS):
        text = "".join(draw.choice(pieces) for _ in range(draw.randint(0, 15)))
        task, cleanup = draw.choice(["c4_copy", "phone_book", "squad"]), draw.choice(["none", "published"])
        lines.append({"task": task, "cleanup": cleanup, "text": text})
    finished = 0
    for line, ours in zip(lines, oracle("answers", lines), strict=True):
        assert ours["answer"] == answer_of(**line), line
        if ours["finished"] and line["task"] == "squad":
            assert answer_of(**{**line, "text": line["text"] + " more"}) == ours["answer"], line
        finished += ours["finished"]
    assert PAIRS / 10 < finished < PAIRS * 9 / 10


def made_squad(path):
    draw = random.Random(2)
    paragraphs = []
    for number in range(400):
        context = " ".join(draw.choice(["word", "né", "—", "x,"]) for _ in range(draw.randint(1, 330))) + f" {number}."
        answers = [[{"text": f"{number} {q} {i}", "answer_start": 0} for i in range(draw.randint(0, 3))]
                   for q in range(5)]  # fmt: skip
        paragraphs.append({"context": context, "qas": [
            {"question": f"{number} {q}?", "id": f"{q}", "answers": found, "is_impossible": not found}
            for q, found in enumerate(answers[: draw.randint(0, 5)])]})  # fmt: skip
    articles = [{"title": "t", "paragraphs": paragraphs[i : i + 50]} for i in range(0, 400, 50)]
    path.write_text(json.dumps({"version": "v2.0", "data": articles}))
    return path


def words_in(text):
    """Tokens of the oracle's codec: words with the space before them, and newlines."""
    return len(re.findall(r" ?[^ \n]+| |\n", text))


def check_squad(path):
    contexts, bins = {}, collections.defaultdict(set)
    for article in json.loads(path.read_text())["data"]:
        for paragraph in article["paragraphs"]:
            answered = {qa["question"]: [a["text"] for a in qa["answers"]] for qa in paragraph["qas"]
                        if not qa["is_impossible"] and qa["answers"]}  # fmt: skip
            if len(answered) >= 2:
                contexts[paragraph["context"]] = answered
                bins[-(-words_in(paragraph["context"]) // 50) * 50].add(paragraph["context"])
    run = subprocess.run([os.environ["PROMPTS_ORACLE"], "squad", path, "1"], capture_output=True, check=True, text=True)
    asked = collections.defaultdict(list)
    for line in map(json.loads, filter(None, run.stdout.split("\n"))):
        context, shot, question = line["text"].rsplit("\n\nQuestion: ", 2)
        first, answer = shot.rsplit("\nAnswer: ", 1)
        assert question.endswith("\nAnswer: ")
        question = question.removesuffix("\nAnswer: ")
        assert context in bins[line["bin"]] and first != question
        assert answer == contexts[context][first][0]
        assert line["gold"] == contexts[context][question]
        asked[line["bin"]].append(context)
    for bin_, found in bins.items():
        assert len(asked.get(bin_, [])) == (min(len(found), 30) if len(found) >= 15 else 0), bin_
        assert len(set(asked.get(bin_, []))) == len(asked.get(bin_, [])), bin_
    return {bin_: (len(found), len(asked.get(bin_, []))) for bin_, found in sorted(bins.items())}


def test_squad_prompts(tmp_path):
    counts = check_squad(made_squad(tmp_path / "squad.json"))
    assert len(counts) >= 6 and any(found > asked for found, asked in counts.values())


if "SQUAD_FILE" in os.environ:

    def test_squad_prompts_of_the_given_file():
        for bin_, (found, asked) in check_squad(Path(os.environ["SQUAD_FILE"])).items():
            print(f"bin {bin_}: {found} contexts with two answered questions, {asked} asked")
