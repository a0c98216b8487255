"""How a study is carried through: as it is, by halving, by Optuna, or by evolution.

``study.search`` says which. One process drives it and alone writes ``study.json``;
``train(directory, indices)`` is one of the executors and trains parts that are not complete. A
study that was stopped goes on from what its directory holds.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jaxq.config import HParams
from jaxq.errors import ConfigError
from jaxq.runs.history import History
from jaxq.runs.population import LEARNER
from jaxq.runs.runner import Evolve, Move, RunSpec, compose
from jaxq.scoring.scores import NUMBER, divergence, rank
from jaxq.settings import Setting, flatten, with_numbers
from jaxq.studies import evolution
from jaxq.studies import study as studies
from jaxq.studies.spaces import Range, Space, space_from_document
from jaxq.studies.study import Part, Study
from jaxq.studies.tuning import tune

Train = Callable[[Path, Sequence[int]], None]
Cut = Callable[[Study, Sequence[int], int], list[Part]]  # study, settings, steps -> parts


def first_parts(study: Study, cut: Cut) -> list[Part]:
    """What a study begins with; all of it, unless it is a search that decides later.

    Raises:
      ConfigError: a setting is refused, or could be where the search may come to.
    """
    everybody = list(range(len(study.settings)))
    if study.search["kind"] == "halving":
        if {"chunk_steps", "prefill"} & set(study.settings[0]):
            raise ConfigError(
                "halving cuts all settings at one step; chunk_steps and prefill cannot be swept."
            )
        return cut(study, everybody, rungs_of(study)[0].steps)
    if study.search["kind"] == "optuna":
        _check_corners(study, space_from_document(study.search["space"]), cut)
        return []
    parts = cut(study, everybody, study.steps)
    if study.search["kind"] == "pbt":
        _check_pbt(study, parts, cut)
    return parts


def _check_pbt(study: Study, parts: Sequence[Part], cut: Cut) -> None:
    """Networks move between settings, and numbers to the ends of their ranges."""
    if len(study.settings) < 2:
        raise ConfigError("pbt needs at least 2 settings to move between; give --random 16, say.")
    if len({part.settings for part in parts}) > 1:
        raise ConfigError("pbt moves networks between settings, which must share one program.")
    space = space_from_document(study.search["space"])
    numbers = flatten(studies.part_spec(study, parts[0]).lanes[0])
    for name, values in space.items():
        if name not in numbers or not isinstance(values, Range):
            raise ConfigError(f"space={name} is not a range of a number, which pbt needs.")
    _check_corners(study, space, cut)


def _check_corners(study: Study, space: Space, cut: Cut) -> None:
    corners = [{name: values.at(unit) for name, values in space.items()} for unit in (0.0, 1.0)]
    cut(study._replace(settings=corners), [0, 1], study.steps)


def check(study: Study) -> None:
    """Refuse what would be refused only once it is trained.

    Raises:
      ConfigError: a run of the study, or what it needs beside, is not possible.
    """
    runs = [studies.part_spec(study, part) for part in study.parts]
    runs.append(RunSpec(study.name, study.config, [study.hparams], study.seeds, study.steps))
    if study.fresh_seeds:
        runs.append(runs[-1]._replace(seeds=study.fresh_seeds))
    for spec in runs:
        compose(spec)


def carry_through(directory: Path, study: Study, train: Train, cut: Cut) -> Study:
    """Train whatever is not complete, and decide what else to train.

    Returns:
      The study with all its settings and parts.
    """
    if study.search["kind"] == "halving":
        return _halve(directory, study, train)
    if study.search["kind"] == "optuna":
        return _tune(directory, study, train, cut)
    train(directory, range(len(study.parts)))
    return study


def _halve(directory: Path, study: Study, train: Train) -> Study:
    """All settings begin, and at every rung one of ``eta`` goes on."""
    schedule = rungs_of(study)
    for rung, end in zip(schedule, [*(later.steps for later in schedule[1:]), study.steps]):
        mine = [i for i, part in enumerate(study.parts) if part.steps == rung.steps]
        train(directory, mine)
        if not any(part.steps == end for part in study.parts):
            lanes = studies.collect(directory, study)["lanes"]
            alive = sorted({setting for i in mine for setting in study.parts[i].settings})
            returns = np.array([[rank(lanes[lane])] for lane in alive])
            kept = [alive[i] for i in evolution.survivors(returns, rung.keep)]
            study = studies.extend(directory, study, parts=studies.go_on(study, kept, end, mine))
    train(directory, [i for i, part in enumerate(study.parts) if part.steps == study.steps])
    return study


def rungs_of(study: Study) -> list[evolution.Rung]:
    """When a halving study cuts, and how many settings it keeps."""
    config = study.config
    size = study.steps, len(study.settings), config.chunk_steps
    return evolution.rungs(*size, study.search["eta"], start=config.prefill)


def _tune(directory: Path, study: Study, train: Train, cut: Cut) -> Study:
    """Batches of settings that Optuna chooses, each as the lanes of one program."""

    def evaluate(settings: list[Setting], numbers: list[int]) -> list[float]:
        study = studies.read_study(directory)
        if numbers[0] not in study.search["trials"]:
            lanes = range(len(study.settings), len(study.settings) + len(settings))
            parts = cut(study._replace(settings=[*study.settings, *settings]), lanes, study.steps)
            study = studies.extend(directory, study, settings, parts, trials=numbers)
        lanes = [study.search["trials"].index(number) for number in numbers]
        train(directory, [i for i, p in enumerate(study.parts) if set(p.settings) & set(lanes)])
        table = studies.collect(directory, study)["lanes"]
        return [rank(table[lane]) for lane in lanes]

    def can_continue(numbers: list[int]) -> bool:
        return set(numbers) <= set(studies.read_study(directory).search["trials"])

    tune(
        space_from_document(study.search["space"]),
        evaluate,
        num_trials=study.search["num_trials"],
        batch=study.search["at_once"],
        directory=directory,
        seed=study.search["seed"],
        can_continue=can_continue,
    )
    return studies.read_study(directory)


def make_evolve(study: Study, part: Part) -> Evolve | None:
    """Population-based training of a part, after every so many evaluations; None if the study does
    not evolve."""
    if study.search.get("kind") != "pbt":
        return None
    space = space_from_document(study.search["space"])
    every, size = study.search["every"], (len(part.settings), len(part.seeds))
    like = studies.part_spec(study, part).lanes[0]

    def decide(history: History) -> Move:
        arrays, members = history.arrays(), np.arange(size[0] * size[1])
        now = {name: arrays[NUMBER + name][..., -1] for name in flatten(like)}
        hparams = with_numbers(like, now)  # [H, S]
        broken = divergence(arrays) >= 0  # [H, S]
        if len(history.steps) % every:
            return Move(members, np.zeros(len(members), bool), _members(hparams))
        returns = np.where(broken, np.nan, arrays["eval_return"][..., -1])
        key_exploit, key_explore = evolution.keys_of(part.seeds, history.steps[-1])
        source = evolution.exploit(key_exploit, jnp.asarray(returns))
        moved = evolution.explore(key_explore, jax.tree.map(jnp.asarray, hparams), source, space)
        numbers = _members(jax.device_get(moved))
        return Move(evolution.members_of(source), broken.ravel(), numbers)

    with_replay = (*LEARNER, "replay") if study.search.get("replay") else None
    return Evolve(decide, with_replay)


def _members(hparams: HParams) -> HParams:
    """Leaves [H, S] as leaves [M]."""
    return jax.tree.map(lambda leaf: np.asarray(leaf).reshape(-1), hparams)
