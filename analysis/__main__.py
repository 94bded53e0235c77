"""python -m analysis VERB results.h5: tables, figures, a live view and the paper's claims, from a sweep's results."""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from pathlib import Path
from typing import NoReturn

from analysis import curves, figures, live
from analysis.compare import compare, report
from analysis.read import ResultsError, read_results
from analysis.style import METRICS
from analysis.views import tidy_table

METRIC_OPTIONS = {"string": "string_accuracy", "char": "char_accuracy", "exact_match": "exact_match", "f1": "f1"}


class UsageError(Exception):
    """Wrong use: one line for the user."""


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, with the nearest name where there is one."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {self.prog} --help)")

    def _check_value(self, action: argparse.Action, value: object) -> None:
        if action.choices is None or value in action.choices:
            return
        allowed = [str(choice) for choice in action.choices]
        nearest = difflib.get_close_matches(str(value), allowed, n=1)
        hint = f"did you mean '{nearest[0]}'?" if nearest else f"allowed: {', '.join(allowed)}"
        self.error(f"{action.metavar or action.option_strings[0]} '{value}' is unknown: {hint}")


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code: 0, or 2 for wrong use or a file that cannot be read or written."""
    try:
        options = parser().parse_args(arguments)
        options.run(options)
    except (UsageError, ResultsError) as error:
        print(f"analysis: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # The reader of our output has gone (`| head`); keep the interpreter from flushing into the closed pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"analysis: {where}{error.strerror or error}", file=sys.stderr)
        return 2
    return 0


def parser() -> Parser:
    top = Parser(prog="python -m analysis", description=__doc__, allow_abbrev=False)
    verbs = top.add_subparsers(metavar="VERB", required=True)

    table = _verb(verbs, "table", _table, "one row per measured point, with its job")
    table.add_argument("-o", "--output", type=Path, metavar="FILE", help=".parquet or .csv; CSV on stdout if not given")

    drawn = _verb(verbs, "figures", _figures, "draw length generalisation, efficiency, losses and an overview")
    drawn.add_argument("-o", "--output", type=Path, default=Path("figures"), metavar="FOLDER", help="default: figures")
    drawn.add_argument("--format", choices=("png", "svg", "pdf"), default="png", help="default: png")
    drawn.add_argument("--metric", choices=METRIC_OPTIONS, help="default: string, where it was measured")
    drawn.add_argument(
        "--at-length", type=int, metavar="LENGTH",
        help="of the strings in the efficiency figure; default: the training maximum; the nearest measured is taken",
    )
    drawn.add_argument("--mode", choices=("teacher_forced", "greedy"), help="default: teacher_forced, where measured")

    watched = _verb(verbs, "live", _live, "follow a sweep in the terminal")
    watched.add_argument("--every", type=_seconds, default=2.0, metavar="SECONDS", help="default: 2")
    watched.add_argument("--once", action="store_true", help="show it once and leave")
    watched.add_argument("--figure", type=Path, metavar="FILE", help="also draw the overview there at each refresh")

    _verb(verbs, "compare", _compare, "check the claims of the paper")
    return top


def _verb(verbs: argparse._SubParsersAction, name: str, run, text: str) -> Parser:
    verb = verbs.add_parser(name, help=text, description=text[:1].upper() + text[1:] + ".", allow_abbrev=False)
    verb.add_argument("results", type=Path, metavar="results.h5")
    verb.set_defaults(run=run)
    return verb


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.1 <= value <= 86400:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of seconds between 0.1 and 86400")
    return value


def _table(options: argparse.Namespace) -> None:
    target = options.output
    if target is not None and target.suffix not in (".parquet", ".csv"):
        raise UsageError(f"-o {target}: the name must end in .parquet or .csv")
    table = tidy_table(read_results(options.results))
    if target is None:
        table.to_csv(sys.stdout, index=False)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.suffix == ".parquet":
        table.to_parquet(target, index=False)
    else:
        table.to_csv(target, index=False)
    print(f"{target}: {len(table)} rows, {len(table.columns)} columns")


def _figures(options: argparse.Namespace) -> None:
    data = curves.load(read_results(options.results), options.mode)
    metric = METRIC_OPTIONS.get(options.metric)
    if metric is not None and not data.table[metric].notna().any():
        raise UsageError(f"--metric {options.metric}: {options.results} has no {METRICS[metric]}")
    if options.mode is not None and data.table.empty:
        raise UsageError(f"--mode {options.mode}: {options.results} has no evaluation in this mode")
    for path in figures.save_all(data, options.output, options.format, metric, options.at_length):
        print(path)


def _live(options: argparse.Namespace) -> None:
    if options.figure is not None and options.figure.suffix not in (".png", ".svg", ".pdf"):
        raise UsageError(f"--figure {options.figure}: the name must end in .png, .svg or .pdf")
    live.follow(options.results, options.every, options.once, options.figure)


def _compare(options: argparse.Namespace) -> None:
    data = curves.load(read_results(options.results))
    unfinished = len(data.finished) < data.jobs
    print(f"{len(data.finished)} of {data.jobs} jobs done{'; the claims are judged by those' if unfinished else ''}\n")
    print(report(compare(curves.of_finished_jobs(data))))


if __name__ == "__main__":
    sys.exit(main())
