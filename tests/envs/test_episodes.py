"""From a raw contract without resets to an ``Env``: by hand, on an environment of three lines."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

from jaxq.envs.episodes import Bounds, CountedLimit, Limit, RawEnv, from_raw
from jaxq.envs.gymnax import from_gymnax, make_gymnax
from jaxq.errors import ConfigError
from jaxq.types import ObservationLegalActions

pytestmark = pytest.mark.usefixtures("compiled_quickly")

NAME, END = "Counter", 7


def look(count):
    return jnp.array([count, 10.0])


def reset(key, params):
    """It begins at 0 with a Python number, and goes on with an array of floats."""
    del key, params
    return look(0), {"count": 0, "steps": 0}


def step(key, state, action, params):
    """The action is added, and is the reward; the task ends from ``END`` on."""
    count, steps = state["count"] + action * 1.0, state["steps"] + 1
    ends = steps >= params.max_steps_in_episode
    return look(count), {"count": count, "steps": steps}, action, count >= END, ends


def raw(**changes):
    made = RawEnv(3, Bounds(0, 1), Limit(100), reset, step)
    return made._replace(**changes)


def play(env, actions, **overrides):
    """Outcomes and episodes [T, E] of the actions [T, E], and the observations to act on."""
    params = env.params(overrides)
    obs, state = env.reset(jax.random.key(0), params)

    def one(state, action):
        obs, state, outcome, episode = env.step(jax.random.key(1), state, action, params)
        return state, (obs, outcome, episode)

    _, (after, outcome, episode) = jax.lax.scan(one, state, jnp.asarray(actions))
    return np.concatenate([obs[None], after]), outcome, episode


def roll(key, params):
    """An episode of a length that is drawn when it begins."""
    length = jax.random.randint(key, (), 1, 5)
    return look(length), {"length": length, "steps": 0}


def count_down(key, state, action, params):
    obs, steps = jax.random.uniform(key, (2,)), state["steps"] + 1
    state = {"length": state["length"], "steps": steps}
    ends = steps >= params.max_steps_in_episode
    return obs, state, action, steps >= state["length"], ends


@pytest.mark.parametrize("ratio", [2, 3, 8, 100])
def test_a_few_resets_at_a_time_are_the_same_resets(ratio):
    """Every environment has its own, also where more episodes end than are reset at once, and for a
    batch of members, whose loops end together."""

    def states(ratio):
        env = from_raw(raw(reset=roll, step=count_down, reset_ratio=ratio), NAME, 8)
        params = env.params({"max_steps_in_episode": 3})

        def member(key):
            key, key_reset = jax.random.split(key)
            step = lambda now, key: (  # noqa: E731
                (result := env.step(key, now, jnp.ones(8, jnp.int32), params))[1],
                result,
            )
            return jax.lax.scan(step, env.reset(key_reset, params)[1], jax.random.split(key, 30))

        return jax.jit(jax.vmap(member))(jax.random.split(jax.random.key(0), 2))

    once, few = states(1), states(ratio)
    jax.tree.map(np.testing.assert_array_equal, once, few)
    done = once[1][2].done  # [2, T, E]
    assert done.sum(axis=-1).max() > 4 and len(np.unique(once[1][0][done])) > 4


def test_every_environment_ends_for_itself_and_shows_what_was_last():
    """The first ends with 2 + 2 + 2 + 2 >= 7, on the step of its limit; the second is cut there."""
    obs, outcome, episode = play(from_raw(raw(), NAME, 2), [[2, 1]] * 5, max_steps_in_episode=4)
    np.testing.assert_array_equal(outcome.terminated[:, 0], [0, 0, 0, 1, 0])
    np.testing.assert_array_equal(outcome.terminated[:, 1], [0, 0, 0, 0, 0])
    np.testing.assert_array_equal(outcome.done.T, [[0, 0, 0, 1, 0]] * 2)
    np.testing.assert_array_equal(outcome.next_obs[..., 0].T, [[2, 4, 6, 8, 2], [1, 2, 3, 4, 1]])
    np.testing.assert_array_equal(obs[..., 0].T, [[0, 2, 4, 6, 0, 2], [0, 1, 2, 3, 0, 1]])
    np.testing.assert_array_equal(episode.total_reward[3:].T, [[8, 2], [4, 1]])
    np.testing.assert_array_equal(episode.length[3:].T, [[4, 1]] * 2)
    np.testing.assert_array_equal(episode.ended, outcome.done)


def test_dtypes_are_those_after_many_steps():
    env = from_raw(raw(), NAME, 2)
    _, state = jax.eval_shape(env.reset, jax.random.key(0), env.params({}))
    assert {k: v.dtype for k, v in state[0].items()} == {"count": jnp.float32, "steps": jnp.int32}
    _, outcome, _ = play(env, [[1, 2]])
    assert outcome.reward.dtype == jnp.float32  # of integer actions


@pytest.mark.parametrize("policy", [None, "bootstrap", "terminal"])
def test_what_a_limit_means_is_what_is_said_last(policy):
    env = from_raw(raw(params=Limit(3), time_limit="terminal"), NAME, 1, policy)
    _, outcome, _ = play(env, [[1]] * 3)
    assert outcome.done[2, 0] and outcome.terminated[2, 0] == (policy != "bootstrap")
    assert env.protocol["time_limit"] == (policy or "terminal")


def test_what_resets_itself_gives_the_same_as_what_is_reset():
    """CartPole by its parts, and by its own step as a wrapper would call it."""
    made, params = make_gymnax("CartPole-v1")

    class Wrapper:
        def __getattr__(self, name):
            return getattr(made, name)

        reset, step = staticmethod(made.reset), staticmethod(made.step)

    parts, whole = (from_gymnax(env, params, 2, name=NAME) for env in (made, Wrapper()))
    actions = np.arange(120).reshape(60, 2) % 2
    for a, b in zip(*(jax.tree.leaves(play(env, actions)) for env in (parts, whole))):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"reset": lambda key, params: look(0)}, "reset of env=Counter returns an array; 2 are"),
        ({"step": lambda *a: step(*a)[:4]}, "step of env=Counter returns 4 values; 5 are accepted"),
        ({"step": lambda *a: (*step(*a)[:4], 0.0)}, "truncated of env=Counter is"),
        ({"observations": "image"}, "observations=image of env=Counter takes integers"),
        ({"time_limit": "never"}, "time_limit=never does not exist"),
        ({"params": Limit(0)}, "env=Counter has max_steps_in_episode=0; a whole number"),
    ],
)
def test_an_adapter_that_breaks_the_contract_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        from_raw(raw(**changes), NAME, 1)


def test_a_limit_is_checked_under_the_name_that_the_library_gives_it():
    class Params(Limit):
        max_timesteps: int = 5

    env = from_raw(raw(params=Params(9), limit="max_timesteps"), NAME, 1)
    with pytest.raises(ConfigError, match="env=Counter has max_timesteps=0; a whole"):
        env.params({"max_timesteps": 0})


def shown(count, legal=None):
    """From 2 on the third action is illegal, from 4 on the second as well."""
    legal = jnp.array([True, count < 4, count < 2]) if legal is None else legal
    return ObservationLegalActions(look(count), legal)


def raw_with_legal_actions(**changes):
    def step_and_show(key, state, action, params):
        _, state, *flags = step(key, state, action, params)
        return shown(state["count"]), state, *flags

    return raw(reset=lambda *x: (shown(0), reset(*x)[1]), step=step_and_show)._replace(**changes)


def test_what_is_legal_is_told_before_a_reset_and_after_it():
    """As above: the first ends at 8, the second at 4, of whose end the third says nothing."""
    env = from_raw(raw_with_legal_actions(), NAME, 2)
    assert env.obs_spec.legal == jax.ShapeDtypeStruct((3,), bool)
    assert env.obs_spec.obs == jax.ShapeDtypeStruct((2,), jnp.float32)
    assert env.protocol["illegal_actions"] == "never taken"
    assert "illegal_actions" not in from_raw(raw(), NAME, 2).protocol
    params = env.params({"max_steps_in_episode": 4})
    obs, state = env.reset(jax.random.key(0), params)
    np.testing.assert_array_equal(obs.legal, np.ones((2, 3), bool))
    expected = {0: [1, 1, 1], 1: [1, 1, 1], 2: [1, 1, 0], 3: [1, 1, 0]}
    for after in ([2, 1], [4, 2], [6, 3], [0, 0], [2, 1]):
        obs, state, outcome, _ = env.step(jax.random.key(1), state, jnp.array([2, 1]), params)
        counts = np.asarray(outcome.next_obs.obs[:, 0])
        assert counts.tolist() == ([8, 4] if after == [0, 0] else after)
        np.testing.assert_array_equal(obs.legal, [expected.get(c, [1, 0, 0]) for c in after])
        last = [expected.get(c, [1, 0, 0]) for c in counts]
        np.testing.assert_array_equal(outcome.next_obs.legal, last)


@pytest.mark.parametrize(
    "legal, found", [(jnp.ones(2, bool), r"bool\[2\]"), (jnp.ones(3), r"float32\[3\]")]
)
def test_what_is_legal_is_one_bool_for_every_action(legal, found):
    wrong = raw_with_legal_actions(
        reset=lambda key, params: (shown(0, legal), reset(key, params)[1]),
        step=lambda *x: (shown(0, legal), *step(*x)[1:]),
    )
    message = rf"the legal actions of env=Counter are {found}; bool\[3\] is accepted, one for every"
    with pytest.raises(ConfigError, match=message):
        from_raw(wrong, NAME, 2)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda obs: {"seen": obs},
        lambda obs: (obs, obs.obs),
        lambda obs: ObservationLegalActions(obs, obs.legal),
    ],
)
def test_what_is_legal_is_around_the_whole_observation(wrap):
    """Trap: inside of a dictionary it was two more inputs of the network."""
    made = raw_with_legal_actions()
    inside = made._replace(
        reset=lambda *x: (wrap(made.reset(*x)[0]), made.reset(*x)[1]),
        step=lambda *x: (wrap(made.step(*x)[0]), *made.step(*x)[1:]),
    )
    with pytest.raises(ConfigError, match="legal actions of env=Counter are inside of its obs"):
        from_raw(inside, NAME, 2)


def renew(key, state, action, params):
    """As ``step``, from 0 on again where the task has ended."""
    obs, state, reward, terminated, truncated = step(key, state, action, Limit(100))
    state = {**state, "count": jnp.where(terminated, 0, state["count"])}
    return look(state["count"]), state, reward, terminated, truncated, obs


def test_what_resets_itself_has_no_limit_of_ours():
    """Trap: one was accepted, said with the results, and never reached."""
    own = RawEnv(3, reset=reset, renew=renew)
    env = from_raw(own, NAME, 2)
    with pytest.raises(ConfigError, match="env_params of Counter=max_steps_in_episode does not ex"):
        env.params({"max_steps_in_episode": 4})
    _, outcome, episode = play(env, [[1, 2]] * 8)
    assert episode.length[outcome.done].tolist() == [4, 7, 4]
    for params in (CountedLimit(4), Slipping()):
        with pytest.raises(ConfigError, match="a dataclass whose limit renew reads is accepted"):
            from_raw(own._replace(params=params), NAME, 2)


class Slipping(CountedLimit):
    slip: float = 0.1


@struct.dataclass
class Kinds:
    byte: int = np.uint8(3)
    flag: bool = True
    slip: float = 0.1
    inner: Limit = Limit(5)
    size: int = struct.field(pytree_node=False, default=3)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("byte", 300, "byte of Counter=300 must be a whole number from 0 to 255"),
        ("byte", -1, "byte of Counter=-1 must be a whole number from 0 to 255"),
        ("flag", 0.5, "flag of Counter=0.5 must be true or false"),
        ("flag", 2, "flag of Counter=2 must be true or false"),
        ("slip", 1e300, r"slip of Counter=1e\+300 must be a number that float32 holds"),
        ("inner", 5, "inner of Counter is of type Limit; only numbers are replaced"),
        ("size", 5, "size of Counter is fixed by its class .* accepted: byte, flag, slip, inner"),
        ("sizes", 5, "env_params of Counter=sizes does not exist; accepted: byte"),
    ],
)
def test_a_parameter_takes_what_its_type_holds(field, value, message):
    """Trap: 300 was 44, half a flag was true."""
    env = from_raw(RawEnv(3, reset=reset, renew=renew, params=Kinds()), NAME, 2)
    with pytest.raises(ConfigError, match=message):
        env.params({field: value})
    assert env.params({"byte": 255, "flag": 0, "slip": np.inf}).byte == 255


@pytest.mark.parametrize("limit", [jnp.array([5, 6]), 5.5, np.nan, None])
def test_a_limit_is_one_whole_number(limit):
    with pytest.raises(ConfigError, match=r"max_steps_in_episode=.*; a whole number"):
        from_raw(raw(params=CountedLimit(limit)), NAME, 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sticky_actions": 1.5}, "sticky_actions=1.5; a probability is accepted"),
        ({"sticky_actions": "0.1"}, "sticky_actions='0.1'; a probability is accepted"),
        ({"limit": "nonsense"}, "limit='nonsense', and its parameters have none of that name"),
    ],
)
def test_what_a_raw_environment_says_of_itself_can_be(changes, message):
    with pytest.raises(ConfigError, match=message):
        from_raw(raw(reset=roll, step=count_down, **changes), NAME, 2)
