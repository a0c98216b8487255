"""What parts of one's own read, found by watching them: a choice that they drop is refused.

Parts of jaxq say what they read in their rows, and tests hold them to it with the same means.
"""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxq.config import Config, HParams, field_names
from jaxq.errors import ConfigError, missing_number
from jaxq.recipes.own import own_fields
from jaxq.types import Agent, Env, Trainer

# What an agent of one's own must look at, or it would act or learn otherwise than recorded.
_NEVER_DROPPED = ("backup", "action_selection", "break_ties")


class WatchedConfig(Config):
    """A ``Config`` that notes in ``seen`` which of its fields are read."""

    @classmethod
    def of(cls, config: Config) -> "WatchedConfig":
        watched = cls(**vars(config))
        object.__setattr__(watched, "seen", set())
        return watched

    def __getattribute__(self, name: str) -> Any:
        if name in _FIELDS and "seen" in object.__getattribute__(self, "__dict__"):
            object.__getattribute__(self, "seen").add(name)
        return object.__getattribute__(self, name)


_FIELDS = frozenset(field_names(Config))
_READ_EXTRA = ("network", "replay", "target")  # parts of one's own that also see ``config``


def check_reads(config: Config, make_agent: Callable, env: Env, loop: str) -> Agent:
    """The agent that ``make_agent`` makes, if it drops no choice of ``config``.

    Args:
      loop: that the configuration is made for.

    Raises:
      ConfigError: names the choice, or what was made instead of an agent.
    """
    watched = WatchedConfig.of(config)
    agent = make_agent(watched, env)
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
    others = own_fields(config).keys() & set(_READ_EXTRA)
    if config.extra and "extra" not in watched.seen and not others:
        raise ConfigError(f"extra={' '.join(config.extra)} has no effect: no part reads it.")
    for field in _NEVER_DROPPED:
        value, default = getattr(config, field), getattr(Config, field)
        if value != default and field not in watched.seen:
            raise ConfigError(
                f"{field}={value} has no effect on an agent whose function does not read it; "
                f"{field}={default} is accepted, or jaxq.make_agent_from in that function."
            )
    return agent


class _Notes(set):
    """Names, as part of the structure of a tree: equal to nothing but itself."""

    __hash__ = object.__hash__
    __eq__ = object.__eq__


class _Numbers(dict):
    """Numbers of ``HParams.extra`` that note in ``seen`` which of them are read."""

    def __init__(self, numbers: dict[str, Any], seen: _Notes):
        super().__init__(numbers)
        self.seen = seen

    def __getitem__(self, name: str) -> Any:
        self.seen.add(name)
        if name not in self:
            raise missing_number(name, "which a part of your own reads")
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self.seen.add(name)
        return super().get(name, default)

    def __iter__(self) -> Iterator[str]:
        self.seen.update(dict.keys(self))
        return super().__iter__()

    def keys(self) -> Any:
        return [*self]

    def values(self) -> Any:
        return [self[name] for name in self]

    def items(self) -> Any:
        return [(name, self[name]) for name in self]


jax.tree_util.register_pytree_node(
    _Numbers,
    lambda numbers: (tuple(dict.values(numbers)), (tuple(dict.keys(numbers)), numbers.seen)),
    lambda kept, values: _Numbers(dict(zip(kept[0], values)), kept[1]),
)


def check_trace(config: Config, trainer: Trainer, lane: HParams) -> None:
    """Refuse what only a trace of a chunk shows of parts of one's own.

    Raises:
      ConfigError: a number is missing, or nothing reads it; parameters cannot be saved, or have no
        head to reset.
    """
    numbers = _Numbers({k: np.float32(v) for k, v in lane.extra.items()}, _Notes())
    hparams = jax.tree.map(_shape, lane._replace(extra=numbers))
    state, clock = jax.eval_shape(trainer.init, jax.random.key(0), hparams)
    jax.eval_shape(trainer.chunk, state, clock, hparams)
    for name in lane.extra:
        if name not in numbers.seen:
            raise ConfigError(f"extra.{name} has no effect: no part of this run reads it.")
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(state.params)]
    names = [[getattr(entry, "key", None) for entry in path] for path in paths]
    if not all(path and all(isinstance(name, str) for name in path) for path in names):
        raise ConfigError(
            "params of an agent must be dictionaries of arrays, nested as deep as you like, as "
            "those of flax modules are; they are saved by their names."
        )
    if config.reset_period and not any("head" in path for path in names):
        raise ConfigError(
            f"reset_period={config.reset_period} has no effect on a network in which no module is "
            f"called head."
        )


def _shape(value: Any) -> jax.ShapeDtypeStruct:
    array = np.asarray(value)
    dtype = jnp.float32 if array.dtype.kind == "f" else jnp.int32
    return jax.ShapeDtypeStruct(array.shape, dtype)
