"""What the measurements of a run say: who diverged, and how good the others are at the end.

A member has diverged if its loss or its greedy value is not finite. It is left out of every
statistic, and named beside it; its arrays are kept as they are. Where settings are ranked it counts
as the worst there can be.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxq.scoring.protocol import Protocol, own_part
from jaxq.scoring.stats import bootstrap_iqm, iqm

NUMBER = "hparams/"  # before the names of numbers that change, in the metrics
INSIDE = "diagnostics/"  # before the names of what diagnostics measure
_STANDARD = (  # metrics that every method has, or that several of ours have
    "loss q_value td_error epsilon temperature episodes train_return train_length "
    "eval_return eval_length eval_value eval_cut eval_returns"
).split()


def curves_in(arrays: Mapping[str, np.ndarray]) -> list[str]:
    """The metrics [H, S, T] of floats; numbers that change are none."""
    return [
        name
        for name, values in arrays.items()
        if values.ndim == 3
        and np.issubdtype(values.dtype, np.floating)
        and not name.startswith(NUMBER)
    ]


def own_metrics(arrays: Mapping[str, np.ndarray]) -> list[str]:
    """Those that a part of somebody's own has measured."""
    return [
        name for name in curves_in(arrays) if name not in _STANDARD and not name.startswith(INSIDE)
    ]


def diagnoses(arrays: Mapping[str, np.ndarray]) -> list[str]:
    """Those that diagnostics have measured."""
    return [name for name in curves_in(arrays) if name.startswith(INSIDE)]


def divergence(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """The step at which each member diverged, [H, S]; -1 for those that have not.

    A member whose numbers change while it trains can take over from another one; only its newest
    measurement counts.

    Args:
      arrays: as in ``metrics.npz``.
    """
    broken = ~(np.isfinite(arrays["loss"]) & np.isfinite(arrays["eval_value"]))  # [H, S, T]
    if any(name.startswith(NUMBER) for name in arrays):
        return np.where(broken[..., -1], arrays["steps"][-1], -1)
    return np.where(broken.any(axis=-1), arrays["steps"][broken.argmax(axis=-1)], -1)


def rank(lane: Mapping[str, Any]) -> float:
    """By what settings are chosen: the IQM over all seeds of a scored lane, a diverged one being
    minus infinity. What is left of a setting that often diverges must not win."""
    return float(np.nan_to_num(iqm(comparable(lane)), nan=-np.inf, neginf=-np.inf))


def comparable(lane: Mapping[str, Any]) -> np.ndarray:
    """The scores [S] of a scored lane; minus infinity for a seed that has diverged."""
    scores = np.array(lane["per_seed"], np.float64)
    gone = np.array([str(seed) in lane["diverged"] for seed in lane["seeds"]], bool)
    return np.where(gone | np.isnan(scores), -np.inf, scores)


def without_diverged(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Evaluation returns, values, losses and diagnostics with those of diverged members as NaN."""
    gone = divergence(arrays) >= 0
    names = ("eval_return", "eval_value", "loss", *diagnoses(arrays))
    curves = {name: arrays[name].astype(float) for name in names}
    return {**arrays, **{k: np.where(gone[..., None], np.nan, v) for k, v in curves.items()}}


def score(
    arrays: Mapping[str, np.ndarray], document: Mapping[str, Any], protocol: Protocol
) -> dict[str, Any]:
    """The last evaluation of every lane, as ``scores.json`` holds it.

    Args:
      arrays: as in ``metrics.npz``.
      document: as in ``config.json``.
      protocol: what all lanes share, by ``make_protocol``; a lane says what it adds.
    """
    gone = divergence(arrays)
    lanes = [
        {
            "lane": lane,
            "hparams": hparams,
            **({"protocol": own} if (own := own_part(protocol, hparams)) else {}),
            **score_seeds(arrays["eval_return"][lane, :, -1], document["seeds"], gone[lane]),
            "episodes_per_seed": arrays["eval_returns"].shape[-1],
            "episodes_cut": int(arrays["eval_cut"][lane, :, -1].sum()),
        }
        for lane, hparams in enumerate(document["lanes"])
    ]
    return {"steps": int(arrays["steps"][-1]), "protocol": dict(protocol), "lanes": lanes}


def score_seeds(returns: np.ndarray, seeds: Sequence[int], gone: np.ndarray) -> dict[str, Any]:
    """What the final returns [S] of a lane's seeds say; NaN where all seeds have diverged.

    Args:
      gone: the step at which each seed diverged, or -1.
    """
    here = returns[gone < 0] if np.any(gone < 0) else np.array([np.nan])
    interval = bootstrap_iqm(here)
    return {
        "iqm": plain(interval.point),
        "iqm_95": [plain(interval.low), plain(interval.high)],
        "mean": plain(here.mean()),
        "median": plain(np.median(here)),
        "worst": plain(here.min()),
        "seeds": list(seeds),
        "num_seeds": len(seeds),
        "num_diverged": int(np.sum(gone >= 0)),
        "diverged": {str(seed): int(step) for seed, step in zip(seeds, gone) if step >= 0},
        "per_seed": [plain(value) for value in returns],
    }


def table_rows(lanes: Sequence[Mapping], settings: Sequence[Mapping]) -> list[dict[str, Any]]:
    """One row per lane: its number, its setting, its scores."""
    rows = []
    for lane, (scores, setting) in enumerate(zip(lanes, settings, strict=True)):
        low, high = scores["iqm_95"]
        names = ("mean", "median", "worst", "num_seeds", "num_diverged")
        diverged = " ".join(f"{seed}@{step}" for seed, step in scores["diverged"].items())
        rows.append(
            {"lane": lane, **setting, "iqm": scores["iqm"], "low": low, "high": high}
            | {name: scores[name] for name in names}
            | {"diverged": diverged}
        )
    return rows


def seed_words(counts: Sequence[int]) -> str:
    """Such as ``8 to 16 seeds``."""
    low, high = min(counts), max(counts)
    words = str(low) if low == high else f"{low} to {high}"
    return f"{words} seed{'' if high == 1 else 's'}"


def band_words(statistic: str, counts: Sequence[int]) -> str:
    """What a line and the band around it are, over so many seeds; of one there is no band."""
    if not max(counts):
        return "all seeds diverged"
    if max(counts) < 2:
        return seed_words(counts)
    return f"{statistic} and 95% bootstrap interval over {seed_words(counts)}"


def score_text(value: float) -> str:
    """A score in four digits; a dash where all seeds have diverged."""
    return "-" if np.isnan(value) else f"{value:.4g}"


def interval_text(low: float, high: float, form: str = ".4g") -> str:
    """The ends of an interval; a dash where there is none, of one seed or of none."""
    return "-" if np.isnan(low) else f"{low:{form}} to {high:{form}}"


def share_text(share: float) -> str:
    """A probability in percent; a dash where it is not known, as of one seed."""
    return "-" if np.isnan(share) else f"{share:.0%}"


def plain(value: Any) -> float | int:
    """A scalar as a number of Python; to six digits behind the point, or of what is below 1."""
    value = np.asarray(value).item()
    if not isinstance(value, float):
        return value
    return round(value, 6) if abs(value) >= 1.0 else float(f"{value:.6g}")
