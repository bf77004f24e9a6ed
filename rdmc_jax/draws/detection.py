"""Which modes the searches would have seen: injection and recovery.

A survey says what it would have missed by injecting signals and counting those that it recovers.
Here this needs no evaluation: a hypothetical mode of share s and relative width r,

    s Z N(x; c, r² V),

is seen if at one of the candidates, whose log densities are known, it exceeds what the search's own
rule asks for. c is drawn from the law of the candidates that lie nearest, and V has the shape of
one of the modes met, with the typical volume. The recovered fraction over the injected modes is the
probability of detection. It speaks of modes like these, placed like these: a needle far outside is
not among them. A mode that the Gaussians at the modes met exceed in its middle, or that holds a
point of a chain, lies on the flank of one of them: draws have its mass, and it counts as seen.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..pools.injection import WIDTHS
from ..types import Injected

NEVER = 1e9
"""Log excess that stands for infinity, where it is interpolated."""
SHARE, PROBABILITY = 0.1, 0.9
"""Share of the mass, and probability, for which `Detection.limit` names the width."""


class Detection(NamedTuple):
    """Detection of hypothetical modes by the searches of a run."""

    log_excess: np.ndarray  # (num_modes, num_widths) the largest over all searches
    log_overlap: np.ndarray  # (num_modes, num_widths) likewise
    typical: np.ndarray  # (dim,) typical deviation within a mode, of which widths are multiples

    @classmethod
    def of(cls, injected: Sequence[Injected]) -> "Detection":
        """Join searches: what one of them sees is seen."""
        logs = [np.log(np.asarray(one.typical, np.float64)) for one in injected]
        grid = np.log(WIDTHS)[::-1]

        def largest(name: str) -> np.ndarray:
            found = []
            for one in injected:
                reference = np.mean(np.log(np.asarray(one.reference, np.float64)))
                shifted = np.log(WIDTHS) + np.mean(logs) - reference
                rows = np.clip(np.asarray(getattr(one, name), np.float64), -NEVER, NEVER)
                found.append([np.interp(shifted, grid, row[::-1]) for row in rows])
            return np.max(found, axis=0)

        return cls(largest("log_excess"), largest("log_overlap"), np.exp(np.mean(logs, axis=0)))

    def probability(self, log_normalizer: float, share: float, width: float) -> float:
        """Probability that a mode would have been seen.

        Args:
            log_normalizer: of the run.
            share: of the mass, in (0, 1).
            width: relative to the typical width of a mode, one number for all coordinates.

        Returns:
            Recovered fraction of the injected modes, linear in log width between `WIDTHS`, and
            constant beyond them.

        Raises:
            ValueError: for a share or width out of range.
        """
        if not 0 < share < 1 or not width > 0:
            raise ValueError(
                f"share must lie between 0 and 1 and width must be positive, but got {share=} and "
                f"{width=}. Try share=0.1, width=0.5."
            )
        level = np.log(share) + log_normalizer
        is_seen = (self.log_excess + level > 0) | (self.log_overlap > level)
        grid = np.log(WIDTHS)[::-1]
        return float(np.interp(np.log(width), grid, np.mean(is_seen, axis=0)[::-1]))

    def limit(self, log_normalizer: float) -> float:
        """Smallest relative width down to which a tenth of the mass is seen with probability 0.9.

        Returns:
            A width between the ends of `WIDTHS`; infinite if even the widest are not seen.
        """
        widths = np.geomspace(WIDTHS[0], WIDTHS[-1], 8 * (len(WIDTHS) - 1) + 1)
        smallest = np.inf
        for width in widths:
            if self.probability(log_normalizer, SHARE, width) < PROBABILITY:
                break
            smallest = float(width)
        return smallest
