"""What the scripts in experiments/ share: presets and options to a run, errors to exit codes."""

import dataclasses
import json
import os
import shlex
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from jaxq import placement, results
from jaxq.config import Config, HParams, Preset, config_from_dict, hparams_from_dict
from jaxq.errors import ConfigError, unknown
from jaxq.measurement import fastest_batch
from jaxq.presets import PRESETS
from jaxq.runner import Interrupted, RunSpec, Spread, Stop, lane_labels, run


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """How long to train, on what, and where to leave the results."""

    seeds: int | None = None
    """Number of seeds; the preset's by default."""
    first_seed: int | None = None
    """The seeds are first_seed, first_seed + 1, ...; from 0 by default."""
    steps: int | None = None
    """Environment steps per seed; the preset's by default."""
    episodes: int | None = None
    """Stop once every seed has finished this many training episodes."""
    until_return: float | None = None
    """Stop once the evaluation IQM has held this for three evaluations."""
    out: Path | None = None
    """Run directory, new or empty; runs/PRESET-TIME by default."""
    resume: Path | None = None
    """Continue the run in this directory."""
    save_every: float = 30.0
    """Seconds between checkpoints."""
    batch: int | Literal["measure"] | None = None
    """Members vmapped together on a device; by default from their size, or the fastest measured."""
    devices: int | None = None
    """Devices to use; all by default."""


def main(program: Callable[[list[str], Console], None]) -> None:
    """Run a script's ``program(arguments, console)``; bad input ends it with exit code 2."""
    placement.use_cores()
    _use_compilation_cache()
    console = Console()
    try:
        program(sys.argv[1:], console)
    except ConfigError as error:
        Console(stderr=True).print(f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True)
        sys.exit(2)
    except KeyboardInterrupt:  # before the first chunk, or a second time: the user means it
        console.print("\nStopped at once; what was saved before can be resumed with --resume.")
        sys.exit(128 + signal.SIGINT)
    except Interrupted as error:
        console.print(f"\n{error}.")
        sys.exit(error.exit_code)


class Request(NamedTuple):
    """What a command line asks for."""

    name: str
    options: RunOptions
    config: Config
    lanes: Sequence[HParams]
    seeds: Sequence[int]
    steps: int


def parse(arguments: Sequence[str], script: str, options_type: type = RunOptions) -> Request:
    """``PRESET [options]``, where PRESET may be the path of a config.json.

    With ``--resume RUN`` it may be left out, and is then that run's.

    Raises:
      ConfigError: there is no such preset, or a number is set where several lanes differ in it.
    """
    if not arguments or arguments[0] in ("-h", "--help"):
        _print_presets(script)
        sys.exit(0 if arguments else 2)
    arguments = [part for argument in arguments for part in _split_resume(argument)]
    if arguments[0].startswith("-") and "--resume" in arguments[:-1]:
        arguments = [arguments[arguments.index("--resume") + 1], *arguments]
    name, preset, document = load_preset(arguments[0])
    fields = [
        ("options", tyro.conf.OmitArgPrefixes[options_type], options_type()),
        ("config", tyro.conf.OmitArgPrefixes[Config], preset.config),
        ("hparams", tyro.conf.OmitArgPrefixes[HParams], preset.hparams),
    ]
    bundle = dataclasses.make_dataclass("Arguments", fields, frozen=True)
    parsed = tyro.cli(
        bundle, prog=f"{script} {name}", description=preset.summary, args=list(arguments[1:])
    )
    options, lanes, seeds, steps = parsed.options, [parsed.hparams], None, preset.steps
    source = results.read_document(options.resume) if options.resume else document
    if source:
        stored = [hparams_from_dict(lane) for lane in source["lanes"]]
        if len(stored) > 1 and parsed.hparams != preset.hparams:
            raise ConfigError(
                f"run={options.resume or arguments[0]} has {len(stored)} lanes, whose numbers are "
                f"not changed together; start from a preset instead."
            )
        lanes = stored if len(stored) > 1 else lanes
        seeds, steps = source["seeds"], source["steps"]
    if seeds is None or options.seeds is not None or options.first_seed is not None:
        first = options.first_seed or 0
        count = preset.seeds if options.seeds is None else options.seeds
        seeds = list(range(first, first + count))
    steps = steps if options.steps is None else options.steps
    return Request(name, options, parsed.config, lanes, seeds, steps)


def load_preset(name: str) -> tuple[str, Preset, dict[str, Any] | None]:
    """The preset called ``name``, or what a run's ``config.json`` describes, with that document.

    Raises:
      ConfigError: neither exists.
    """
    if name in PRESETS:
        return name, PRESETS[name], None
    path = Path(name)
    if not path.exists():
        raise unknown("preset", name, PRESETS)
    document = results.read_document(path)
    preset = Preset(
        summary=f"The run in {path}.",
        config=config_from_dict(document["config"]),
        hparams=hparams_from_dict(document["lanes"][0]),
        steps=document["steps"],
        seeds=len(document["seeds"]),
    )
    return document["preset"], preset, document


def train(request: Request, console: Console) -> tuple[Path, dict[str, Any]]:
    """Do what is asked, with a report; returns the run directory and its scores.

    Raises:
      ConfigError: bad input.
      Interrupted: a signal came; how to resume has been printed.
    """
    options = request.options
    for field in ("seeds", "steps", "episodes", "batch", "devices"):
        value = getattr(options, field)
        if isinstance(value, int) and value < 1:
            raise ConfigError(f"{field}={value} must be a whole number of at least 1.")
    if options.out and options.resume:
        raise ConfigError(f"out={options.out} cannot be combined with resume={options.resume}.")
    directory = options.resume or options.out or _new_directory(request.name)
    spec = RunSpec(request.name, request.config, request.lanes, request.seeds, request.steps)
    batch = options.batch
    if batch == "measure":
        batch = None if options.resume else _measured_batch(spec, options.devices, console)
    try:
        scores = run(
            spec,
            directory,
            stop=Stop(options.until_return, options.episodes),
            spread=Spread(batch, options.devices),
            resume=options.resume is not None,
            save_every=options.save_every,
            console=console,
        )
    except Interrupted:
        console.print(
            f"\nSaved. Resume with: {_resume_command(directory, options)}", soft_wrap=True
        )
        raise
    print_scores(console, scores, lane_labels(request.lanes))
    console.print(f"Results: {directory}", soft_wrap=True, highlight=False)
    return directory, scores


