"""Moving pictures of a policy, drawn by gymnax; the only user of its visualizer."""

import os
from pathlib import Path

import jax
import numpy as np

from jaxq.config import Config, HParams
from jaxq.envs import gymnax as envs
from jaxq.errors import ConfigError
from jaxq.learning.exploration import mix_uniform
from jaxq.types import Agent, Env, PyTree

_NOT_DRAWN = ("bsuite", "misc")  # families in which gymnax draws only some
_DRAWN = ("Catch-bsuite", "Pong-misc", "MetaMaze-misc", "FourRooms-misc")


def save_gif(
    path: Path,
    config: Config,
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
      env: with one environment.
      params: of one member.
      max_steps: frames at most.

    Raises:
      ConfigError: gymnax cannot draw the environment, or what it needs is not installed.
    """
    visualizer = _import_visualizer()
    family = config.env.removesuffix("-original").rsplit("-", 1)[-1]
    if family in _NOT_DRAWN and config.env not in _DRAWN:
        raise ConfigError(f"env={config.env} cannot be drawn; gymnax has no picture of it.")
    states, rewards = _play(env, agent, params, hparams, key, max_steps)
    raw, _ = envs.make_gymnax(config.env, config.env_kwargs)
    states = [getattr(state, "env_state", state) for state in states]  # below sticky actions
    env_params = jax.device_get(env.params(hparams.env_params))
    drawing = visualizer(getattr(raw, "_env", raw), env_params, states, np.cumsum(rewards))
    partial = path.with_name("." + path.name)
    drawing.animate(str(partial))
    partial.replace(path)
    return float(np.sum(rewards))


def _play(env, agent, params, hparams, key, max_steps):
    """The states of one episode, each before its step, and the rewards."""
    env_params = env.params(hparams.env_params)

    @jax.jit
    def step(key, obs, env_state, carry):
        key, key_mix, key_env = jax.random.split(key, 3)
        action, _, carry = agent.act_greedy(params, carry, obs)
        action = mix_uniform(key_mix, action, hparams.eval_epsilon, env.num_actions)
        obs, env_state, outcome, _ = env.step(key_env, env_state, action, env_params)
        return key, obs, env_state, carry, outcome[0][0], outcome[2][0]

    key, key_env, key_carry = jax.random.split(key, 3)
    obs, env_state = env.reset(key_env, env_params)
    carry = agent.initial_carry(key_carry, 1)
    states, rewards, done = [], [], False
    while not done and len(states) < max_steps:
        states.append(jax.device_get(jax.tree.map(lambda leaf: leaf[0], env_state[0])))
        key, obs, env_state, carry, reward, done = step(key, obs, env_state, carry)
        rewards.append(float(reward))
    return states, rewards


def _import_visualizer():
    # Without a screen or a sound card SDL would complain at every frame.
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    os.environ.setdefault("SDL_AUDIODRIVER", "dummy")
    try:
        import pygame  # noqa: F401  (gymnasium draws with it, and imports it only when it does)
        from gymnax.visualize import Visualizer
    except ImportError as error:
        raise ConfigError(
            f"gif needs the package {error.name}, which is not installed; "
            f"pip install 'jaxq[viz]' installs all that drawing needs."
        ) from error
    return Visualizer
