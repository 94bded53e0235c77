"""Waiting for what other processes do."""

import time
from collections.abc import Callable


def wait_until(condition: Callable[[], object], seconds: float, state: Callable[[], str] = str,
               over: Callable[[], bool] = bool) -> None:
    """A condition that finds a file or a table not there yet (OSError, KeyError) is not met yet. `state()` tells, in
    case of failure, how things stand; `over()` that it cannot happen any more."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not over():
        try:
            if condition():
                return
        except (OSError, KeyError):
            pass
        time.sleep(0.02)
    raise AssertionError(f"did not happen in {seconds} s: {state()}")
