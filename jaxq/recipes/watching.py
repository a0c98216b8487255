"""What parts of one's own read, found by watching them: a choice that they drop is refused.

Parts of jaxq say what they read in their rows, and tests hold them to it with the same means.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxq.config import Config, HParams, field_names
from jaxq.errors import ConfigError, missing_number
from jaxq.recipes.reading import ENVIRONMENT, EVALUATION
from jaxq.settings import EXTRA, format_value
from jaxq.types import Agent, Env, Trainer

# What an agent of one's own must look at, or it would act or learn otherwise than recorded.
_NEVER_DROPPED = (
    "backup action_selection break_ties sequence_length burn_in observations rewards".split()
)


class WatchedConfig(Config):
    """A ``Config`` that notes in ``seen`` which of its fields are read."""

    @classmethod
    def of(cls, config: Config) -> "WatchedConfig":
        watched = cls(**vars(config))
        object.__setattr__(watched, "seen", set())
        return watched

    def __getattribute__(self, name: str) -> Any:
        value = object.__getattribute__(self, name)
        if name in _FIELDS and "seen" in object.__getattribute__(self, "__dict__"):
            seen = object.__getattribute__(self, "seen")
            seen.add(name)
            return _Words(value, seen) if name == "extra" else value
        return value


class _Words(tuple):
    """``Config.extra``, of which ``words_as_values`` makes a mapping that notes what is read."""

    def __new__(cls, words: tuple[str, ...], seen: set):
        made = super().__new__(cls, words)
        made.seen = seen
        return made

    def noting(self, values: dict[str, Any]) -> "_Noting":
        return _Noting(values, self.seen, EXTRA)


class _Noting(dict):
    """A mapping that notes in ``seen``, behind a prefix, which of its names are read."""

    def __init__(self, values: dict[str, Any], seen: set, prefix: str = ""):
        super().__init__(values)
        self.seen, self.prefix = seen, prefix

    def _note(self, *names: str) -> None:
        self.seen.update(self.prefix + name for name in names)

    def __getitem__(self, name: str) -> Any:
        self._note(name)
        return super().__getitem__(name)

    def __contains__(self, name: str) -> bool:
        self._note(name)
        return super().__contains__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self._note(name)
        return super().get(name, default)

    def __iter__(self) -> Iterator[str]:
        self._note(*dict.keys(self))
        return super().__iter__()

    def keys(self) -> Any:
        return [*self]

    def values(self) -> Any:
        return [self[name] for name in self]

    def items(self) -> Any:
        return [(name, self[name]) for name in self]


_FIELDS = frozenset(field_names(Config))
# Read where nobody watches; of n_step ``contracts`` says whether the windows have that length.
_ELSEWHERE = {*ENVIRONMENT, *EVALUATION, "agent", "memory_inputs", "extra", "n_step"}


def check_reads(config: WatchedConfig, make_agent: Callable, env: Env, loop: str) -> Agent:
    """The agent that ``make_agent`` makes, if it drops no choice of ``config``.

    Args:
      config: watched, and not read yet.
      loop: that the configuration is made for.

    Raises:
      ConfigError: names the choice, or what was made instead of an agent.
    """
    agent = make_agent(config, env)
    seen = frozenset(config.seen)
    if not isinstance(agent, Agent):
        raise ConfigError(
            f"agent={config.agent} gave an object of type {type(agent).__name__}; a jaxq Agent is "
            f"accepted, as make_agent and make_agent_from make it."
        )
    if agent.loop != loop:
        raise ConfigError(
            f"agent={config.agent} is made for the {agent.loop} loop and the configuration for the "
            f"{loop} one; @jaxq.declares(loop='{agent.loop}') above its function says so."
        )
    for field in _NEVER_DROPPED:
        value, default = getattr(config, field), getattr(Config, field)
        if value != default and field not in seen:
            raise ConfigError(
                f"{field}={value} has no effect on an agent whose function does not read it; "
                f"{field}={default} is accepted, or jaxq.make_agent_from in that function."
            )
    return agent


def check_structure(config: WatchedConfig, own: Iterable[str]) -> None:
    """Refuse structure of one's own that no part has read, and warn of fields that none has read.

    Args:
      config: watched while everything was composed of it.
      own: the fields in which parts of one's own stand.

    Raises:
      ConfigError: names what was not read.
    """
    seen = frozenset(config.seen)
    plain = Config(**{name: getattr(config, name) for name in _FIELDS})
    for word in plain.extra:
        if EXTRA + word.partition("=")[0] not in seen:
            raise ConfigError(f"extra={word} has no effect: no part of this run reads it.")
    idle = [name for name in _FIELDS - seen - _ELSEWHERE if _is_chosen(plain, name)]
    _warn_idle(sorted(idle), plain, own)


def _is_chosen(config: Config, field: str) -> bool:
    return getattr(config, field) != getattr(Config, field)


def _warn_idle(fields: Sequence[str], config: Config | HParams, own: Iterable[str]) -> None:
    if fields:
        chosen = " ".join(f"{name}={format_value(getattr(config, name))}" for name in fields)
        warnings.warn(
            f"{chosen} has no effect and is recorded all the same: none of your own parts "
            f"({', '.join(own)}) reads it.",
            stacklevel=3,
        )


class _Notes(set):
    """Names, as part of the structure of a tree: equal to nothing but itself."""

    __hash__ = object.__hash__
    __eq__ = object.__eq__


class _Numbers(_Noting):
    """Numbers of ``HParams.extra`` that note in ``seen`` which of them are read."""

    def __getitem__(self, name: str) -> Any:
        if not dict.__contains__(self, name):
            raise missing_number(name, "which a part of your own reads")
        return super().__getitem__(name)


jax.tree_util.register_pytree_node(
    _Numbers,
    lambda numbers: (tuple(dict.values(numbers)), (tuple(dict.keys(numbers)), numbers.seen)),
    lambda kept, values: _Numbers(dict(zip(kept[0], values)), kept[1]),
)


def _watched_numbers(seen: set) -> type[HParams]:
    """``HParams`` that note in ``seen`` which of them are read, through every transformation."""

    def __getattribute__(self, name: str) -> Any:
        if name in HParams._fields:
            seen.add(name)
        return HParams.__getattribute__(self, name)

    return type("HParams", (HParams,), {"__slots__": (), "__getattribute__": __getattribute__})


def check_trace(config: Config, trainer: Trainer, lane: HParams, own: Iterable[str] = ()) -> None:
    """Refuse what only a trace of a chunk shows of parts of one's own, and warn of numbers that
    nothing reads.

    Args:
      own: the fields in which parts of one's own stand.

    Raises:
      ConfigError: a number is missing, or nothing reads it; parameters cannot be saved, or have no
        head to reset.
    """
    numbers = _Numbers({k: np.float32(v) for k, v in lane.extra.items()}, _Notes())
    seen: set[str] = set()
    hparams = jax.tree.map(_shape, _watched_numbers(seen)(*lane._replace(extra=numbers)))
    data = trainer.data()
    state, clock = jax.eval_shape(trainer.init, jax.random.key(0), hparams, *data)
    jax.eval_shape(trainer.chunk, state, clock, hparams, *data)
    for name in lane.extra:
        if name not in numbers.seen:
            raise ConfigError(f"extra.{name} has no effect: no part of this run reads it.")
    idle = [name for name in HParams._fields if name not in seen | _ELSEWHERE]
    default = HParams()
    changed = [name for name in idle if getattr(lane, name) != getattr(default, name)]
    _warn_idle(changed if own else (), lane, own)
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(state.params)]
    names = [[getattr(entry, "key", None) for entry in path] for path in paths]
    if not all(path and all(isinstance(name, str) for name in path) for path in names):
        raise ConfigError(
            "params of an agent must be dictionaries of arrays, nested as deep as you like, as "
            "those of flax modules are; they are saved by their names."
        )
    if config.reset_period and config.reset == "head" and not any("head" in path for path in names):
        raise ConfigError(
            f"reset_period={config.reset_period} has no effect on a network in which no module is "
            f"called head."
        )


def _shape(value: Any) -> jax.ShapeDtypeStruct:
    array = np.asarray(value)
    dtype = jnp.float32 if array.dtype.kind == "f" else jnp.int32
    return jax.ShapeDtypeStruct(array.shape, dtype)
