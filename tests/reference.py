"""Slow, obvious versions of what lentigo computes, each written from its definition; tests compare the two.

Plain Python loops on purpose, and nothing from lentigo is imported: no trick and no mistake can be shared.
"""

import cmath
import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import pairwise, product

# ---------------------------------------------------------------- metrics: labels are 0 or 1, scores any numbers


def counts(labels: Sequence[int], scores: Sequence[float], threshold: float = 0.0) -> dict[str, int]:
    """Each image goes into one of four boxes; malignant is called at score >= threshold."""
    boxes = {"true_positive": 0, "false_positive": 0, "true_negative": 0, "false_negative": 0}
    for label, score in zip(labels, scores, strict=True):
        called = 1 if float(score) >= threshold else 0
        boxes[("true" if called == label else "false") + ("_positive" if called else "_negative")] += 1
    return boxes


def ratios(labels: Sequence[int], scores: Sequence[float], threshold: float = 0.0) -> dict[str, float]:
    """Accuracy, precision, recall, specificity and F1, each a share of a set of images that is counted anew."""
    pairs = [(int(label), float(score) >= threshold) for label, score in zip(labels, scores, strict=True)]

    def share_right(images: list[tuple[int, bool]]) -> float:
        return sum(label == called for label, called in images) / len(images) if images else math.nan

    found = [pair for pair in pairs if pair == (1, True)]
    malignant_and_called = sum(label == 1 for label, _ in pairs) + sum(called for _, called in pairs)
    return {
        "accuracy": share_right(pairs),
        "precision": share_right([pair for pair in pairs if pair[1]]),
        "recall": share_right([pair for pair in pairs if pair[0] == 1]),
        "specificity": share_right([pair for pair in pairs if pair[0] == 0]),
        # Dice's form: twice the intersection of the malignant and the called, over the sum of their sizes.
        "f1": 2 * len(found) / malignant_and_called if malignant_and_called else math.nan,
    }


def auc(labels: Sequence[int], scores: Sequence[float]) -> Fraction:
    """Over all pairs of a malignant and a benign image, the share won by the malignant one; a tie is half a win."""
    wins, pairs = Fraction(0), 0
    for label_m, malignant in zip(labels, scores, strict=True):
        for label_b, benign in zip(labels, scores, strict=True):
            if label_m == 1 and label_b == 0:
                pairs += 1
                wins += 1 if malignant > benign else Fraction(1, 2) if malignant == benign else 0
    return wins / pairs


def auc_components(labels: Sequence[int], scores: Sequence[float]) -> tuple[list[Fraction], list[Fraction]]:
    """DeLong's: for each malignant image its share of wins over the benign ones, for each benign one its losses."""

    def win(malignant: float, benign: float) -> Fraction:
        return Fraction(1) if malignant > benign else Fraction(1, 2) if malignant == benign else Fraction(0)

    malignant = [score for label, score in zip(labels, scores, strict=True) if label == 1]
    benign = [score for label, score in zip(labels, scores, strict=True) if label == 0]
    of_malignant = [sum((win(m, b) for b in benign), Fraction(0)) / len(benign) for m in malignant]
    of_benign = [sum((win(m, b) for m in malignant), Fraction(0)) / len(malignant) for b in benign]
    return of_malignant, of_benign


def auc_variance(labels: Sequence[int], scores: Sequence[float]) -> Fraction:
    """DeLong's: the sample variances of the components of either class, each over its number of images, added."""
    variance = Fraction(0)
    for components in auc_components(labels, scores):
        mean = sum(components, Fraction(0)) / len(components)
        squares = sum(((c - mean) ** 2 for c in components), Fraction(0))
        variance += squares / (len(components) - 1) / len(components)
    return variance


