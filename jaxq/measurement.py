"""The fastest batch of members, measured once per machine and program; used by the command line."""

import hashlib
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import jax

from jaxq import provenance, results
from jaxq.config import Config, HParams
from jaxq.experiment import make_experiment
from jaxq.placement import make_plan
from jaxq.population import make_population

_TURNS = 5


def fastest_batch(
    config: Config,
    lanes: Sequence[HParams],
    num_seeds: int,
    num_devices: int | None = None,
    cache: Path | None = None,
    report: Callable[[int, float], None] = lambda batch, rate: None,
) -> int:
    """How many members to vmap together on a device, by trying.

    From the batch that ``placement`` would choose, doubled as long as that is faster; if it never
    is, halved as long as that is. Every candidate compiles a program, which takes longer than
    running it.

    Args:
      num_devices: all by default.
      cache: a directory in which the answer is remembered and looked up.
      report: hears of every candidate and its environment steps per second.
    """
    num_devices = num_devices or len(jax.local_devices())
    num_members = len(lanes) * num_seeds
    config = replace(config, chunk_steps=config.target_period, reset_period=0)
    experiment = make_experiment(config, lanes[0])
    remembered = cache and cache / f"{_program(config, num_members, num_devices)}.json"
    if remembered and remembered.exists():
        return results.read_json(remembered)["batch"]

    def rate(batch: int) -> float:
        population = make_population(
            experiment.trainer,
            experiment.evaluate,
            lanes[:1],
            range(batch * num_devices),
            batch,
            num_devices,
        )
        states, clock = population.init()
        seconds = []
        for _ in range(_TURNS + 1):  # the first compiles
            started = time.perf_counter()
            states, clock, _ = population.chunk(states, clock)
            seconds.append(time.perf_counter() - started)
        steps = batch * num_devices * config.chunk_steps
        rates[batch] = steps / statistics.median(seconds[1:])
        report(batch, rates[batch])
        return rates[batch]

    member, _ = jax.eval_shape(experiment.trainer.init, jax.random.key(0), lanes[0])
    best = start = make_plan(num_members, member, None, num_devices).batch
    rates: dict[int, float] = {}
    rate(start)
    while 2 * best * num_devices <= num_members and rate(2 * best) > rates[best]:
        best *= 2
    while best <= start and best > 1 and rate(best // 2) > rates[best]:
        best //= 2
    if remembered:
        remembered.parent.mkdir(parents=True, exist_ok=True)
        results.write_json(remembered, {"batch": best, "steps_per_second": rates})
    return best


def _program(config: Config, num_members: int, num_devices: int) -> str:
    """A name for the program on this machine."""
    origin = provenance.describe()
    machine = {name: origin[name] for name in ("versions", "platform", "device")}
    document = [machine, vars(config), num_members, num_devices]
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:16]
