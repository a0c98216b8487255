"""One environment in the three forms that one's own may have, and what is said of each mistake."""

import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from gymnax.environments import environment, spaces
from gymnax.wrappers import StickyActionWrapper

import jaxq
from jaxq.envs import contract, own
from jaxq.envs.gymnax import make_gymnax
from jaxq.envs.trying import look_at
from jaxq.errors import ConfigError

pytestmark = pytest.mark.usefixtures("compiled_quickly")

GOAL = 5


@struct.dataclass
class State:
    position: Any
    time: Any


@struct.dataclass
class Params:
    max_steps_in_episode: int = 20


# Positions 0 to 5; action 1 goes right; the last one ends the task.


def reset(key, params):
    return jnp.zeros(1), State(jnp.int32(0), jnp.int32(0))


def step(key, state, action, params):
    position = jnp.maximum(state.position + 2 * action - 1, 0)
    state = State(position, state.time + 1)
    return position.astype(jnp.float32)[None], state, jnp.float32(1), position >= GOAL


def as_raw(reset=reset, step=step, **more):
    return jaxq.RawEnv(**{"num_actions": 2, **more}, reset=reset, step=then_not_truncated(step))


def then_not_truncated(step):
    return lambda *now: (*step(*now), False)


class Pieces:
    """What a class of gymnax has, of 1.0 and of before."""

    default_params = Params()
    name = "Mine"
    num_actions = 2

    def action_space(self, params):
        return spaces.Discrete(self.num_actions)

    def observation_space(self, params):
        return spaces.Box(0.0, 5.0, (1,))


def as_gymnax(reset=reset, step=step, **more):
    def step_env(self, *now):
        return *step(*now), {}

    methods = {"reset_env": lambda self, *now: reset(*now), "step_env": step_env, **more}
    return type("New", (Pieces, environment.Environment), methods)


def as_old(reset=reset, step=step, **more):
    """As gymnax 0.0 had it: the limit is part of ``done``, and every step resets by itself."""

    def step_env(self, key, state, action, params):
        obs, state, reward, ended, *others = step(key, state, action, params)
        limited = state.time >= params.max_steps_in_episode
        done = jnp.where(limited, jnp.ones_like(ended), ended)
        return obs, state, reward, done, {"discount": 1.0}, *others

    def whole(self, *now):
        raise AssertionError("a step with its reset is not used")

    methods = {
        "reset_env": lambda self, *now: reset(*now),
        "step_env": step_env,
        "reset": whole,
        "step": whole,
        "done": "termination",
        **more,
    }
    return type("Old", (Pieces,), methods)


FORMS = {"raw": as_raw, "gymnax": as_gymnax, "old": as_old}
in_all_forms = pytest.mark.parametrize("form", FORMS)


def make(form, num_envs=1, **pieces):
    return own.from_object(FORMS[form](**pieces), "m:x", num_envs)


def play(env, actions, **overrides):
    """Outcomes and observations to act on, leaves [T], of the only environment."""
    params = env.params(overrides)
    _, state = env.reset(jax.random.key(0), params)

    def one(state, action):
        obs, state, outcome, episode = env.step(jax.random.key(1), state, action[None], params)
        return state, (obs, outcome, episode)

    return jax.tree.map(lambda leaf: leaf[:, 0], jax.lax.scan(one, state, jnp.array(actions))[1])


@in_all_forms
def test_a_forced_limit_bootstraps_and_the_end_of_the_task_does_not(form):
    """Cut after three steps, from the observation before the reset; the goal is an end."""
    env = make(form)
    obs, outcome, episode = play(env, [1] * 7, max_steps_in_episode=3)
    np.testing.assert_array_equal(outcome.done, [0, 0, 1, 0, 0, 1, 0])
    assert not outcome.terminated.any()
    np.testing.assert_array_equal(outcome.next_obs[:, 0], [1, 2, 3, 1, 2, 3, 1])
    np.testing.assert_array_equal(obs[:, 0], [1, 2, 0, 1, 2, 0, 1])
    assert episode.length[2] == 3
    obs, outcome, _ = play(env, [1] * 7)
    np.testing.assert_array_equal(outcome.terminated, [0, 0, 0, 0, 1, 0, 0])
    np.testing.assert_array_equal(outcome.done, outcome.terminated)
    _, outcome, _ = play(env, [1] * 7, max_steps_in_episode=5)  # both at once: it terminates
    assert outcome.terminated[4]