def clustered_auc_variance(labels: Sequence[int], scores: Sequence[float], groups: Sequence[int]) -> Fraction:
    """Obuchowski's: S10 / M + S01 / N + 2 S11 / (M N), from sums of components within each group."""
    components = [iter(of_class) for of_class in auc_components(labels, scores)]
    area = auc(labels, scores)
    sums = {group: [Fraction(0), Fraction(0)] for group in groups}  # off the mean: malignant, benign
    for label, group in zip(labels, groups, strict=True):
        sums[group][0 if label == 1 else 1] += next(components[0 if label == 1 else 1]) - area
    counts = [sum(label == 1 for label in labels), sum(label == 0 for label in labels)]
    holding = [{g for label, g in zip(labels, groups, strict=True) if label == wanted} for wanted in (1, 0)]
    variance = Fraction(0)
    for side in (0, 1):
        many = len(holding[side])
        s = sum((sums[g][side] ** 2 for g in holding[side]), Fraction(0)) * many / ((many - 1) * counts[side])
        variance += s / counts[side]
    s11 = sum((both[0] * both[1] for both in sums.values()), Fraction(0)) * len(sums) / (len(sums) - 1)
    return variance + 2 * s11 / (counts[0] * counts[1])


def roc_points(labels: Sequence[int], scores: Sequence[float]) -> list[tuple[Fraction, Fraction]]:
    """(false, true) positive rate with nothing called, then with each distinct score as threshold, highest first."""
    points = [(Fraction(0), Fraction(0))]
    for threshold in sorted({float(score) for score in scores}, reverse=True):
        boxes = counts(labels, scores, threshold)
        false_rate = Fraction(boxes["false_positive"], boxes["false_positive"] + boxes["true_negative"])
        true_rate = Fraction(boxes["true_positive"], boxes["true_positive"] + boxes["false_negative"])
        points.append((false_rate, true_rate))
    return points


def corners(points: Sequence[tuple[Fraction, Fraction]]) -> list[tuple[Fraction, Fraction]]:
    """The ends of a line of points, and those points that do not lie between their two neighbours."""
    kept = [points[0]]
    for (x0, y0), (x1, y1), (x2, y2) in zip(points, points[1:], points[2:], strict=False):
        if (x1 - x0) * (y2 - y0) != (x2 - x0) * (y1 - y0):
            kept.append((x1, y1))
    return [*kept, points[-1]]


def log_loss(labels: Sequence[int], logits: Sequence[float]) -> float:
    """Mean of -log(probability of the true class), by the sigmoid: good only for logits of moderate size."""
    total = 0.0
    for label, logit in zip(labels, logits, strict=True):
        malignant = 1 / (1 + math.exp(-float(logit)))
        total -= math.log(malignant if label == 1 else 1 - malignant)
    return total / len(labels)


# ---------------------------------------------------------------- heat maps: nested lists, [channel][row][column]


def grad_cam(
    features: list[list[list[float]]], logit: Callable[[list[list[list[float]]]], float], step: float = 1e-5
) -> list[list[float]]:
    """Every cell is nudged up and down to see what the logit does; a channel weighs what it does on average."""
    rows, columns = len(features[0]), len(features[0][0])
    heat = [[0.0] * columns for _ in range(rows)]
    for channel in features:
        slopes = []
        for row in range(rows):
            for column in range(columns):
                value = channel[row][column]
                channel[row][column] = value + step
                above = logit(features)
                channel[row][column] = value - step
                below = logit(features)
                channel[row][column] = value
                slopes.append((above - below) / (2 * step))
        weight = sum(slopes) / len(slopes)
        for row in range(rows):
            for column in range(columns):
                heat[row][column] += weight * channel[row][column]
    return heat


