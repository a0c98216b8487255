"""Environments: gymnax classes as ``Env``, with exact episode ends and statistics.

The only importer of gymnax (in functions: it takes half a second). Three decisions are made here,
once, so that nothing downstream has to ask:

* what a time limit means (``bootstrap``: the episode would have gone on, so values do;
  ``terminal``: the limit belongs to the task), explicitly for every environment;
* how observations are encoded: yes/no images as ``bool``, integers one-hot, the rest ``float32``;
* the protocol of the MinAtar games: gymnax's, or with the suffix ``-original`` the one of
  Young & Tian (2019), which published scores use.
"""

import ast
import importlib
import sys
from collections.abc import Callable, Mapping
from functools import partial
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxq.errors import ConfigError, unknown
from jaxq.types import Env, Episode, PyTree

TIME_LIMITS = ("bootstrap", "terminal")


class _Traits(NamedTuple):
    time_limit: str
    binary: bool = False  # the float observation holds only 0 and 1


# Why "terminal": MinAtar's Freeway and bsuite's DiscountingChain end by the clock as part of the
# task; DeepSea's limit is its depth; the bandits, MetaMaze and UmbrellaChain show the time left.
_TRAITS = {
    "CartPole-v1": _Traits("bootstrap"),
    "Acrobot-v1": _Traits("bootstrap"),
    "MountainCar-v0": _Traits("bootstrap"),
    "Asterix-MinAtar": _Traits("bootstrap", binary=True),
    "Breakout-MinAtar": _Traits("bootstrap", binary=True),
    "Freeway-MinAtar": _Traits("terminal", binary=True),
    "Seaquest-MinAtar": _Traits("bootstrap", binary=True),
    "SpaceInvaders-MinAtar": _Traits("bootstrap", binary=True),
    "Catch-bsuite": _Traits("terminal", binary=True),
    "DeepSea-bsuite": _Traits("terminal", binary=True),
    "DiscountingChain-bsuite": _Traits("terminal"),
    "MemoryChain-bsuite": _Traits("terminal"),
    "UmbrellaChain-bsuite": _Traits("terminal"),
    "SimpleBandit-bsuite": _Traits("terminal"),
    "FourRooms-misc": _Traits("bootstrap"),
    "MetaMaze-misc": _Traits("terminal"),
    "BernoulliBandit-misc": _Traits("terminal"),
    "GaussianBandit-misc": _Traits("terminal"),
    "Pong-misc": _Traits("bootstrap", binary=True),
    "FrozenLake-misc": _Traits("bootstrap"),
}
_CONTINUOUS = (
    "Pendulum-v1",
    "MountainCarContinuous-v0",
    "PointRobot-misc",
    "Reacher-misc",
    "Swimmer-misc",
)
_ORIGINAL = "-original"
_STICKY_PROBABILITY = 0.1
_NO_LIMIT = np.iinfo(np.int32).max


def env_names() -> tuple[str, ...]:
    """Every name ``make_env`` accepts."""
    originals = tuple(name + _ORIGINAL for name in _TRAITS if name.endswith("MinAtar"))
    return tuple(_TRAITS) + originals


def make_env(
    name: str,
    num_envs: int,
    kwargs: tuple[str, ...] = (),
    time_limit: str | None = None,
) -> Env:
    """The environment called ``name``, ``num_envs`` times.

    Args:
      name: an id of ``env_names()``.
      num_envs: E.
      kwargs: arguments of the gymnax class, each ``"name=value"``, such as ``("size=10",)``.
      time_limit: ``"bootstrap"`` or ``"terminal"``; None takes the environment's own policy.

    Raises:
      ConfigError: unknown name, continuous actions, or arguments the class does not take.
    """
    raw, params = make_gymnax(name, kwargs)
    base, original = name.removesuffix(_ORIGINAL), name.endswith(_ORIGINAL)
    env = from_gymnax(
        raw,
        params,
        num_envs,
        time_limit=time_limit or _TRAITS[base].time_limit,
        binary_observations=_TRAITS[base].binary,
        name=name,
    )
    sticky = _STICKY_PROBABILITY if original else 0.0
    return env._replace(protocol={**env.protocol, "sticky_actions": sticky})


