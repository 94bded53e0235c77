"""Texts of many kinds, drawn from a seed: what a tokenizer may meet, and what it is likely to get wrong."""

import random
import unicodedata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SPACES = [chr(point) for point in range(0x3001) if chr(point).isspace()] + ["\u200b", "\u180e", "\ufeff", "\u2060"]
ENGLISH = ("the of and copy model length string repeats what it read state space attention head layer token a I it's "
           "don't we're they've I'm she'll he'd O'Neil 'tis rock'n'roll HELLO World iPhone naïve café").split()
NUMBERS = ["0", "7", "42", "1234567890", "3.14", "1e-5", "²", "½", "Ⅷ", "٣٤", "१२", "〇", "𝟘", "①"]
EMOJI = ["😀", "👍🏽", "👩‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪", "❤️", "☺", "1️⃣", "🫠", "🧑🏿‍🚀", "©", "™"]
PUNCTUATION = list("!?.,;:'\"()[]{}<>|/\\@#$%^&*-_=+~`") + [
    "…", "—", "«", "»", "。", "¿", "''", "->", "://", "'s", "' s", "’s"]  # fmt: skip
SCRIPTS = [(0x41, 0x5A), (0x61, 0x7A), (0xC0, 0x24F), (0x370, 0x3FF), (0x400, 0x4FF),
           (0x531, 0x586), (0x5D0, 0x5EA), (0x620, 0x64A), (0x905, 0x939), (0x985, 0x9B9),
           (0xB85, 0xBB9), (0xE01, 0xE30), (0x10D0, 0x10FF), (0x1200, 0x1248), (0x1E00, 0x1EFF),
           (0x1F00, 0x1FFF), (0x3041, 0x3096), (0x30A1, 0x30FA), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3),
           (0xF900, 0xFAD9), (0x10400, 0x1044F), (0x1D400, 0x1D7FF), (0x20000, 0x2A6DF),
           (0x2F800, 0x2FA1D)]  # fmt: skip
JAMO = [*range(0x1100, 0x1113), *range(0x1161, 0x1176), *range(0x11A7, 0x11C3)]
MARKS = [chr(point) for point in range(0x110000) if unicodedata.combining(chr(point))]
COMPOSING = [chr(point) for point in range(0x110000) if len(unicodedata.decomposition(chr(point)).split()) == 2]
SOURCES = [ROOT / "README.md", *sorted((ROOT / "src/base").glob("*")), *sorted((ROOT / "analysis").glob("*.py"))]


class Drawn:
    """`added` are tokens that stand in some of the texts."""

    def __init__(self, seed: int, added: list[str] = ()):
        self.draw = random.Random(seed)
        self.added = list(added)
        self.lines = [line for path in SOURCES if path.is_file() for line in path.read_text().splitlines(True)]
        self.kinds = [self.english, self.code, self.script, self.numbers, self.emoji, self.punctuation, self.spaces]
        self.kinds += [self.marks, self.decomposed, self.jamo, self.anything, self.repeated, self.added_token]

    def english(self):
        return " ".join(self.draw.choices(ENGLISH, k=self.draw.randint(1, 12)))

    def code(self):
        at = self.draw.randrange(len(self.lines))
        return "".join(self.lines[at:at + self.draw.randint(1, 4)])

    def script(self):
        low, high = self.draw.choice(SCRIPTS)
        return "".join(chr(self.draw.randint(low, high)) for _ in range(self.draw.randint(1, 8)))

    def numbers(self):
        return "".join(self.draw.choices(NUMBERS, k=self.draw.randint(1, 3)))

    def emoji(self):
        return "".join(self.draw.choices(EMOJI, k=self.draw.randint(1, 4)))

    def punctuation(self):
        return "".join(self.draw.choices(PUNCTUATION, k=self.draw.randint(1, 5)))

    def spaces(self):
        some = self.draw.choice([[" "], [" ", "\n"], ["\t"], SPACES])
        return "".join(self.draw.choices(some, k=self.draw.choice([1, 1, 2, 3, 8, 23, 24, 25, 60])))

    def marks(self):
        base = self.draw.choice(["a", "e", "ö", "q", "1", " ", "क", "\u0d46", "가", "x\u0345", ""])
        return base + "".join(self.draw.choices(MARKS, k=self.draw.randint(1, 6)))

    def decomposed(self):
        form = self.draw.choice(["NFD", "NFC", "NFKD"])
        return unicodedata.normalize(form, "".join(self.draw.choices(COMPOSING, k=self.draw.randint(1, 4))))

    def jamo(self):
        return "".join(chr(self.draw.choice(JAMO)) for _ in range(self.draw.randint(1, 6)))

    def anything(self):
        points = (self.draw.choice([self.draw.randrange(0x110000), self.draw.randrange(0x3000)]) for _ in range(5))
        return "".join(chr(point) for point in points if not 0xD800 <= point < 0xE000)

    def repeated(self):
        return self.draw.choice(["a", "ab", "=", "-", "哈", "\u0301", "0", "'s", "é"]) * self.draw.randint(1, 90)

    def added_token(self):
        return self.draw.choice(self.added) if self.added else ""

    def text(self) -> str:
        parts = (self.draw.choice(self.kinds)() for _ in range(self.draw.randint(1, 7)))
        return self.draw.choice(["", "", " "]).join(parts)

    def texts(self, count: int) -> list[str]:
        return [self.text() for _ in range(count)]


if __name__ == "__main__":  # for tokenizer_bench: about so many bytes of text of all kinds
    import sys

    drawn, left = Drawn(5), int(sys.argv[1])
    while left > 0:
        text = drawn.text()
        left -= len(text.encode())
        print(text)
