"""What a configuration reads: which fields have an effect, and through which part."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, NamedTuple

from jaxq.config import Config, HParams, field_names
from jaxq.errors import unknown
from jaxq.recipes.agents import AGENTS
from jaxq.recipes.parts import TABLES, Row, find
from jaxq.settings import format_value

# What is read whatever is chosen, and by each loop.
ENVIRONMENT = ("env", "env_kwargs", "time_limit", "num_envs", "env_params")
EVALUATION = tuple(
    "chunk_steps eval_period eval_episodes eval_max_steps eval_epsilon diagnose".split()
)
_LEARNING = (
    "optimizer learning_rate learning_rate_schedule clip_gradients reset reset_period"
).split()
_REPLAY = (
    "dataset replay prefill train_every updates_per_iteration target target_period regulariser"
).split()
_DATASET = "dataset batch_size target target_period regulariser".split()
_STREAM = "trace trace_cut td_lambda learning_rate learning_rate_schedule".split()
LOOPS = {
    "off-policy": Row(None, (*_REPLAY, *_LEARNING)),
    "on-policy": Row(None, ("rollout_steps", "minibatches", "epochs", *_LEARNING)),
    "streaming": Row(None, tuple(_STREAM)),
    "offline": Row(None, (*_DATASET, *_LEARNING)),
}
_ACTING = ("action_selection", "num_envs")  # what agents read where they act while they learn
_FOLLOWING = ("target", "target_period")  # what a loop reads for agents that learn values


class _Pace(NamedTuple):
    """How a loop counts, in environment steps."""

    prefill: Callable[[Config], int]  # before the first update
    period: Callable[[Config], int]  # of which a chunk is a whole number
    updates: Callable[[Config, int], int]  # after so many steps


_PACES = {
    "off-policy": _Pace(
        lambda config: config.prefill,
        lambda config: config.target_period,
        lambda config, steps: (
            (steps - config.prefill) // config.train_every * config.updates_per_iteration
        ),
    ),
    "on-policy": _Pace(
        lambda config: 0,
        lambda config: config.rollout_steps,
        lambda config, steps: steps // config.rollout_steps * config.epochs * config.minibatches,
    ),
    "streaming": _Pace(lambda config: 0, lambda config: 1, lambda config, steps: steps),
    "offline": _Pace(
        lambda config: 0,
        lambda config: target_period_of(config) or 1,
        lambda config, steps: steps,
    ),
}
_ROOTS = {"environment": ENVIRONMENT, "evaluation": EVALUATION}
FIELDS = (*field_names(Config), *HParams._fields)
_STRUCTURE = frozenset(field_names(Config))
_DEFAULTS = {**vars(Config()), **HParams()._asdict()}


def chosen(config: Config) -> dict[str, Row]:
    """The parts that ``config`` makes use of, by a name such as ``replay prioritized``.

    Raises:
      ConfigError: a name stands for nothing.
    """
    agent = find("agent", config.agent)
    if agent.loop not in LOOPS:
        raise unknown(f"loop of agent={config.agent}", agent.loop, LOOPS)
    loop = trained_by(agent.loop, config)
    parts = {f"agent {config.agent}": agent, f"{loop} loop": LOOPS[loop]}
    unread = {"agent", *_idle(agent, loop)}
    todo = list(parts.values())
    while todo:
        for field in todo.pop(0).reads:
            if field in TABLES and field not in unread:
                value = getattr(config, field)
                label = f"{field} {value}" if isinstance(value, str) else field
                if label not in parts:
                    parts[label] = find(field, value)
                    todo.append(parts[label])
    return parts


def reads(config: Config) -> dict[str, str]:
    """Field -> the part that reads it, or may."""
    parts = chosen(config)
    found = {field: root for root, fields in _ROOTS.items() for field in fields}
    found |= {"agent": f"agent {config.agent}"}
    for label, part in parts.items():
        for field in part.reads:
            found.setdefault(field, label)
    idle = _idle(find("agent", config.agent), loop_of(config))
    return {field: part for field, part in found.items() if field not in idle}


def _idle(agent: Row, loop: str) -> tuple[str, ...]:
    """What has no effect on an agent that ``loop`` trains, though parts in use read it."""
    clones = agent.loop == "offline"  # and learns no values
    return (*(_ACTING if loop == "offline" else ()), *(_FOLLOWING if clones else ()))


def choices(config: Config) -> tuple[int, int]:
    """How many numbers and how many structural fields must be chosen for a method: what its parts
    read, but for the environment, its copies, a dataset, and how policies are evaluated."""
    found = [field for field, part in reads(config).items() if part not in _ROOTS]
    found = [field for field in found if field != "dataset"]
    structure = sum(field in _STRUCTURE for field in found)
    return len(found) - structure, structure


def without_effect(config: Config, hparams: HParams) -> list[str]:
    """The fields that are not at their defaults and that nothing reads."""
    found = reads(config)
    idle = [field for field in FIELDS if field not in (*found, "extra")]
    return [field for field in idle if value_of(config, hparams, field) != _DEFAULTS[field]]


def readers(field: str, config: Config) -> str:
    """The choices that would read ``field``, in words; those that ``config`` has not made."""
    found, words = reads(config), []
    for kind, table in TABLES.items():
        names = [name for name, part in table.items() if field in part.reads]
        if getattr(config, kind) in names and kind not in found:
            return readers(kind, config)  # chosen, and not read itself
        words += [f"{kind}={' or '.join(map(format_value, names))}"] * bool(names)
    for loop, part in LOOPS.items():
        names = [name for name, row in AGENTS.items() if row.loop == loop]
        names = [name for name in names if field not in _idle(AGENTS[name], loop)]
        article = "an" if loop[0] in "aeiou" else "a"
        words += [
            f"{article} {loop} agent such as {name}" for name in names[:1] if field in part.reads
        ]
    return ", or ".join(words)


def loop_of(config: Config) -> str:
    """The loop that trains the agent of ``config``, a name of ``LOOPS``."""
    return trained_by(find("agent", config.agent).loop, config)


def trained_by(loop: str, config: Config) -> str:
    """The loop that trains an agent made for ``loop``: what learns from a replay also learns from a
    dataset."""
    return "offline" if config.dataset and loop == "off-policy" else loop


def target_period_of(config: Config) -> int | None:
    """Environment steps between target updates; None where there is nothing to follow."""
    return config.target_period if "target_period" in reads(config) else None


def prefill_of(config: Config) -> int:
    """Environment steps before the first update; only a replay of its own needs any."""
    return _PACES[loop_of(config)].prefill(config)


def period_of(config: Config) -> int:
    """Environment steps of which a chunk is a whole number: a target period, or a rollout."""
    return _PACES[loop_of(config)].period(config)


def evaluation_steps(config: Config) -> int:
    """Environment steps between two evaluations: whole chunks."""
    return config.eval_period or config.chunk_steps


def updates_after(config: Config, steps: int) -> int:
    """Gradient updates of a member that has taken so many environment steps."""
    return _PACES[loop_of(config)].updates(config, steps)


def settle(config: Config, hparams: HParams, asked: Iterable[str]) -> tuple[Config, HParams]:
    """The same with what has no effect back at its default, except the fields that were asked for.

    A preset's numbers for one part mean nothing to the part that takes its place, and would be
    recorded as if they did.
    """
    idle = [field for field in without_effect(config, hparams) if field not in set(asked)]
    structure = {field: _DEFAULTS[field] for field in idle if field in _STRUCTURE}
    numbers = {field: _DEFAULTS[field] for field in idle if field not in structure}
    return replace(config, **structure), hparams._replace(**numbers)


def value_of(config: Config, hparams: HParams, field: str) -> Any:
    """The value of a field, of whichever of the two has it."""
    return getattr(config if field in _STRUCTURE else hparams, field)
