"""Train many settings as one experiment, and the best one again on fresh seeds.

    sweep.py PRESET --grid learning_rate=1e-4,1e-3 gamma=0.9,0.99
    sweep.py PRESET --random 32 --space learning_rate=log:1e-5..1e-2 batch_size=32,64,128
    sweep.py PRESET --optuna 64 --space learning_rate=log:1e-5..1e-2 gamma=0.9..0.999
    sweep.py PRESET --envs CartPole-v1 Acrobot-v1 Catch-bsuite --grid learning_rate=1e-4,1e-3
    sweep.py --resume SWEEP

Numbers are lanes of one compiled program; every value of a structural field is a program of its
own. Leaves lanes.csv, scores.json, metrics.npz, figures, and a run directory per part.
"""

import dataclasses
import shlex
import sys
from contextlib import suppress
from typing import Annotated

import tyro
from rich.console import Console

from jaxq.cli import main as cli
from jaxq.cli import tasks
from jaxq.cli.words import read
from jaxq.config import Preset
from jaxq.errors import ConfigError, require
from jaxq.printing import check_written
from jaxq.reports.terminal import print_study
from jaxq.runs.described import use_no_accelerator
from jaxq.runs.runner import Interrupted
from jaxq.studies import executors, spaces, sweeping
from jaxq.studies.asking import make_study
from jaxq.studies.study import Study

# What a resumed sweep may be told anew, and what make_study is told under the same name.
_STAYS = (
    "resume trust accept_changed_code try_env save_every devices track "
    "ray ray_cpus ray_gpus distributed heartbeat"
).split()
_ASKED = (
    "envs scale random sobol optuna at_once search_seed halving pbt pbt_replay fresh_seeds"
).split()


@dataclasses.dataclass(frozen=True)
class SweepOptions(cli.SharedOptions):
    """What to sweep, how to choose, and who trains it."""

    envs: tuple[str, ...] = ()
    """Environments on each of which every setting is trained; one setting is chosen for all."""
    scale: str = "cdf"
    """envs: on which scores are averaged: cdf, percentile or min-max of all scores of each."""
    grid: tuple[str, ...] = ()
    """All combinations of name=value,value or name=low..high/COUNT (log:low..high/COUNT)."""
    space: tuple[str, ...] = ()
    """What to choose from: name=value,value or name=low..high (log:low..high)."""
    random: int | None = None
    """So many settings of the space, chosen independently."""
    sobol: int | None = None
    """So many settings of the space, spread evenly."""
    optuna: int | None = None
    """So many settings of the space, each batch chosen by Optuna from the results before it."""
    at_once: int = 8
    """optuna: settings in a batch."""
    search_seed: int = 0
    """Seed of these choices."""
    halving: int | None = None
    """Successive halving: at every rung only the best of so many settings goes on."""
    pbt: int | None = None
    """Population-based training: after every so many evaluations the worst settings go on from the
    best ones, with numbers changed within the space."""
    pbt_replay: bool = False
    """pbt: settings that go on from another also take over its replay."""
    fresh_seeds: int | None = None
    """Seeds on which the best setting is trained again; by default as many as before; 0 is none."""
    plan: bool = False
    """Only say what would be trained: programs, memory, time."""
    for_: Annotated[str | None, tyro.conf.arg(name="for")] = None
    """plan: what fits on a v4, v5e, v5p, v6e, h100 or h200, by what XLA compiles for it here."""
    parts: int = 1
    """Runs into which every program is cut, for ray."""
    ray: bool = False
    """Train the parts as tasks of Ray."""
    ray_cpus: float = 1.0
    """CPU cores of a task."""
    ray_gpus: float = 0.0
    """GPUs of a task."""
    distributed: str | None = None
    """Share the parts with other processes: auto (SLURM, Open MPI, Kubernetes), or
    HOST:PORT,COUNT,INDEX."""
    heartbeat: int = 100
    """distributed: seconds without a sign of life after which a process counts as dead."""


