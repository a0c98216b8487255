"""ONE tabular environment for all exact tests.

Its transition table, rewards and time limit are traced parameters of one padded shape. So probe
environments, random MDPs, FrozenLake and the truncation case are lanes of the same compiled
program.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnax.environments import environment, spaces

NUM_STATES, NUM_ACTIONS, NO_LIMIT = 16, 4, 2**30


@struct.dataclass
class EnvState(environment.EnvState):
    position: jax.Array


@struct.dataclass
class EnvParams(environment.EnvParams):
    transition: jax.Array = None  # [S, A, S] probabilities
    reward: jax.Array = None  # [S, A, S]
    terminal: jax.Array = None  # [S] 1 where entering ends the task
    start: jax.Array = None  # [S] probabilities
    max_steps_in_episode: int = NO_LIMIT


class Tabular(environment.Environment):
    """Any MDP of at most 16 states and 4 actions."""

    @property
    def default_params(self):
        table = jnp.zeros((NUM_STATES, NUM_ACTIONS, NUM_STATES))
        return EnvParams(
            transition=table.at[:, :, 0].set(1.0),
            reward=table,
            terminal=jnp.zeros(NUM_STATES),
            start=jnp.zeros(NUM_STATES).at[0].set(1.0),
        )

    def step_env(self, key, state, action, params):
        logits = jnp.log(params.transition[state.position, action])
        position = jax.random.categorical(key, logits).astype(jnp.int32)
        reward = params.reward[state.position, action, position]
        terminated = params.terminal[position] > 0
        return position, EnvState(state.time + 1, position), reward, terminated, {}

    def reset_env(self, key, params):
        position = jax.random.categorical(key, jnp.log(params.start)).astype(jnp.int32)
        return position, EnvState(0, position)

    def action_space(self, params=None):
        return spaces.Discrete(NUM_ACTIONS)

    def observation_space(self, params):
        return spaces.Discrete(NUM_STATES)


def make_params(transition, reward, terminal=(), start=(0,), limit=NO_LIMIT) -> dict:
    """``env_params`` overrides from an MDP of any smaller size.

    Args:
      transition: [S, A, S] probabilities.
      reward: [S, A] or [S, A, S].
      terminal: states whose entry ends the task.
      start: states an episode starts in, equally likely.
      limit: steps until an episode is truncated.
    """
    transition = np.asarray(transition, np.float32)
    num_states, num_actions, _ = transition.shape
    reward = np.asarray(reward, np.float32)
    reward = reward[:, :, None] if reward.ndim == 2 else reward
    reward = np.broadcast_to(reward, transition.shape)
    table = np.zeros((NUM_STATES, NUM_ACTIONS, NUM_STATES), np.float32)
    rewards = np.zeros_like(table)
    table[:, :, 0] = 1.0  # padding is never reached
    # Actions that the MDP lacks repeat its first one.
    actions = [action if action < num_actions else 0 for action in range(NUM_ACTIONS)]
    table[:num_states] = 0.0
    table[:num_states, :, :num_states] = transition[:, actions]
    rewards[:num_states, :, :num_states] = reward[:, actions]
    ends, starts = np.zeros(NUM_STATES, np.float32), np.zeros(NUM_STATES, np.float32)
    ends[list(terminal)] = 1.0
    starts[list(start)] = 1.0 / len(start)
    return {
        "transition": table,
        "reward": rewards,
        "terminal": ends,
        "start": starts,
        "max_steps_in_episode": limit,
    }


def optimal_values(params: dict, gamma: float) -> np.ndarray:
    """Q* [S, A] by value iteration."""
    table, reward, ends = params["transition"], params["reward"], params["terminal"]
    values = np.zeros(NUM_STATES)
    for _ in range(20_000):
        q_values = np.einsum("sat,sat->sa", table, reward + gamma * (1 - ends) * values)
        if np.abs(q_values.max(axis=1) - values).max() < 1e-10:
            break
        values = q_values.max(axis=1)
    return q_values


def probes() -> dict[str, dict]:
    """The five probe environments and the time limit, by name."""
    stay, end = [[[0.0, 1.0]] * 4, [[0.0, 1.0]] * 4], 1
    one_step = np.asarray(stay)  # 0 -> 1 (terminal)
    two = np.zeros((3, 4, 3))  # 0 and 1 -> 2 (terminal)
    two[:, :, 2] = 1.0
    chain = np.zeros((3, 4, 3))  # 0 -> 1 -> 2 (terminal)
    chain[0, :, 1] = chain[1, :, 2] = chain[2, :, 2] = 1.0
    by_action = np.full((2, 4), -1.0)
    by_action[0, 0] = 1.0
    both = np.full((3, 4), -1.0)
    both[0, 0] = both[1, 1] = 1.0
    return {
        "constant reward": make_params(one_step, np.ones((2, 4)), [end]),
        "two observations": make_params(two, [[1.0] * 4, [-1.0] * 4, [0.0] * 4], [2], [0, 1]),
        "delayed reward": make_params(chain, [[0.0] * 4, [1.0] * 4, [0.0] * 4], [2]),
        "action": make_params(one_step, by_action, [end]),
        "action and observation": make_params(two, both, [2], [0, 1]),
        "time limit": truncation(),
    }


def truncation() -> dict:
    """One state, reward 1, cut after 10 steps: worth 1 / (1 - gamma)."""
    return make_params(np.ones((1, 4, 1)), np.ones((1, 4)), limit=10)


def random_mdp(seed: int, num_states: int = 10, num_actions: int = 3) -> dict:
    """Dense random transitions and rewards; one terminal state."""
    random = np.random.default_rng(seed)
    transition = random.dirichlet(np.ones(num_states) * 0.5, (num_states, num_actions))
    reward = random.normal(size=(num_states, num_actions))
    return make_params(transition, reward, [num_states - 1], list(range(num_states - 1)))


def frozen_lake() -> dict:
    """The slippery 4x4 map."""
    tiles = "SFFFFHFHFFFHHFFG"
    transition = np.zeros((16, 4, 16))
    moves = ((0, -1), (1, 0), (0, 1), (-1, 0))
    for state, action, slip in np.ndindex(16, 4, 3):
        down, right = moves[(action + slip - 1) % 4]
        row = min(max(state // 4 + down, 0), 3)
        column = min(max(state % 4 + right, 0), 3)
        transition[state, action, 4 * row + column] += 1.0 / 3.0
    reward = np.zeros((16, 4, 16))
    reward[:, :, 15] = 1.0
    ends = [state for state, tile in enumerate(tiles) if tile in "HG"]
    return make_params(transition, reward, ends, limit=100)
