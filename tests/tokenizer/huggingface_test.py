"""Our tokenizer against the `tokenizers` wheel, id for id, on drawn texts.

TOKENIZER_ORACLE names the program that runs ours (tokenizer_oracle.cpp). The tokenizers are trained here, with every
setting that is supported; RECITE_TOKENIZER may name the tokenizer.json of a published one, which is then compared in
their place.
"""

import json
import os
import random
import subprocess
import unicodedata
from functools import cache
from pathlib import Path

import pytest
from drawn_texts import Drawn
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

TEXTS = 12_000
TEXTS_OF_A_VARIANT = 2_500  # of the first one, or of one that is given: TEXTS
GIVEN = os.environ.get("RECITE_TOKENIZER")
BYTE_LETTERS = pre_tokenizers.ByteLevel.alphabet()
FIRST_TOKENS = [AddedToken(name, special=True, normalized=False) for name in ("<|end|>", "<pad>")]
ADDED_TOKENS = [
    *(AddedToken(" " * spaces, normalized=True) for spaces in range(2, 25)),
    AddedToken("<word>", single_word=True, normalized=False),
    AddedToken("half", single_word=True, normalized=True),
    AddedToken("<left>", lstrip=True, normalized=False),
    AddedToken("<right>", rstrip=True, normalized=True),
    AddedToken("<both>", lstrip=True, rstrip=True, special=True, normalized=True),
    AddedToken("<both><both>", special=False, normalized=True),
    AddedToken("e\u0301t\u0327e\u0301", normalized=True),
    AddedToken("A\u030a", special=True, normalized=True),
    AddedToken("u\u0308ber", normalized=False),
    AddedToken("Ġletters é", normalized=False),
    AddedToken("Ā\u00ad", normalized=False),
]


@cache
def vocabulary_and_merges(whole_alphabet):
    """Of a tokenizer trained on drawn texts: as JSON."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(vocab_size=3000, initial_alphabet=BYTE_LETTERS if whole_alphabet else [],
                                  special_tokens=FIRST_TOKENS, show_progress=False)  # fmt: skip
    tokenizer.train_from_iterator(Drawn(99).texts(3000), trainer)
    return tokenizer.to_str()


def trained(normalizer=None, prefix_space=False, use_regex=True, whole_alphabet=True, added=ADDED_TOKENS):
    tokenizer = Tokenizer.from_str(vocabulary_and_merges(whole_alphabet))
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space, use_regex=use_regex)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens(added)
    return json.loads(tokenizer.to_str())


def with_model(description, **changes):
    description["model"] |= changes
    return description


def merges_as_text(description):
    return with_model(description, merges=[" ".join(pair) for pair in description["model"]["merges"]])


def ignoring_merges(description):
    """With merges in such an order that few pieces come out as whole tokens by them."""
    return with_model(description, ignore_merges=True, merges=description["model"]["merges"][::-1])


NFC = normalizers.NFC
VARIANTS = {
    "nfc": lambda: trained(NFC()),
    "text_merges_sequence": lambda: merges_as_text(trained(normalizers.Sequence([NFC(), NFC()]))),
    "prefix_space": lambda: trained(NFC(), prefix_space=True),
    "no_normalizer": lambda: trained(None),
    "no_pattern": lambda: trained(NFC(), use_regex=False),
    "ignore_merges": lambda: ignoring_merges(trained(NFC())),
    "few_bytes": lambda: trained(NFC(), whole_alphabet=False),
    "nothing_added": lambda: trained(NFC(), added=[]),
}


NAMES = ["given"] if GIVEN else list(VARIANTS)
MAIN = NAMES[0]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """By a variant's name: the wheel's tokenizer and the file of it."""
    folder = tmp_path_factory.mktemp("tokenizers")

    @cache
    def make(name):
        path = Path(GIVEN) if GIVEN else folder / f"{name}.json"
        if not GIVEN:
            path.write_text(json.dumps(VARIANTS[name]()))
        print(f"\ncompared with: {path if GIVEN else 'trained here, ' + name}")
        return Tokenizer.from_file(str(path)), path

    return make


@pytest.fixture(params=NAMES)
def pair(request, made):
    return made(request.param)


@pytest.fixture
def main_pair(made):
    return made(MAIN)


def ours(path, requests):
    lines = "".join(json.dumps(request) + "\n" for request in requests)
    command = [os.environ["TOKENIZER_ORACLE"], path]
    ran = subprocess.run(command, input=lines, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    answers = [json.loads(line) for line in ran.stdout.split("\n")[:-1]]
    assert len(answers) == len(requests)
    return answers


def compare_ids(pair, texts):
    """Every text's ids; returns them."""
    wheel, path = pair
    expected = [encoding.ids for encoding in wheel.encode_batch(texts, add_special_tokens=False)]
    for text, ids, wanted in zip(texts, ours(path, [{"text": text} for text in texts]), expected, strict=True):
        assert ids == wanted, ascii(text)
    return expected


