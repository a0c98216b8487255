"""The parts that names stand for: a table per kind, a row per name.

A row is a function and the fields of ``Config`` and ``HParams`` that it reads. From these rows
follow what is composed, which fields have an effect and which part ``--help`` shows them under.
Wherever a table here says so, ``module:function`` stands for a function of one's own with the same
contract:

| field | function |
|---|---|
| `agent` | ``make_agent(config, env) -> Agent`` |
| `backup` | ``backup(values, a_tm1, hparams) -> Lookahead`` |
| `network` | ``make_torso(config, obs_spec) -> flax module``, [B, *obs] to features [B, F] |
| `activation` | ``activation(x) -> x``, each number by itself, such as ``jax.nn:silu`` |
| `memory` | ``make_cell(config) -> Cell``, see ``networks.cells`` |
| `replay` | ``make_replay(config, step) -> Replay``, of the shapes of a step [E, ...] |
| `target` | ``make_target(config) -> Target`` |
| `optimizer` | ``scale(hparams) -> optax.GradientTransformation``, before minus the step size |
| `learning_rate_schedule` | ``schedule(start, end, num_steps, step) -> step size`` |
| `regulariser` | ``make_regulariser(config) -> Regulariser`` |
| `reset` | ``reset(learner, anew, hparams) -> Learner``, see ``learning.plasticity`` |
| `trace` | ``make_trace(config) -> TraceRule`` |
| `trace_cut` | ``cut(done_tm1, exploratory_tm1, exploratory_t) -> bool``, see ``learning.traces`` |
| `action_selection` | ``select(key, q_values [E, A], amount) -> action [E]``, or of what |
| | remembers or takes numbers of its own ``make_selection(config) -> Selection``; both with a |
| | parameter ``legal`` where observations say what is legal, see ``learning.exploration`` |
| `exploration` | ``schedule(start, end, num_steps, step) -> amount`` |
| `env` | see ``envs.own`` |
"""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from jaxq import schedules
from jaxq.config import Config, HParams, field_names
from jaxq.envs.previous import with_previous_action
from jaxq.errors import ConfigError, check_call, unknown, wrong_object
from jaxq.learning import backups, exploration, optimizers, rewards, traces
from jaxq.learning.traces import TraceRule
from jaxq.networks import cells, statistics
from jaxq.recipes.following import TARGETS
from jaxq.recipes.layers import ACTIVATIONS, DENSE, INITIALIZATIONS, NORMS, TORSOS
from jaxq.recipes.own import OPEN, is_own, resolve
from jaxq.recipes.renewal import REGULARISERS, RESETS
from jaxq.recipes.rows import AGENTS, Row
from jaxq.replay import prioritized, rings
from jaxq.types import Replay, Selection, Step


def _positive_temperature(config: Config, hparams: HParams) -> str | None:
    if hparams.temperature <= 0.0:
        return f"temperature={hparams.temperature} must be positive"
    return None


BACKUPS = {
    "greedy": Row(backups.greedy),
    "double": Row(backups.double),
    "minto": Row(backups.minto),
    "soft": Row(backups.soft, ("temperature",), _positive_temperature),
    "munchausen": Row(
        backups.munchausen,
        ("temperature", "munchausen_alpha", "munchausen_clip"),
        _positive_temperature,
    ),
}


def window_of(config: Config) -> int:
    """Steps of a window: a whole sequence, or the n of n-step targets."""
    return max(config.sequence_length, config.n_step)


def _latest(config: Config, step: Step) -> Replay:
    rows = config.train_every // config.num_envs
    return rings.latest(step, rows_per_block=rows, window=window_of(config))


def _ring_sizes(config: Config) -> dict[str, int]:
    return {
        "capacity": config.capacity,
        "batch_size": config.batch_size,
        "window": window_of(config),
    }


def _uniform(config: Config, step: Step) -> Replay:
    return rings.uniform(step, **_ring_sizes(config))


def _prioritized(config: Config, step: Step) -> Replay:
    return prioritized.prioritized(step, **_ring_sizes(config), period=config.sequence_period)


_PRIORITIES = ("priority_exponent", "importance_exponent", "importance_exponent_end")
OBSERVATIONS = {"raw": Row(lambda network: network), "normalized": Row(statistics.normalized)}
REWARDS = {"raw": Row(lambda agent: agent), "scaled": Row(rewards.with_scaled_rewards)}
REPLAYS = {
    "uniform": Row(_uniform, ("capacity", "batch_size")),
    "prioritized": Row(
        _prioritized,
        ("capacity", "batch_size", "sequence_period", *_PRIORITIES, "importance_exponent_steps"),
    ),
    "latest": Row(_latest),
}

