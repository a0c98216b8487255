"""What the scripts in experiments/ share: presets and options to a run, errors to exit codes."""

import dataclasses
import os
import signal
import sys
import warnings
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from rich.console import Console
from rich.table import Table

from jaxq.cli.arguments import parse as parse_fields
from jaxq.config import Config, HParams, Preset
from jaxq.documents import config_from_dict, hparams_from_dict
from jaxq.envs.forms import own_error
from jaxq.errors import ConfigError, unknown
from jaxq.printing import check_written, escape, make_console
from jaxq.recipes.identity import description, same_parts
from jaxq.recipes.own import check_trust, own_fields, resolve
from jaxq.recipes.presets import PRESETS
from jaxq.recipes.reading import settle
from jaxq.recipes.validation import check_asked
from jaxq.runs import files as results
from jaxq.runs import machine
from jaxq.runs.runner import Interrupted
from jaxq.runs.spec import check_members
from jaxq.settings import describe


@dataclasses.dataclass(frozen=True)
class SharedOptions:
    """How long to train, on what, and where to leave the results."""

    seeds: int | None = None
    """Number of seeds; the preset's by default. With resume, those that a run lacks are added."""
    first_seed: int | None = None
    """The seeds are first_seed, first_seed + 1, ...; from 0 by default, and from a
    resumed run's first."""
    steps: int | None = None
    """Environment steps per seed, with a dataset updates; the preset's by default."""
    out: Path | None = None
    """Run directory, new or empty; runs/PRESET-TIME by default."""
    resume: Path | None = None
    """Continue the run in this directory."""
    save_every: float = 30.0
    """Seconds between checkpoints."""
    batch: int | None = None
    """Members vmapped together on a device; by default from their size."""
    devices: int | None = None
    """Devices to use; all by default."""
    track: tuple[Literal["wandb", "tensorboard"], ...] = ()
    """Also report every chunk there."""
    trust: tuple[str, ...] = ()
    """Functions of your own, module:function, that a run or its config.json may name."""
    accept_changed_code: bool = False
    """resume: functions of your own have changed since the run was made; that is recorded."""
    try_env: bool = True
    """Take random steps of an environment of your own first, and warn of what is hardly meant."""


@dataclasses.dataclass(frozen=True)
class RunOptions(SharedOptions):
    """The options of a single run."""

    batch: int | Literal["measure"] | None = None
    """Members vmapped together on a device; by default from their size, or the fastest measured."""
    episodes: int | None = None
    """Stop once every seed has finished this many training episodes."""
    until_return: float | None = None
    """Stop once the evaluation IQM has held this for three evaluations."""
    keep_replay: tuple[int, ...] | None = None
    """Leave the replay of these seeds as a dataset; of the first one if none is named."""


def main(program: Callable[[list[str], Console], None]) -> None:
    """Run a script's ``program(arguments, console)``.

    Bad input ends it with exit code 2, and so does what functions of somebody's own raise.
    """
    warnings.showwarning = _show_warning
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:  # it was closed from outside, and files would take its place
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w"))  # noqa: SIM115
    console = make_console()
    try:
        machine.use_machine()
        program(sys.argv[1:], console)
    except BrokenPipeError:  # whoever read the output has read enough
        sys.exit(128 + signal.SIGPIPE)
    except ConfigError as error:
        say_error(str(error))
        sys.exit(2)
    except OSError as error:
        if error.filename is None and error.errno is None:
            raise
        say_error(_disk(error))
        sys.exit(1)
    except Interrupted as error:  # what to do next has been said
        sys.exit(error.exit_code)
    except Exception as error:
        sentence = own_error(error, script=program.__code__.co_filename)
        if sentence is None:
            raise
        say_error(sentence)
        sys.exit(2)
    except KeyboardInterrupt:  # before the first chunk, or a second time: the user means it
        console.print("\nStopped at once.")
        sys.exit(128 + signal.SIGINT)
    finally:
        _let_go_of_output()


