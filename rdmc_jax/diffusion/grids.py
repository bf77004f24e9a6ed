"""Grids of times, ordered from noise to data, as static tuples of floats."""

from ..types import Process
from .processes import ornstein_uhlenbeck


def log_snr_grid(
    num_levels: int, *, low: float = -7.0, high: float = 7.0, process: Process | None = None
) -> tuple[float, ...]:
    """Times that are equally spaced in log-SNR, the reference grid for a standardised target.

    Args:
        num_levels: number of transitions; the grid has one time more.
        low: log-SNR of the noisiest time. The start's bias (repaired by the weights) is about
            ``exp(low)`` of the squared distance of the mean from the origin.
        high: log-SNR of the cleanest time.
        process: the noising process; the Ornstein-Uhlenbeck process by default.

    Returns:
        ``num_levels + 1`` decreasing times.

    Raises:
        ValueError: for fewer than one level or ``low >= high``.

    >>> [round(t, 3) for t in log_snr_grid(2, low=-2.0, high=2.0)]
    [1.063, 0.347, 0.063]
    """
    if num_levels < 1 or not low < high:
        raise ValueError(
            f"log_snr_grid needs num_levels >= 1 and low < high, but got num_levels={num_levels}, "
            f"low={low}, high={high}. Noise comes first: low is the noisy end."
        )
    process = ornstein_uhlenbeck() if process is None else process
    step = (high - low) / num_levels
    return (*(process.time(low + step * k) for k in range(num_levels)), process.time(high))


def time_grid(num_levels: int, *, horizon: float, end: float = 0.0) -> tuple[float, ...]:
    """Equally spaced times from ``horizon`` down to ``end``, the grid of the paper.

    Args:
        num_levels: number of transitions; the grid has one time more.
        horizon: noisiest time T.
        end: cleanest time; 0 is the target itself.

    Returns:
        ``num_levels + 1`` decreasing times.

    Raises:
        ValueError: for fewer than one level, or times that do not decrease from ``horizon``.

    >>> time_grid(2, horizon=1.0)
    (1.0, 0.5, 0.0)

    Reference: Huang et al. (2024), arXiv 2307.02037, Algorithm 1.
    """
    if num_levels < 1 or not 0 <= end < horizon:
        raise ValueError(
            f"time_grid needs num_levels >= 1 and 0 <= end < horizon, but got "
            f"num_levels={num_levels}, horizon={horizon}, end={end}."
        )
    step = (horizon - end) / num_levels
    return (*(horizon - step * k for k in range(num_levels)), end)