def heat_on_image(
    heat: list[list[float]], *, size_px: int, resize_px: int, crop_px: int, left_px: int
) -> list[list[float | None]]:
    """Each pixel of the full image asks which four cells of the crop lie around its centre; None: cropped off."""

    def cells_around(pixel: int, cells: int) -> list[tuple[int, Fraction]] | None:
        in_crop = Fraction(2 * pixel + 1, 2) * Fraction(resize_px, size_px) - left_px
        if not 0 <= in_crop <= crop_px:
            return None
        position = in_crop * cells / crop_px - Fraction(1, 2)  # cell k has its centre at k
        position = min(max(position, Fraction(0)), Fraction(cells - 1))
        before = math.floor(position)
        return [(before, 1 - (position - before)), (min(before + 1, cells - 1), position - before)]

    picture: list[list[float | None]] = []
    for y in range(size_px):
        picture.append([])
        for x in range(size_px):
            down, across = cells_around(y, len(heat)), cells_around(x, len(heat[0]))
            if down is None or across is None:
                picture[y].append(None)
            else:
                picture[y].append(sum(float(v * h) * heat[row][col] for row, v in down for col, h in across))
    return picture


def overlaid_pixel(rgb: Sequence[int], heat: float, maximum: float, opacity: float) -> list[float]:
    """One pixel under its colour of the rainbow; before rounding."""
    level = min(heat / maximum, 1.0)
    rainbow = [(0, 0, 255), (0, 255, 255), (0, 255, 0), (255, 255, 0), (255, 0, 0)]
    step = min(int(level * 4), 3)
    share = level * 4 - step
    colour = [a * (1 - share) + b * share for a, b in zip(rainbow[step], rainbow[step + 1], strict=True)]
    return [old * (1 - opacity * level) + new * opacity * level for old, new in zip(rgb, colour, strict=True)]


# ---------------------------------------------------------------- copies: pictures read along circles, details compared


def circle_invariants(read: Sequence[Sequence[Sequence[float]]], frequencies: int, least_spread: float) -> list[float]:
    """What turning and mirroring leave: from (colour, circle, angle), waves as sums of complex exponentials.

    In order: the two colours' means; all log spreads; how far each circle's mean lies from the picture's; for each
    frequency, colour and pair of circles the real part of one wave times the other's conjugate; for each pair of
    colours and circle the same for frequencies 1 to 3. Means and waves are in units of the spread, products by a root.
    """
    circles, angles = len(read[0]), len(read[0][0])

    def wave(colour: int, circle: int, frequency: int) -> complex:
        turns = [cmath.exp(-2j * math.pi * frequency * angle / angles) for angle in range(angles)]
        return (
            sum(value * turn for value, turn in zip(read[colour][circle], turns, strict=True)) / angles / spread[colour]
        )

    def root(value: float) -> float:
        return math.copysign(math.sqrt(abs(value)), value)

    means, spread = [], []
    for colour in read:
        values = [value for circle in colour for value in circle]
        means.append(sum(values) / len(values))
        spread.append(math.sqrt(sum((value - means[-1]) ** 2 for value in values) / len(values)) + least_spread)
    numbers = [*means[1:], *(math.log(s) for s in spread)]
    for colour in range(3):
        numbers += [wave(colour, circle, 0).real - means[colour] / spread[colour] for circle in range(circles)]
    for frequency in range(1, frequencies):
        for colour in range(3):
            waves = [wave(colour, circle, frequency) for circle in range(circles)]
            for i in range(circles):
                numbers += [root((waves[i] * waves[j].conjugate()).real) for j in range(i, circles)]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        for circle in range(circles):
            for frequency in (1, 2, 3):
                both = wave(one, circle, frequency) * wave(other, circle, frequency).conjugate()
                numbers.append(root(both.real))
    return numbers


