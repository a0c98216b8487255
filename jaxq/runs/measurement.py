"""Programs timed for a moment, and from that the fastest batch of members on this machine."""

import contextlib
import math
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import jax

from jaxq.config import Config, HParams
from jaxq.errors import ConfigError
from jaxq.recipes.experiment import Experiment, make_experiment
from jaxq.recipes.own import own_names
from jaxq.recipes.presets import PRESETS
from jaxq.recipes.reading import period_of
from jaxq.recipes.validation import validate
from jaxq.runs import files as results
from jaxq.runs import provenance
from jaxq.runs.checkpoint import fingerprint
from jaxq.runs.placement import make_plan
from jaxq.runs.population import Population
from jaxq.types import Clock, PyTree

_TURNS = 5
_STEPS = 1_000  # per turn and member, at least: shorter turns would measure how they are started
_FEW_NUMBERS = ("CartPole-v1", "MountainCar-v0", "Acrobot-v1")  # what their observations are
_NO_PRODUCT = (  # fields that make no product or sum larger
    *("env", "time_limit", "backup", "n_step", "capacity", "prefill", "target_period"),
    *("chunk_steps", "eval_period", "eval_max_steps"),
)
_LATE = 2**30  # environment steps that no measurement takes


def gains_by_one_core(config: Config) -> bool:
    """Whether a single member is known to be trained faster by one core than by several, and to the
    same bits; False where that has not been measured.

    XLA shares large products and sums among all threads: Breakout gains by a second core, and with
    one its bits are others. Of ``dqn-cartpole`` nothing is that large: 1, 2, 4, 16 and 64 threads
    give the same (AVX-512), and one core is 1.1 to 1.4 times as fast as two. So it is known of what
    differs from that in nothing but ``_NO_PRODUCT``.
    """
    measured = PRESETS["dqn-cartpole"].config
    same = replace(config, **{name: getattr(measured, name) for name in _NO_PRODUCT})
    return same == measured and config.env in _FEW_NUMBERS and not own_names(config)


def fastest_batch(
    config: Config,
    lanes: Sequence[HParams],
    num_seeds: int,
    num_devices: int | None = None,
    cache: Path | None = None,
    report: Callable[[int, float], None] = lambda batch, rate: None,
) -> int:
    """How many members to vmap together on a device so that all finish first, by trying.

    From the batch that ``placement`` would choose, doubled as long as that is faster; if it never
    is, halved as long as that is. Groups that a device runs one after the other count, and so do
    the copies that fill up the last one. Every candidate compiles a program, which takes longer
    than running it. A larger batch that does not fit in memory is left out.

    Args:
      num_devices: all by default.
      cache: a directory in which the answer is remembered and looked up.
      report: hears of every candidate and its environment steps per second, over all members.

    Raises:
      ConfigError: the run itself would be refused.
    """
    validate(config, *lanes)
    num_devices = num_devices or len(jax.local_devices())
    num_members = len(lanes) * num_seeds
    config = shortened(config)
    experiment = make_experiment(config, lanes[0])
    remembered = cache and cache / f"{_program(config, num_members, num_devices)}.json"
    if remembered and remembered.exists():
        return results.read_json(remembered)["batch"]

    def rate(batch: int) -> float:
        rounds = math.ceil(math.ceil(num_members / batch) / num_devices)
        try:
            population = one_batch_each(experiment, lanes[0], batch, num_devices)
            population.prepare(("chunk", "init"))
            taken = rounds * time_chunks(population, *population.init(), _TURNS)[0]
        except ConfigError:
            if batch <= start:
                raise
            return 0.0  # it does not fit
        rates[batch] = num_members * config.chunk_steps / taken
        report(batch, rates[batch])
        return rates[batch]

    trainer = experiment.trainer
    member, _ = jax.eval_shape(trainer.init, jax.random.key(0), lanes[0], *trainer.data())
    best = start = make_plan(num_members, member, None, num_devices).batch
    rates: dict[int, float] = {}
    rate(start)
    while best * num_devices < num_members and rate(2 * best) > rates[best]:
        best *= 2
    while best <= start and best > 1 and rate(best // 2) > rates[best]:
        best //= 2
    if remembered:
        with contextlib.suppress(OSError):  # a memory is a convenience
            remembered.parent.mkdir(parents=True, exist_ok=True)
            results.write_json(remembered, {"batch": best, "steps_per_second": rates})
    return best


def shortened(config: Config) -> Config:
    """The same program with chunks that are just long enough to be timed, and no reset soon."""
    period = period_of(config)
    steps = period * math.ceil(min(_STEPS, config.chunk_steps) / period)
    late = _LATE // steps * steps if config.reset_period else 0
    return replace(config, chunk_steps=steps, eval_period=0, reset_period=late)


def one_batch_each(
    experiment: Experiment, lane: HParams, batch: int, num_devices: int
) -> Population:
    """A population that gives every device one batch."""
    trainer, evaluate = experiment.trainer, experiment.evaluate
    return Population(trainer, evaluate, [lane], range(batch * num_devices), batch, num_devices)


def time_chunks(population: Population, states: list[PyTree], clock: Clock, turns: int):
    """The median seconds of a chunk, and the states and the clock after ``turns`` and one more,
    the first, which may compile."""
    seconds = []
    for _ in range(turns + 1):
        started = time.perf_counter()
        states, clock, _ = population.chunk(states, clock)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[1:]), states, clock


def _program(config: Config, num_members: int, num_devices: int) -> str:
    """A name for the program on this machine."""
    origin = provenance.describe()
    machine = [origin[name] for name in ("versions", "commit", "platform", "device")]
    return fingerprint([platform.node(), machine, vars(config), num_members, num_devices])
