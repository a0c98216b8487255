"""Which method needs the least tuning? One setting for all environments, and one for each.

    chs.py METHOD ... [--out runs/chs]

Every setting of a grid is trained on six small environments, a few seeds each; the one that is
best on all of them is trained again on fresh seeds (cross-environment hyperparameter selection,
Patterson et al. 2024). The report beside the sweeps compares methods by what tuning for each
environment would add (Adkins et al. 2024). The same command goes on where it was stopped.
"""

import dataclasses
from dataclasses import replace
from pathlib import Path

import tyro
from rich.console import Console

from jaxq.cli import main as cli
from jaxq.cli import tasks
from jaxq.cli.words import read
from jaxq.config import Preset
from jaxq.errors import ConfigError, unknown
from jaxq.recipes.methods import METHODS
from jaxq.recipes.presets import PRESETS
from jaxq.recipes.reading import loop_of, reads
from jaxq.recipes.suites import of_steps
from jaxq.reports.report import write_report
from jaxq.reports.terminal import print_study
from jaxq.studies import spaces, sweeping
from jaxq.studies.asking import make_study
from jaxq.studies.study import Study

_EXPLORING = {"learning_rate": (1e-4, 3e-4, 1e-3, 3e-3), "gamma": (0.95, 0.99)}
_EXPLORING["epsilon_end"] = (0.01, 0.05, 0.2)
GRIDS = {  # 48 settings each; fewer where a method does not read a number, or has no epsilon
    "off-policy": {**_EXPLORING, "tau": (1.0, 0.2)},
    "on-policy": {**_EXPLORING, "td_lambda": (0.65, 0.95)},
    "streaming": {**_EXPLORING, "learning_rate": (0.01, 0.1, 0.3, 1.0), "td_lambda": (0.0, 0.8)},
}
_SMALLER = {"widths": (64, 64), "eval_max_steps": 500}
_CHUNK = {"off-policy": 10_000, "on-policy": 10_240, "streaming": 10_000}  # 10,240: 5 rollouts


@dataclasses.dataclass(frozen=True)
class Arguments:
    names: tyro.conf.Positional[tuple[str, ...]]
    """Methods, such as dqn or pqn."""
    envs: tuple[str, ...] = (
        "CartPole-v1",
        "Acrobot-v1",
        "MountainCar-v0",
        "Catch-bsuite",
        "DeepSea-bsuite",
        "FourRooms-misc",
    )
    """Environments."""
    grid: tuple[str, ...] = ()
    """All combinations of name=value,value; by default 48, see GRIDS."""
    seeds: int = 3
    """Seeds of every setting."""
    fresh_seeds: int = 10
    """Seeds on which the setting that is chosen is trained again."""
    steps: int = 30_000
    """Environment steps per seed; on-policy methods take 30,720."""
    scale: str = "cdf"
    """On which scores are averaged over environments: cdf, percentile or min-max."""
    plan: bool = False
    """Only say what would be trained: programs, memory, time."""
    out: Path = Path("runs/chs")
    """Directory of the sweeps and the report."""


def chs(arguments: list[str], console: Console) -> None:
    args = read(Arguments, arguments, prog="chs.py", description=__doc__)
    if not args.names:
        raise ConfigError("names is empty; methods such as dqn or pqn are accepted.")
    for name in args.names:
        if name not in METHODS:
            raise unknown("method", name, METHODS)
    studies = {name: _study(name, args) for name in args.names}
    for name, study in studies.items():
        if args.plan:
            sweeping.plan(study, console)
            continue
        with tasks.goes_on(console):
            sweeping.begin_or_go_on(
                args.out / name,
                study,
                report=lambda study, scores: print_study(console, scores, []),
                console=console,
            )
    if not args.plan:
        out = args.out / "report.html"
        write_report([args.out / name for name in args.names], out)
        tasks.say(console, f"Report: {out}")


def _study(name: str, args: Arguments) -> Study:
    base = base_of(name, args.steps)
    grid = spaces.parse_space(args.grid, base.config) or grid_of(base)
    return make_study(
        base,
        name=name,
        envs=args.envs,
        scale=args.scale,
        grid=grid,
        seeds=args.seeds,
        fresh_seeds=args.fresh_seeds,
    )


def grid_of(base: Preset) -> dict[str, tuple[float, ...]]:
    """The numbers of ``GRIDS`` that the method reads."""
    idle = set() if base.hparams.epsilon_start else {"epsilon_end"}  # noise or members explore
    return {
        name: values
        for name, values in GRIDS[loop_of(base.config)].items()
        if name in reads(base.config) and name not in idle
    }


def base_of(method: str, steps: int) -> Preset:
    """A method's preset for CartPole with a smaller network, its schedules and resets in
    ``steps``."""
    whole = PRESETS[f"{method}-cartpole"]
    preset = of_steps(whole, steps)
    chunk = _CHUNK[loop_of(preset.config)]
    chunks = round(whole.config.reset_period * steps / whole.steps / chunk)
    period = max(chunks, 1) * chunk if whole.config.reset_period else 0
    changes = {"chunk_steps": chunk, "reset_period": period, **_SMALLER}
    return preset._replace(config=replace(preset.config, **changes))


if __name__ == "__main__":
    cli.main(chs)
