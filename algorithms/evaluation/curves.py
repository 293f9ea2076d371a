"""Figures and curves of a two-class prediction, counted from sorted scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

MAX_POINTS = 200
"""A curve is thinned to about so many points; its ends always stay."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """Rows sorted by falling score, counted at every different score.

    Parameters
    ----------
    thresholds : numpy.ndarray of shape (n_scores,)
        The different scores, falling.
    true_positives, false_positives : numpy.ndarray of shape (n_scores,)
        How many positive and negative rows have at least that score.
    """

    thresholds: np.ndarray
    true_positives: np.ndarray[Any, np.dtype[np.int64]]
    false_positives: np.ndarray[Any, np.dtype[np.int64]]

    @property
    def n_positives(self) -> int:
        """Number of positive rows."""
        return int(self.true_positives[-1])

    @property
    def n_negatives(self) -> int:
        """Number of negative rows."""
        return int(self.false_positives[-1])

    @property
    def true_positive_rate(self) -> np.ndarray:
        """Share of the positives at or above each score."""
        return self.true_positives / self.n_positives

    @property
    def false_positive_rate(self) -> np.ndarray:
        """Share of the negatives at or above each score."""
        return self.false_positives / self.n_negatives

    @property
    def depth(self) -> np.ndarray:
        """Share of all rows at or above each score."""
        return (self.true_positives + self.false_positives) / (self.n_positives + self.n_negatives)

    @property
    def precision(self) -> np.ndarray:
        """Share of positives among the rows at or above each score."""
        return self.true_positives / (self.true_positives + self.false_positives)


def rank_scores(is_positive: np.ndarray, score: np.ndarray) -> Ranking:
    """Sort rows by score and count positives and negatives at every different score.

    Examples
    --------
    >>> ranking = rank_scores(np.array([True, False, True]), np.array([0.9, 0.5, 0.5]))
    >>> ranking.true_positives.tolist(), ranking.false_positives.tolist()
    ([1, 2], [0, 1])
    """
    order = np.argsort(-score, kind="stable")
    sorted_score = score[order]
    sorted_positive = is_positive[order]
    last_of_score = np.flatnonzero(np.append(np.diff(sorted_score) != 0, True))
    true_positives = np.cumsum(sorted_positive)[last_of_score]
    return Ranking(
        thresholds=sorted_score[last_of_score],
        true_positives=true_positives,
        false_positives=last_of_score + 1 - true_positives,
    )


def compute_auc(ranking: Ranking) -> float:
    """Return the area under the ROC curve; rows of one score count half.

    Examples
    --------
    >>> compute_auc(rank_scores(np.array([True, False]), np.array([0.2, 0.8])))
    0.0
    """
    x = np.append(0.0, ranking.false_positive_rate)
    y = np.append(0.0, ranking.true_positive_rate)
    return float(np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2))


def compute_ks(ranking: Ranking) -> float:
    """Return the Kolmogorov-Smirnov distance: the largest gap between the two rates."""
    return float(np.max(np.abs(ranking.true_positive_rate - ranking.false_positive_rate)))


def compute_log_loss(is_positive: np.ndarray, score: np.ndarray) -> float:
    """Return the mean negative log-likelihood; scores are kept off 0 and 1 by the machine's eps."""
    epsilon = np.finfo(np.float64).eps
    clipped = np.clip(score, epsilon, 1 - epsilon)
    return float(-np.mean(np.where(is_positive, np.log(clipped), np.log1p(-clipped))))


def make_curves(ranking: Ranking) -> dict[str, Any]:
    """Return ROC, precision-recall, KS, lift and gain curves as plain lists of numbers."""
    base_rate = ranking.n_positives / (ranking.n_positives + ranking.n_negatives)
    gap = np.abs(ranking.true_positive_rate - ranking.false_positive_rate)
    chosen = _thin(len(ranking.thresholds), keep=int(np.argmax(gap)))
    false_positive_rate = _start(0.0, ranking.false_positive_rate[chosen])
    true_positive_rate = _start(0.0, ranking.true_positive_rate[chosen])
    precision = ranking.precision[chosen]
    depth = ranking.depth[chosen]
    return {
        "roc": _make_curve(
            ("ROC curve", "ROC 曲线"),
            ("False positive rate", "假正率", false_positive_rate),
            [("True positive rate", "真正率", true_positive_rate)],
        ),
        "pr": _make_curve(
            ("Precision and recall", "精确率-召回率曲线"),
            ("Recall", "召回率", ranking.true_positive_rate[chosen]),
            [("Precision", "精确率", precision)],
        ),
        "ks": _make_curve(
            ("KS curve", "KS 曲线"),
            ("Share of rows", "样本占比", _start(0.0, depth)),
            [
                ("True positive rate", "真正率", true_positive_rate),
                ("False positive rate", "假正率", false_positive_rate),
            ],
        ),
        "lift": _make_curve(
            ("Lift", "提升图"),
            ("Share of rows", "样本占比", depth),
            [("Lift", "提升度", precision / base_rate)],
        ),
        "gain": _make_curve(
            ("Gain", "增益图"),
            ("Share of rows", "样本占比", _start(0.0, depth)),
            [("Share of positives found", "正类捕获率", true_positive_rate)],
        ),
    }


def _thin(n_points: int, keep: int) -> np.ndarray:
    if n_points <= MAX_POINTS:
        return np.arange(n_points)
    spread = np.linspace(0, n_points - 1, MAX_POINTS - 1).round().astype(int)
    return np.unique(np.append(spread, keep))


def _start(first: float, values: np.ndarray) -> np.ndarray:
    return np.append(first, values)


def _make_curve(
    titles: tuple[str, str],
    x: tuple[str, str, np.ndarray],
    series: list[tuple[str, str, np.ndarray]],
) -> dict[str, Any]:
    return {
        "title": titles[0],
        "title_zh": titles[1],
        "x": _make_axis(*x),
        "y": [_make_axis(*axis) for axis in series],
    }


def _make_axis(title: str, title_zh: str, values: np.ndarray) -> dict[str, Any]:
    return {"title": title, "title_zh": title_zh, "values": np.round(values, 6).tolist()}