def make_gymnax(name: str, kwargs: tuple[str, ...] = ()) -> tuple[Any, PyTree]:
    """The gymnax environment behind ``name``, wrapped for its protocol, and its parameters.

    Raises:
      ConfigError: as ``make_env``.
    """
    if name in _CONTINUOUS:
        raise ConfigError(
            f"env={name} has continuous actions; Q-learning needs a discrete-action environment, "
            f"such as CartPole-v1."
        )
    if name == "MNISTBandit-bsuite":
        raise ConfigError(
            f"env={name} downloads data at run time and is not supported; "
            f"SimpleBandit-bsuite is the nearest bandit."
        )
    if name not in env_names():
        raise unknown("env", name, env_names())

    gymnax = _import_gymnax()  # here: takes half a second
    from gymnax.wrappers import StickyActionWrapper

    base = name.removesuffix(_ORIGINAL)
    arguments = _parse_kwargs(kwargs)
    original = name.endswith(_ORIGINAL)
    if original:
        arguments["use_minimal_action_set"] = False
    try:
        raw, params = gymnax.make(base, **arguments)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"env_kwargs={list(kwargs)} is not accepted by {name}: {error}."
        ) from error
    if original:
        raw = StickyActionWrapper(raw, _STICKY_PROBABILITY)
        if base != "Freeway-MinAtar":  # whose limit is part of the game
            params = params.replace(max_steps_in_episode=_NO_LIMIT)
    return raw, params


def from_gymnax(
    env: Any,
    params: PyTree,
    num_envs: int,
    *,
    time_limit: str = "bootstrap",
    binary_observations: bool = False,
    name: str | None = None,
) -> Env:
    """Anyone's gymnax-1.0 environment as an ``Env``.

    Args:
      env: a gymnax environment (or wrapper) with a discrete action space.
      params: its default parameters.
      num_envs: E.
      time_limit: what reaching gymnax's ``truncated`` means: ``"bootstrap"`` or ``"terminal"``.
      binary_observations: True where every observation holds only 0 and 1; they are then carried
        as ``bool`` and stored as one bit each.
      name: for messages and results; the environment's own by default.

    Raises:
      ConfigError: continuous actions, a nested observation, an unknown time-limit policy.
    """
    name = name or env.name
    if time_limit not in TIME_LIMITS:
        raise unknown("time_limit", time_limit, TIME_LIMITS)
    num_actions = getattr(env.action_space(params), "n", None)
    if num_actions is None:
        raise ConfigError(f"env={name} has continuous actions; discrete ones are accepted.")

    overrides_of = _make_params(name, params)
    raw_obs, raw_state = jax.eval_shape(env.reset, jax.random.key(0), overrides_of({}))
    encode = _make_encoder(name, env.observation_space(params), raw_obs, binary_observations)
    obs_spec = jax.eval_shape(encode, raw_obs)
    state_dtypes = _stable_dtypes(env, raw_state, overrides_of({}))

    def settle(raw_state: PyTree) -> PyTree:
        """The state with the dtypes it keeps: gymnax mixes weak types, ints and floats."""
        return jax.tree.map(_strong, raw_state, state_dtypes)

    def reset(key: jax.Array, env_params: PyTree) -> tuple[jax.Array, PyTree]:
        keys = jax.random.split(key, num_envs)
        obs, raw_state = jax.vmap(env.reset, in_axes=(0, None))(keys, env_params)
        totals = Episode(
            ended=jnp.zeros(num_envs, bool),
            total_reward=jnp.zeros(num_envs, jnp.float32),
            length=jnp.zeros(num_envs, jnp.int32),
        )
        return jax.vmap(encode)(obs), (settle(raw_state), totals)

    def step(key: jax.Array, env_state: PyTree, action: jax.Array, env_params: PyTree):
        keys = jax.random.split(key, num_envs)
        raw_state, totals = env_state
        obs, raw_state, reward, terminated, truncated, info = jax.vmap(
            env.step, in_axes=(0, 0, 0, None)
        )(keys, raw_state, action, env_params)
        reward = _strong(reward, jnp.float32)  # [E]
        done = terminated | truncated  # [E]
        if time_limit == "terminal":
            terminated = done  # bootstrap: a step that both terminates and truncates terminates
        next_obs = jax.vmap(encode)(info["final_observation"])  # [E, *obs]
        # The episode that a step belongs to includes that step; the next one starts from zero.
        running = ~totals.ended
        totals = Episode(
            ended=done,
            total_reward=jnp.where(running, totals.total_reward, 0.0) + reward,
            length=jnp.where(running, totals.length, 0) + 1,
        )
        outcome = (reward, terminated, done, next_obs)
        return jax.vmap(encode)(obs), (settle(raw_state), totals), outcome, totals

    protocol = {
        "environment": name,
        "time_limit": time_limit,
        "num_actions": int(num_actions),
        "sticky_actions": 0.0,
    }
    return Env(name, num_envs, int(num_actions), obs_spec, protocol, overrides_of, reset, step)