def sweep(arguments: list[str], console: Console) -> None:
    if any(argument.split("=")[0] == "--for" for argument in arguments):
        use_no_accelerator()
    cluster = join(arguments)
    options, study = parse(arguments)
    spread = tasks.spread_of(options, options.batch)
    if options.plan:
        how = {"spread": spread, "num_parts": options.parts, "device": options.for_}
        sweeping.plan(study, console, **how)
        check_written(console)
        return
    given = options.resume or options.out
    executor = cluster or make_executor(options)
    directory = given or tasks.new_directory(f"sweep-{study.name}")
    try:
        sweeping.carry_out(
            directory,
            study,
            trusted=options.trust,
            spread=spread,
            executor=executor,
            num_parts=options.parts,
            report=lambda study, scores: print_study(console, scores, list(study.settings[0])),
            console=console,
        )
    except ConfigError:
        if not given:
            with suppress(OSError):  # unless something was written
                directory.rmdir()
        raise
    except (Interrupted, KeyboardInterrupt, OSError) as error:
        command = ["python", sys.argv[0], "--resume", str(directory)]
        trust = (*options.trust, *(study.functions() if study else ()))
        for option, words in (("--track", options.track), ("--trust", trust)):
            command += [option, *words] if words else []
        tasks.say_how_to_resume(console, directory, shlex.join(command), error)
        raise
    if not executor.follow:
        tasks.say(console, f"Results: {directory}")


def join(arguments: list[str]) -> executors.Executor | None:
    """The processes that this one shares the sweep with, if it does.

    Before anything else is read: JAX must hear of them before it is used, and an environment of
    one's own may use it as soon as it is imported.

    Raises:
      ConfigError: they have no directory in common, or there are none.
    """
    if not any(argument.split("=")[0] == "--distributed" for argument in arguments):
        return None
    how = {"return_unknown_args": True, "add_help": False}
    options, _ = read(SweepOptions, arguments, prog="sweep.py", **how)
    if options.plan or not (options.out or options.resume):
        raise ConfigError("distributed needs --out, which all processes see, and has no plan.")
    tasks.check_counts(options, ("heartbeat",))
    return executors.several_processes(options.distributed, options.heartbeat)


def parse(arguments: list[str]) -> tuple[SweepOptions, Study | None]:
    """The options, and what is to be swept; nothing if a sweep is resumed.

    Raises:
      ConfigError: bad input, or a resumed sweep is to be changed.
    """
    if "--ray" in arguments:
        require("ray", "ray", extra="ray")
    if any(argument.split("=")[0] == "--resume" for argument in arguments):
        options = read(SweepOptions, arguments, prog="sweep.py")
        for field in dataclasses.fields(options):
            value = getattr(options, field.name)
            if field.name not in _STAYS and value != field.default:
                raise ConfigError(f"{field.name}={value} cannot be changed by a resumed sweep.")
        return options, None
    request = cli.parse(arguments, "sweep.py", SweepOptions)
    options = request.options
    if len(request.lanes) > 1:
        raise ConfigError(f"run={arguments[0]} has several lanes; one setting is swept from.")
    if options.for_ is not None and not options.plan:
        raise ConfigError(f"for={options.for_} says what fits there, and needs --plan.")
    tasks.check_counts(options, ("seeds", "steps", "batch", "devices", "parts"))
    study = make_study(
        Preset("", request.config, request.lanes[0], request.steps, len(request.seeds)),
        name=request.name,
        grid=spaces.parse_space(options.grid, request.config),
        space=spaces.parse_space(options.space, request.config),
        seeds=request.seeds,
        **{name: getattr(options, name) for name in _ASKED},
    )
    return options, study


def make_executor(options: SweepOptions) -> executors.Executor:
    """Who trains the parts, with no other process to share them with."""
    if options.ray:
        return executors.with_ray(options.ray_cpus, options.ray_gpus)
    return executors.HERE


if __name__ == "__main__":
    cli.main(sweep)