def local_correlation(
    one: Sequence[Sequence[float]],
    other: Sequence[Sequence[float]],
    compared: Sequence[Sequence[bool]],
    reach: int,
    noise: float,
) -> float:
    """Mean over the compared places of the correlation of the compared values at most `reach` rows and columns away.

    To each variance that of the noise is added.
    """
    rows, columns = range(len(one)), range(len(one[0]))
    total, count = 0.0, 0
    for y in rows:
        for x in columns:
            if not compared[y][x]:
                continue
            near = [(j, i) for j in rows for i in columns if max(abs(j - y), abs(i - x)) <= reach and compared[j][i]]
            a, b = ([picture[j][i] for j, i in near] for picture in (one, other))
            mean_a, mean_b = sum(a) / len(a), sum(b) / len(b)
            both = sum((p - mean_a) * (q - mean_b) for p, q in zip(a, b, strict=True)) / len(near)
            variances = [sum((p - m) ** 2 for p in v) / len(v) + noise**2 for v, m in ((a, mean_a), (b, mean_b))]
            total, count = total + both / math.sqrt(variances[0] * variances[1]), count + 1
    return total / count


def connected(size: int, pairs: Sequence[Sequence[int]]) -> list[list[int]]:
    """Sets of numbers below `size`, two of which become one for as long as a pair or group touches both."""
    sets = [{number} for number in range(size)]
    for _ in range(size):
        for group in pairs:
            touched = [members for members in sets if members & set(group)]
            sets = [members for members in sets if not members & set(group)]
            sets += [set().union(*touched)] if touched else []
    return sorted(sorted(members) for members in sets if len(members) > 1)


# ---------------------------------------------------------------- probabilities and thresholds, judged one by one


def equal_mass_bins(scores: Sequence[float], bins: int) -> list[list[int]]:
    """Row numbers by rising score, cut where each of `bins` equal parts ends, or where the score changes nearest."""
    rows = sorted(range(len(scores)), key=lambda row: float(scores[row]))
    places = [0, len(rows)]
    places += [k for k in range(1, len(rows)) if scores[rows[k - 1]] != scores[rows[k]]]
    wanted = [Fraction(k * len(rows), bins) for k in range(bins + 1)]
    cuts = sorted({min(places, key=lambda place: (abs(place - edge), place)) for edge in wanted})
    return [rows[start:end] for start, end in pairwise(cuts)]


def brier_parts(labels: Sequence[int], chances: Sequence[float], bins: Sequence[Sequence[int]]) -> dict[str, float]:
    """Murphy's three over the bins, with Stephenson's variance and covariance within bins in the resolution."""
    n = len(labels)
    share = sum(int(label) for label in labels) / n
    parts = {"reliability": 0.0, "resolution": 0.0, "uncertainty": share * (1 - share)}
    for rows in bins:
        said = sum(float(chances[row]) for row in rows) / len(rows)
        seen = sum(int(labels[row]) for row in rows) / len(rows)
        parts["reliability"] += len(rows) / n * (said - seen) ** 2
        parts["resolution"] += len(rows) / n * (seen - share) ** 2
        variance = sum((float(chances[row]) - said) ** 2 for row in rows) / n
        covariance = sum((float(chances[row]) - said) * (int(labels[row]) - seen) for row in rows) / n
        parts["resolution"] += 2 * covariance - variance
    parts["score"] = sum((float(p) - int(label)) ** 2 for p, label in zip(chances, labels, strict=True)) / n
    return parts


def threshold_at_sensitivity(labels: Sequence[int], logits: Sequence[float], wanted: float) -> float:
    """Every malignant logit is tried, the highest first, until enough malignant ones lie at or above it."""
    malignant = [float(logit) for label, logit in zip(labels, logits, strict=True) if label == 1]
    for threshold in sorted(malignant, reverse=True):
        if Fraction(sum(logit >= threshold for logit in malignant), len(malignant)) >= Fraction(str(wanted)):
            return threshold
    return math.nan


def youden_threshold(labels: Sequence[int], logits: Sequence[float]) -> float:
    """Every logit is tried, the highest first, and kept where it does better than all before and than chance."""
    best, kept = Fraction(0), math.nan
    for threshold in sorted({float(logit) for logit in logits}, reverse=True):
        boxes = counts(labels, logits, threshold)
        sensitivity = Fraction(boxes["true_positive"], boxes["true_positive"] + boxes["false_negative"])
        specificity = Fraction(boxes["true_negative"], boxes["true_negative"] + boxes["false_positive"])
        if sensitivity + specificity - 1 > best:
            best, kept = sensitivity + specificity - 1, threshold
    return kept