def _make_params(name: str, default: PyTree) -> Callable[[Mapping[str, Any]], PyTree]:
    """``params(overrides)``: the defaults with some replaced, every leaf of one fixed dtype."""

    def params(overrides: Mapping[str, Any]) -> PyTree:
        fields = vars(default)
        for field in overrides:
            if field not in fields:
                raise unknown(f"env_params of {name}", field, fields)
        return jax.tree.map(
            lambda value, new: _strong(new, jnp.asarray(value).dtype),
            default,
            default.replace(**overrides),
        )

    return params


def _make_encoder(name: str, space: Any, obs: Any, binary: bool) -> Callable:
    """How one observation of ``space`` is shown to networks and stored."""
    if not isinstance(obs, jax.ShapeDtypeStruct):
        raise ConfigError(f"env={name} has a nested observation; a single array is accepted.")
    if jnp.issubdtype(obs.dtype, jnp.integer):
        is_discrete = hasattr(space, "n")
        low = 0 if is_discrete else int(np.min(space.low))
        high = int(space.n) - 1 if is_discrete else int(np.max(space.high))
        classes = jnp.arange(low, high + 1)
        return lambda obs: (obs[..., None] == classes).reshape(-1)  # one-hot per element
    if binary or obs.dtype == bool:
        return lambda obs: obs.astype(bool)
    return lambda obs: _strong(obs, jnp.float32)


def _stable_dtypes(env: Any, raw_state: PyTree, env_params: PyTree) -> PyTree:
    """The dtype of every leaf of the state, the same after a reset and after a step."""
    action = jax.ShapeDtypeStruct((), jnp.int32)
    dtypes = jax.tree.map(lambda leaf: leaf.dtype, raw_state)
    while True:
        state = jax.tree.map(lambda s, d: jax.ShapeDtypeStruct(s.shape, d), raw_state, dtypes)
        result = jax.eval_shape(env.step, jax.random.key(0), state, action, env_params)
        wider = jax.tree.map(
            lambda d, leaf: d if d == leaf.dtype else jnp.promote_types(d, leaf.dtype),
            dtypes,
            result[1],
        )
        if wider == dtypes:
            return dtypes
        dtypes = wider


def _strong(value: Any, dtype: Any) -> jax.Array:
    """``value`` as an array of exactly this dtype, not weakly typed; PRNG keys pass through."""
    if jnp.issubdtype(dtype, jax.dtypes.prng_key):
        return value
    return jax.lax.convert_element_type(jnp.asarray(value), jnp.dtype(dtype))


def _parse_kwargs(kwargs: tuple[str, ...]) -> dict[str, Any]:
    arguments = {}
    for argument in kwargs:
        name, separator, value = argument.partition("=")
        if not separator:
            raise ConfigError(f"env_kwargs={argument} is not of the form name=value.")
        try:
            arguments[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            arguments[name] = value
    return arguments


def _import_gymnax() -> ModuleType:
    """gymnax without what it draws with, which would be half of the time of a warm start.

    Its environments import pyplot and seaborn, and so pandas and SciPy. They get stand-ins that
    load the real module when something in it is used.
    """
    slow = [name for name in ("matplotlib.pyplot", "seaborn") if name not in sys.modules]
    for name in slow:
        sys.modules[name] = stand_in = ModuleType(name)
        stand_in.__getattr__ = partial(_of_real_module, name)
    try:
        import gymnax
    finally:
        for name in slow:
            del sys.modules[name]
    return gymnax


def _of_real_module(module: str, attribute: str) -> Any:
    return getattr(importlib.import_module(module), attribute)
