"""Train many settings as one experiment, and the best one again on fresh seeds.

    sweep.py PRESET --grid learning_rate=1e-4,1e-3 gamma=0.9,0.99
    sweep.py PRESET --random 32 --space learning_rate=log:1e-5..1e-2 batch_size=32,64,128
    sweep.py PRESET --optuna 64 --space learning_rate=log:1e-5..1e-2 gamma=0.9..0.999
    sweep.py --resume SWEEP

Numbers are lanes of one compiled program; every value of a structural field is a program of its
own. Leaves lanes.csv, scores.json, metrics.npz, figures, and a run directory per part.
"""

import dataclasses
import math
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console

from jaxq import settings
from jaxq.cli import main as cli
from jaxq.cli import tasks
from jaxq.errors import ConfigError, require
from jaxq.reports.terminal import print_study
from jaxq.runs import files as results
from jaxq.runs.runner import Interrupted
from jaxq.runs.sinks import check_kind
from jaxq.scoring import plots
from jaxq.scoring.protocol import protocol_words
from jaxq.scoring.scores import rank, without_diverged
from jaxq.studies import executors, searches
from jaxq.studies import spaces as sweeps
from jaxq.studies import study as studies
from jaxq.studies.planning import print_plan
from jaxq.studies.study import Part, Study

_DRAWN = 8  # curves in one figure


@dataclasses.dataclass(frozen=True)
class SweepOptions(cli.SharedOptions):
    """What to sweep, how to choose, and who trains it."""

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
    options, request = parse(arguments)
    how = {"num_devices": options.devices, "save_every": options.save_every}
    how["track"] = options.track
    directory = options.resume or options.out
    study, cluster = make_study(options, request) if request else None, None
    if options.distributed:
        if directory is None:
            raise ConfigError("distributed needs --out, a directory that all processes see.")
        asked, cluster = study, executors.Cluster(options.distributed, options.heartbeat)
        if not cluster.leads:
            cluster.follow(directory, lambda found: asked is None or is_same(found, asked), **how)
            return

    def cut(study: Study, indices: Sequence[int], steps: int) -> list[Part]:
        search = study.search
        by_seeds, batch = search["kind"] == "pbt", search["batch"]
        if batch is None and study.parts:
            batch = study.parts[0].batch  # wherever a search goes on
        return studies.cut(
            study, indices, steps, search["num_parts"], batch, options.devices, by_seeds
        )

    def train(directory: Path, indices: Sequence[int]) -> None:
        left = [i for i in indices if not studies.is_complete(studies.part_directory(directory, i))]
        if cluster:
            cluster.train(directory, left, console=console, **how)
        elif options.ray:
            resources = {"cpus": options.ray_cpus, "gpus": options.ray_gpus}
            executors.with_ray(directory, left, console=console, **resources, **how)
        else:
            executors.here(directory, left, console=console, **how)

    if study is None:
        study = studies.read_study(directory)
    else:
        study.search["num_parts"] = cluster.count if cluster else options.parts
        study = study._replace(parts=searches.first_parts(study, cut))
        searches.check(study)
        if options.plan:
            print_plan(study, options.devices, console)
            return
        directory = directory or tasks.new_directory(f"sweep-{request.name}")
        studies.create(directory, study)
    try:
        study = searches.carry_through(directory, study, train, cut)
        scores = studies.collect(directory, study)
        names = list(study.settings[0])
        print_study(console, scores, names)
        if study.search["kind"] == "pbt":
            console.print(
                "Numbers are those with which a member began; parts/*/metrics.npz has the rest."
            )
        if study.fresh_seeds and math.isfinite(rank(scores["lanes"][scores["best"]])):
            confirm(directory, study, scores, console, how)
    except Interrupted:
        track = ["--track", *options.track] if options.track else []
        command = shlex.join(["python", sys.argv[0], "--resume", str(directory), *track])
        console.print(f"\nSaved. Resume with: {command}", soft_wrap=True)
        raise
    draw(directory, study, scores)
    results.write_text(directory / results.COMPLETE, f"{scores['steps']}\n")
    console.print(f"Results: {directory}", soft_wrap=True, highlight=False)


def parse(arguments: list[str]) -> tuple[SweepOptions, cli.Request | None]:
    """The options, and what is to be swept; nothing if a sweep is resumed.

    Raises:
      ConfigError: bad input, or a resumed sweep is to be changed.
    """
    if "--ray" in arguments:
        require("ray", "ray", extra="ray")
    if any(argument.split("=")[0] == "--resume" for argument in arguments):
        options = tyro.cli(SweepOptions, prog="sweep.py", args=arguments)
        stays = ("resume", "save_every", "devices", "ray", "ray_cpus", "ray_gpus")
        stays += ("distributed", "heartbeat", "track")
        for field in dataclasses.fields(options):
            value = getattr(options, field.name)
            if field.name not in stays and value != field.default:
                raise ConfigError(f"{field.name}={value} cannot be changed by a resumed sweep.")
        return options, None
    request = cli.parse(arguments, "sweep.py", SweepOptions)
    options = request.options
    if len(request.lanes) > 1:
        raise ConfigError(f"run={arguments[0]} has several lanes; one setting is swept from.")
    for name in ("fresh_seeds", "search_seed"):
        if (getattr(options, name) or 0) < 0:
            raise ConfigError(f"{name}={getattr(options, name)} must be 0 or larger.")
    if options.plan and (options.optuna or options.distributed):
        raise ConfigError("plan needs settings that are known, and one process.")
    tasks.check_counts(options, ("seeds", "steps", "batch", "devices", "random", "sobol", "optuna"))
    tasks.check_counts(options, ("at_once", "halving", "pbt", "parts", "heartbeat"))
    for kind in options.track:
        check_kind(kind)
    if options.optuna:
        require("optuna", "optuna", extra="tune")
    chosen = [name for name in ("random", "sobol", "optuna") if getattr(options, name)]
    if len(chosen) > 1 or (chosen and options.grid):
        raise ConfigError(f"{' and '.join(chosen)} cannot be combined; choose one, or a grid.")
    if bool(chosen or options.pbt) != bool(options.space):
        raise ConfigError("space is what random, sobol, optuna and pbt choose from; give both.")
    if sum(map(bool, (options.halving, options.pbt, options.optuna))) > 1:
        raise ConfigError("halving, pbt and optuna cannot be combined; choose one.")
    return options, request


