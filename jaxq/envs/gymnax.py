"""What gymnax calls things: its environments by name, as ``Env``, under one protocol or another.

For every one it says what its time limit means (``episodes``) and how its observations are shown
(``encoding``). The MinAtar games have gymnax's protocol, or with the suffix ``-original`` that of
Young & Tian (2019), which published scores use. gymnax is imported in functions, since that takes
half a second.
"""

import importlib
import os
import sys
from functools import partial
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from jaxq.config import words_as_values
from jaxq.envs.encoding import Observations
from jaxq.envs.episodes import from_gymnax
from jaxq.envs.own import adapt
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
_NO_LIMIT = np.iinfo(np.int32).max


def env_names() -> tuple[str, ...]:
    """Every name ``make_env`` accepts; last those that this process gave to ``gymnax.register``."""
    return (*_TRAITS, *_ORIGINALS, *_registered())


def make_env(
    name: str,
    num_envs: int,
    kwargs: tuple[str, ...] = (),
    time_limit: str | None = None,
) -> Env:
    """The environment called ``name``, ``num_envs`` times.

    Args:
      name: an id of ``env_names()``. A registered environment says itself what its time limit
        means and how it is shown, as ``own`` describes.
      num_envs: E.
      kwargs: arguments of the gymnax class, each ``"name=value"``, such as ``("size=10",)``.
      time_limit: ``"bootstrap"`` or ``"terminal"``; None takes the environment's own policy.

    Raises:
      ConfigError: unknown name, continuous actions, or arguments the class does not take.
    """
    raw, params = make_gymnax(name, kwargs)
    if name in _registered():
        return adapt(raw, params, name, num_envs, time_limit)
    traits = _TRAITS[name.removesuffix(_ORIGINAL)]
    env = from_gymnax(
        raw,
        params,
        num_envs,
        time_limit=time_limit or traits.time_limit,
        observations=traits.observations,
        name=name,
    )
    sticky = _STICKY_PROBABILITY if name in _ORIGINALS else 0.0
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
    if name == _DOWNLOADS:
        raise ConfigError(
            f"env={name} downloads data at run time and is not supported; "
            f"SimpleBandit-bsuite is the nearest bandit."
        )
    if name not in env_names():
        raise unknown("env", name, env_names())

    gymnax = _import_gymnax()  # here: takes half a second
    from gymnax.wrappers import StickyActionWrapper

    original = name in _ORIGINALS
    base = name.removesuffix(_ORIGINAL) if original else name
    arguments = words_as_values(kwargs, "env_kwargs")
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
