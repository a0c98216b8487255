"""Seeds that a run lacks: trained inside of its directory as far as it is, and joined with it."""

from pathlib import Path

from rich.console import Console

from jaxq.errors import ConfigError
from jaxq.printing import make_console
from jaxq.recipes.experiment import Experiment
from jaxq.runs import files as results
from jaxq.runs.checkpoint import newest
from jaxq.runs.joining import finish, join
from jaxq.runs.keeping import check_keeping
from jaxq.runs.locking import lock
from jaxq.runs.machine import use_machine
from jaxq.runs.resuming import check_same, owner_of, with_earlier_code
from jaxq.runs.runner import run
from jaxq.runs.spec import RunSpec, compose, settled_spec, short
from jaxq.runs.spreading import Spread, as_console, as_path, settled_spread


def add_seeds(
    spec: RunSpec,
    directory: str | Path,
    *,
    spread: Spread = Spread(),  # noqa: B008
    experiment: Experiment | None = None,
    console: Console | None = None,
) -> None:
    """Train the seeds of ``spec`` that a run lacks, to the step where it is, and put them into it.

    They are trained as a run of their own, inside of its directory, which goes on if it was
    stopped, and have the bits that they would have had from the beginning. ``run`` with ``resume``
    then goes on with all seeds.

    Args:
      spec: the run's, with more seeds; nothing happens if it has no others.
      directory: the run directory.
      spread, experiment, console: as for ``run``.

    Raises:
      As ``run``; ConfigError also where the run has not saved anything.
    """
    use_machine()
    spec, directory = settled_spec(spec), as_path("directory", directory)
    spread = settled_spread(spread)
    finish(directory)
    old = results.read_document(directory)
    seeds = [seed for seed in spec.seeds if seed not in old["seeds"]]
    if not seeds or len(seeds) + len(old["seeds"]) > len(spec.seeds):
        return  # run says what is wrong with it
    console = as_console(console, make_console(stderr=True))
    experiment = compose(spec, experiment)
    document = spec.document(experiment.made_of)
    there = {**document, "seeds": old["seeds"]}
    batch = check_same(there, directory, spread.batch, spread.accept_changed_code)
    if spread.keep_replay is not None:  # before hours of training, not after
        check_keeping(spread.keep_replay, spec, experiment, directory)
    saved = newest(directory / results.CHECKPOINTS, owner_of(old))
    if saved is None or not saved.clock.updates:
        raise ConfigError(f"resume={directory} has saved nothing that seeds could be added to.")
    part, steps, evaluated = directory / results.ADDED, int(saved.clock.steps), saved.evaluated
    del saved
    if steps != evaluated:
        raise ConfigError(
            f"resume={directory} stands between two evaluations, at step {steps}; go on with it "
            f"before seeds are added."
        )
    if (part / results.CONFIG).exists():
        begun = results.read_document(part)["seeds"]
        if begun != seeds:
            raise ConfigError(
                f"resume={directory} has the seeds {short(begun)} on their way in {part}; ask for "
                f"those first, or remove that directory."
            )
    words = short(seeds) if len(seeds) < 5 else f"{seeds[0]} to {seeds[-1]}"
    console.print(f"Seeds {words}, up to step {steps:,}, where the others are:", highlight=False)
    with lock(directory):
        run(
            spec._replace(seeds=seeds, steps=steps),
            part,
            spread=spread._replace(batch=batch, keep_replay=None, track=()),  # that goes with it
            resume=(part / results.CONFIG).exists(),
            experiment=experiment,
            console=console,
        )
        kept = {name: old[name] for name in ("preset", "steps")}
        join(directory, {**with_earlier_code(document, directory), **kept})
