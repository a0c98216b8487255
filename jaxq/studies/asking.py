"""What a caller may ask for, from a script or a notebook, as a study that has no parts yet."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxq.config import Preset
from jaxq.errors import ConfigError, require, unknown
from jaxq.recipes.presets import PRESETS
from jaxq.runs.spec import MAX_MEMBERS, check_members, positive, short, whole
from jaxq.scoring.cross import ENVIRONMENT, SCALES
from jaxq.settings import ENV_PARAM, Setting
from jaxq.studies import spaces
from jaxq.studies.study import Study

_NOTHING: Mapping[str, Any] = {}


def make_study(
    base: str | Preset,
    *,
    name: str | None = None,
    envs: Sequence[str] = (),
    scale: str = "cdf",
    grid: Mapping[str, Any] = _NOTHING,
    space: Mapping[str, Any] = _NOTHING,
    random: int | None = None,
    sobol: int | None = None,
    optuna: int | None = None,
    at_once: int = 8,
    search_seed: int = 0,
    halving: int | None = None,
    pbt: int | None = None,
    pbt_replay: bool = False,
    seeds: int | Sequence[int] | None = None,
    steps: int | None = None,
    fresh_seeds: int | None = None,
) -> Study:
    """Many settings of one base, and how the best of them is found.

    Args:
      base: the name of a preset, or one of one's own; settings change some of its fields.
      name: what results call it; the name of the preset by default.
      envs: every setting is trained on each of these, and the one is chosen that is best on all of
        them (cross-environment hyperparameter selection, Patterson et al. 2024).
      scale: on which scores of several environments are averaged, see ``jaxq.scoring.cross``.
      grid: name -> values, all combinations of which are settings.
      space: name -> values or a ``Range``, to choose from. In both, words such as
        ``log:1e-4..1e-2/5`` are read as on the command line.
      random: so many settings of the space, chosen independently.
      sobol: so many settings of the space, spread evenly.
      optuna: so many settings of the space, each batch chosen from the results before it.
      at_once: settings in a batch of optuna.
      search_seed: seed of these choices.
      halving: at every rung only the best of so many settings goes on.
      pbt: after every so many evaluations the worst settings go on from the best ones, with
        numbers changed within the space.
      pbt_replay: these also take over the replay.
      seeds: how many, from 0 on, or which; as many as the preset by default.
      steps: environment steps per seed; as many as the preset by default.
      fresh_seeds: on how many the best setting is trained again; by default as many as before; 0
        is none.

    Raises:
      ConfigError: bad input.
    """
    name, preset = _named(base, name)
    if not isinstance(pbt_replay, bool):
        raise ConfigError(f"pbt_replay={short(pbt_replay)} must be true or false.")
    seeds = preset.seeds if seeds is None else seeds
    steps = whole("steps", preset.steps if steps is None else steps)
    seeds = range(positive("seeds", seeds)) if np.ndim(seeds) == 0 else seeds
    check_members(1, len(seeds))
    seeds = tuple(whole("seeds", seed) for seed in seeds)
    counts = {"random": random, "sobol": sobol, "optuna": optuna, "at_once": at_once}
    counts |= {"halving": halving, "pbt": pbt, "steps": steps, "seeds": len(seeds)}
    _check_at_least(1, counts)
    for count in (random, sobol, optuna):
        check_members(count or 1, len(seeds))
    _check_at_least(0, {"fresh_seeds": fresh_seeds, "search_seed": search_seed})
    if sum(map(bool, (halving, pbt, optuna))) > 1:
        raise ConfigError("halving, pbt and optuna cannot be combined; choose one.")
    if optuna:
        require("optuna", "optuna", extra="tune")
    grid = spaces.as_space(grid, preset.config, "grid")
    space = spaces.as_space(space, preset.config)
    _check_one_way({"random": random, "sobol": sobol, "optuna": optuna}, grid, space, pbt)
    search: dict[str, Any] = {"kind": "fixed"}
    if halving:
        search = {"kind": "halving", "eta": halving}
    if pbt:
        search = {"kind": "pbt", "every": pbt, "space": spaces.space_document(space)}
        search["replay"] = pbt_replay
    sizes = (len(values.values) for values in grid.values() if hasattr(values, "values"))
    check_members(math.prod(sizes), len(seeds))
    settings = spaces.grid(grid)
    if random or sobol:
        settings = spaces.sample(space, random or sobol, search_seed, sobol=bool(sobol))
    if optuna:
        settings = []
        search = {"kind": "optuna", "num_trials": optuna, "at_once": at_once}
        search |= {"space": spaces.space_document(space), "seed": search_seed, "trials": []}
    is_chosen = len(settings) != 1
    if envs:
        if search["kind"] != "fixed":
            raise ConfigError(f"envs and {search['kind']} cannot be combined; choose one.")
        settings = _on_each(envs, scale, settings)
        check_members(len(settings), len(seeds))
        search["scale"] = scale
    is_one_task = not any(changed.startswith(ENV_PARAM) for changed in (*grid, *space))
    is_chosen = is_chosen and is_one_task and not pbt
    count, first = len(seeds) if fresh_seeds is None else fresh_seeds, max(seeds) + 1
    if count > MAX_MEMBERS:
        raise ConfigError(f"fresh_seeds={count:,} must be at most {MAX_MEMBERS:,}.")
    fresh = tuple(range(first, first + count)) if is_chosen else ()
    base = name, preset.config, preset.hparams
    return Study(*base, settings, seeds, steps, fresh, search=search)


def _named(base: str | Preset, name: str | None) -> tuple[str, Preset]:
    if not isinstance(name, str | None):
        raise ConfigError(f"name={short(name)} must be a text, by which the sweep is known.")
    if isinstance(base, Preset):
        return name or "sweep", base
    if not isinstance(base, str):
        raise ConfigError(f"base={short(base)} must be the name of a preset, or a jaxq Preset.")
    if base not in PRESETS:
        raise unknown("preset", base, PRESETS)
    return name or base, PRESETS[base]


def _on_each(envs: Sequence[str], scale: str, settings: Sequence[Setting]) -> list[Setting]:
    """Every setting on every environment, environment by environment."""
    if isinstance(envs, str) or not all(isinstance(env, str) for env in envs):
        raise ConfigError(f"envs={envs} must be a list of names of environments.")
    if len(set(envs)) != len(envs) or len(envs) < 2:
        raise ConfigError(f"envs={' '.join(envs)} must be at least two, each of them once.")
    if scale not in SCALES:
        raise unknown("scale", scale, SCALES)
    return [{ENVIRONMENT: env, **setting} for env in envs for setting in settings]


def _check_at_least(least: int, counts: Mapping[str, int | None]) -> None:
    for name, value in counts.items():
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        if value is not None and not (is_whole and value >= least):
            raise ConfigError(f"{name}={value} must be a whole number of at least {least}.")


def _check_one_way(ways: Mapping[str, int | None], grid, space, pbt: int | None) -> None:
    """Settings come from one place, and a space is there for whoever chooses from it."""
    chosen = [name for name, count in ways.items() if count]
    if len(chosen) > 1 or (chosen and grid):
        raise ConfigError(f"{' and '.join(chosen)} cannot be combined; choose one, or a grid.")
    if bool(chosen or pbt) != bool(space):
        raise ConfigError("space is what random, sobol, optuna and pbt choose from; give both.")
    if space:
        spaces.check_space(space)
