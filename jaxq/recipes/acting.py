"""How actions are selected while training, and by what amount of exploration."""

import inspect
from collections.abc import Callable
from functools import partial

import jax

from jaxq.config import Config, HParams
from jaxq.errors import ConfigError
from jaxq.learning.exploration import without_state
from jaxq.recipes.parts import find, make_part, makes_selection
from jaxq.types import PyTree, Selection


def make_selection_from(config: Config) -> Selection:
    """How ``config`` says that actions are selected.

    Raises:
      ConfigError: ties are to be broken by a function that has no parameter for it, or something
        else than a ``Selection`` was made.
    """
    select = find("action_selection", config.action_selection).make
    if makes_selection(select):
        return make_part("action_selection", config, Selection)
    if "break_ties" in inspect.signature(select).parameters:
        return without_state(partial(select, break_ties=config.break_ties))
    if config.break_ties:
        raise ConfigError(
            f"break_ties=True has no effect on action_selection={config.action_selection}, which "
            f"has no parameter of that name; leave it at its default."
        )
    return without_state(select)


def make_exploration_from(config: Config) -> tuple[Callable, str]:
    """``amount(hparams, steps)`` of exploration: what the schedule that ``config`` names says, as
    the selection takes it; and what it is called."""
    schedule = find("exploration", config.exploration).make
    selection = make_selection_from(config)

    def amount(hparams: HParams, steps: jax.Array) -> PyTree:
        start, end = hparams.epsilon_start, hparams.epsilon_end
        steps = steps - hparams.epsilon_delay
        return selection.amount(hparams, schedule(start, end, hparams.epsilon_steps, steps))

    return amount, "temperature" if config.action_selection == "softmax" else "epsilon"
