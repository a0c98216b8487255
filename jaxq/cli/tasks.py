"""From a request to a finished run directory, with a report; what train.py and others do."""

import os
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from jaxq.cli.main import Request, SharedOptions
from jaxq.config import Preset
from jaxq.errors import ConfigError
from jaxq.recipes.own import own_names
from jaxq.reports.terminal import print_scores
from jaxq.runs import files as results
from jaxq.runs.adding import add_seeds
from jaxq.runs.machine import cache_directory, use_one_core
from jaxq.runs.measurement import fastest_batch, gains_by_one_core
from jaxq.runs.runner import Interrupted, RunSpec, Spread, lane_labels, run
from jaxq.runs.spec import positive
from jaxq.runs.stopping import Stop
from jaxq.scoring.scores import without_diverged
from jaxq.studies.executors import train_once


def train(request: Request, console: Console) -> tuple[Path, dict[str, Any]]:
    """Do what is asked, with a report; returns the run directory and its scores.

    Raises:
      ConfigError: bad input.
      Interrupted: a signal came; how to resume has been printed.
    """
    options = request.options
    check_counts(options, ("seeds", "steps", "episodes", "batch", "devices"))
    if options.out and options.resume:
        raise ConfigError(f"out={options.out} cannot be combined with resume={options.resume}.")
    given = options.resume or options.out
    directory = given or new_directory(request.name)
    spec = RunSpec(request.name, request.config, request.lanes, request.seeds, request.steps)
    batch = options.batch
    if batch == "measure":
        batch = None if options.resume else _measured_batch(spec, options.devices, console)
    spread = spread_of(options, batch)._replace(keep_replay=options.keep_replay)
    is_alone = len(spec.lanes) * len(spec.seeds) == 1 and options.devices is None
    if is_alone and gains_by_one_core(spec.config):
        use_one_core()
    try:
        if options.resume and _asks_for_seeds(options):
            add_seeds(spec, directory, spread=spread, console=console)
        scores = run(
            spec,
            directory,
            stop=Stop(options.until_return, options.episodes),
            spread=spread,
            resume=options.resume is not None,
            console=console,
        )
    except ConfigError:
        if not given:
            with suppress(OSError):  # unless something was written
                directory.rmdir()
        raise
    except (Interrupted, KeyboardInterrupt, OSError) as error:
        say_how_to_resume(console, directory, _resume_command(directory, request), error)
        raise
    print_scores(console, scores, lane_labels(request.lanes))
    why = results.read_json(directory / results.META)["stopped_by"]
    if why != "steps":
        say(console, f"Stopped early by {why}={getattr(options, why)}.")
    say(console, f"Results: {directory}")
    return directory, scores


def say(console: Console, text: str) -> None:
    """Print words from outside, such as paths, as they are and in one line."""
    console.print(text, soft_wrap=True, highlight=False, markup=False)


def say_how_to_resume(
    console: Console, directory: Path, command: str, error: BaseException
) -> None:
    """After a run or a sweep was stopped: what is saved, if anything is, and how it goes on."""
    if isinstance(error, Interrupted):
        say(console, f"\n{error}, and saved. Resume with: {command}")
    elif any(directory.glob(f"**/{results.CHECKPOINTS}/[0-9]*")):
        say(console, f"\nWhat was saved before is whole. Resume with: {command}")


def spread_of(options: SharedOptions, batch: int | None) -> Spread:
    """How a run, or each of a sweep, is carried out."""
    how = options.devices, options.save_every, options.track, options.accept_changed_code
    return Spread(batch, *how, options.try_env)


def check_counts(options: SharedOptions, names: Sequence[str]) -> None:
    """Refuse counts below 1.

    Raises:
      ConfigError: names the first.
    """
    for name in names:
        value = getattr(options, name)
        if isinstance(value, int):
            positive(name, value)


