"""What a study over several environments says: one setting for all of them, and what that costs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxq.errors import ConfigError
from jaxq.scoring import cross
from jaxq.scoring.scores import plain


def crossed(lanes: Sequence[Mapping[str, Any]], scale: str) -> dict[str, Any]:
    """What ``scores.json`` holds as ``across``.

    Args:
      lanes: scored, environment by environment, each with the same settings in the same order.
      scale: on which scores are averaged over environments, a name of ``cross.SCALES``.
    """
    one = cross.cube(lanes)
    scores = cross.normalised(one, cross.make_scales(scale, [one]))
    tuned, values = cross.tuned(scores), scores.mean(axis=-1)
    settings = [
        {"setting": setting, **_valued(scores[:, index]), "chosen": plain(tuned.probability[index])}
        for index, setting in enumerate(one.settings)
    ]
    try:
        found = cross.effective_dimensionality(values, one.settings)
        effective = {**found._asdict(), "names": list(found.names)}
    except ConfigError:  # settings that were drawn are no grid
        effective = None
    count = len(one.settings)
    return {
        "scale": scale,
        "environments": one.environments,
        "settings": settings,
        "best": tuned.best,
        "lanes": [index * count + tuned.best for index in range(len(one.environments))],
        "best_of": {name: int(index) for name, index in zip(one.environments, tuned.best_of)},
        "each": [plain(end) for end in tuned.each],
        "all": [plain(end) for end in tuned.all],
        "sensitivity": [plain(end) for end in tuned.sensitivity],
        "effective_dimensionality": effective,
    }


def on_fresh_seeds(
    lanes: Sequence[Mapping[str, Any]], fresh: Mapping[str, Mapping[str, Any]], scale: str
) -> dict[str, Any]:
    """The value of a setting on seeds that did not choose it.

    Args:
      lanes: by which it was chosen; they make the scales.
      fresh: environment -> its lane there.
    """
    scales = cross.make_scales(scale, [cross.cube(lanes)])
    return _valued(cross.normalised(cross.again(fresh), scales)[:, 0])


def _valued(scores: np.ndarray) -> dict[str, Any]:
    """What a setting is worth, by its normalised scores [E, S]."""
    found = cross.value(scores)
    return {"value": plain(found.point), "value_95": [plain(found.low), plain(found.high)]}
