"""Measure log Z of the galaxy problem to a standard error below .01, by importance sampling.

The density is written anew here (numpy and scipy.stats, double precision, constrained parameters
and their Jacobian), so that the script also checks `rdmc_jax.problems.galaxy`. By symmetry Z is K!
times the integral over ordered means:

1. Gibbs chains with data augmentation, from dispersed starts, give draws; sorting the labels by
   mean folds all of them into the ordered region.
2. The proposal is a mixture of multivariate Student t, one around each of a subset of the draws,
   with half of the draws' standard deviations, plus a share of .1 with three times wider ones. It
   is fixed before step 3, covers every region that any chain saw, and has heavy tails.
3. Independent proposals, weighted, restricted to ordered means: the average times K! is unbiased
   for Z whatever the chains did; its error comes from independent weights.

Usage: python -m benchmarks.truths.galaxy [--num-draws 200000] [--num-seeds 3]
"""

import argparse
import itertools
import math

import numpy as np
from scipy import stats
from scipy.special import logsumexp

from rdmc_jax.problems.galaxies import GALAXY_VELOCITIES, LOG_NORMALIZERS

NEAL = {(2, True): -239.76, (3, True): -226.84, (3, False): -226.80}
MEAN_LOC, MEAN_SCALE, SHAPE, SCALE = 20.0, 10.0, 3.0, 20.0
DEGREES_OF_FREEDOM = 8.0


def log_posterior(flat, num_components, equal_variances):
    """Log of likelihood, prior and Jacobian at rows (means, log variances, log ratios)."""
    num_variances = 1 if equal_variances else num_components
    mean = flat[:, :num_components]
    log_variance = flat[:, num_components : num_components + num_variances]
    log_ratio = flat[:, num_components + num_variances :]
    ratio = np.exp(np.append(log_ratio, np.zeros((len(flat), 1)), axis=1))
    weight = ratio / ratio.sum(1, keepdims=True)
    deviation = np.broadcast_to(np.exp(0.5 * log_variance), mean.shape)
    likelihood = np.zeros((len(flat), len(GALAXY_VELOCITIES)))
    for j in range(num_components):
        standardised = (GALAXY_VELOCITIES - mean[:, j : j + 1]) / deviation[:, j : j + 1]
        likelihood += (weight[:, j] / deviation[:, j])[:, None] * np.exp(-0.5 * standardised**2)
    # A likelihood that underflows has weight zero, as it should.
    with np.errstate(divide="ignore"):
        log_likelihood = np.log(likelihood).sum(1)
    log_likelihood -= 0.5 * len(GALAXY_VELOCITIES) * math.log(2.0 * math.pi)
    log_prior = stats.norm.logpdf(mean, MEAN_LOC, MEAN_SCALE).sum(1)
    log_prior += stats.invgamma.logpdf(np.exp(log_variance), SHAPE, scale=SCALE).sum(1)
    log_prior += math.lgamma(num_components)
    # d variance / d log variance, and the determinant of the additive log-ratio: prod of weights.
    log_jacobian = log_variance.sum(1) + np.log(weight).sum(1)
    return log_likelihood + log_prior + log_jacobian


def gibbs(rng, num_components, equal_variances, num_chains=200, num_sweeps=3000, thin=10):
    """Gibbs draws by data augmentation, labels sorted by mean, the first third discarded."""
    y = GALAXY_VELOCITIES[None, :, None]
    mean = rng.normal(MEAN_LOC, MEAN_SCALE, (num_chains, num_components))
    variance = np.full((num_chains, num_components), 10.0)
    weight = np.full((num_chains, num_components), 1.0 / num_components)
    kept = []
    for sweep in range(num_sweeps):
        logits = np.log(weight / np.sqrt(variance))[:, None, :]
        logits = logits - 0.5 * (y - mean[:, None, :]) ** 2 / variance[:, None, :]
        mass = np.exp(logits - logits.max(2, keepdims=True)).cumsum(2)
        uniform = rng.random((num_chains, y.shape[1], 1)) * mass[:, :, -1:]
        member = (uniform < mass) & (uniform >= np.pad(mass, ((0, 0), (0, 0), (1, 0)))[:, :, :-1])
        count = member.sum(1)
        gamma = rng.gamma(1.0 + count)
        weight = gamma / gamma.sum(1, keepdims=True)
        precision = MEAN_SCALE**-2 + count / variance
        center = (MEAN_LOC / MEAN_SCALE**2 + (member * y).sum(1) / variance) / precision
        mean = center + rng.standard_normal(center.shape) / np.sqrt(precision)
        squares = (member * (y - mean[:, None, :]) ** 2).sum(1)
        if equal_variances:
            squares, count = squares.sum(1, keepdims=True), count.sum(1, keepdims=True)
        variance = (SCALE + 0.5 * squares) / rng.gamma(SHAPE + 0.5 * count)
        flat_variance = variance
        variance = np.broadcast_to(variance, mean.shape)
        if sweep >= num_sweeps // 3 and sweep % thin == 0:
            order = np.argsort(mean, axis=1)
            sorted_mean = np.take_along_axis(mean, order, 1)
            sorted_weight = np.take_along_axis(weight, order, 1)
            if not equal_variances:
                flat_variance = np.take_along_axis(variance, order, 1)
            ratio = np.log(sorted_weight[:, :-1] / sorted_weight[:, -1:])
            kept.append(np.concatenate([sorted_mean, np.log(flat_variance), ratio], axis=1))
    return np.concatenate(kept)


