"""Environments: dtypes, episode ends, protocols and statistics."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tabular

from jaxq.envs import gymnax as envs
from jaxq.envs.libraries import make_env
from jaxq.errors import ConfigError
from jaxq.types import Outcome

pytestmark = pytest.mark.usefixtures("compiled_quickly")


@partial(jax.jit, static_argnames=("env", "num_steps"))
def _rollout(env, key, env_params, num_steps):
    key_reset, key_steps = jax.random.split(key)
    obs, state = env.reset(key_reset, env_params)

    def body(loop, key):
        obs, state = loop
        key_action, key_step = jax.random.split(key)
        action = jax.random.randint(key_action, (env.num_envs,), 0, env.num_actions)
        next_reset_obs, state, outcome, episode = env.step(key_step, state, action, env_params)
        return (next_reset_obs, state), (obs, action, outcome, episode)

    return jax.lax.scan(body, (obs, state), jax.random.split(key_steps, num_steps))


class _Hashable:
    """An ``Env`` that can be a static argument."""

    def __init__(self, env):
        self.__dict__.update(env._asdict())


def rollout(env, num_steps, params=None, seed=0):
    """Random play; (final (obs, state), (obs, action, outcome, episode) [T, E, ...])."""
    env_params = env.params(params or {})
    return _rollout(_Hashable(env), jax.random.key(seed), env_params, num_steps)


def members_playing(env):
    """A function of the keys [3] of members: their rollouts of five steps, under ``vmap``."""
    params = env.params({})
    return jax.vmap(lambda key: _rollout(_Hashable(env), key, params, 5))


KEYS = jax.random.split(jax.random.key(0), 3)


@pytest.mark.parametrize("name", envs.env_names())
def test_every_environment_steps_in_a_vmapped_scan(name):
    """gymnax mixes weak types, integer rewards and float clocks; none of it gets through."""
    env = make_env(name, 2)
    (obs, state), (_, _, outcome, episode) = jax.eval_shape(members_playing(env), KEYS)
    assert isinstance(outcome, Outcome)
    reward, terminated, done, next_obs = outcome
    assert obs.shape == (3, 2, *env.obs_spec.shape) and obs.dtype == env.obs_spec.dtype
    assert obs.dtype in (jnp.bool_, jnp.float32)
    assert next_obs.shape == (3, 5, 2, *env.obs_spec.shape) and next_obs.dtype == obs.dtype
    assert (reward.shape, reward.dtype) == ((3, 5, 2), jnp.float32)
    assert terminated.dtype == done.dtype == episode.ended.dtype == jnp.bool_
    assert episode.total_reward.dtype == jnp.float32 and episode.length.dtype == jnp.int32
    assert not any(leaf.weak_type for leaf in jax.tree.leaves((obs, state, outcome)))


def slow_but(fast, names):
    """All names as parameters, of which only some are among the fast tests."""
    return [name if name in fast else pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.mark.parametrize("name", slow_but(("CartPole-v1", "DeepSea-bsuite"), envs.env_names()))
def test_what_environments_give_is_finite_and_termination_is_an_end(name):
    _, (_, _, outcome, _) = jax.jit(members_playing(make_env(name, 2)))(KEYS)
    assert all(np.isfinite(leaf).all() for leaf in (outcome.reward, outcome.next_obs))
    assert np.all(np.asarray(outcome.done) >= np.asarray(outcome.terminated))


BINARY = [name for name, traits in envs._TRAITS.items() if traits.observations == "binary"]


@pytest.mark.parametrize("name", slow_but(("Breakout-MinAtar", "Catch-bsuite"), BINARY))
def test_binary_observations_lose_nothing(name):
    """Where an observation is carried as bool, gymnax's own holds only 0 and 1."""
    raw, params = envs.make_gymnax(name)

    def body(loop, key):
        obs, state = loop
        action = jax.random.randint(key, (), 0, raw.num_actions)
        return raw.step(key, state, action, params)[:2], obs

    @jax.jit
    def play(key):
        return jax.lax.scan(body, raw.reset(key, params), jax.random.split(key, 60))[1]

    assert set(np.unique(play(jax.random.key(1)))) <= {0.0, 1.0}


def test_integer_observations_become_one_hot():
    lake = make_env("FrozenLake-misc", 2)
    assert lake.obs_spec.shape == (16,) and lake.obs_spec.dtype == jnp.bool_
    (obs, _), _ = rollout(lake, 3)
    np.testing.assert_array_equal(obs.sum(axis=-1), [1, 1])
    rooms = make_env("FourRooms-misc", 1)  # four coordinates from 1 to 11
    assert rooms.obs_spec.shape == (44,)
    (obs, _), _ = rollout(rooms, 3)
    assert obs.sum() == 4


def tabular_env(num_envs, **options):
    env = tabular.Tabular()
    return envs.from_gymnax(env, env.default_params, num_envs, name="Tabular", **options)


def test_a_time_limit_bootstraps_or_terminates_by_policy():
    for policy, ends in (("bootstrap", False), ("terminal", True)):
        env = tabular_env(1, time_limit=policy)
        _, (_, _, (_, terminated, done, _), _) = rollout(env, 25, tabular.truncation())
        assert np.flatnonzero(done).tolist() == [9, 19]
        np.testing.assert_array_equal(terminated, done if ends else np.zeros_like(done))


