"""Progress of a run: tqdm where it is installed, plain lines elsewhere; numbers never change."""

import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from . import diagnostics

Report = Callable[[list[tuple[int, Any]]], None]


def _line(parts: list[tuple[int, Any]]) -> str:
    log_weight = np.concatenate([result.log_weight for _, result in parts])
    bad = sum(int(np.sum(result.info.num_nonfinite)) for _, result in parts)
    if np.all(np.isnan(log_weight)):
        return f"no weights, non-finite {bad:,}"
    log_z = diagnostics.log_mean_exp(log_weight)
    ess = diagnostics.weight_ess(log_weight)
    return f"log Z {log_z:.3f}, ESS {ess:.0f} of {log_weight.size}, non-finite {bad:,}"


@contextmanager
def reporter(show: bool, total: int) -> Iterator[Report]:
    """A function to call with all finished ensembles after each new one.

    Args:
        show: False for silence.
        total: number of ensembles to come.
    """
    if not show:
        yield lambda parts: None
        return
    is_terminal = sys.stderr.isatty()
    if is_terminal and importlib.util.find_spec("tqdm") is not None:
        from tqdm import tqdm

        with tqdm(total=total, desc="rdmc (compiling)", unit="ensemble") as bar:

            def report(parts: list[tuple[int, Any]]) -> None:
                bar.set_description("rdmc")
                bar.set_postfix_str(_line(parts), refresh=False)
                bar.update(len(parts) - bar.n)

            yield report
        return
    print(f"rdmc: compiling, then {total} ensembles", file=sys.stderr, flush=True)
    shown = 0

    def plain(parts: list[tuple[int, Any]]) -> None:
        nonlocal shown
        tenths = 10 * len(parts) // total
        if tenths > shown:
            shown = tenths
            print(f"rdmc: {len(parts)}/{total} {_line(parts)}", file=sys.stderr, flush=True)

    yield plain
