"""How a study goes on: as it is, by halving, by Optuna, or by evolution.

``study.search`` names one of ``SEARCHES``, and nothing else asks for its name. One process drives a
study and alone writes ``study.json``; ``train(study, indices)`` trains parts that are not complete,
whoever does it. A study that was stopped goes on from what its directory holds.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxq.config import HParams
from jaxq.errors import ConfigError, require
from jaxq.recipes.reading import evaluation_steps, prefill_of
from jaxq.runs.history import History
from jaxq.runs.population import LEARNER
from jaxq.runs.runner import Evolve, Move, RunSpec, compose
from jaxq.scoring.scores import NUMBER, divergence, rank
from jaxq.settings import Setting, describe, flatten, with_numbers
from jaxq.studies import evolution
from jaxq.studies import study as studies
from jaxq.studies.cutting import go_on
from jaxq.studies.spaces import Range, Space, space_from_document
from jaxq.studies.study import Part, Study
from jaxq.studies.tuning import tune

Train = Callable[[Study, Sequence[int]], None]
Cut = Callable[[Study, Sequence[int], int], list[Part]]  # study, settings, steps -> parts


class Search(NamedTuple):
    """A way to find settings; functions of a study, and what there is to know about it."""

    begin: Callable[[Study, Cut], list[Part]]  # first parts; refuses what it would come to
    go_on: Callable[[Path, Study, Train, Cut], Study]  # the study with all its settings and parts
    total_steps: Callable[[Study], int]  # of all settings together, for one seed
    evolve: Callable[[Study, Part], Evolve] | None = None  # who in a part goes on from whom
    grows: bool = False  # whether settings are added on the way

    @property
    def moves(self) -> bool:
        """Whether members move between settings. Those stay in one part then, none of them is the
        best one, and no figure can show a score against the numbers of a setting."""
        return self.evolve is not None


def search_of(study: Study) -> Search:
    """How ``study`` goes on."""
    return SEARCHES[study.search["kind"]]


def run_of(study: Study, part: Part) -> tuple[RunSpec, Evolve | None]:
    """What a part trains, and what the search does with it meanwhile."""
    spec, evolve = study.spec(part), search_of(study).evolve
    if evolve is None:
        return spec, None
    sweep = {name: study.search.get(name) for name in ("kind", "every", "space", "replay")}
    return spec._replace(sweep=sweep), evolve(study, part)


def check(study: Study) -> None:
    """Refuse what would be refused only once it is trained.

    Raises:
      ConfigError: a run of the study, or what it needs beside, is not possible.
    """
    runs = [study.spec(part) for part in study.parts]
    space = space_from_document(study.search.get("space", {}))
    first = study.settings[0] if study.settings else _corner(space, 0.0)
    config, hparams = study._replace(settings=[first]).applied(0)
    runs.append(RunSpec(study.name, config, [hparams], study.seeds, study.steps))
    if study.fresh_seeds:
        runs.append(runs[-1]._replace(seeds=study.fresh_seeds))
    for spec in runs:
        try:
            compose(spec)
        except ConfigError as error:
            values = vars(study.config)
            changed = {k: v for k, v in vars(spec.config).items() if v != values[k]}
            if not changed:
                raise
            where = f"{str(error).rstrip('.')} (where {describe(changed)})."
            raise ConfigError(where) from error


def is_same(study: Study, asked: Study) -> bool:
    """Whether a study is the one asked for, however it was cut and whatever it has tried."""

    def begun(study: Study) -> dict:
        settings = [] if search_of(study).grows else study.settings
        search = {k: v for k, v in study.search.items() if k not in ("trials", "num_parts")}
        begun = {"parts": (), "settings": settings, "search": search, "made_of": {}}
        return study._replace(**begun).document()

    return begun(study) == begun(asked)


def _begin_fixed(study: Study, cut: Cut) -> list[Part]:
    return cut(study, range(len(study.settings)), study.steps)


def _train_all(directory: Path, study: Study, train: Train, cut: Cut) -> Study:
    train(study, range(len(study.parts)))
    return study


def _all_steps(study: Study) -> int:
    return study.steps * len(study.settings)


def _begin_halving(study: Study, cut: Cut) -> list[Part]:
    if fixed := {"chunk_steps", "eval_period", "prefill"} & set(study.settings[0]):
        raise ConfigError(
            f"halving cuts all settings at one step; {' and '.join(sorted(fixed))} cannot be swept."
        )
    return cut(study, range(len(study.settings)), _rungs(study)[0].steps)


def _halve(directory: Path, study: Study, train: Train, cut: Cut) -> Study:
    """All settings begin, and at every rung one of ``eta`` goes on."""
    schedule = _rungs(study)
    for rung, end in zip(schedule, [*(later.steps for later in schedule[1:]), study.steps]):
        mine = [i for i, part in enumerate(study.parts) if part.steps == rung.steps]
        train(study, mine)
        if not any(part.steps == end for part in study.parts):
            lanes = studies.collect(directory, study)["lanes"]
            alive = sorted({setting for i in mine for setting in study.parts[i].settings})
            returns = np.array([[rank(lanes[lane])] for lane in alive])
            kept = [alive[i] for i in evolution.survivors(returns, rung.keep)]
            study = studies.extend(directory, study, parts=go_on(study, kept, end, mine))
    train(study, [i for i, part in enumerate(study.parts) if part.steps == study.steps])
    return study


def _halved_steps(study: Study) -> int:
    return evolution.total_steps(_rungs(study), len(study.settings), study.steps)


def _rungs(study: Study) -> list[evolution.Rung]:
    """When a halving study cuts, and how many settings it keeps."""
    config = study.config
    size = study.steps, len(study.settings), evaluation_steps(config)
    return evolution.rungs(*size, study.search["eta"], start=prefill_of(config))


def _begin_optuna(study: Study, cut: Cut) -> list[Part]:
    require("optuna", "optuna", extra="tune")
    _check_corners(study, space_from_document(study.search["space"]), cut)
    return []


def _tune(directory: Path, study: Study, train: Train, cut: Cut) -> Study:
    """Batches of settings that Optuna chooses, each as the lanes of one program."""

    trusted = study.functions()

    def evaluate(settings: list[Setting], numbers: list[int]) -> list[float]:
        study = studies.read_study(directory, trusted)
        if numbers[0] not in study.search["trials"]:
            lanes = range(len(study.settings), len(study.settings) + len(settings))
            parts = cut(study._replace(settings=[*study.settings, *settings]), lanes, study.steps)
            study = studies.extend(directory, study, settings, parts, trials=numbers)
        lanes = [study.search["trials"].index(number) for number in numbers]
        train(study, [i for i, part in enumerate(study.parts) if set(part.settings) & set(lanes)])
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
    return studies.read_study(directory, trusted)


def _tuned_steps(study: Study) -> int:
    return study.steps * study.search["num_trials"]


def _begin_pbt(study: Study, cut: Cut) -> list[Part]:
    """Networks move between settings, and numbers to the ends of their ranges."""
    parts = _begin_fixed(study, cut)
    if any(study.applied(index)[0].eval_period for index in range(len(study.settings))):
        raise ConfigError("eval_period must be 0 for pbt, which moves networks after every chunk.")
    if len(study.settings) < 2:
        raise ConfigError("pbt needs at least 2 settings to move between; give --random 16, say.")
    if len({part.settings for part in parts}) > 1:
        raise ConfigError("pbt moves networks between settings, which must share one program.")
    space = space_from_document(study.search["space"])
    numbers = flatten(study.applied(0)[1])
    for name, values in space.items():
        if name not in numbers or not isinstance(values, Range):
            raise ConfigError(f"space={name} is not a range of a number, which pbt needs.")
    _check_corners(study, space, cut)
    return parts


def _check_corners(study: Study, space: Space, cut: Cut) -> None:
    corners = [_corner(space, unit) for unit in (0.0, 1.0)]
    cut(study._replace(settings=corners), [0, 1], study.steps)


def _corner(space: Space, unit: float) -> Setting:
    return {name: values.at(unit) for name, values in space.items()}


def _evolve(study: Study, part: Part) -> Evolve:
    """Population-based training of a part, after every so many evaluations."""
    space = space_from_document(study.search["space"])
    every, size = study.search["every"], (len(part.settings), len(part.seeds))
    like = study.spec(part).lanes[0]

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


SEARCHES = {
    "fixed": Search(_begin_fixed, _train_all, _all_steps),
    "halving": Search(_begin_halving, _halve, _halved_steps),
    "optuna": Search(_begin_optuna, _tune, _tuned_steps, grows=True),
    "pbt": Search(_begin_pbt, _train_all, _all_steps, evolve=_evolve),
}