_ADAM = ("adam_beta1", "adam_beta2", "optimizer_epsilon")
OPTIMIZERS = {
    "adam": Row(optimizers.adam, _ADAM),
    "adamw": Row(optimizers.adamw, (*_ADAM, "weight_decay")),
    "radam": Row(optimizers.radam, _ADAM),
    "rmsprop": Row(optimizers.rmsprop, ("rmsprop_decay", "optimizer_epsilon")),
    "sgd": Row(optimizers.sgd),
}


def _accumulating(config: Config) -> TraceRule:
    scale = find("optimizer", config.optimizer).make
    return traces.accumulating(optimizers.make_optimizer(scale, config.clip_gradients))


def _decaying_traces(config: Config, hparams: HParams) -> str | None:
    if hparams.gamma * hparams.td_lambda >= 1.0:
        return (
            f"td_lambda={hparams.td_lambda} must be below 1 for trace=intentional and "
            f"gamma={hparams.gamma}"
        )
    return None


_CORRECTION = ("correction_rate", "correction_decay")
TRACES = {
    "accumulating": Row(_accumulating, ("optimizer", "clip_gradients")),
    "obgd": Row(lambda config: traces.obgd(), ("kappa",)),
    "qrc": Row(lambda config: traces.qrc(), _CORRECTION),
    "gq2": Row(lambda config: traces.gq2(), _CORRECTION),
    "intentional": Row(
        lambda config: traces.intentional(),
        ("adam_beta2", "error_cap", "error_decay"),
        _decaying_traces,
    ),
}
TRACE_CUTS = {
    "after": Row(traces.cut_after),
    "watkins": Row(traces.cut_watkins),
    "episodes": Row(traces.cut_episodes),
}
LEARNING_RATES = {
    name: Row(schedule, ("learning_rate_end", "learning_rate_steps"))
    for name, schedule in (("linear", schedules.linear), ("exponential", schedules.exponential))
}

_EPSILON = ("epsilon_start", "epsilon_end", "epsilon_delay", "epsilon_steps")


def _softmax(config: Config) -> Selection:
    selection = exploration.without_state(exploration.softmax)
    return selection._replace(amount=lambda hparams, scheduled: hparams.temperature)


def _ez_greedy(config: Config) -> Selection:
    return exploration.ez_greedy(config.max_duration, break_ties=config.break_ties)


SELECTIONS = {
    "epsilon-greedy": Row(exploration.epsilon_greedy, ("break_ties", "exploration")),
    "softmax": Row(_softmax, ("temperature",), _positive_temperature),
    "ez-greedy": Row(
        _ez_greedy, ("break_ties", "exploration", "max_duration", "duration_exponent")
    ),
}
EXPLORATIONS = {
    "linear": Row(schedules.linear, _EPSILON),
    "exponential": Row(schedules.exponential, _EPSILON),
}
_CELLS = {"lstm": cells.lstm, "gru": cells.gru, "mingru": cells.min_gru, "lru": cells.lru}
MEMORIES = {
    "none": Row(None),
    **{
        name: Row(lambda config, make=make: make(config.memory_width), ("memory_width",))
        for name, make in _CELLS.items()
    },
}


def _something_remembers(config: Config, hparams: HParams) -> str | None:
    if config.memory == "none":
        return (
            f"memory_inputs={config.memory_inputs} must be observation with memory=none, or memory "
            f"one of {', '.join(_CELLS)}"
        )
    return None


MEMORY_INPUTS = {
    "observation": Row(lambda env: env),
    "action": Row(with_previous_action, (), _something_remembers),
    "action-reward": Row(partial(with_previous_action, reward=True), (), _something_remembers),
}

