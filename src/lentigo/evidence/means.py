"""Means of a measure over images, with their intervals, and whether the means of two measures differ: values in.

NaN is no value: such an image is left out. Images of one lesion or patient depend on each other, so whole groups are
drawn again, and whole groups change their sign.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Real

from lentigo.errors import DataError
from lentigo.evidence.bootstrap import check_count, percentiles
from lentigo.evidence.intervals import UNDEFINED, Groups, Interval, group_index, summed

COUNT = 2000  # resamples
FLIPS = 9999  # random ways to turn the signs, beside the one found: the least p value is 0.0001
EXACT_GROUPS = 13  # of so many groups or fewer all ways are tried
_CHUNK = 2_000_000  # numbers at once
_NEARLY = 1e-12  # of the largest possible sum: what rounding makes of equal sums


@dataclass(frozen=True, kw_only=True)
class MeanDifference:
    """The mean of the first measure less that of the second, on the images where both have a value."""

    difference: Interval
    p_value: float  # two-sided; NaN without an image
    n: int  # images


def mean_interval(
    values: Real[np.ndarray, " image"],
    *,
    groups: Groups = None,
    count: int = COUNT,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """The mean over images, with the percentile interval of the bootstrap over groups.

    Of 30 images with shares for values (beta distributions, even to very skewed) it holds the true mean in 92 to 94 %
    of studies instead of 95 %; of 300 images in 95 to 96 %. Of 30 lesions with 1 to 4 like images each it does so in
    94 %, and in 73 % where those pass for single images.

    Args:
        values: NaN: none.
        groups: one number an image; images of one number are drawn together.
        count, seed: of the resamples.
        level: chance that such an interval is to hold the true mean, in (0, 1).
    Returns: `UNDEFINED` without a value; without bounds where all values are of one group.
    Raises:
        DataError: a value is infinite, or as many groups as images are not given.
        ConfigError: the level is out of range, or the count is too small for it.
    Source: Davison & Hinkley 1997, Bootstrap Methods and their Application, sections 3.8 and 5.3,
        doi:10.1017/CBO9780511802843.
    """
    check_count(count, level)
    _check_finite(values)
    sums, sizes = _by_group(values.astype(np.float64), groups)
    if not sums.size:
        return UNDEFINED
    mean = float(sums.sum() / sizes.sum())
    if sums.size == 1:
        return Interval(mean, math.nan, math.nan)
    rng = np.random.default_rng(np.random.SeedSequence((seed, 0x3EA7)))
    means = np.empty(count)
    step = max(1, _CHUNK // sums.size)
    for start in range(0, count, step):
        drawn = rng.integers(sums.size, size=(min(step, count - start), sums.size))
        means[start : start + len(drawn)] = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    return Interval(mean, *percentiles(means, level))


def mean_difference(
    first: Real[np.ndarray, " image"],
    second: Real[np.ndarray, " paired"],
    *,
    groups: Groups = None,
    count: int = COUNT,
    seed: int = 0,
    level: float = 0.95,
) -> MeanDifference:
    """Whether two measures of the same images differ, by a sign-flip permutation test over groups.

    If they do not, each group's difference might as well have the other sign. The p value is the share of ways to turn
    the signs, the one found among them and so never 0, that give a mean at least as far from 0: of all ways for
    `EXACT_GROUPS` groups or fewer, else of `FLIPS` random ones.

    Args:
        first, second: of the same images in the same order; NaN: none, and the image is left out.
        groups, count, seed, level: as `mean_interval`; the seed is that of the random signs too.
    Raises: as `mean_interval`; also DataError: the two are of different lengths.
    Source: Fisher 1935, The Design of Experiments, section 21; Good 2005, Permutation, Parametric, and Bootstrap Tests
        of Hypotheses, doi:10.1007/b138696; groups: Winkler et al. 2015, doi:10.1016/j.neuroimage.2015.05.092; random
        ways: Phipson & Smyth 2010, doi:10.2202/1544-6115.1585.
    """
    if len(first) != len(second):
        raise DataError(f"{len(first)} and {len(second)} values cannot be paired; give both of the same images")
    for values in (first, second):
        _check_finite(values)  # before the difference of two infinities is NaN, and passes for no value
    differences = first.astype(np.float64) - second
    interval = mean_interval(differences, groups=groups, count=count, seed=seed, level=level)
    sums, _ = _by_group(differences, groups)
    return MeanDifference(
        difference=interval, p_value=_sign_flip_p(sums, seed), n=int(np.count_nonzero(~np.isnan(differences)))
    )


def _by_group(
    values: Float64[np.ndarray, " image"], groups: Groups
) -> tuple[Float64[np.ndarray, " group"], Float64[np.ndarray, " group"]]:
    """Sum and number of the values of each group that has any."""
    group = group_index(groups, values.size)
    known = ~np.isnan(values)
    if not known.any():
        return np.empty(0), np.empty(0)
    index = group_index(group[known], int(known.sum()))
    n_groups = int(index.max()) + 1
    return summed(values[known], index, n_groups), summed(np.ones(index.size), index, n_groups)


def _check_finite(values: Real[np.ndarray, " image"]) -> None:
    infinite = int(np.isinf(values).sum())
    if infinite:
        raise DataError(f"{infinite} of {values.size} values are infinite; a mean needs finite ones, or NaN for none")


def _sign_flip_p(sums: Float64[np.ndarray, " group"], seed: int) -> float:
    if not sums.size:
        return math.nan
    least = abs(sums.sum()) - _NEARLY * np.abs(sums).sum()
    if sums.size <= EXACT_GROUPS:
        ways = np.arange(2**sums.size)[:, None] >> np.arange(sums.size) & 1
        return float((np.abs((1 - 2 * ways) @ sums) >= least).mean())
    rng, reached = np.random.default_rng(np.random.SeedSequence((seed, 0xF11B))), 1
    step = max(1, _CHUNK // sums.size)
    for start in range(0, FLIPS, step):
        signs = rng.integers(0, 2, size=(min(step, FLIPS - start), sums.size), dtype=np.int8) * 2 - 1
        reached += int(np.count_nonzero(np.abs(signs @ sums) >= least))
    return reached / (FLIPS + 1)