def _let_go_of_output() -> None:
    """Python would complain once more, at its end, of output that nobody reads."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except (OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _show_warning(message: Warning | str, *where: Any, **more: Any) -> None:
    """A warning as one line, without the place in the code."""
    line = f"[yellow]warning:[/] {escape(str(message))}"
    make_console(stderr=True).print(line, soft_wrap=True, highlight=False)


def say_error(sentence: str) -> None:
    """What is wrong, as one line to standard error."""
    line = f"[bold red]error:[/] {escape(sentence)}"
    make_console(stderr=True).print(line, soft_wrap=True, highlight=False)


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
        run = arguments[arguments.index("--resume") + 1]
        results.check_directory(Path(run), "resume")
        arguments = [run, *arguments]
    if arguments[0].startswith("-"):  # options before the preset
        name = next((argument for argument in arguments if argument in PRESETS), None)
        if name is None:
            raise ConfigError(f"{script} begins with a preset, or a run; {script} lists them.")
        arguments = [name, *(argument for argument in arguments if argument != name)]
    name, preset, document = load_preset(arguments[0])
    options, config, hparams, asked, typed = parse_fields(
        arguments[1:], f"{script} {name}", preset, options_type()
    )
    check_trust(config)
    _tell_of_environment(preset, config, hparams, typed)
    if options_type is RunOptions:  # among the lanes of a sweep another may read it
        check_asked(config, hparams, typed)
    if document is None:
        config, hparams = settle(config, hparams, asked)
    elif not options.resume:
        _check_made_of(arguments[0], document, config, asked, options.accept_changed_code)
    if "dataset" in typed and not config.dataset:  # as of a variable that is not set
        raise ConfigError("dataset= is empty; a run directory is accepted.")
    lanes, seeds, steps = [hparams], None, preset.steps
    source = results.read_document(options.resume) if options.resume else document
    if source and source.get("sweep"):
        given = f"resume={options.resume}" if options.resume else f"run={arguments[0]}"
        raise ConfigError(
            f"{given} is part of a sweep, which changes it while it trains; continue the sweep "
            f"with sweep.py --resume, or repeat it."
        )
    if source:
        stored = [hparams_from_dict(lane) for lane in source["lanes"]]
        if len(stored) > 1 and hparams != preset.hparams:
            raise ConfigError(
                f"run={options.resume or arguments[0]} has {len(stored)} lanes, whose numbers are "
                f"not changed together; start from a preset instead."
            )
        lanes = stored if len(stored) > 1 else lanes
        seeds, steps = source["seeds"], source["steps"]
    if seeds is None or options.seeds is not None or options.first_seed is not None:
        begun = seeds[0] if options.resume else 0
        first = begun if options.first_seed is None else options.first_seed
        count = preset.seeds if options.seeds is None else options.seeds
        check_members(len(lanes), count)
        seeds = range(first, first + count)
    steps = steps if options.steps is None else options.steps
    return Request(name, options, config, lanes, seeds, steps)


def _tell_of_environment(
    preset: Preset, config: Config, hparams: HParams, typed: Collection[str]
) -> None:
    """Warn that what a preset says of its environment goes along to another one."""
    if config.env == preset.config.env:
        return
    before = preset.hparams.env_params
    params = {k: v for k, v in hparams.env_params.items() if k in before and before[k] == v}
    kwargs = "" if "env_kwargs" in typed else " ".join(config.env_kwargs)
    for field, words in {"env_kwargs": kwargs, "env_params": describe(params)}.items():
        if words:
            option = f"--{field.replace('_', '-')}"
            warnings.warn(
                f"{field} {words} of the preset is kept with env={config.env}; {option} alone "
                f"drops it.",
                stacklevel=1,
            )


def load_preset(
    name: str, trusted: Sequence[str] = ()
) -> tuple[str, Preset, dict[str, Any] | None]:
    """The preset called ``name``, or what a run's ``config.json`` describes, with that document.

    Args:
      trusted: functions of somebody's own that the file may name.

    Raises:
      ConfigError: neither exists.
    """
    if name in PRESETS:
        return name, PRESETS[name], None
    path = Path(name)
    if not name or not path.exists():  # without a name it would be this directory
        raise unknown("preset", name, PRESETS)
    document = results.read_document(path)
    preset = Preset(
        summary=f"The run in {path}.",
        config=config_from_dict(document["config"], trusted),
        hparams=hparams_from_dict(document["lanes"][0]),
        steps=document["steps"],
        seeds=len(document["seeds"]),
    )
    return document["preset"], preset, document


def _check_made_of(
    run: str, document: dict[str, Any], config: Config, asked: frozenset[str], accept: bool
) -> None:
    """Refuse to repeat a run with other parts than it was made of, but for those asked for.

    Raises:
      ConfigError: names what differs.
    """
    there = {k: v for k, v in document.get("made_of", {}).items() if k not in asked}
    here = {k: v for k, v in own_fields(config).items() if k not in asked}
    here = {field: description(resolve(field, name)) for field, name in here.items()}
    if changes := same_parts(there, here, accept):
        raise ConfigError(f"run={run} was made with a different {'; '.join(changes)}.")


def _disk(error: OSError) -> str:
    """What went wrong with a file."""
    return f"{error.filename or 'a file'} cannot be read or written: {error.strerror or error}."


def _print_presets(script: str) -> None:
    table = Table(title=f"usage: {script} PRESET [options]", title_justify="left")
    table.add_column("preset", no_wrap=True)
    table.add_column("what it is")
    for name, preset in PRESETS.items():
        table.add_row(name, preset.summary)
    console = make_console()
    console.print(table)
    console.print(f"All options of a preset: {script} PRESET --help", highlight=False)
    check_written(console)


def _split_resume(argument: str) -> list[str]:
    """``--resume=RUN`` as its two parts."""
    return argument.split("=", 1) if argument.startswith("--resume=") else [argument]