def net_benefit(labels: Sequence[int], called: Sequence[bool], threshold: float) -> float:
    """Found less false alarms per image, with the odds of the threshold as the price of an alarm."""
    found = sum(bool(call) and label == 1 for label, call in zip(labels, called, strict=True))
    alarms = sum(bool(call) and label == 0 for label, call in zip(labels, called, strict=True))
    return found / len(labels) - alarms / len(labels) * threshold / (1 - threshold)


def partial_auc(labels: Sequence[int], logits: Sequence[float], least: Fraction) -> Fraction:
    """Under the line through the points of the ROC curve and above a sensitivity, one piece of the line at a time."""
    area = Fraction(0)
    for (x0, y0), (x1, y1) in pairwise(roc_points(labels, logits)):
        low = max(y0, least)
        if y1 > low:
            x_low = x0 + (x1 - x0) * (low - y0) / (y1 - y0)
            area += (y1 - low) * (1 - (x_low + x1) / 2)
    return area


# ---------------------------------------------------------------- two classifiers of the same images


def auc_difference_variance(labels: Sequence[int], scores_a: Sequence[float], scores_b: Sequence[float]) -> Fraction:
    """DeLong's: of both AUCs, less twice their covariance, from components that count every pair of images."""
    variance = auc_variance(labels, scores_a) + auc_variance(labels, scores_b)
    for of_a, of_b in zip(auc_components(labels, scores_a), auc_components(labels, scores_b), strict=True):
        mean_a, mean_b = sum(of_a, Fraction(0)) / len(of_a), sum(of_b, Fraction(0)) / len(of_b)
        products = sum(((a - mean_a) * (b - mean_b) for a, b in zip(of_a, of_b, strict=True)), Fraction(0))
        variance -= 2 * products / (len(of_a) - 1) / len(of_a)
    return variance


def clustered_auc_difference_variance(
    labels: Sequence[int], scores_a: Sequence[float], scores_b: Sequence[float], groups: Sequence[int]
) -> Fraction:
    """Obuchowski's: of both AUCs, less twice their covariance, whose cross terms count twice, once either way."""
    variance = clustered_auc_variance(labels, scores_a, groups) + clustered_auc_variance(labels, scores_b, groups)
    sums = []  # for each classifier: by group the sums off the mean of malignant and of benign components
    for scores in (scores_a, scores_b):
        components = [iter(of_class) for of_class in auc_components(labels, scores)]
        of_group = {group: [Fraction(0), Fraction(0)] for group in groups}
        for label, group in zip(labels, groups, strict=True):
            side = 0 if label == 1 else 1
            of_group[group][side] += next(components[side]) - auc(labels, scores)
        sums.append(of_group)
    counts = [sum(label == 1 for label in labels), sum(label == 0 for label in labels)]
    for side in (0, 1):
        holding = {g for label, g in zip(labels, groups, strict=True) if label == (1, 0)[side]}
        products = sum((sums[0][g][side] * sums[1][g][side] for g in holding), Fraction(0))
        variance -= 2 * products * len(holding) / (len(holding) - 1) / counts[side] ** 2
    crossed = sum((sums[0][g][0] * sums[1][g][1] + sums[0][g][1] * sums[1][g][0] for g in sums[0]), Fraction(0))
    return variance - 2 * crossed * len(sums[0]) / (len(sums[0]) - 1) / (counts[0] * counts[1])


def sign_flip_p(net: Sequence[int]) -> Fraction:
    """Of all ways to give the numbers signs, the share whose sum lies as far from 0 as theirs does."""
    sums = [0]
    for number in net:
        sums = [total + sign * number for total in sums for sign in (-1, 1)]
    return Fraction(sum(abs(total) >= abs(sum(net)) for total in sums), len(sums))