def compare_texts(pair, lists):
    wheel, path = pair
    answers = ours(path, [{"ids": ids} for ids in lists])
    for ids, (kept, skipped) in zip(lists, answers, strict=True):
        assert kept == wheel.decode(ids, skip_special_tokens=False), ids
        assert skipped == wheel.decode(ids, skip_special_tokens=True), ids


def added_to(wheel):
    return [token.content for token in wheel.get_added_tokens_decoder().values()]


@pytest.mark.parametrize("name", NAMES)
def test_drawn_texts_and_back(made, name):
    wheel, path = made(name)
    texts = Drawn(1, added_to(wheel)).texts(TEXTS if name == MAIN else TEXTS_OF_A_VARIANT)
    ids = compare_ids((wheel, path), texts)
    compare_texts((wheel, path), ids)
    print(f"{len(texts)} texts, {sum(len(text.encode()) for text in texts)} bytes, {sum(map(len, ids))} ids: equal")


def test_added_tokens_beside_each_other(pair):
    """Each flag beside white space, words, marks and other added tokens."""
    draw, tokens = random.Random(2), added_to(pair[0])
    between = ["", "", " ", "  ", "\n \t", "a", "_", "1", "\u0301", "\u00a0", "²", "Ⓐ", "-", "\u200d", " " * 30]
    compare_ids(pair, ["".join(draw.choice(tokens) + draw.choice(between) if tokens else draw.choice(between)
                               for _ in range(draw.randint(1, 6))) for _ in range(1500)])  # fmt: skip


def test_any_ids_to_text(pair):
    """Bytes in any order, so that most are not UTF-8; ids that no token has."""
    wheel, _ = pair
    draw, vocabulary = random.Random(3), wheel.get_vocab()
    single = [vocabulary[letter] for letter in BYTE_LETTERS if letter in vocabulary]
    largest = max(vocabulary.values())
    lists = [[]]
    for _ in range(TEXTS_OF_A_VARIANT):
        some = draw.choice([single, single, range(largest + 1), range(largest - 20, largest + 40)])
        lists.append(draw.choices(some, k=draw.randint(1, 12)))
    compare_texts(pair, lists)


def uniform(char):
    """One of the many thousands that are all alike, or one that Python does not know."""
    many = ("CJK UNIFIED", "HANGUL SYLLABLE", "TANGUT IDEOGRAPH", "EGYPTIAN")
    return unicodedata.name(char, many[0]).startswith(many)


def beside_others(char):
    """A code point beside letter, number, sign, space, and before and behind marks."""
    if uniform(char):
        return f"a{char}1\u0345{char}\u0301"
    return f"a{char}1{char}!{char} {char}\u0345{char}\u0334e{char}\u0301"


def test_every_code_point(main_pair):
    """All of the planes that have assigned ones, but for private use; of the others every 16th."""
    points = [chr(point) for point in [*range(0xD800), *range(0xF900, 0x40000), *range(0xE000, 0xF900, 16),
                                       *range(0x40000, 0x110000, 16), *range(0xE0000, 0xE0200)]]  # fmt: skip
    texts = [beside_others(char) for char in points]
    compare_ids(main_pair, ["\n".join(texts[at:at + 50]) for at in range(0, len(texts), 50)])
    print(f"{len(points)} code points: equal")


def test_long_text_without_space(pair):
    parts = ("a", "ab", "\u0301\u0334", "哈", "가", " ", "\n ", "'s", "=-")
    compare_ids(pair, [part * (20_000 // len(part)) for part in parts])