def train_each(
    jobs: Mapping[str, tuple[str, Preset, int]], out: Path, console: Console
) -> dict[str, dict[str, Any]]:
    """Train several presets, each as by ``train`` in ``out/NAME``, and read their curves.

    A job that is complete is not trained again, one that was stopped goes on: an interrupted
    comparison continues where it was.

    Args:
      jobs: label -> name, preset and number of seeds; steps are the preset's.

    Returns:
      label -> ``steps`` and ``eval_return``, and the run's ``scores`` and ``meta``.

    Raises:
      ConfigError: ``out`` holds a run of another configuration, or of other seeds or steps.
    """
    runs = {}
    for label, (name, preset, num_seeds) in jobs.items():
        directory, seeds = out / name, list(range(num_seeds))
        spec = RunSpec(name, preset.config, [preset.hparams], seeds, preset.steps)
        if not (directory / results.COMPLETE).exists():
            started = (directory / results.CONFIG).exists()
            options = RunOptions(**({"resume": directory} if started else {"out": directory}))
            train(Request(*spec[:1], options, *spec[1:]), console)
        if results.read_document(directory) != spec.document():
            raise ConfigError(
                f"out={out} holds another {name} than the one asked for; choose another directory."
            )
        with np.load(directory / results.METRICS) as arrays:
            curves = {key: arrays[key] for key in ("steps", "eval_return")}
        documents = {
            key: json.loads((directory / file).read_text())
            for key, file in (("scores", results.SCORES), ("meta", results.META))
        }
        runs[label] = {**curves, **documents}
    return runs


def print_scores(console: Console, scores: dict[str, Any], labels: Sequence[str]) -> None:
    """The final evaluation as a table, with its protocol."""
    protocol = scores["protocol"]
    first = scores["lanes"][0]
    title = (
        f"{protocol['environment']}, {first['num_seeds']} seeds x {first['episodes_per_seed']} "
        f"episodes at step {scores['steps']:,}"
    )
    table = Table(title=title, title_justify="left")
    for column in ("", "IQM", "95% interval", "mean", "median", "worst seed", "cut"):
        table.add_column(column, justify="left" if not column else "right")
    for label, lane in zip(labels, scores["lanes"], strict=True):
        low, high = lane["iqm_95"]
        numbers = (lane["mean"], lane["median"], lane["worst"])
        table.add_row(
            label.replace(" ", "\n"),
            f"[bold]{lane['iqm']:.4g}[/]",
            f"{low:.4g} to {high:.4g}",
            *(f"{number:.4g}" for number in numbers),
            str(lane["episodes_cut"]),
        )
    console.print(table)
    diverged = sum(lane["num_diverged"] for lane in scores["lanes"])
    if diverged:
        console.print(f"[bold red]{diverged} members have diverged[/] (their loss is not finite).")


def _print_presets(script: str) -> None:
    table = Table(title=f"usage: {script} PRESET [options]", title_justify="left")
    table.add_column("preset", no_wrap=True)
    table.add_column("what it is")
    for name, preset in PRESETS.items():
        table.add_row(name, preset.summary)
    console = Console()
    console.print(table)
    console.print(f"All options of a preset: {script} PRESET --help", highlight=False)


def _new_directory(name: str) -> Path:
    """A directory under runs/ that does not exist yet."""
    base = Path("runs") / f"{name}-{datetime.now():%Y%m%d-%H%M%S}"
    directory, count = base, 1
    while directory.exists():
        count += 1
        directory = base.with_name(f"{base.name}-{count}")
    return directory


def _measured_batch(spec: RunSpec, num_devices: int | None, console: Console) -> int:
    """The fastest batch for a run on this machine, from memory if it was measured before."""

    def report(batch: int, rate: float) -> None:
        console.print(f"  batch {batch}: {rate:,.0f} steps/s")

    seeds, cache = len(spec.seeds), _cache_directory() / "batches"
    batch = fastest_batch(spec.config, spec.lanes, seeds, num_devices, cache, report)
    console.print(f"Fastest batch of members: {batch}")
    return batch


def _cache_directory() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jaxq"


def _use_compilation_cache() -> None:
    """Keep compiled programs between processes, in a folder that only the user can read."""
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        cache = _cache_directory()
        try:
            cache.mkdir(parents=True, exist_ok=True, mode=0o700)
            cache.chmod(0o700)
        except OSError:
            return  # a cache is a convenience
        jax.config.update("jax_compilation_cache_dir", str(cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def _split_resume(argument: str) -> list[str]:
    """``--resume=RUN`` as its two parts."""
    return argument.split("=", 1) if argument.startswith("--resume=") else [argument]


def _resume_command(directory: Path, options: RunOptions) -> str:
    """The command that goes on where a run stopped, with the same reasons to stop."""
    script = Path(os.path.relpath(sys.argv[0])).with_name("train.py")
    command = ["python", str(script), "--resume", str(directory)]
    for name in ("until_return", "episodes"):
        if getattr(options, name) is not None:
            command += [f"--{name.replace('_', '-')}", f"{getattr(options, name):g}"]
    return shlex.join(command)