def design_effect(hits: Sequence[bool], groups: Sequence[int]) -> Fraction:
    """Variance of a share when groups are drawn, over that when images are; both without bias."""
    n, share = len(hits), Fraction(sum(hits), len(hits))
    members: dict[int, list[bool]] = {}
    for hit, group in zip(hits, groups, strict=True):
        members.setdefault(group, []).append(hit)
    k = len(members)
    of_groups = sum(((sum(of) - share * len(of)) ** 2 for of in members.values()), Fraction(0)) * k / (k - 1) / n**2
    return of_groups / (share * (1 - share) / (n - 1))


# ---------------------------------------------------------------- other heat maps: [channel][row][column] again

Grid = list[list[float]]


def slopes(features: list[Grid], score: Callable[[list[Grid]], float], step: float = 1e-5) -> list[Grid]:
    """What the score does when each cell is nudged up and down, per unit."""
    found = [[[0.0] * len(row) for row in channel] for channel in features]
    for k, channel in enumerate(features):
        for r, row in enumerate(channel):
            for c, value in enumerate(row):
                row[c] = value + step
                above = score(features)
                row[c] = value - step
                below = score(features)
                row[c] = value
                found[k][r][c] = (above - below) / (2 * step)
    return found


def weighted_channels(features: list[Grid], weights: Sequence[float]) -> Grid:
    """The sum over channels of weight times channel, cell by cell."""
    return [
        [
            sum(weight * channel[r][c] for weight, channel in zip(weights, features, strict=True))
            for c in range(len(features[0][0]))
        ]
        for r in range(len(features[0]))
    ]


def cell_by_cell(features: list[Grid], gradient: list[Grid], *, positive_only: bool) -> Grid:
    """HiResCAM: each cell times its own slope, channels added; LayerCAM: slopes below 0 count as 0."""
    scaled = [
        [
            [(max(g, 0.0) if positive_only else g) * a for g, a in zip(slopes_row, row, strict=True)]
            for slopes_row, row in zip(slopes_of, channel, strict=True)
        ]
        for slopes_of, channel in zip(gradient, features, strict=True)
    ]
    return weighted_channels(scaled, [1.0] * len(features))


def grad_cam_plus_plus(features: list[Grid], gradient: list[Grid]) -> Grid:
    """Of Y = exp(score): first, second and third derivative are g, g^2 and g^3 times Y; Y itself is taken as 1."""
    weights = []
    for channel, slopes_of in zip(features, gradient, strict=True):
        everything = sum(sum(row) for row in channel)
        weight = 0.0
        for row in slopes_of:
            for g in row:
                if g > 0:
                    first, second, third = g, g * g, g * g * g
                    weight += second / (2 * second + everything * third) * first
        weights.append(weight)
    return weighted_channels(features, weights)


def score_cam(features: list[Grid], image: list[Grid], score: Callable[[list[Grid]], float], size_px: int) -> Grid:
    """Each channel, enlarged and stretched to [0, 1], is laid over the image; softmax of the scores weighs channels."""
    scores = []
    for channel in features:
        mask = heat_on_image(channel, size_px=size_px, resize_px=size_px, crop_px=size_px, left_px=0)
        values = [value for row in mask for value in row if value is not None]
        low, width = min(values), max(values) - min(values)
        seen = [
            [
                [v * (((m or 0.0) - low) / width if width else 0.0) for v, m in zip(line, mask_line, strict=True)]
                for line, mask_line in zip(colour, mask, strict=True)
            ]
            for colour in image
        ]
        scores.append(score(seen))
    total = sum(math.exp(s) for s in scores)
    return weighted_channels(features, [math.exp(s) / total for s in scores])


