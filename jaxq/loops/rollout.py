"""Acting in the environment as all loops do it: one step of every environment at a time."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxq.config import HParams
from jaxq.errors import ConfigError
from jaxq.types import Agent, Env, Episode, LossOutput, PyTree, Step, where

_AT_THE_END = ("epsilon", "temperature")  # the amount of exploration
_RESERVED = ("steps", "loss", "episodes", "train_return", "train_length", *_AT_THE_END)


class Actor(NamedTuple):
    """What acting carries along."""

    obs: jax.Array  # [E, *obs]
    carry: PyTree
    env_state: PyTree


class Schedules(NamedTuple):
    """Numbers that change with the clock: ``schedule(hparams, steps) -> scalar``.

    The amount of exploration may be several numbers, of which metrics show the first.
    """

    exploration: Callable[[HParams, jax.Array], PyTree]
    learning_rate: Callable[[HParams, jax.Array], jax.Array]
    exploration_name: str = "epsilon"  # what its amount is, in the metrics


def make_act_and_step(env: Env, agent: Agent) -> Callable:
    """``act_and_step(actor, key, params, amount, env_params) -> (actor, (Step, Episode))``.

    After the end of an episode the carry begins anew; the step keeps the one before acting.
    """
    dtype = action_dtype(env)

    def act_and_step(
        actor: Actor, key: jax.Array, params: PyTree, amount: PyTree, env_params: PyTree
    ) -> tuple[Actor, tuple[Step, Episode]]:
        key_act, key_env, key_carry = jax.random.split(key, 3)
        action, carry = agent.act(params, actor.carry, key_act, actor.obs, amount)
        obs, env_state, outcome, episode = env.step(key_env, actor.env_state, action, env_params)
        before = agent.stored(actor.carry)
        step = Step(obs=actor.obs, action=action.astype(dtype), carry=before, **outcome._asdict())
        fresh = agent.initial_carry(key_carry, env.num_envs)
        carry = jax.tree.map(lambda new, old: where(step.done, new, old), fresh, carry)
        return Actor(obs, carry, env_state), (step, episode)

    return act_and_step


def observed(agent: Agent, params: PyTree, obs: jax.Array, steps: Step, hparams: HParams) -> PyTree:
    """The parameters with what they count of ``obs`` [..., *obs] and of the rewards of ``steps``.

    ``steps`` are those of all environments at once, [E, ...], or T of them in turn, [T, E, ...].
    """
    params = agent.observe(params, obs)
    series = [x.reshape(-1, x.shape[-1]) for x in (steps.reward, steps.done)]  # [T, E]
    return agent.observe_rewards(params, *series, hparams)


def learning_metrics(output: LossOutput) -> dict[str, jax.Array]:
    """The means of a batch of what a loss says.

    Raises:
      ConfigError: a metric of its own has the name of one that every run has.
    """
    for name in output.aux:
        if name in _RESERVED or name.startswith(("eval_", "hparams/", "diagnostics/")):
            raise ConfigError(f"aux={name} of a loss is the name of another metric; choose one.")
    return jax.tree.map(jnp.mean, {"loss": output.loss, **output.aux})


def exploration_metrics(
    schedules: Schedules, hparams: HParams, steps: jax.Array
) -> dict[str, jax.Array]:
    """The amount of exploration after so many steps, by its name."""
    amount = schedules.exploration(hparams, steps)
    return {schedules.exploration_name: jax.tree.leaves(amount)[0]}


def episode_totals(episodes: Episode) -> dict[str, jax.Array]:
    """Sums over the episodes that ended; sums of these are totals again."""
    return {
        "episodes": jnp.sum(episodes.ended),
        "return": jnp.sum(episodes.total_reward, where=episodes.ended),
        "length": jnp.sum(episodes.length, where=episodes.ended),
    }


def episode_metrics(totals: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    """What the totals of a chunk say; the means are NaN where no episode ended."""
    return {
        "episodes": totals["episodes"],
        "train_return": totals["return"] / totals["episodes"],
        "train_length": totals["length"] / totals["episodes"],
    }


def joined_metrics(chunks: Sequence[Mapping[str, np.ndarray]]) -> Mapping[str, np.ndarray]:
    """What several chunks in turn have measured, in NumPy [M], as if they had been one."""
    if len(chunks) == 1:
        return chunks[0]
    every = {name: np.stack([chunk[name] for chunk in chunks]) for name in chunks[0]}  # [K, M]
    episodes, joined = every["episodes"], {}
    with np.errstate(invalid="ignore"):  # 0 / 0 where no episode ended
        for name, values in every.items():
            if name == "episodes":
                joined[name] = values.sum(axis=0, dtype=values.dtype)
            elif name in ("train_return", "train_length"):
                totals = np.where(episodes > 0, values * episodes, 0.0).sum(axis=0)
                joined[name] = (totals / episodes.sum(axis=0)).astype(values.dtype)
            elif name in _AT_THE_END:
                joined[name] = values[-1]
            else:
                joined[name] = values.mean(axis=0, dtype=np.float64).astype(values.dtype)
    return joined


def step_shapes(env: Env, agent: Agent) -> Step:
    """The shapes of one step of every environment, leaves [E, ...]."""
    carry = jax.eval_shape(
        lambda: agent.stored(agent.initial_carry(jax.random.key(0), env.num_envs))
    )
    every = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((env.num_envs, *leaf.shape), leaf.dtype),
        record_shapes(env),
    )
    return every._replace(carry=carry)


def record_shapes(env: Env) -> Step:
    """The shapes of one step of one environment without a carry, as a dataset holds it."""
    flag, reward = jax.ShapeDtypeStruct((), bool), jax.ShapeDtypeStruct((), jnp.float32)
    action = jax.ShapeDtypeStruct((), action_dtype(env))
    return Step(env.obs_spec, action, reward, flag, flag, env.obs_spec)


def action_dtype(env: Env) -> jnp.dtype:
    """The smallest type that actions are stored in."""
    return jnp.uint8 if env.num_actions <= 256 else jnp.int32
