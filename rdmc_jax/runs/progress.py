"""Show the progress of a run: by tqdm if it is installed, else by lines; draws do not change."""

import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from ..montecarlo.weights import log_mean_exp, weight_ess


class Report(NamedTuple):
    """Functions that a run calls as it goes on."""

    ensembles: Callable[[list[tuple[int, Any]]], None]
    """Called with all finished ensembles after each new one."""
    trial: Callable[[str], None]
    """Called with a line about sizes that were tried for a tolerance."""


def _line(parts: list[tuple[int, Any]]) -> str:
    log_weight = np.concatenate([result.log_weight for _, result in parts])
    bad = sum(int(np.sum(result.info.num_nonfinite)) for _, result in parts)
    if np.all(np.isnan(log_weight)):
        return f"no weights, non-finite {bad:,}"
    log_z = log_mean_exp(log_weight)
    ess = weight_ess(log_weight)
    return f"log Z {log_z:.3f}, ESS {ess:.0f} of {log_weight.size}, non-finite {bad:,}"


@contextmanager
def reporter(show: bool, total: int) -> Iterator[Report]:
    """Make the functions to call after each new ensemble, and while sizes grow for a tolerance.

    Args:
        show: whether anything is shown.
        total: number of ensembles to come.
    """
    if not show:
        yield Report(lambda parts: None, lambda text: None)
        return
    is_terminal = sys.stderr.isatty()
    if is_terminal and importlib.util.find_spec("tqdm") is not None:
        from tqdm import tqdm

        with tqdm(total=total, desc="rdmc (compiling)", unit="ensemble") as bar:

            def report(parts: list[tuple[int, Any]]) -> None:
                bar.set_description("rdmc")
                bar.set_postfix_str(_line(parts), refresh=False)
                bar.update(len(parts) - bar.n)

            yield Report(report, lambda text: bar.write(f"rdmc: {text}", file=sys.stderr))
        return
    print(f"rdmc: compiling, then {total} ensembles", file=sys.stderr, flush=True)
    shown = 0

    def plain(parts: list[tuple[int, Any]]) -> None:
        nonlocal shown
        tenths = 10 * len(parts) // total
        if tenths > shown:
            shown = tenths
            print(f"rdmc: {len(parts)}/{total} {_line(parts)}", file=sys.stderr, flush=True)

    def line(text: str) -> None:
        print(f"rdmc: {text}", file=sys.stderr, flush=True)

    yield Report(plain, line)
