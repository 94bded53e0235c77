"""Checks what arXiv 2402.01032 claims about its synthetic tasks and about pretrained models against a results file.

Claims only: none of the paper's accuracies is known here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from analysis import claims, pretrained_claims
from analysis.claims import BADLY, FEWER, HOLDS_TO_N, JUST_BEYOND, LITTLE, MARGIN, NEAR_ZERO, PAPER_LENGTH, SOLVED
from analysis.curves import Data

HOLDS, FAILS, NOT_MEASURED = "holds", "does not hold", "not measured"

# What the paper says, the criterion, and the function that applies it.
CLAIMS: tuple[tuple[str, str, claims.Judge], ...] = (
    ("Training efficiency: transformers need about 100 times fewer strings than the best state-space model",
     f"every transformer is first measured at {SOLVED} or more after at least {FEWER:.0f} times fewer strings",
     claims.efficiency_ratio),
    (f"Training efficiency: the LSTM does not learn strings of length {PAPER_LENGTH}",
     f"it stays below {SOLVED}", claims.lstm_does_not_learn),
    ("Length generalisation: every model solves the trained lengths",
     f"at least {SOLVED} at each of them", claims.solved_in_distribution),
    ("Length generalisation: Mamba and LSTM fall to zero at once beyond them",
     f"at most {NEAR_ZERO} from {JUST_BEYOND} times the training maximum on", claims.recurrent_fall),
    ("Length generalisation: transformers decay slowly",
     f"at least {BADLY:.0%} of the accuracy is kept at {JUST_BEYOND} times the training maximum",
     claims.transformers_decay_slowly),
    ("Length generalisation: Hard-ALiBi stays almost perfect, to 20 times the trained length",
     f"at least {SOLVED} at each length", claims.hard_alibi_reaches),
    ("N-gram, suffix key: transformers degrade a little",
     f"at least {LITTLE:.0%} of the accuracy is kept at the longest length", claims.suffix_transformers),
    ("N-gram, suffix key: state-space models degrade badly",
     f"less than {BADLY:.0%} of the accuracy is kept at the longest length", claims.suffix_state_space),
    ("N-gram, prefix key: state-space models generalise perfectly",
     f"at least {SOLVED} at each length beyond the trained ones", claims.prefix_state_space),
    ("N-gram, prefix key: state-space models generalise better than NoPE and ALiBi",
     f"their mean beyond the trained lengths is higher by more than {MARGIN}", claims.prefix_better),
    ("N-gram, prefix key: state-space models do not generalise better than Hard-ALiBi",
     f"their mean beyond the trained lengths is higher by at most {MARGIN}", claims.prefix_not_better),
    ("Duplicated n-grams: a copy-trained transformer holds to n = 4 and drops from n = 5",
     f"at least {SOLVED} up to n = {HOLDS_TO_N}, less from there on, at the training maximum", claims.duplicates),
    ("C4 copy: the smallest Pythia copies better than the largest Mamba",
     f"its mean over the lengths of both is higher by more than {MARGIN}", pretrained_claims.copies_better),
    (f"C4 copy, shuffled: the largest Mamba is at zero for {pretrained_claims.SHUFFLED_LENGTH} tokens",
     f"at most {NEAR_ZERO} from there on", pretrained_claims.shuffled_is_lost),
    ("Phone book: the smallest Pythia (410m) finds more numbers than the largest Mamba (2.8b) from 70 entries",
     "more at each length of both from there on", pretrained_claims.finds_numbers),
    ("SQuAD: the largest Pythia and the largest Mamba are equal on short contexts",
     f"F1 within {pretrained_claims.ALIKE} in the first {pretrained_claims.SHORT_BINS} bins",
     pretrained_claims.answers_alike_when_short),
    ("SQuAD: Mamba falls faster with the context", f"its F1 falls by more than {MARGIN} more from first to last bin",
     pretrained_claims.falls_faster),
)


@dataclass(frozen=True)
class Finding:
    claim: str
    verdict: str
    criterion: str
    numbers: tuple[str, ...]  # what was looked at


def compare(data: Data) -> list[Finding]:
    return [_judged(data, claim, criterion, judge) for claim, criterion, judge in CLAIMS]


def report(findings: Iterable[Finding]) -> str:
    blocks = []
    for finding in findings:
        lines = [f"{finding.verdict + ':':<15}{finding.claim}", f"    judged by: {finding.criterion}"]
        blocks.append("\n".join(lines + [f"    {number}" for number in finding.numbers]))
    return "\n\n".join(blocks)


def _judged(data: Data, claim: str, criterion: str, judge: claims.Judge) -> Finding:
    try:
        holds, numbers = judge(data)
        return Finding(claim, HOLDS if holds else FAILS, criterion, tuple(numbers))
    except claims.Missing as missing:
        return Finding(claim, NOT_MEASURED, criterion, tuple(map(str, missing.args)))
