"""Moving pictures of a policy.

gymnax draws its own environments. One of one's own is drawn by its ``render(state, params)``, which
returns an RGB array or, as the classes of gymnax do, (figure, axes) of matplotlib.
"""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxq.config import HParams
from jaxq.envs.forms import own_errors
from jaxq.errors import ConfigError, check_call, how_to_get
from jaxq.learning.exploration import mix_uniform
from jaxq.legal import legal_actions
from jaxq.types import Agent, Env, PyTree

_DRAWN = (  # what gymnax's visualizer knows and has discrete actions; of others it draws empty axes
    "CartPole-v1",
    "Acrobot-v1",
    "MountainCar-v0",
    "Asterix-MinAtar",
    "Breakout-MinAtar",
    "Freeway-MinAtar",
    "Seaquest-MinAtar",
    "SpaceInvaders-MinAtar",
    "Catch-bsuite",
    "Pong-misc",
    "MetaMaze-misc",
    "FourRooms-misc",
)
_FRAME_MILLISECONDS = 100  # as gymnax shows most of its environments
_ACCEPTED = "an RGB array [height, width, 3] of uint8 or (figure, axes) of matplotlib"

_Draw = Callable[[Path, Sequence[PyTree], np.ndarray], None]  # (path, states, returns so far)


def save_gif(
    path: Path,
    raw: Any,
    env: Env,
    agent: Agent,
    params: PyTree,
    hparams: HParams,
    key: jax.Array,
    max_steps: int,
) -> float:
    """Play one episode and save it as a GIF; returns the return of what it shows.

    Args:
      path: where to save it.
      raw: the gymnax environment from which ``env`` was made; by it the states are drawn.
      env: with one environment.
      params: of one member.
      max_steps: frames at most.

    Raises:
      ConfigError: nobody can draw the environment, what it needs is not installed, or its
        ``render`` raises, or returns no picture.
    """
    draw = _drawing(env.name, raw, jax.device_get(env.params(hparams.env_params)))
    states, rewards = _play(env, agent, params, hparams, key, max_steps)
    partial = path.with_name("." + path.name)
    draw(partial, states, np.cumsum(rewards))
    partial.replace(path)
    return float(np.sum(rewards))


def _play(env, agent, params, hparams, key, max_steps):
    """The states of one episode, each before its step, and the rewards."""
    env_params = env.params(hparams.env_params)

    @jax.jit
    def step(key, obs, env_state, carry):
        key, key_mix, key_env = jax.random.split(key, 3)
        action, _, carry = agent.act_greedy(params, carry, obs)
        epsilon, legal = hparams.eval_epsilon, legal_actions(obs)
        action = mix_uniform(key_mix, action, epsilon, env.num_actions, legal)
        obs, env_state, outcome, _ = env.step(key_env, env_state, action, env_params)
        return key, obs, env_state, carry, outcome.reward[0], outcome.done[0]

    key, key_env, key_carry = jax.random.split(key, 3)
    obs, env_state = env.reset(key_env, env_params)
    carry = agent.initial_carry(key_carry, 1)
    states, rewards, done = [], [], False
    while not done and len(states) < max_steps:
        states.append(jax.device_get(jax.tree.map(lambda leaf: leaf[0], env_state[0])))
        key, obs, env_state, carry, reward, done = step(key, obs, env_state, carry)
        rewards.append(float(reward))
    return states, rewards


def _drawing(name: str, raw: Any, env_params: PyTree) -> _Draw:
    """How states become a file: by the environment's own ``render``, or by gymnax."""
    wrappers = 0
    while "_env" in vars(raw) and not hasattr(type(raw), "render"):
        raw, wrappers = raw._env, wrappers + 1

    def unwrapped(state: PyTree) -> PyTree:
        for _ in range(wrappers):
            state = getattr(state, "env_state", state)
        return state

    is_own = not type(raw).__module__.startswith("gymnax.")
    if is_own and callable(getattr(raw, "render", None)):
        image, what = _import_pillow(), f"render of env={name}"
        check_call(what, raw.render, ("state", "params"))

        def draw(path, states, returns):
            frames = []
            for state in states:  # one after the other: pyplot keeps what is open
                with own_errors(what):
                    drawn = raw.render(unwrapped(state), env_params)
                frames.append(_frame(name, drawn))
            _write(image, path, name, frames)

    elif raw.name in _DRAWN:
        visualizer = _import_visualizer()

        def draw(path, states, returns):
            visualizer(raw, env_params, list(map(unwrapped, states)), returns).animate(str(path))

    else:
        raise ConfigError(
            f"env={name} cannot be drawn, because gymnax has no picture of it; with a method "
            f"render(state, params) that returns {_ACCEPTED} it can."
        )
    return draw


def _frame(name: str, drawn: Any) -> np.ndarray:
    """What ``render`` returned as [height, width, 3] of uint8."""
    if isinstance(drawn, tuple) and drawn and hasattr(drawn[0], "savefig"):
        return _pixels(drawn[0])
    kind, shape = getattr(drawn, "dtype", type(drawn).__name__), list(np.shape(drawn))
    if kind != np.uint8 or len(shape) != 3 or shape[-1] != 3:
        raise ConfigError(
            f"env={name} has a render that returns {kind} {shape}; {_ACCEPTED} is accepted."
        )
    return np.asarray(drawn)


def _pixels(figure) -> np.ndarray:
    """A figure of matplotlib, which is closed if it is one of pyplot's."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot:
        pyplot.close(figure)  # pyplot keeps every figure that it has made
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3]


def _write(image, path: Path, name: str, frames: Sequence[np.ndarray]) -> None:
    sizes = list(dict.fromkeys(frame.shape for frame in frames))
    if len(sizes) > 1:
        raise ConfigError(
            f"env={name} has a render that returns arrays of shapes {sizes[0]} and {sizes[1]}; "
            f"those of one episode must have the same."
        )
    first, *others = map(image.fromarray, frames)
    first.save(
        path,
        format="GIF",
        save_all=True,
        append_images=others,
        duration=_FRAME_MILLISECONDS,
        loop=0,  # for ever
    )


def _import_pillow():
    try:
        from PIL import Image
    except ImportError as error:
        raise _missing(error) from error
    return Image


def _import_visualizer():
    # Without a screen or a sound card SDL would complain at every frame.
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    os.environ.setdefault("SDL_AUDIODRIVER", "dummy")
    try:
        import pygame  # noqa: F401  (gymnasium draws with it, and imports it only when it does)
        from gymnax.visualize import Visualizer
    except ImportError as error:
        raise _missing(error) from error
    return Visualizer


def _missing(error: ImportError) -> ConfigError:
    return ConfigError(
        f"gif needs the package {error.name}, which is not installed; {how_to_get('viz')}"
    )