def make_study(options: SweepOptions, request: cli.Request) -> Study:
    """What a command line asks for, without its parts."""
    space, seed = sweeps.parse_space(options.space), options.search_seed
    search: dict[str, Any] = {"kind": "fixed"}
    is_same_task = not any(name.startswith(sweeps.ENV_PARAM) for name in space)
    if options.optuna:
        settings = []
        search = {"kind": "optuna", "num_trials": options.optuna, "at_once": options.at_once}
        search |= {"space": sweeps.space_document(space), "seed": seed, "trials": []}
    elif options.random or options.sobol:
        count = options.random or options.sobol
        settings = sweeps.sample(space, count, seed, sobol=options.sobol is not None)
    else:
        values = sweeps.parse_space(options.grid)
        settings = sweeps.grid(values)
        is_same_task = not any(name.startswith(sweeps.ENV_PARAM) for name in values)
    if options.halving:
        search = {"kind": "halving", "eta": options.halving}
    if options.pbt:
        search = {"kind": "pbt", "every": options.pbt, "space": sweeps.space_document(space)}
        search["replay"] = options.pbt_replay
    if space:
        sweeps.check_space(space)
    count = len(request.seeds) if options.fresh_seeds is None else options.fresh_seeds
    if options.pbt or len(settings) == 1 or not is_same_task:
        count = 0  # nothing is chosen
    search |= {"batch": options.batch, "num_parts": options.parts}
    first = max(request.seeds) + 1
    return Study(
        request.name,
        request.config,
        request.lanes[0],
        settings,
        tuple(request.seeds),
        request.steps,
        tuple(range(first, first + count)),
        search=search,
    )


def is_same(study: Study, asked: Study) -> bool:
    """Whether a study is the one asked for, however it was cut and whatever it has tried."""

    def begun(study: Study) -> dict:
        settings = [] if study.search["kind"] == "optuna" else study.settings
        search = {k: v for k, v in study.search.items() if k not in ("trials", "num_parts")}
        return study._replace(parts=(), settings=settings, search=search).document()

    return begun(study) == begun(asked)


def confirm(
    directory: Path, study: Study, scores: dict[str, Any], console: Console, how: dict
) -> None:
    """Train the best setting on fresh seeds: the number by which it was chosen is too good.

    That is the maximum of noisy numbers (Patterson et al. 2024, on two-stage selection).
    """
    best = scores["best"]
    place = directory / results.WINNER
    executors.train_once(studies.winner_spec(study, best), place, console=console, **how)
    second = results.read_scores(place)["lanes"][0]
    first = scores["lanes"][best]
    results.write_scores(directory, {**scores, "winner": second}, studies.study_rows(scores))
    console.print(f"Best: [bold]{settings.describe(study.settings[best]) or 'the only setting'}[/]")
    for lane, what in (
        (second, f"on {second['num_seeds']} fresh seeds"),
        (first, f"on the {first['num_seeds']} seeds it was chosen by, which is biased upwards"),
    ):
        low, high = lane["iqm_95"]
        console.print(f"  IQM {lane['iqm']:.4g} ({low:.4g} to {high:.4g}) {what}", highlight=False)


def draw(directory: Path, study: Study, scores: dict[str, Any]) -> None:
    """Sensitivity to every swept field, a heat map for two, and the best curves."""
    rows, names = studies.study_rows(scores), list(study.settings[0])
    first = scores["lanes"][0]
    title = (
        f"{study.name}: evaluation IQM at step {scores['steps']:,}, 95% interval over "
        f"{first['num_seeds']} seeds"
    )
    rows = [row for row, lane in zip(rows, scores["lanes"]) if not lane["cut"]]
    note = protocol_words(scores["protocol"])
    if names and study.search["kind"] != "pbt":  # whose numbers change
        plots.draw_sensitivity(directory / "sensitivity.png", rows, names, title, note)
    if plots.is_grid(rows, names) and study.search["kind"] != "pbt":
        plots.draw_heatmap(directory / "heatmap.png", rows, names, title, note)
    curves = without_diverged(results.read_arrays(directory / results.METRICS))
    order = studies.best_first(scores["lanes"])[:_DRAWN]
    runs = {
        settings.describe(lane["setting"]) or study.name: {
            "steps": curves["steps"],
            "eval_return": curves["eval_return"][lane["lane"]][None],
        }
        for lane in order
    }
    which = f", the best {_DRAWN}" if len(scores["lanes"]) > _DRAWN else ""
    plots.draw_comparison(directory / results.CURVES, runs, f"{study.name}{which}", note)


if __name__ == "__main__":
    cli.main(sweep)