def ablation_cam(features: list[Grid], score: Callable[[list[Grid]], float]) -> Grid:
    """A channel weighs what the score loses when the channel is all 0."""
    whole, weights = score(features), []
    for k, channel in enumerate(features):
        without = [*features[:k], [[0.0] * len(row) for row in channel], *features[k + 1 :]]
        weights.append(whole - score(without))
    return weighted_channels(features, weights)


def occlusion(image: list[Grid], score: Callable[[list[Grid]], float], window_px: int, stride_px: int) -> Grid:
    """Every pixel asks all windows that cover it what the score lost; a cell is the pixel at its upper left.

    For squares whose side the stride divides; the window takes the mean colour.
    """
    side, whole = len(image[0]), score(image)
    means = [sum(sum(row) for row in colour) / side**2 for colour in image]
    losses: dict[tuple[int, int], list[float]] = {}
    for top in range(0, side - window_px + 1, stride_px):
        for left in range(0, side - window_px + 1, stride_px):
            inside = {(y, x) for y in range(top, top + window_px) for x in range(left, left + window_px)}
            covered = [
                [[mean if (y, x) in inside else v for x, v in enumerate(row)] for y, row in enumerate(colour)]
                for mean, colour in zip(means, image, strict=True)
            ]
            lost = whole - score(covered)
            for pixel in inside:
                losses.setdefault(pixel, []).append(lost)
    corners_of_cells = range(0, side, stride_px)
    return [[sum(losses[y, x]) / len(losses[y, x]) for x in corners_of_cells] for y in corners_of_cells]


# ---------------------------------------------------------------- lesion masks: rows of booleans


def jaccard(one: Sequence[Sequence[bool]], other: Sequence[Sequence[bool]]) -> Fraction:
    """Pixels in both over pixels in either, counted one by one."""
    pairs = [(a, b) for row, row_b in zip(one, other, strict=True) for a, b in zip(row, row_b, strict=True)]
    return Fraction(sum(bool(a and b) for a, b in pairs), sum(bool(a or b) for a, b in pairs))


def mask_loss(logits: Sequence[Sequence[float]], lesion: Sequence[Sequence[bool]]) -> float:
    """Mean of -log(probability of the true side), plus 1 - (both + 1) / (either + 1) of the probabilities."""
    shares = [1 / (1 + math.exp(-logit)) for row in logits for logit in row]
    truth = [bool(pixel) for row in lesion for pixel in row]
    entropy = -sum(math.log(p if t else 1 - p) for p, t in zip(shares, truth, strict=True)) / len(truth)
    both = sum(p for p, t in zip(shares, truth, strict=True) if t)
    either = sum(1 if t else p for p, t in zip(shares, truth, strict=True))
    return entropy + 1 - (both + 1) / (either + 1)


def expected_jaccard(mask: Sequence[Sequence[bool]], probability: Sequence[Sequence[float]]) -> Fraction:
    """Expected number of lesion pixels inside the mask, over its pixels and the expected number outside it."""
    pixels = [
        (bool(m), Fraction(float(p))) for a, b in zip(mask, probability, strict=True) for m, p in zip(a, b, strict=True)
    ]
    hit = sum((p for inside, p in pixels if inside), Fraction(0))
    return hit / sum((1 if inside else p for inside, p in pixels), Fraction(0))


# ---------------------------------------------------------------- means over images


def resampled_means(values: Sequence[int], groups: Sequence[int]) -> list[Fraction]:
    """The mean of every way to draw as many groups as there are, again and again from all of them; sorted."""
    members: dict[int, list[int]] = {}
    for value, group in zip(values, groups, strict=True):
        members.setdefault(group, []).append(value)
    means = []
    for drawn in product(members.values(), repeat=len(members)):
        images = [value for group in drawn for value in group]
        means.append(Fraction(sum(images), len(images)))
    return sorted(means)


# ---------------------------------------------------------------- where heat lies: rows of numbers and of booleans


