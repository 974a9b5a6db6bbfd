"""How a probe learns and how it is tested: folds of whole groups, boosted trees, a permutation test. Arrays only."""

import math
from collections import defaultdict

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64
from scipy.linalg import cho_factor, cho_solve
from sklearn.ensemble import HistGradientBoostingClassifier

FOLDS = 5
PERMUTATIONS = 2000  # Holm over 20 probes can then still reach 20 / 2001 < 0.01
MAX_PERMUTED = 2000  # images in the permutation test, one a group
MAX_WAVES = 200  # random cosines that make the smoother's kernel, and no more than one for four images
_DECIMALS = 6  # of a logit: what differs by less is one value that was rounded differently in two folds

Features = Float32[np.ndarray, "image feature"]
Labels = Int64[np.ndarray, " image"]
Logits = Float64[np.ndarray, " image"]


def deal_folds(labels: Labels, groups: Int64[np.ndarray, " image"], seed: int) -> Int64[np.ndarray, " image"] | str:
    """A fold number for each image, no group in two folds, both classes spread evenly; or why that cannot be.

    Groups are dealt by size, the largest first, each to the fold with the fewest images of its classes. There are five
    folds, or as many as the class in fewer groups has.
    """
    members: dict[int, list[int]] = defaultdict(list)
    for index, group in enumerate(groups.tolist()):
        members[group].append(index)
    in_groups = [np.unique(groups[labels == label]).size for label in (0, 1)]
    if min(in_groups) < 2:
        return (
            f"groups of like images with benign ones: {in_groups[0]}, with malignant ones: {in_groups[1]}; "
            "at least 2 of either are needed, to learn from one and score the other"
        )
    total = np.bincount(labels, minlength=2).tolist()
    n_folds = min(FOLDS, *in_groups)
    counts = [[0.0, 0.0] for _ in range(n_folds)]  # share of each class
    fold = np.zeros(labels.size, dtype=np.int64)
    shuffled = np.random.default_rng(np.random.SeedSequence((seed, 0xF01D))).permutation(np.array(list(members)))
    for group in sorted(shuffled.tolist(), key=lambda number: -len(members[number])):
        malignant = int(labels[members[group]].sum())
        holds = (len(members[group]) - malignant, malignant)
        chosen = min(range(n_folds), key=lambda k: (holds[0] * counts[k][0] + holds[1] * counts[k][1], sum(counts[k])))
        for label in (0, 1):
            counts[chosen][label] += holds[label] / total[label]
        fold[members[group]] = chosen
    if not trainable(labels, fold):
        return "its groups of like images cannot be dealt so that every fold learns from both classes"
    return fold


def trainable(labels: Labels, fold: Int64[np.ndarray, " image"]) -> bool:
    """Whether what lies outside each fold holds both classes."""
    return all(np.unique(labels[fold != k]).size == 2 for k in np.unique(fold)) and np.unique(fold).size > 1


def out_of_fold(features: Features, labels: Labels, fold: Int64[np.ndarray, " image"]) -> Logits:
    """A logit for every image from a model that has not seen its fold.

    The log odds of each model's own training images are taken off: a fold with more of one class than the others leaves
    fewer for its model, and a model that knows nothing would rank the folds the wrong way round.
    """
    logits = np.zeros(labels.size)
    for k in np.unique(fold).tolist():
        train, held = fold != k, fold == k
        prior = math.log((labels[train] == 1).sum() / (labels[train] == 0).sum())
        logits[held] = fit_and_score(features[train], labels[train], features[held]) - prior
    return np.round(logits, _DECIMALS) + 0.0  # no -0.0