@in_all_forms
def test_nothing_is_said_of_it_as_it_is(form):
    thing = FORMS[form]()
    assert look_at(own.from_object(thing, "m:x", 2), *own.raw_of(thing, "m:x"))[1] == []


@in_all_forms
def test_a_key_in_the_state_is_a_state(form):
    def keyed(key, params):
        obs, state = reset(key, params)
        return obs, state.replace(position=(state.position, key))

    def walks(key, state, action, params):
        position, own_key = state.position
        obs, state, reward, ended = step(key, state.replace(position=position), action, params)
        own_key, _ = jax.random.split(own_key)
        return obs, state.replace(position=(state.position, own_key)), reward, ended

    _, outcome, _ = play(make(form, reset=keyed, step=walks), [1] * 6)
    assert outcome.terminated.tolist() == [False] * 4 + [True, False]


@in_all_forms
def test_observations_of_several_arrays_are_one_row_in_the_order_of_their_keys(form):
    def nested(position):
        return {"b": jnp.ones((2, 2), jnp.int8), "a": position, "c": (position > 2,)}

    def shown(*now):
        obs, *others = step(*now) if len(now) == 4 else reset(*now)
        return nested(obs[0]), *others

    env = make(form, reset=shown, step=shown)
    assert (env.obs_spec.shape, env.obs_spec.dtype) == ((6,), jnp.float32)
    obs, outcome, _ = play(env, [1] * 5)
    np.testing.assert_array_equal(outcome.next_obs[3], [4, 1, 1, 1, 1, 1])
    np.testing.assert_array_equal(obs[4], [0, 1, 1, 1, 1, 0])
    if form == "gymnax":  # whose space is of another shape, and is not compared
        thing = as_gymnax(reset=shown, step=shown)
        assert look_at(env, *own.raw_of(thing, "m:x"))[1] == []


def resets(**changes):
    return {"reset": changed(reset, "obs state", changes)}


def steps(**changes):
    return {"step": changed(step, "obs state reward ended", changes)}


def changed(function, names, changes):
    def other(*now):
        values = dict(zip(names.split(), function(*now)))
        values |= {name: change(values[name]) for name, change in changes.items()}
        return tuple(values.values())

    return other


def in_python(key, state, action, params):
    obs, state, reward, ended = step(key, state, action, params)
    return obs, state, 1.0 if ended else reward, ended


def as_number(key, state, action, params):
    obs, state, reward, ended = step(key, state, action, params)
    return obs, state, reward, ended, *[0] * int(action)


def failing(key, state, action, params):
    raise ValueError("no level\nof that name")


def in_a_library(key, state, action, params):
    return json.loads("{")


def in_numpy(key, state, action, params):
    obs, state, reward, ended = step(key, state, action, params)
    return np.asarray(obs), state, reward, ended


def as_index(key, state, action, params):
    return step(key, state, (0, 1)[action], params)


