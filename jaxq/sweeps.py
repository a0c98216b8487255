"""From ``name=value,value`` to hyperparameter lanes."""

import itertools
from collections.abc import Sequence

from jaxq.config import Config, HParams, field_names, replace_checked
from jaxq.errors import ConfigError, unknown

ENV_PARAM = "env_params."


def parse_grid(arguments: Sequence[str]) -> dict[str, list[float]]:
    """``["learning_rate=1e-4,1e-3", "gamma=0.9,0.99"]`` as names and values, in order.

    ``env_params.NAME`` sweeps a parameter of the environment.

    Raises:
      ConfigError: not of that form, not a traced number, or a value twice.
    """
    grid: dict[str, list[float]] = {}
    sweepable = [name for name in HParams._fields if name != "env_params"]
    for argument in arguments:
        name, _, text = argument.partition("=")
        name = name.replace("-", "_")
        if name in field_names(Config):
            raise ConfigError(
                f"grid={argument} sweeps a structural field, each value of which is a program of "
                f"its own; numbers such as {', '.join(sweepable[:3])} are accepted."
            )
        if name not in sweepable and not name.startswith(ENV_PARAM):
            raise unknown("grid", name, sweepable)
        try:
            values = [float(value) for value in text.split(",")]
        except ValueError:
            raise ConfigError(f"grid={argument} is not of the form name=number,number.") from None
        if len(set(values)) != len(values) or name in grid:
            raise ConfigError(f"grid={argument} names a value or a field twice.")
        grid[name] = values
    return grid


def make_lanes(hparams: HParams, grid: dict[str, list[float]]) -> list[HParams]:
    """Every combination of the grid's values, on top of ``hparams``; the last name runs fastest."""
    lanes = []
    for values in itertools.product(*grid.values()):
        setting = dict(zip(grid, values))
        params = {
            k.removeprefix(ENV_PARAM): v for k, v in setting.items() if k not in HParams._fields
        }
        numbers = {k: v for k, v in setting.items() if k in HParams._fields}
        merged = {**hparams.env_params, **params}
        lanes.append(replace_checked(hparams, {**numbers, "env_params": merged}))
    return lanes


def flatten(lane: HParams) -> dict[str, float]:
    """All numbers of a lane by the names that a grid gives them."""
    numbers = {name: value for name, value in lane._asdict().items() if name != "env_params"}
    return numbers | {ENV_PARAM + name: value for name, value in lane.env_params.items()}


def differing(lanes: Sequence[HParams]) -> list[str]:
    """The names of the numbers in which lanes differ."""
    flat = [flatten(lane) for lane in lanes]
    return [name for name in flat[0] if len({numbers[name] for numbers in flat}) > 1]