def heat_in_lesion(
    heat: Sequence[Sequence[float]], lesion: Sequence[Sequence[bool]], region: Sequence[Sequence[bool]]
) -> dict[str, Fraction]:
    """Every measure of one map, by asking each pixel of the region, each threshold and each pair of pixels."""
    pixels = [
        (Fraction(float(value)), bool(inside))
        for heat_row, lesion_row, region_row in zip(heat, lesion, region, strict=True)
        for value, inside, counts_here in zip(heat_row, lesion_row, region_row, strict=True)
        if counts_here
    ]
    most = max(value for value, _ in pixels)

    def iou(threshold: Fraction) -> Fraction:
        hot = [(value >= threshold, inside) for value, inside in pixels]
        return Fraction(sum(a and b for a, b in hot), sum(a or b for a, b in hot))

    ours, others = ([value for value, inside in pixels if inside is of_lesion] for of_lesion in (True, False))
    hottest = [inside for value, inside in pixels if value == most]
    share = sum(ours, Fraction(0)) / sum((value for value, _ in pixels), Fraction(0))
    return {
        "inside": share,
        "density": share / Fraction(len(ours), len(pixels)),
        "pointing": Fraction(sum(hottest), len(hottest)),
        "best_iou": max(iou(value) for value, _ in pixels if value > 0),
        "fixed_iou": iou(most / 5),
        "pixel_auc": sum((a > b) + Fraction(a == b, 2) for a in ours for b in others) / (len(ours) * len(others)),
    }


def means_over_cells(
    heat: Sequence[Sequence[float]], edges: tuple[list[Fraction], list[Fraction]], target: list[Fraction], *, lean: bool
) -> list[list[Fraction]]:
    """The mean of heat over each cell of a square grid, by its overlap with each cell of another.

    Within a cell heat is even; or, where it leans, a plane as steep as between the neighbours either side, and flat
    enough to be nowhere below 0. Beyond the border it goes on as in the last cell.
    """
    cells = [[Fraction(float(value)) for value in row] for row in heat]
    (tops, lefts), (height, width) = edges, (len(cells), len(cells[0]))

    def slopes(r: int, c: int) -> tuple[Fraction, Fraction]:
        down = (cells[min(r + 1, height - 1)][c] - cells[max(r - 1, 0)][c]) / 2
        right = (cells[r][min(c + 1, width - 1)] - cells[r][max(c - 1, 0)]) / 2
        lowest = cells[r][c] - (abs(down) + abs(right)) / 2
        kept = cells[r][c] / (cells[r][c] - lowest) if lowest < 0 else Fraction(1)
        return down * kept, right * kept

    def part(r: int, c: int, box: tuple[Fraction, ...]) -> tuple[Fraction, Fraction]:
        """Heat and area of what one cell has in a box."""
        top, bottom = max(box[0], tops[r]), min(box[1], tops[r + 1])
        left, right = max(box[2], lefts[c]), min(box[3], lefts[c + 1])
        if top >= bottom or left >= right:
            return Fraction(0), Fraction(0)
        fall, rise = slopes(r, c) if lean else (Fraction(0), Fraction(0))
        off_y = ((top + bottom) / 2 - (tops[r] + tops[r + 1]) / 2) / (tops[r + 1] - tops[r])
        off_x = ((left + right) / 2 - (lefts[c] + lefts[c + 1]) / 2) / (lefts[c + 1] - lefts[c])
        area = (bottom - top) * (right - left)
        return (cells[r][c] + fall * off_y + rise * off_x) * area, area

    means: list[list[Fraction]] = []
    for top, bottom in pairwise(target):
        means.append([])
        for left, right in pairwise(target):
            parts = [part(r, c, (top, bottom, left, right)) for r in range(height) for c in range(width)]
            means[-1].append(sum((h for h, _ in parts), Fraction(0)) / sum((a for _, a in parts), Fraction(0)))
    return means