class Proposal:
    """A mixture of multivariate Student t around given centres, with a wide share."""

    def __init__(self, centers, covariance, widths=(0.5, 1.5), shares=(0.9, 0.1)):
        self.factor = np.linalg.cholesky(covariance)
        self.whitener = np.linalg.inv(self.factor)
        self.centers = centers @ self.whitener.T
        self.widths, self.shares = np.array(widths), np.array(shares)

    def sample(self, rng, num_draws):
        """Draw in the original coordinates."""
        center = self.centers[rng.integers(len(self.centers), size=num_draws)]
        width = self.widths[rng.choice(len(self.widths), num_draws, p=self.shares)]
        noise = rng.standard_normal(center.shape)
        noise *= np.sqrt(DEGREES_OF_FREEDOM / rng.chisquare(DEGREES_OF_FREEDOM, (num_draws, 1)))
        return (center + width[:, None] * noise) @ self.factor.T

    def log_density(self, flat):
        """Log density in the original coordinates."""
        dim = flat.shape[1]
        power = 0.5 * (DEGREES_OF_FREEDOM + dim)
        log_constant = math.lgamma(power) - math.lgamma(0.5 * DEGREES_OF_FREEDOM)
        log_constant -= 0.5 * dim * math.log(DEGREES_OF_FREEDOM * math.pi)
        log_constant -= np.log(np.diag(self.factor)).sum()
        result = []
        for block in np.array_split(flat @ self.whitener.T, max(1, len(flat) // 1000)):
            squared = (block**2).sum(1)[:, None] + (self.centers**2).sum(1)
            squared = np.maximum(squared - 2.0 * block @ self.centers.T, 0.0)
            density = np.zeros(len(block))
            for width, share in zip(self.widths, self.shares, strict=True):
                kernel = (1.0 + squared / (DEGREES_OF_FREEDOM * width**2)) ** -power
                density += share * width**-dim * kernel.mean(1)
            result.append(np.log(density))
        return np.concatenate(result) + log_constant


def measure(seed, num_components, equal_variances, num_draws, num_centers=1500):
    """Return log Z, its standard error, the effective sample size and the largest weight."""
    rng = np.random.default_rng(seed)
    draws = gibbs(rng, num_components, equal_variances)
    centers = draws[rng.choice(len(draws), num_centers, replace=False)]
    proposal = Proposal(centers, np.cov(draws.T))
    flat = proposal.sample(rng, num_draws)
    mean = flat[:, :num_components]
    ordered = np.all(np.diff(mean, axis=1) > 0.0, axis=1)
    log_weight = np.full(num_draws, -np.inf)
    log_weight[ordered] = log_posterior(flat[ordered], num_components, equal_variances)
    log_weight[ordered] -= proposal.log_density(flat[ordered])
    log_z = logsumexp(log_weight) - math.log(num_draws) + math.lgamma(num_components + 1.0)
    weight = np.exp(log_weight - log_weight.max())
    error = weight.std() / weight.mean() / math.sqrt(num_draws)
    ess = weight.sum() ** 2 / (weight**2).sum()
    return log_z, error, ess, weight.max() / weight.sum()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num-draws", type=int, default=200_000)
    parser.add_argument("--num-seeds", type=int, default=3)
    arguments = parser.parse_args()
    print("components variances seed     log Z     se     ESS  largest    Neal  shipped")
    for key, seed in itertools.product(NEAL, range(arguments.num_seeds)):
        log_z, error, ess, largest = measure(seed, *key, arguments.num_draws)
        label = "equal" if key[1] else "unequal"
        print(
            f"{key[0]:10d} {label:>9s} {seed:4d} {log_z:9.4f} {error:.4f} {ess:7.0f} "
            f"{largest:8.5f} {NEAL[key]:7.2f} {LOG_NORMALIZERS[key]:8.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
