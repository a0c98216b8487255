"""What gymnax calls things: its environments by name, as ``Env``, under one protocol or another.

For every one it says what its time limit means (``episodes``) and how its observations are shown
(``encoding``). The MinAtar games have gymnax's protocol, or with the suffix ``-original`` that of
Young & Tian (2019), which published scores use. gymnax is imported in functions, since that takes
half a second.
"""

import importlib
import os
import sys
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any, NamedTuple

import jax

from jaxq.config import words_as_values
from jaxq.envs import contract
from jaxq.envs.encoding import Observations
from jaxq.envs.episodes import NEVER, RawEnv, from_raw
from jaxq.envs.forms import accepted
from jaxq.envs.probing import LIMIT, Forms, check_count, check_limit
from jaxq.errors import ConfigError, require_devices, unknown
from jaxq.types import Env, PyTree


class _Traits(NamedTuple):
    time_limit: str
    observations: Observations = "auto"  # "binary": floats that are only 0 and 1


# Why "terminal": MinAtar's Freeway and bsuite's DiscountingChain end by the clock as part of the
# task; DeepSea's limit is its depth; the bandits, MetaMaze and UmbrellaChain show the time left.
_TRAITS = {
    "CartPole-v1": _Traits("bootstrap"),
    "Acrobot-v1": _Traits("bootstrap"),
    "MountainCar-v0": _Traits("bootstrap"),
    "Asterix-MinAtar": _Traits("bootstrap", "binary"),
    "Breakout-MinAtar": _Traits("bootstrap", "binary"),
    "Freeway-MinAtar": _Traits("terminal", "binary"),
    "Seaquest-MinAtar": _Traits("bootstrap", "binary"),
    "SpaceInvaders-MinAtar": _Traits("bootstrap", "binary"),
    "Catch-bsuite": _Traits("terminal", "binary"),
    "DeepSea-bsuite": _Traits("terminal", "binary"),
    "DiscountingChain-bsuite": _Traits("terminal"),
    "MemoryChain-bsuite": _Traits("terminal"),
    "UmbrellaChain-bsuite": _Traits("terminal"),
    "SimpleBandit-bsuite": _Traits("terminal"),
    "FourRooms-misc": _Traits("bootstrap"),
    "MetaMaze-misc": _Traits("terminal"),
    "BernoulliBandit-misc": _Traits("terminal"),
    "GaussianBandit-misc": _Traits("terminal"),
    "Pong-misc": _Traits("bootstrap", "binary"),
    "FrozenLake-misc": _Traits("bootstrap"),
}
_CONTINUOUS = (
    "Pendulum-v1",
    "MountainCarContinuous-v0",
    "PointRobot-misc",
    "Reacher-misc",
    "Swimmer-misc",
)
_DOWNLOADS = "MNISTBandit-bsuite"
_ORIGINAL = "-original"
_ORIGINALS = tuple(name + _ORIGINAL for name in _TRAITS if name.endswith("MinAtar"))
_STICKY_PROBABILITY = 0.1


def from_gymnax(
    env: Any,
    params: PyTree,
    num_envs: int,
    *,
    time_limit: str | None = "bootstrap",
    observations: Observations | None = "auto",
    name: str | None = None,
    sticky_actions: float = 0.0,
) -> Env:
    """Anyone's gymnax-1.0 environment as an ``Env``.

    Args:
      env: a gymnax environment (or wrapper) with a discrete action space; one of before 1.0 as
        ``own`` says.
      params: its default parameters.
      num_envs: E.
      time_limit: what reaching gymnax's ``truncated`` means: ``"bootstrap"`` or ``"terminal"``;
        None takes what it says of itself.
      observations: how they are shown to networks and stored, as ``encoding.make_encoder`` says:
        ``"auto"`` follows from dtype and space, ``"binary"`` is for floats that are all 0 or 1;
        None takes what it says of itself.
      name: for messages and results; the environment's own by default.
      sticky_actions: how likely a step repeats the last action, as results say it.

    Raises:
      ConfigError: it breaks gymnax's contract (see ``contract``), continuous actions, observations
        that do not fit what is said of them, an unknown time-limit policy.
    """
    if isinstance(env, type):
        raise ConfigError(f"env={env.__name__} is a class; {env.__name__}() is accepted.")
    name = name or getattr(env, "name", type(env).__name__)
    check_count(num_envs, name)
    raw, forms = raw_and_forms(env, params, name, time_limit, observations)
    raw = raw._replace(sticky_actions=sticky_actions)
    return from_raw(raw, name, num_envs, forms=forms)


def raw_and_forms(
    env: Any,
    params: PyTree,
    name: str,
    time_limit: str | None = None,
    observations: str | None = None,
) -> tuple[RawEnv, Forms | None]:
    """A gymnax environment without its resets, and what it returns, if that is known.

    Args:
      time_limit, observations: as ``from_gymnax`` has them.

    Raises:
      ConfigError: as ``from_gymnax``.
    """

    def said(attribute: str, default: str) -> str:
        value = getattr(env, attribute, default)
        return value if isinstance(value, str) else default

    contract.check_gymnax(env, params, name)
    space = contract.space_of(env.observation_space, params, f"observation_space of env={name}")
    raw = RawEnv(
        contract.num_actions_of(env, params, name),
        space,
        params,
        time_limit=time_limit or said("time_limit", "bootstrap"),
        observations=observations or said("observations", "auto"),
    )
    check_limit(getattr(params, LIMIT, 1), name)
    if contract.is_split(env, params, raw.time_limit, name):
        contract.probe_parts(env, params, name)
        return raw._replace(reset=env.reset_env, step=_split(env)), None
    forms = contract.probe_gymnax(env, params, name)
    if _resets_as_gymnax_does(env):
        ratio = getattr(env, "reset_ratio", 1)
        return raw._replace(reset=env.reset, step=_without_reset(env), reset_ratio=ratio), forms
    return raw._replace(reset=env.reset, renew=_with_its_own_reset(env)), forms


