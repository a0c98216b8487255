"""Suites: what is measured once, with every seed, so that others can compare with it.

A suite is a table of cells; a cell is a preset with a number of steps and of seeds. Who measures
them is ``experiments/reference.py``.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from jaxq.config import Preset
from jaxq.errors import unknown
from jaxq.recipes.boards import BOARDS
from jaxq.recipes.bsuite import BSUITE
from jaxq.recipes.libraries import LIBRARIES
from jaxq.recipes.methods import METHODS
from jaxq.recipes.minatar import GAMES, STREAMING_METHODS
from jaxq.recipes.presets import PRESETS
from jaxq.recipes.reading import settle

_GAMES = [game.lower() for game in GAMES]
_STREAMS = list(itertools.product(("breakout", "asterix"), STREAMING_METHODS))
_SCHEDULES = ("epsilon_delay", "epsilon_steps", "importance_exponent_steps", "learning_rate_steps")
# On-policy learning takes the 500,000 steps of its authors' settings; what a reset loses takes as
# long to regain as it took to learn.
_CARTPOLE_STEPS = dict.fromkeys(("pqn", "pqn-lstm", "reset-dqn", "shrink-and-perturb-dqn"), 500_000)


class Cell(NamedTuple):
    """What is measured: a preset of so many steps, on seeds from 0 on."""

    name: str  # of the preset
    preset: Preset
    seeds: int = 10
    at_once: int = 10  # seeds of one run, so that it takes less than an hour on two cores


def on_cartpole(method: str, steps: int = 250_000) -> Preset:
    """A method's preset with all its schedules in ``steps``: epsilon falls over half of them, as in
    CleanRL, and the importance exponent grows over all."""
    preset = PRESETS[f"{method}-cartpole"]
    if method in _CARTPOLE_STEPS:
        return preset._replace(steps=_CARTPOLE_STEPS[method])
    return of_steps(preset, steps)


def of_steps(preset: Preset, steps: int) -> Preset:
    """A preset that takes so many steps, with every schedule the same share of them as before."""
    share, hparams = steps / preset.steps, preset.hparams
    numbers = {name: getattr(hparams, name) * share for name in _SCHEDULES}
    if hparams.epsilon_start == hparams.epsilon_end:
        numbers = {k: v for k, v in numbers.items() if not k.startswith("epsilon")}
    hparams = hparams._replace(**{k: v for k, v in numbers.items() if math.isfinite(v)})
    _, hparams = settle(preset.config, hparams, asked=())  # without those that are not read
    return preset._replace(steps=steps, hparams=hparams)


def cells(suite: str) -> Mapping[str, Cell]:
    """The cells of a suite, by their names.

    Raises:
      ConfigError: there is no such suite.
    """
    if suite not in SUITES:
        raise unknown("suite", suite, SUITES)
    return SUITES[suite]


def _of(
    names: Iterable[str],
    seeds: int = 10,
    at_once: int = 10,
    change: Callable[[Preset], Preset] = lambda preset: preset,
) -> dict[str, Cell]:
    """Presets as they are, but for a change."""
    return {name: Cell(name, change(PRESETS[name]), seeds, at_once) for name in names}


def _first(steps: int) -> Callable[[Preset], Preset]:
    """The first steps of a longer run."""
    return lambda preset: preset._replace(steps=steps)


def _whole(preset: Preset) -> Preset:
    """A run of 2 million steps, in which epsilon falls over the same share as in a longer one."""
    return of_steps(preset, 2_000_000)


SUITES: dict[str, dict[str, Cell]] = {
    "control": {
        **{
            f"{name}-cartpole": Cell(f"{name}-cartpole", on_cartpole(name), seeds=16, at_once=16)
            for name in METHODS
        },
        **_of(name for name in PRESETS if name.endswith(("-acrobot", "-mountaincar"))),
        **_of(BSUITE),
    },
    "minatar": _of((f"pqn-{game}" for game in _GAMES), at_once=5),
    "streaming": _of((f"{name}-{game}" for game, name in _STREAMS), 8, at_once=8, change=_whole),
    "minatar-original": {
        **_of((f"revisited-dqn-{game}" for game in _GAMES), change=_first(2_000_000)),
        **_of((f"rainbow-{game}" for game in _GAMES), seeds=5, at_once=5, change=_first(2_000_000)),
    },
    "libraries": {
        **_of((*BOARDS, *LIBRARIES), seeds=4, at_once=2),
        # five million steps of one and a million of the other would take two cores hours
        **_of(["dqn-pgx-breakout"], seeds=4, at_once=2, change=_first(2_000_000)),
        **_of(["dqn-octax-pong"], seeds=4, at_once=2, change=_first(400_000)),
    },
}