# Field of ``Config`` -> its rows. Of a switch a row says what is read where it is on.
TABLES: dict[str, dict[Any, Row]] = {
    "agent": AGENTS,
    "backup": BACKUPS,
    "network": TORSOS,
    "observations": OBSERVATIONS,
    "rewards": REWARDS,
    "layer_norm": {False: Row(None), True: Row(None, ("layer_norm_form",))},
    "layer_norm_form": NORMS,
    "activation": ACTIVATIONS,
    "initialization": INITIALIZATIONS,
    "dense": DENSE,
    "dueling": {False: Row(None), True: Row(None, ("stream_widths",))},
    "memory": MEMORIES,
    "memory_inputs": MEMORY_INPUTS,
    "replay": REPLAYS,
    "target": TARGETS,
    "trace": TRACES,
    "trace_cut": TRACE_CUTS,
    "optimizer": OPTIMIZERS,
    "clip_gradients": {False: Row(None), True: Row(None, ("max_gradient_norm",))},
    "regulariser": REGULARISERS,
    "reset": RESETS,
    "learning_rate_schedule": LEARNING_RATES,
    "action_selection": SELECTIONS,
    "exploration": EXPLORATIONS,
}


def find(field: str, name: Any) -> Row:
    """The row called ``name``, or one made for a function of somebody's own.

    Raises:
      ConfigError: there is none, or the function cannot be found.
    """
    if field in OPEN and is_own(name):
        function = resolve(field, name)
        _check_signature(field, name, function)
        reads = getattr(function, "reads", None) or _may_read(field, function)
        numbers, loop = getattr(function, "numbers", {}), getattr(function, "loop", "off-policy")
        for read in reads:
            if read not in (*field_names(Config), *HParams._fields):
                raise unknown(f"{field}={name} reads", read, (*vars(Config()), *HParams._fields))
        return Row(function, reads, numbers=numbers, loop=loop)
    if name not in TABLES[field]:
        others = [kind for kind, rows in TABLES.items() if isinstance(name, str) and name in rows]
        if len(others) == 1:
            raise ConfigError(f"{field}={name} does not exist; {others[0]}={name} does.")
        own = ["module:function"] if field in OPEN else []
        raise unknown(field, name, [*map(str, TABLES[field]), *own])
    return TABLES[field][name]


# Field -> what its function is called with.
_CALLED_WITH = {
    "agent": ("config", "env"),
    "backup": ("values", "a_tm1", "hparams"),
    "network": ("config", "obs_spec"),
    "activation": ("x",),
    "memory": ("config",),
    "replay": ("config", "step"),
    "target": ("config",),
    "optimizer": ("hparams",),
    "learning_rate_schedule": ("start", "end", "num_steps", "step"),
    "regulariser": ("config",),
    "reset": ("learner", "anew", "hparams"),
    "trace": ("config",),
    "trace_cut": ("done_tm1", "exploratory_tm1", "exploratory_t"),
    "action_selection": ("key", "q_values", "amount"),
    "exploration": ("start", "end", "num_steps", "step"),
}


def make_part(field: str, config: Config, kind: type, accepted: str | None = None) -> Any:
    """What the function that ``config`` names in ``field`` makes of it, if it is of its kind.

    Raises:
      ConfigError: it is something else, or what ``find`` refuses.
    """
    name = getattr(config, field)
    part = find(field, name).make(config)
    if not isinstance(part, kind):
        raise wrong_object(f"{field}={name}", part, accepted or f"a jaxq {kind.__name__}")
    return part


def _check_signature(field: str, name: str, function: Callable) -> None:
    """Refuse a function that cannot be called with what its contract says."""
    arguments = _CALLED_WITH.get(field, ())
    if field == "action_selection" and makes_selection(function):
        return
    if arguments:
        check_call(f"{field}={name}", function, arguments)


def makes_selection(function: Callable) -> bool:
    """Whether a function is called with ``config`` and makes a ``Selection``, or selects itself."""

    def fits(*arguments: str) -> bool:
        try:
            inspect.signature(function).bind(*arguments)
        except (TypeError, ValueError):
            return False
        return True

    return fits("config") and not fits(*_CALLED_WITH["action_selection"])


# Kinds of part that receive all numbers.
_WITH_NUMBERS = "agent backup replay target optimizer regulariser reset trace".split()


def _may_read(field: str, function: Callable) -> tuple[str, ...]:
    """What a part of one's own may read that does not say: what the rows of its kind read, and all
    numbers if it receives them."""
    found = [name for part in TABLES.get(field, {}).values() for name in part.reads]
    selects = field == "action_selection" and makes_selection(function)  # by an amount of its own
    numbers = HParams._fields if selects or field in _WITH_NUMBERS else ()
    return tuple(dict.fromkeys([*found, *numbers]))