MISTAKES = {
    "dtype of an observation": (
        steps(obs=lambda obs: obs.astype(jnp.int32)),
        r"the observation of env=m:x is float32\[1\] after a reset and int32\[1\] after a step",
    ),
    "shape of an observation": (steps(obs=lambda obs: obs[0]), r"float32\[\] after a step"),
    "one array, then two": (
        steps(obs=lambda obs: (obs, obs)),
        "observation of env=m:x is nested in one way",
    ),
    "no observation": (resets(obs=lambda obs: None), "observation of env=m:x has no elements"),
    "nothing in it": (resets(obs=lambda obs: obs[:0]), "observation of env=m:x has no elements"),
    "key as observation": (
        {**resets(obs=lambda obs: jax.random.key(0)), **steps(obs=lambda obs: jax.random.key(0))},
        "env=m:x has an observation of key<fry>; booleans, integers and floats",
    ),
    "text as observation": (
        resets(obs=lambda obs: "left"),
        "obs from reset(_env)? of env=m:x is of type str; numbers and arrays",
    ),
    "shape of a reward": (steps(reward=lambda r: r[None]), r"reward of env=m:x is of shape \[1\]"),
    "no reward": (steps(reward=lambda r: None), "reward of env=m:x is no array"),
    "reward as bool": (steps(reward=lambda r: r > 0), "reward of env=m:x is bool; a real number"),
    "end as float": (
        steps(ended=lambda ended: ended * 1.0),
        "(terminated|done) of env=m:x is float32; bool is accepted",
    ),
    "shape of an end": (
        steps(ended=lambda ended: ended[None]),
        r"(terminated|done) of env=m:x is of shape \[1\]; one of shape \[\]",
    ),
    "nesting of the state": (
        steps(state=lambda state: state.replace(position=(state.position,))),
        "state of env=m:x is nested in one way after a reset, in another after a step",
    ),
    "shape of the state": (
        steps(state=lambda state: state.replace(position=state.position[None])),
        r"state of env=m:x at position is int32\[\] after a reset and int32\[1\] after a step",
    ),
    "text in the state": (
        resets(state=lambda state: state.replace(position="left")),
        "state from reset(_env)? of env=m:x at position is of type str",
    ),
    "reset of one value": (
        {"reset": lambda key, params: jnp.zeros(1)},
        "reset(_env)? of env=m:x returns an array; 2 are accepted: obs, state",
    ),
    "step of four values": (
        {"step": lambda *now: (*step(*now)[:2], step(*now)[3])},
        "step(_env)? of env=m:x returns 4 values; 5 are accepted: obs, state, reward",
    ),
    "step of six values": (
        {"step": lambda *now: (*step(*now), 0)},
        "step(_env)? of env=m:x returns 6 values; 5 are accepted: obs, state, reward",
    ),
    "if in Python": (
        {"step": in_python},
        r"step(_env)? of env=m:x decides in Python .* \(test_three_forms.py, line \d+\); jnp.where",
    ),
    "int in Python": ({"step": as_number}, "step(_env)? of env=m:x decides in Python"),
    "NumPy": ({"step": in_numpy}, "step(_env)? of env=m:x decides in Python or NumPy"),
    "index of a tuple": ({"step": as_index}, "step(_env)? of env=m:x decides in Python"),
    "an error of its own": (
        {"step": failing},
        r"step(_env)? of env=m:x raised ValueError: no level \(test_three_forms.py, line \d+\)",
    ),
    "an error of a library that it calls": (
        {"step": in_a_library},
        r"step(_env)? of env=m:x raised json.*: .* \(test_three_forms.py, line \d+\)",
    ),
    "no actions": ({"num_actions": 0}, "env=m:x has (num_actions=)?0"),
    "parameters as a dictionary": (
        {"params": {"limit": 3}},
        "env=m:x has parameters that are of type dict; a flax.struct dataclass",
    ),
    "no parameters": ({"params": None}, "env=m:x has parameters that are None"),
    "text as a parameter": (
        {"params": Params("far")},
        "env=m:x has a parameter max_steps_in_episode of type str",
    ),
    "limit of nothing": (
        {"params": Params(0)},
        "env=m:x has max_steps_in_episode=0; a whole number",
    ),
    "unknown meaning of a limit": (
        {"time_limit": "never"},
        "time_limit=never does not exist; accepted: bootstrap, terminal",
    ),
    "unknown kind of observation": (
        {"observations": "pixels"},
        "observations of m:x=pixels does not exist",
    ),
    "integers for an image": (
        {"observations": "image"},
        "observations=image of env=m:x takes integers, not float32",
    ),
}


@in_all_forms
@pytest.mark.parametrize("kind", MISTAKES)
def test_every_mistake_is_one_sentence_in_every_form(kind, form):
    pieces, message = dict(MISTAKES[kind][0]), MISTAKES[kind][1]
    if form == "old" and kind == "step of four values":  # it reads them itself
        pieces = {"step_env": lambda self, *now: step(*now)}
    if form != "raw" and "params" in pieces:
        pieces["default_params"] = pieces.pop("params")
    with pytest.raises(ConfigError, match=message) as caught:
        make(form, **pieces)
    assert_one_sentence(caught.value)