def train_each(
    jobs: Mapping[str, tuple[str, Preset, int]], out: Path, console: Console
) -> dict[str, dict[str, Any]]:
    """Train several presets, each as by train.py in ``out/NAME``, and read their curves.

    A job that is complete is not trained again, one that was stopped goes on: an interrupted
    comparison continues where it was.

    Args:
      jobs: label -> name, preset and number of seeds; steps are the preset's.

    Returns:
      label -> what ``curves_of`` has of it.

    Raises:
      ConfigError: ``out`` holds a run of another configuration, or of other seeds or steps.
    """
    runs = {}
    for label, (name, preset, num_seeds) in jobs.items():
        directory = out / name
        scores = train_or_go_on(spec_of(name, preset, range(num_seeds)), directory, console)
        if scores:
            print_scores(console, scores, [""])
            say(console, f"Results: {directory}")
        arrays = results.read_arrays(directory / results.METRICS)
        runs[label] = curves_of(arrays, results.read_scores(directory))
    return runs


def spec_of(name: str, preset: Preset, seeds: Iterable[int]) -> RunSpec:
    """A preset as it is, for so many steps as it says."""
    return RunSpec(name, preset.config, [preset.hparams], list(seeds), preset.steps)


def curves_of(arrays: Mapping[str, np.ndarray], scores: Mapping[str, Any]) -> dict[str, Any]:
    """What scripts draw and list of a run: ``steps``, ``eval_return`` (of diverged members NaN) and
    ``scores``."""
    curves = without_diverged(arrays)
    return {"steps": curves["steps"], "eval_return": curves["eval_return"], "scores": scores}


def train_or_go_on(spec: RunSpec, directory: Path, console: Console) -> dict[str, Any] | None:
    """As ``train_once``, for a script whose own command goes on where it was stopped."""
    with goes_on(console):
        return train_once(spec, directory, console=console)


@contextmanager
def goes_on(console: Console) -> Iterator[None]:
    """Says, where a signal stops what is inside, that the script's own command goes on."""
    try:
        yield
    except Interrupted as error:
        say(console, f"\n{error}, and saved. The same command goes on from there.")
        raise


def new_directory(name: str) -> Path:
    """A new directory under runs/, which no other process has been given."""
    base = Path("runs") / f"{name}-{datetime.now():%Y%m%d-%H%M%S}"
    directory, count = base, 1
    while True:
        try:
            directory.mkdir(parents=True)
            return directory
        except FileExistsError:
            count += 1
            directory = base.with_name(f"{base.name}-{count}")


def _asks_for_seeds(options: SharedOptions) -> bool:
    return options.seeds is not None or options.first_seed is not None


def _measured_batch(spec: RunSpec, num_devices: int | None, console: Console) -> int:
    """The fastest batch for a run on this machine, from memory if it was measured before."""

    def report(batch: int, rate: float) -> None:
        console.print(f"  batch {batch}: {rate:,.0f} steps/s")

    seeds, cache = len(spec.seeds), None
    with suppress(RuntimeError):  # there is no home directory
        cache = cache_directory() / "batches"
    batch = fastest_batch(spec.config, spec.lanes, seeds, num_devices, cache, report)
    console.print(f"Fastest batch of members: {batch}")
    return batch


def _resume_command(directory: Path, request: Request) -> str:
    """The command that goes on where a run stopped, with the same reasons to stop and sinks."""
    options = request.options
    script = Path(os.path.relpath(sys.argv[0])).with_name("train.py")
    command = ["python", str(script), "--resume", str(directory)]
    more = ("first_seed", "seeds", "steps") if options.resume else ()
    for name in ("until_return", "episodes", *more):
        value = getattr(options, name)
        if value is not None:
            words = str(value) if isinstance(value, int) else f"{value:g}"
            command += [f"--{name.replace('_', '-')}", words]
    if options.keep_replay is not None:
        command += ["--keep-replay", *map(str, options.keep_replay)]
    for flag, words in (("--track", options.track), ("--trust", own_names(request.config))):
        command += [flag, *words] if words else []
    return shlex.join(command)