def test_termination_wins_over_truncation():
    """0 -> 1 terminates after one step, which is also the limit of one step."""
    params = {**tabular.probes()["constant reward"], "max_steps_in_episode": 1}
    _, (_, _, (_, terminated, done, _), _) = rollout(tabular_env(2), 4, params)
    assert np.all(done) and np.all(terminated)


def test_next_observation_is_the_one_before_the_reset():
    """On a chain 0 -> 1 -> 2 the end is seen as state 2, the step after it starts in state 0."""
    _, (obs, _, (_, _, done, next_obs), _) = rollout(
        tabular_env(1), 6, tabular.probes()["delayed reward"]
    )
    np.testing.assert_array_equal(obs.argmax(-1)[:, 0], [0, 1, 0, 1, 0, 1])
    np.testing.assert_array_equal(next_obs.argmax(-1)[:, 0], [1, 2, 1, 2, 1, 2])
    np.testing.assert_array_equal(done[:, 0], [False, True] * 3)


def test_statistics_are_exact_also_when_episodes_end_together():
    """All environments end on the same steps, and each reports its own sum."""
    env = tabular_env(3)
    reward = np.zeros((1, 4))
    reward[0] = [1.0, 10.0, 100.0, 1000.0]
    params = tabular.make_params(np.ones((1, 4, 1)), reward, limit=4)
    _, (_, action, (reward, _, done, _), episode) = rollout(env, 12, params)
    np.testing.assert_array_equal(done, np.tile([[False]] * 3 + [[True]], (3, 3)))
    sums = np.asarray(reward).reshape(3, 4, 3).sum(axis=1)
    np.testing.assert_array_equal(episode.total_reward[3::4], sums)
    np.testing.assert_array_equal(episode.length[3::4], np.full((3, 3), 4))
    np.testing.assert_array_equal(episode.ended, done)
    np.testing.assert_array_equal(10.0 ** np.asarray(action), reward)


def test_environment_parameters_can_be_replaced():
    env = make_env("CartPole-v1", 1)
    assert int(env.params({"max_steps_in_episode": 7.0}).max_steps_in_episode) == 7
    assert env.params({}).gravity.dtype == jnp.float32
    with pytest.raises(ConfigError, match="did you mean gravity"):
        env.params({"gravitty": 1.0})


@pytest.mark.parametrize("game", ["Asterix", "Breakout", "Freeway", "Seaquest", "SpaceInvaders"])
def test_original_minatar_protocol(game):
    env = make_env(f"{game}-MinAtar-original", 1)
    assert env.num_actions == 6
    assert env.protocol["sticky_actions"] == 0.1
    limit = int(env.params({}).max_steps_in_episode)
    assert limit == (2500 if game == "Freeway" else 2**31 - 1)
    assert env.protocol["time_limit"] == ("terminal" if game == "Freeway" else "bootstrap")


def test_sticky_actions_repeat_one_in_ten():
    """In Breakout the paddle moves left, right, left, ...; a repeated action shows."""
    raw, params = envs.make_gymnax("Breakout-MinAtar-original")
    _, state = jax.jit(raw.reset)(jax.random.key(0), params)
    actions = jnp.tile(jnp.array([1, 3]), 2_000)

    def body(state, inputs):
        key, action = inputs
        state = raw.step(key, state, action, params)[1]
        return state, state.last_action != action

    _, repeated = jax.jit(partial(jax.lax.scan, body))(
        state, (jax.random.split(jax.random.key(1), 4_000), actions)
    )
    assert 0.08 < float(repeated.mean()) < 0.12


@pytest.mark.parametrize(
    "name, kwargs, message",
    [
        ("CartPol-v1", (), "did you mean CartPole-v1 or .*, or module:class of your own?"),
        ("Pendulum-v1", (), "env=Pendulum-v1 has continuous actions"),
        ("MNISTBandit-bsuite", (), "downloads data"),
        ("DeepSea-bsuite", ("sise=4",), "env_kwargs=.*sise"),
        ("DeepSea-bsuite", ("size",), "env_kwargs=size must be name=value"),
    ],
)
def test_bad_environments_are_refused_in_one_sentence(name, kwargs, message):
    with pytest.raises(ConfigError, match=message):
        make_env(name, 1, kwargs)


def test_class_arguments_are_passed_on():
    assert make_env("DeepSea-bsuite", 1, ("size=5",)).obs_spec.shape == (5, 5)


def test_what_a_limit_means_is_said_of_every_environment():
    """What ends by its clock as part of the task, and shows the time; all else bootstraps."""
    names = "Freeway-MinAtar Catch-bsuite DeepSea-bsuite DiscountingChain-bsuite MemoryChain-bsuite"
    names += " UmbrellaChain-bsuite SimpleBandit-bsuite MetaMaze-misc BernoulliBandit-misc"
    names += " GaussianBandit-misc"
    terminal = {name for name, traits in envs._TRAITS.items() if traits.time_limit == "terminal"}
    assert terminal == set(names.split())


def test_environments_begin_each_in_a_state_of_its_own():
    """Trap: one key for all would begin every evaluation episode in the same state."""
    env = envs.from_gymnax(tabular.Tabular(), tabular.Tabular().default_params, 64, name="Tabular")
    obs, _ = env.reset(jax.random.key(0), env.params(tabular.random_mdp(0)))
    assert len(np.unique(obs.argmax(axis=1))) > 4