def assert_one_sentence(error):
    text = str(error).replace("gymnax 1.0", "")
    assert text.endswith(".") and ". " not in text, text


@in_all_forms
def test_what_only_random_steps_show_is_one_sentence_each(form):
    pieces = steps(
        obs=lambda obs: obs * jnp.nan, reward=lambda r: r / 0, ended=lambda ended: ended | True
    )
    thing = FORMS[form](num_actions=1, **pieces)
    _, sentences = look_at(own.from_object(thing, "m:x", 2), *own.raw_of(thing, "m:x"))
    assert sentences == [
        "env=m:x showed an observation that is not finite in 4,000 random steps.",
        "env=m:x gave a reward that is not finite in 4,000 random steps.",
        "env=m:x ended every episode after one step in 4,000 random steps; only a bandit does so.",
        "env=m:x has one action, so that there is nothing to choose.",
    ]


# What is of one form alone.


@pytest.mark.parametrize("num_actions", [None, 2.0, "2", True, -1])
def test_a_number_of_actions_is_a_number(num_actions):
    with pytest.raises(ConfigError, match=f"num_actions={num_actions}; a whole number of 1 or"):
        make("raw", num_actions=num_actions)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"reset": None}, r"reset of env=m:x is None; a function reset\(key, params\)"),
        ({"step": None}, r"step of env=m:x is None; a function step\(key, state, action, params\)"),
        ({"reset": Params()}, "reset of env=m:x is of type Params; a function"),
        (
            {"reset": lambda key: 0},
            r"reset of env=m:x takes .*called with \(key, params\): too many",
        ),
        (
            {"step": lambda state, action, params: 0},
            r"step of env=m:x takes .*called with \(key, state, action, params\): too many",
        ),
        ({"step": lambda *now: (*step(*now), {})}, "truncated of env=m:x is no array"),
        ({"params": Params}, "parameters that are the class Params"),
        (
            {
                "reset": lambda *now: (jnp.int32(0), reset(*now)[1]),
                "step": lambda *now: (jnp.int32(0), *step(*now)[1:], False),
            },
            "env=m:x has integer observations without finite bounds, as a space or jaxq.Bounds has",
        ),
    ],
)
def test_what_a_raw_env_lacks_is_one_sentence(changes, message):
    with pytest.raises(ConfigError, match=message) as caught:
        own.from_object(as_raw()._replace(**changes), "m:x", 1)
    assert_one_sentence(caught.value)


def test_a_raw_env_may_be_returned_and_has_no_arguments_of_its_own():
    def function(length=3):
        return as_raw(params=jaxq.CountedLimit(length))

    env = own.from_object(function, "m:x", 2, ("length=4",))
    assert env.params({}).max_steps_in_episode == 4
    with pytest.raises(ConfigError, match=r"env_kwargs=\['length=4'\] is not accepted by m:x"):
        own.from_object(as_raw(), "m:x", 2, ("length=4",))
    with pytest.raises(ConfigError, match="env=m:x is a RawEnv, which cannot be drawn"):
        own.gymnax_of(as_raw(), "m:x")


def test_numbers_of_ones_own_stand_beside_a_limit_that_is_counted():
    class Numbers(jaxq.CountedLimit):
        reward: float = 2.0

    def pays(key, state, action, params):
        obs, state, _, ended = step(key, state, action, params)
        return obs, state, params.reward, ended

    env = make("raw", step=pays, params=Numbers())
    _, outcome, _ = play(env, [1] * 3, reward=7.0, max_steps_in_episode=2)
    assert outcome.reward.tolist() == [7.0] * 3 and outcome.done.tolist() == [False, True, False]


