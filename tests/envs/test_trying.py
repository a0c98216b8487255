"""Random steps of an environment, and the warning for what is legal and hardly meant."""

import time
import warnings

import jax.numpy as jnp
import numpy as np
import pytest
from gymnax.environments import spaces
from test_probing import Chain, Params, chain, changed

from jaxq.envs.episodes import RawEnv, from_raw
from jaxq.envs.gymnax import from_gymnax, make_gymnax, raw_and_forms
from jaxq.envs.trying import look_at, measure_speed, warn_of_random_steps
from jaxq.errors import ConfigError
from jaxq.types import ObservationLegalActions

pytestmark = pytest.mark.usefixtures("compiled_quickly")


def tried(env, params=Params(), raw=True, **more):  # noqa: B008
    made = from_gymnax(env, params, 4, **more)
    warn_of_random_steps(made, *(raw_and_forms(env, params, made.name, **more) if raw else ()))


def bad(value):
    """A value that is not finite at the end of the chain."""
    return lambda given: jnp.where(given > 0.5, value, given)


class Limited(Chain):
    """Folds its limit into the end of the task, as gymnax before 1.0."""

    def step_env(self, key, state, action, params):
        obs, state, reward, _, info = super().step_env(key, state, action, params)
        return obs, state, reward, state.time >= 3, info


class LimitedOrDone(Chain):
    """The same, and ends where the task does, which it often does before."""

    def step_env(self, key, state, action, params):
        obs, state, reward, _, info = super().step_env(key, state, action, params)
        return obs, state, reward, (state.position == 2) | (state.time >= 5), info


class Bandit(Chain):
    """Every step is said to be the last."""

    def step_env(self, key, state, action, params):
        obs, state, reward, ended, info = super().step_env(key, state, action, params)
        return obs, state, reward, ended | True, info


class Endless(Chain):
    def step_env(self, key, state, action, params):
        obs, state, reward, ended, info = super().step_env(key, state, action, params)
        return obs, state, reward, ended & False, info

    def look(self, position):
        return jnp.clip(position, 0, 5).astype(jnp.float32)[None]


class Heedless(Endless):
    """Its limit is none of its own."""

    def is_truncated(self, state, params):
        return jnp.bool_(False)


FAR = Params(max_steps_in_episode=2**31 - 1)
SMALLER = chain(observation_space=lambda self, params: spaces.Box(0.0, 2.0, (1,)))
WIDER = chain(observation_space=lambda self, params: spaces.Box(0.0, 5.0, (2,)))
FEWER = chain(
    look=lambda self, position: position, observation_space=lambda self, params: spaces.Discrete(3)
)


def test_a_large_observation_that_is_constant_is_not_folded():
    """Trap: XLA's constant folding took 40 s of a program that runs for a moment."""
    image = chain(
        look=lambda self, position: jnp.zeros((200, 200, 3)),
        observation_space=lambda self, params: spaces.Box(0.0, 5.0, (200, 200, 3)),
    )
    start = time.process_time()
    tried(image)
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    "env, params, message",
    [
        (chain(step_env=changed(obs=bad(jnp.nan))), Params(), "observation that is not finite in"),
        (chain(step_env=changed(obs=bad(jnp.inf))), Params(), "observation that is not finite in"),
        (chain(step_env=changed(reward=bad(-jnp.inf))), Params(), "reward that is not finite in"),
        (
            SMALLER,
            Params(),
            "values from 0 to 5 in 4,000 random steps, which its observation_sp",
        ),
        (WIDER, Params(), r"shows observations of shape \[1\], and .* is of shape \[2\]"),
        (FEWER, Params(), "values from 0 to 5 in .* as integers they are shown as nothing"),
        (
            Limited(),
            Params(),
            r"terminated after 3 steps in all of [\d,]+ episodes .* is_truncated",
        ),
        (
            LimitedOrDone(),
            Params(max_steps_in_episode=5),
            r"terminated after 5 steps in all of [\d,]+ episodes of that length .* is_truncated",
        ),
        (Bandit(), Params(), "ended every episode after one step in 4,000 random steps"),
        (
            Heedless(),
            Params(),
            "an episode of 500 steps in .* time limit is 20, which its step",
        ),
        (Endless(), FAR, "ended no episode in 500 random steps and has no time limit"),
    ],
)
def test_what_is_hardly_meant_is_said_once(env, params, message):
    with pytest.warns(UserWarning, match=f"env={type(env).__name__} .*{message}") as caught:
        tried(env, params)
    assert len(caught) == 1


