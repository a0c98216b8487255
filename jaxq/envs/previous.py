"""What a network with memory may see beside an observation: the action and the reward before it.

As a part of what is observed they are right wherever observations are: in a replay, in sequences
that begin in the middle of an episode, in evaluation, for an exported policy.
"""

import jax
import jax.numpy as jnp

from jaxq.types import Env, ObservationActionReward, PyTree, where


def with_previous_action(env: Env, reward: bool = False) -> Env:
    """``env`` with the last action in its observations, and the last reward if asked for.

    Kapturowski et al. (2019, section 2.3) give both to the LSTM; purejaxql's recurrent PQN the
    action. What an episode showed last comes with the action and the reward that ended it, the
    first observation of the next one with none.
    """

    def shown(obs: jax.Array, action: jax.Array, last_reward: jax.Array):
        """``action`` [E] integers; below 0 there is none."""
        one_hot = action[:, None] == jnp.arange(env.num_actions)
        return ObservationActionReward(obs, one_hot, last_reward if reward else ())

    def reset(key: jax.Array, env_params: PyTree):
        obs, env_state = env.reset(key, env_params)
        return shown(obs, jnp.full(env.num_envs, -1), jnp.zeros(env.num_envs)), env_state

    def step(key: jax.Array, env_state: PyTree, action: jax.Array, env_params: PyTree):
        obs, env_state, outcome, episode = env.step(key, env_state, action, env_params)
        after = shown(outcome.next_obs, action, outcome.reward)
        first = jax.tree.map(jnp.zeros_like, after)
        begun = jax.tree.map(lambda new, old: where(outcome.done, new, old), first, after)
        return begun._replace(obs=obs), env_state, outcome._replace(next_obs=after), episode

    spec = ObservationActionReward(
        env.obs_spec,
        jax.ShapeDtypeStruct((env.num_actions,), jnp.bool_),
        jax.ShapeDtypeStruct((), jnp.float32) if reward else (),
    )
    return env._replace(obs_spec=spec, reset=reset, step=step)