def test_a_step_that_tells_its_own_limit_is_not_counted():
    """Its state is its own, so drawing and resuming see nothing else."""

    def limited(key, state, action, params):
        obs, state, reward, ended = step(key, state, action, params)
        return obs, state, reward, ended, state.time >= params.max_steps_in_episode

    raw = jaxq.RawEnv(num_actions=2, params=Params(), reset=reset, step=limited)
    env = jaxq.from_raw(raw, "Mine", 1)
    _, outcome, _ = play(env, [1] * 3, max_steps_in_episode=2)
    assert outcome.done.tolist() == [False, True, False] and not outcome.terminated.any()
    assert isinstance(env.reset(jax.random.key(0), env.params({}))[1][0], State)


@pytest.mark.parametrize("ended", [True, False])
def test_ends_may_be_truths_of_python(ended):
    env = make("raw", step=lambda *now: (*step(*now)[:3], ended))
    assert play(env, [1] * 2)[1].terminated.tolist() == [ended] * 2


def test_bytes_without_a_space_are_an_image():
    image = jnp.zeros((4, 4, 1), jnp.uint8)
    env = make(
        "raw",
        reset=lambda *now: (image, reset(*now)[1]),
        step=lambda *now: (image, *step(*now)[1:]),
    )
    assert (env.obs_spec.shape, env.obs_spec.dtype) == ((4, 4, 1), jnp.uint8)


def test_integers_are_one_hot_between_the_bounds_that_are_said():
    def categories(*now):
        obs, *others = step(*now) if len(now) == 4 else reset(*now)
        return obs[0].astype(jnp.int32), *others

    env = make("raw", reset=categories, step=categories, space=jaxq.Bounds(0, GOAL))
    assert env.obs_spec.shape == (GOAL + 1,)


# One done that is two things.


def merges(self, key, state, action, params):
    obs, state, reward, ended = step(key, state, action, params)
    return obs, state, reward, ended | (state.time >= params.max_steps_in_episode), {}


@pytest.mark.parametrize(
    "thing",
    [
        as_old(done=None),
        as_gymnax(step_env=merges),
        as_gymnax(step_env=jax.jit(merges, static_argnums=0)),
    ],
)
def test_one_done_for_two_things_is_refused_until_it_says_what_it_is(thing):
    """Trap: with gymnax 1.0's own base class it went through, and nothing was bootstrapped."""
    with pytest.raises(ConfigError, match=r"env=m:x has one done for the end .*done='termination'"):
        own.from_object(thing, "m:x", 1)
    thing.done = "termination"
    env = own.from_object(thing, "m:x", 1)
    _, outcome, _ = play(env, [1] * 3, max_steps_in_episode=3)
    assert outcome.done.tolist() == [False, False, True] and not outcome.terminated.any()
    thing.done = "truncation"
    with pytest.raises(
        ConfigError, match="done of m:x=truncation does not exist; did you mean termi"
    ):
        own.from_object(thing, "m:x", 1)


def test_where_a_limit_ends_the_task_one_done_is_as_good_as_two():
    for thing in (as_old(done=None), as_gymnax(step_env=merges)):
        env = own.from_object(thing, "m:x", 1, time_limit="terminal")
        _, outcome, _ = play(env, [1] * 3, max_steps_in_episode=3)
        assert outcome.terminated.tolist() == [False, False, True]


def test_a_wrapper_is_not_taken_apart():
    thing = lambda: StickyActionWrapper(as_gymnax(step_env=merges, done="termination")(), 0.1)  # noqa: E731
    with pytest.raises(ConfigError, match="env=m:x has one done"):
        own.from_object(thing, "m:x", 1)


@pytest.mark.parametrize("name", ["CartPole-v1", "Breakout-MinAtar", "FourRooms-misc"])
def test_gymnax_tells_its_own_limits_apart(name):
    assert not contract._reads_limit(*make_gymnax(name))
    assert contract._reads_limit(as_old()(), Params())


def test_every_form_has_words():
    words = {form: own.form_of(make(), "m:x") for form, make in FORMS.items()}
    assert words == {
        "raw": "a jaxq RawEnv",
        "gymnax": "a gymnax-1.0 class",
        "old": "a gymnax class of before 1.0",
    }