def fit_and_score(
    features: Features, labels: Labels, new: Float32[np.ndarray, "new feature"]
) -> Float64[np.ndarray, " new"]:
    """Logits of `new` images by boosted trees fitted to the others, of which both classes are there."""
    model = HistGradientBoostingClassifier(
        max_iter=min(150, max(30, labels.size // 20)),  # more only learn a small set by heart, in seconds
        max_leaf_nodes=31,
        max_features=0.3,  # of the columns, at each split: a thumbnail's 108 take 1 s instead of 2
        min_samples_leaf=min(20, max(2, labels.size // 20)),
        early_stopping=False,
        random_state=0,
    )
    logits: Float64[np.ndarray, " new"] = model.fit(features, labels).decision_function(new)
    return np.round(logits, _DECIMALS) + 0.0


def permutation_p_value(features: Features, labels: Labels, groups: Int64[np.ndarray, " image"], *, seed: int) -> float:
    """How often shuffled labels do as well as the true ones: (1 + as good or better) / (1 + permutations).

    The score is the AUC, out of five folds, of a ridge smoother on the standardised features, linear and in random
    cosines (a Gaussian kernel as wide as the cloud of images). A smoother is linear in the labels, so that thousands of
    permutations are one matrix product, which boosted trees would not allow. It sees at most 2,000 images, one a group,
    since images of one group do not permute on their own. Only an AUC above that of the shuffled labels counts.

    Returns: in (0, 1]; 1 where all images look alike; NaN where one class is absent.
    Source: Phipson & Smyth 2010, doi:10.2202/1544-6115.1585 (the added 1); Rahimi & Recht 2007, Advances in Neural
        Information Processing Systems 20 (the cosines).
    """
    rng = np.random.default_rng(np.random.SeedSequence((seed, 0x9E12)))
    order = rng.permutation(labels.size)
    sample = order[np.unique(groups[order], return_index=True)[1]]
    sample = rng.permutation(sample)[:MAX_PERMUTED]  # in random order, so that images that tie stand in random order
    features, labels = features[sample].astype(np.float64), labels[sample]
    if np.unique(labels).size < 2:
        return math.nan
    spread = features.std(axis=0)
    if not (varies := spread > 0).any():
        return 1.0
    scaled = ((features - features.mean(axis=0))[:, varies] / spread[varies]).clip(-5, 5)
    shuffled = np.stack([labels, *(rng.permutation(labels) for _ in range(PERMUTATIONS))], axis=1) == 1
    targets = shuffled - np.float32(labels.mean())
    scores = _aucs(_smooth_out_of_fold(_waves(scaled, rng), targets), shuffled)
    return float((1 + (scores[1:] >= scores[0]).sum()) / (1 + PERMUTATIONS))


def _waves(scaled: Float64[np.ndarray, "image feature"], rng: np.random.Generator) -> Float32[np.ndarray, "image wave"]:
    """The features and random cosines of them, each kind with a mean square of about 1 in all."""
    n, width = scaled.shape
    count = min(MAX_WAVES, max(8, n // 4))
    directions = rng.standard_normal((width, count)) / math.sqrt(width)
    cosines = np.cos(scaled @ directions + rng.uniform(0, math.tau, count)) * math.sqrt(2 / count)
    return np.concatenate((scaled / math.sqrt(width), cosines), axis=1).astype(np.float32)


def _smooth_out_of_fold(
    waves: Float32[np.ndarray, "image wave"], targets: Float32[np.ndarray, "image permutation"]
) -> Float32[np.ndarray, "image permutation"]:
    """Ridge regression (penalty 1) of every column of targets; each fifth image by the weights of the others."""
    folds = [slice(k, None, FOLDS) for k in range(FOLDS)]
    squares = [waves[k].T @ waves[k] for k in folds]
    products = [waves[k].T @ targets[k] for k in folds]
    whole = sum(squares) + np.eye(waves.shape[1], dtype=np.float32), sum(products)
    smooth = np.empty_like(targets)
    for k, square, product in zip(folds, squares, products, strict=True):
        smooth[k] = waves[k] @ cho_solve(cho_factor(whole[0] - square), whole[1] - product)
    return smooth


def _aucs(
    scores: Float32[np.ndarray, "image permutation"], malignant: Bool[np.ndarray, "image permutation"]
) -> Float64[np.ndarray, " permutation"]:
    """AUC of every column; of images that tie, the later one counts as higher."""
    ordered = np.take_along_axis(malignant, np.argsort(scores, axis=0, kind="stable"), axis=0)
    n_malignant, n = int(malignant[:, 0].sum()), len(malignant)
    ranks = np.arange(1, n + 1, dtype=np.float64) @ ordered
    aucs: Float64[np.ndarray, " permutation"] = (ranks / n_malignant - (n_malignant + 1) / 2) / (n - n_malignant)
    return aucs
