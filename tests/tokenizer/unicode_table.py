"""Writes unicode_table.inc: which code points are what to Hugging Face's `tokenizers`, found by asking the wheel.

    .venv/bin/python tests/tokenizer/unicode_table.py > src/tokenizer/unicode_table.inc

The wheel's libraries know different versions of Unicode (of 0.23.3: 16 in its patterns, 9 in NFC), and no library of
ours knows the same. The table holds runs of code points: first << 8 | bits (src/tokenizer/unicode_classes.h).
"""

import unicodedata

from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

LETTER, NUMBER, SPACE, WORD, NFC = 1, 2, 4, 8, 16
CODE_POINTS = [chr(point) for point in range(0x110000) if not 0xD800 <= point < 0xE000]
HANGUL_VOWELS_AND_FINALS = [*map(chr, range(0x1161, 0x1176)), *map(chr, range(0x11A8, 0x11C3))]


def pattern_classes() -> dict[str, int]:
    """By the one of the pattern's alternatives that takes a character together with another of the same class."""
    split = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True).pre_tokenize_str
    classes = {}
    for char in CODE_POINTS:
        joined = [len(split(other + char)) == 1 for other in "a1!"]
        assert sum(joined) <= 1, hex(ord(char))
        classes[char] = LETTER if joined[0] else NUMBER if joined[1] else 0 if joined[2] else SPACE
    return classes


def words() -> set[str]:
    """Beside these a token that must be a single word is none."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.add_tokens([AddedToken("#", single_word=True)])
    return {char for char in CODE_POINTS if char != "#" and not tokenizer.encode("#" + char).ids}


def touched_by_nfc() -> set[str]:
    """Changed by NFC alone, put into order, or composed with what stands before."""
    nfc = normalizers.NFC().normalize_str
    last_class = "x\u0345"  # of the highest combining class: every other mark goes before it
    touched = {char for char in CODE_POINTS if nfc(char) != char or nfc(last_class + char) != last_class + char}
    touched.update("\u0345", HANGUL_VOWELS_AND_FINALS)
    for char in CODE_POINTS:
        parts = unicodedata.decomposition(char).split()
        if len(parts) == 2 and not parts[0].startswith("<"):
            first, second = (chr(int(part, 16)) for part in parts)
            if nfc(first + second) == char:
                touched.add(second)
    return touched


def main() -> None:
    classes, word, touched = pattern_classes(), words(), touched_by_nfc()
    runs, before = [], None
    for char in CODE_POINTS:
        bits = classes[char] | (WORD if char in word else 0) | (NFC if char in touched else 0)
        if bits != before:
            runs.append(ord(char) << 8 | bits)
            before = bits
    for at in range(0, len(runs), 10):
        print(" ".join(f"{run:#010x}," for run in runs[at:at + 10]))


if __name__ == "__main__":
    main()