def _resets_as_gymnax_does(env: Any) -> bool:
    """Whether its parts may be used in place of its reset and step. Those of wrappers, and of
    DeepSea, which carry something over into the next episode, may not."""
    from gymnax.environments.environment import Environment

    return isinstance(env, Environment) and all(
        getattr(type(env), part) is getattr(Environment, part) and part not in vars(env)
        for part in ("reset", "step")
    )


def _without_reset(env: Any) -> Callable:
    def step(key: jax.Array, state: PyTree, action: jax.Array, params: PyTree) -> tuple:
        obs, state, reward, terminated, _ = env.step_env(key, state, action, params)
        return obs, state, reward, terminated, env.is_truncated(state, params)

    return step


def _split(env: Any) -> Callable:
    """A step whose ``done`` is told apart: the task ends where it does without a limit, too."""

    def step(key: jax.Array, state: PyTree, action: jax.Array, params: PyTree) -> tuple:
        endless = params.replace(**{LIMIT: NEVER}) if hasattr(params, LIMIT) else params
        obs, state_t, reward, done, _ = env.step_env(key, state, action, params)
        *_, terminated, _ = env.step_env(key, state, action, endless)
        return obs, state_t, reward, terminated, done & ~terminated

    return step


def _with_its_own_reset(env: Any) -> Callable:
    def renew(key: jax.Array, state: PyTree, action: jax.Array, params: PyTree) -> tuple:
        *results, info = env.step(key, state, action, params)
        return *results, info["final_observation"]

    return renew


def env_names() -> tuple[str, ...]:
    """Every name ``raw_of`` accepts; last those that this process gave to ``gymnax.register``."""
    return (*_TRAITS, *_ORIGINALS, *_registered())


def raw_of(
    name: str, kwargs: tuple[str, ...] = (), time_limit: str | None = None
) -> tuple[RawEnv, Forms | None]:
    """The environment called ``name`` without resets, and what it returns, if that is known.

    Args:
      name: an id of ``env_names()``. A registered environment says itself what its time limit
        means and how it is shown, as ``own`` describes.
      kwargs: arguments of the gymnax class, each ``"name=value"``, such as ``("size=10",)``.
      time_limit: ``"bootstrap"`` or ``"terminal"``; None takes the environment's own policy.

    Raises:
      ConfigError: unknown name, continuous actions, or arguments the class does not take.
    """
    env, params = make_gymnax(name, kwargs)
    if name in _registered():
        return raw_and_forms(env, params, name, time_limit)
    traits = _TRAITS[name.removesuffix(_ORIGINAL)]
    time_limit = time_limit or traits.time_limit
    raw, forms = raw_and_forms(env, params, name, time_limit, traits.observations)
    sticky = _STICKY_PROBABILITY if name in _ORIGINALS else 0.0
    return raw._replace(sticky_actions=sticky), forms


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
    if name == _DOWNLOADS:
        raise ConfigError(
            f"env={name} downloads data at run time and is not supported; "
            f"SimpleBandit-bsuite is the nearest bandit."
        )
    if name not in env_names():
        raise unknown("env", name, env_names(), ", or module:class of your own")

    gymnax = _import_gymnax()  # here: takes half a second
    from gymnax.wrappers import StickyActionWrapper

    original = name in _ORIGINALS
    base = name.removesuffix(_ORIGINAL) if original else name
    arguments = words_as_values(kwargs, "env_kwargs")
    if original:
        arguments["use_minimal_action_set"] = False
    with accepted(kwargs, name):
        raw, params = gymnax.make(base, **arguments)
    if original:
        raw = StickyActionWrapper(raw, _STICKY_PROBABILITY)
        if base != "Freeway-MinAtar":  # whose limit is part of the game
            params = params.replace(max_steps_in_episode=NEVER)
    return raw, params


def registered(name: str) -> Callable | None:
    """What makes the environment that somebody registered under ``name``; None where nobody did."""
    if name not in _registered():
        return None
    return sys.modules["gymnax.registration"]._registry[name]


def _registered() -> tuple[str, ...]:
    """The names registered in this process; without gymnax imported, there can be none."""
    names = getattr(sys.modules.get("gymnax"), "registered_envs", ())
    known = (*_TRAITS, *_ORIGINALS, *_CONTINUOUS, _DOWNLOADS)
    return tuple(name for name in names if name not in known)


def _import_gymnax() -> ModuleType:
    """gymnax without what it draws with, which would be half of the time of a warm start.

    Its environments import pyplot and seaborn, and so pandas and SciPy. They get stand-ins that
    load the real module when something in it is used.
    """
    require_devices()  # which importing it uses
    slow = [name for name in ("matplotlib.pyplot", "seaborn") if name not in sys.modules]
    for name in slow:
        sys.modules[name] = stand_in = ModuleType(name)
        stand_in.__getattr__ = partial(_of_real_module, name)
    try:
        import gymnax
    except ValueError as error:  # of matplotlib, which reads its environment
        if "backend" not in str(error) or "MPLBACKEND" not in os.environ:
            raise
        raise ConfigError(
            f"MPLBACKEND={os.environ['MPLBACKEND']} in the environment is none that matplotlib "
            f"has; agg is accepted, or no setting at all."
        ) from None
    finally:
        for name in slow:
            del sys.modules[name]
    return gymnax


def _of_real_module(module: str, attribute: str) -> Any:
    return getattr(importlib.import_module(module), attribute)