def counting(obs_of, last=3):
    """Counts to ``last`` and ends; what it shows is a function of the count."""

    def reset(key, params):
        return obs_of(jnp.int32(0)), jnp.int32(0)

    def step(key, state, action, params):
        state += 1
        return obs_of(state), state, 1.0, state >= last, False

    return RawEnv(num_actions=2, reset=reset, step=step)


@pytest.mark.parametrize(
    ("obs_of", "message"),
    [
        (lambda n: jnp.where(n == 0, jnp.nan, 1.0)[None], "observation that is not finite"),
        (
            lambda n: ObservationLegalActions(n[None] * 1.0, jnp.array([n == 0, n == 0])),
            "no legal action in 2,.* of 4,000 random steps, so that an illegal one was taken",
        ),
    ],
)
def test_what_is_shown_before_a_step_is_looked_at_too(obs_of, message):
    """Also after a reset; where an episode has ended nothing needs to be legal."""
    raw = counting(obs_of)
    with pytest.warns(UserWarning, match=message):
        warn_of_random_steps(from_raw(raw, "counting", 4), raw)
    ending = lambda n: ObservationLegalActions(n[None] * 1.0, jnp.array([n < 3, n < 3]))  # noqa: E731
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        raw = counting(ending)._replace(time_limit="terminal")
        warn_of_random_steps(from_raw(raw, "counting", 4), raw)


def test_only_integers_that_are_one_hot_are_shown_as_nothing():
    with pytest.warns(UserWarning, match=r"observation_space does not hold\.$"):
        tried(SMALLER)


@pytest.mark.parametrize("num_envs", [0, -1, "2", 1.5])
def test_a_number_of_environments_is_a_number(num_envs):
    with pytest.raises(ConfigError, match=r"num_envs=.* of env=Chain must be a whole number"):
        from_gymnax(Chain(), Params(), num_envs)
    with pytest.raises(ConfigError, match="num_envs=1000001 of env=Chain must be at most 1,000,"):
        from_gymnax(Chain(), Params(), 1_000_001)


@pytest.mark.parametrize(
    "env, params, more",
    [
        (Chain(), Params(), {}),
        (Chain(), FAR, {}),
        (Endless(), Params(), {}),  # its limit is a truncation
        (Limited(), Params(), {"time_limit": "terminal"}),
        (*make_gymnax("CartPole-v1"), {}),
        (*make_gymnax("Breakout-MinAtar"), {"observations": "binary"}),
        (*make_gymnax("FourRooms-misc"), {}),
    ],
)
def test_of_what_is_meant_nothing_is_said(env, params, more):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tried(env, params, **more)


def test_an_env_ready_made_is_looked_at_by_its_values_and_ends():
    with pytest.warns(UserWarning, match="observation that is not finite"):
        tried(chain(step_env=changed(obs=bad(jnp.nan))), raw=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tried(Chain(), raw=False)


def test_episodes_are_seen_with_their_lengths_and_returns():
    env = from_gymnax(Chain(), Params(max_steps_in_episode=4), 2)
    seen, sentences = look_at(env)
    assert sentences == [] and seen.done.sum() > 100
    assert seen.length[seen.done].max() == 4
    np.testing.assert_array_equal(seen.total_reward[seen.done], 0.0)  # the goal is 5 steps away


def test_speed_is_that_of_all_environments_and_compiling_is_apart():
    speed = measure_speed(from_gymnax(Chain(), Params(), 4), seconds=0.0)
    assert speed.steps_per_second > 0 and speed.compile_seconds > 0
