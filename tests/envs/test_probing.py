"""What an environment may return, and the sentence for everything else."""

import warnings
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from gymnax.environments import environment, spaces
from gymnax.wrappers import StickyActionWrapper

from jaxq.envs.episodes import from_raw
from jaxq.envs.gymnax import from_gymnax, raw_and_forms
from jaxq.envs.probing import probe_env
from jaxq.envs.trying import warn_of_random_steps
from jaxq.errors import ConfigError
from jaxq.types import Episode, ObservationLegalActions


@struct.dataclass
class State:
    position: jax.Array
    time: Any


@struct.dataclass
class Params(environment.EnvParams):
    max_steps_in_episode: int = 20
    goal: int = 5


class Chain(environment.Environment):
    """Positions 0 to 5; action 1 goes right; the last one ends the task. Methods are exchanged."""

    @property
    def default_params(self):
        return Params()

    def reset_env(self, key, params):
        return self.look(jnp.int32(0)), State(jnp.int32(0), 0)

    def step_env(self, key, state, action, params):
        position = jnp.maximum(state.position + 2 * action - 1, 0)
        ended = position >= params.goal
        state = State(position, state.time + 1)
        return self.look(position), state, ended.astype(jnp.float32), ended, {}

    def look(self, position):
        return position.astype(jnp.float32)[None]

    def action_space(self, params):
        return spaces.Discrete(2)

    def observation_space(self, params):
        return spaces.Box(0.0, 5.0, (1,))


def chain(**methods) -> Chain:
    """A ``Chain`` some of whose methods are exchanged."""
    return type("Chain", (Chain,), methods)()


def changed(**changes):
    """A ``step_env`` whose results are changed by functions of what they were."""

    def step_env(self, key, state, action, params):
        names = "obs", "state", "reward", "terminated", "info"
        values = dict(zip(names, Chain.step_env(self, key, state, action, params)))
        values |= {name: change(values[name]) for name, change in changes.items()}
        return tuple(values.values())

    return step_env


def reset_to(change):
    return lambda self, key, params: change(*Chain.reset_env(self, key, params))


class Old(Chain):
    """As gymnax was before 1.0: one end, five values."""

    def step(self, key, state, action, params=None):
        return self.step_env(key, state, action, params)


class NoEnd(Chain):
    """A step of its own that forgets what an episode showed last."""

    def step(self, key, state, action, params=None):
        *values, _ = super().step(key, state, action, params)
        return (*values, {})


class Tuple(NamedTuple):
    max_steps_in_episode: int = 20


def hollow(obs, state):
    return {}, state


REFUSED = {
    "shape of reward": (chain(step_env=changed(reward=lambda r: r[None])), r"reward.*shape \[1\]"),
    "done as int": (chain(step_env=changed(terminated=lambda t: t * 1)), "terminated.*int32; bool"),
    "done as float": (
        chain(step_env=changed(terminated=lambda t: t * 1.0)),
        "terminated.*float32; bool",
    ),
    "reward as complex": (chain(step_env=changed(reward=lambda r: r + 0j)), "reward.*complex64"),
    "limit as a number": (
        chain(is_truncated=lambda self, s, p: s.time * 1.0),
        "truncated.*float32",
    ),
    "dtype of a step": (
        chain(step_env=changed(obs=lambda o: o.astype(jnp.int32))),
        r"observation of env=Chain is float32\[1\] after a reset and int32\[1\] after a step",
    ),
    "shape of a step": (chain(step_env=changed(obs=lambda o: o[0])), r"float32\[\] after a step"),
    "dtype of the state": (
        chain(step_env=changed(state=lambda s: s.replace(position=1.0 * s.position))),
        r"state of env=Chain at position is int32\[\] after a reset and float32\[\] after a step",
    ),
    "nesting of the state": (
        chain(step_env=changed(state=lambda s: s.replace(position=(s.position,)))),
        "state of env=Chain is nested in one way after a reset",
    ),
    "values of step": (Old(), "step of env=Old returns 5 values; 6 are accepted: obs, state"),
    "values of step_env": (
        chain(step_env=lambda *a: (*Chain.step_env(*a), 0)),
        "step_env of env=Chain returns 6 values; 5 are accepted",
    ),
    "values of reset": (
        chain(reset=lambda self, k, p=None: jnp.zeros(1)),
        "reset of env=Chain returns an array; 2 are accepted",
    ),
    "final observation": (NoEnd(), r"no info\['final_observation'\]"),
    "no elements": (
        chain(look=lambda self, p: jnp.zeros(0), observation_space=lambda s, p: 1),
        "observation of env=Chain has no elements",
    ),
    "text in the state": (
        chain(reset_env=reset_to(lambda obs, state: (obs, state.replace(time="early")))),
        "state from reset_env of env=Chain at time is of type str; numbers and arrays are",
    ),
    "object in the state": (
        chain(reset_env=reset_to(lambda obs, state: (obs, state.replace(time=[3, object()])))),
        r"at time\.1 is of type object",
    ),
    "text in the state after a step": (
        chain(step_env=changed(state=lambda s: s.replace(time="late"))),
        "state from step_env of env=Chain at time is of type str",
    ),
    "text in the info": (
        chain(step_env=changed(info=lambda i: {"where": "left"})),
        "info from step_env of env=Chain at where is of type str",
    ),
    "texts of NumPy": (
        chain(step_env=changed(info=lambda i: {"where": np.array(["left"])})),
        "at where is of type ndarray",
    ),
    "text as observation": (
        chain(reset=lambda self, k, p=None: ("left", State(0, 0))),
        "obs from reset of env=Chain is of type str",
    ),
    "values of reset_env": (
        chain(reset_env=reset_to(lambda obs, state: obs)),
        "reset_env of env=Chain returns an array; 2 are accepted: obs, state",
    ),
    "no values": (
        chain(
            look=lambda self, p: p, observation_space=lambda self, p: SimpleNamespace(n=0, shape=())
        ),
        "observation_space of env=Chain holds no value",
    ),
    "no observation": (chain(reset_env=reset_to(hollow)), "has no elements"),
    "no actions": (
        chain(action_space=lambda self, p: SimpleNamespace(n=0)),
        "env=Chain has 0 actions; 1 or more",
    ),
    "actions as numbers": (
        chain(action_space=lambda self, p: spaces.Box(0, 5, (), jnp.int32)),
        "env=Chain has actions from a Box of integers; discrete",
    ),
    "several actions": (
        chain(action_space=lambda self, p: SimpleNamespace(n=jnp.array([2, 3]))),
        "discrete ones are accepted",
    ),
    "no action space": (
        chain(action_space=environment.Environment.action_space),
        "action_space of env=Chain is missing",
    ),
    "no observation space": (
        chain(observation_space=environment.Environment.observation_space),
        "observation_space of env=Chain is missing",
    ),
    "no space at all": (chain(observation_space=lambda self, p: None), "space.* is missing"),
    "no method": (chain(action_space=spaces.Discrete(2)), "has no method action_space; a gymnax"),
    "no time": (
        chain(
            reset_env=reset_to(lambda obs, state: (obs, state.position)),
            step_env=lambda self, k, s, a, p: (self.look(s), s, 0.0, s > 4, {}),
        ),
        "time limit that cannot be read .*a state with time",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_breaks_the_contract_is_one_sentence(kind):
    env, message = REFUSED[kind]
    with pytest.raises(ConfigError, match=message) as caught:
        from_gymnax(env, Params(), 2)
    text = str(caught.value)
    assert text.endswith(".") and ". " not in text.replace("gymnax 1.0", "")


@pytest.mark.parametrize(
    "params, message",
    [
        (None, "parameters that are None; a flax.struct dataclass"),
        ({"max_steps_in_episode": 20}, "of type dict"),
        (Tuple(), "of type Tuple"),
        (Params, "parameters that are the class Params; a flax"),
        (Params(goal="far"), "a parameter goal of type str; numbers and arrays"),
        (Params(goal=[5, "far"]), r"a parameter goal\.1 of type str"),
        (
            Params(max_steps_in_episode=-1),
            "max_steps_in_episode=-1; a whole .* 2147483647 is no",
        ),
        (Params(max_steps_in_episode=0), "max_steps_in_episode=0"),
    ],
)
def test_parameters_that_cannot_be_replaced_or_traced_are_refused(params, message):
    with pytest.raises(ConfigError, match=message):
        from_gymnax(Chain(), params, 2)


def test_a_limit_below_one_is_refused_wherever_it_comes_from():
    env = from_gymnax(Chain(), Params(), 2)
    with pytest.raises(ConfigError, match=r"max_steps_in_episode=0\.5; a whole number"):
        env.params({"max_steps_in_episode": 0.5})
    assert jax.eval_shape(lambda limit: env.params({"max_steps_in_episode": limit}), 3)


def test_what_makes_an_environment_is_none():
    with pytest.raises(ConfigError, match=r"env=Chain is a class; Chain\(\) is accepted"):
        from_gymnax(Chain, Params(), 2)
    with pytest.raises(ConfigError, match="env=x must be a jaxq RawEnv, and is a function"):
        from_raw(lambda: 1, "x", 2)


def test_an_environment_of_another_library_is_refused():
    gymnasium = SimpleNamespace(reset=print, step=print, action_space=2, observation_space=3)
    with pytest.raises(ConfigError, match="env=SimpleNamespace has no method action_space"):
        from_gymnax(gymnasium, None, 2)


@pytest.mark.parametrize("number", [jnp.int32, jnp.float16, jnp.bfloat16, bool])
def test_a_reward_of_any_real_type_is_a_number(number):
    if number is bool:
        with pytest.raises(ConfigError, match="reward of env=Chain is bool; a real number"):
            from_gymnax(chain(step_env=changed(reward=lambda r: r.astype(bool))), Params(), 2)
        return
    env = from_gymnax(chain(step_env=changed(reward=lambda r: r.astype(number))), Params(), 2)
    _, state = jax.eval_shape(env.reset, key := jax.random.key(0), Params())
    action = jnp.zeros(2, jnp.int32)
    _, _, outcome, _ = jax.eval_shape(env.step, key, state, action, Params())
    assert outcome.reward.dtype == jnp.float32


TOLD = r"raised TypeError: mine \(test_probing.py, line \d+\)"


def test_an_error_in_somebodys_step_is_told_with_its_place():
    def step_env(self, key, state, action, params):
        raise TypeError("mine")

    with pytest.raises(ConfigError, match=TOLD) as caught:
        from_gymnax(chain(step_env=step_env), Params(), 2)
    assert isinstance(caught.value.__cause__, TypeError)


def test_an_error_in_somebodys_reset_is_told_with_its_place_where_there_are_no_parts():
    def reset(self, key, params):
        raise TypeError("mine")

    with pytest.raises(ConfigError, match=TOLD):
        from_gymnax(chain(reset=reset, reset_env=environment.Environment.reset_env), Params(), 2)


READY = from_gymnax(Chain(), Params(), 3)


PAIR = jax.ShapeDtypeStruct((2,), jnp.float32)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"num_envs": 8}, "env=mine made 8 environments where num_envs=3 was asked for"),
        ({"num_actions": 0}, "num_actions=0; 1 or more"),
        ({"num_actions": 2.0}, "num_actions=2.0"),
        ({"name": None}, "name of env=mine is of type NoneType; a text is accepted"),
        ({"protocol": None}, "protocol of env=mine is of type NoneType; a mapping is accepted"),
        ({"protocol": {"by": [print]}}, r"protocol of env=mine at by\.0 is of type builtin"),
        ({"params": {}}, "params of env=mine is of type dict; a function of what is replaced is"),
        ({"params": lambda given: {"goal": "far"}}, "params of env=mine at goal is of type str"),
        ({"step": None}, "step of env=mine is of type NoneType; a function"),
        (
            {"step": lambda *a: (*READY.step(*a)[:3], "end")},
            "Episode from step of env=mine is of type str; numbers",
        ),
        ({"obs_spec": (1,)}, "obs_spec without shape and dtype"),
        (
            {"obs_spec": PAIR},
            r"float32\[3, 1\]; by its obs_spec",
        ),
        ({"reset": from_gymnax(Chain(), Params(), 7).reset}, r"float32\[7, 1\]; by its obs_spec"),
        ({"reset": lambda key, params: jnp.zeros(3)}, "reset of env=mine returns .*2 are accepted"),
        (
            {"step": lambda *a: READY.step(*a)[:3]},
            "step of env=mine returns 3 values; 4 are accepted: obs, env_state, Outcome, Episode",
        ),
        (
            {"step": lambda *a: (*READY.step(*a)[:3], {})},
            "a dict in the place of .*; a jaxq Episode is accepted",
        ),
        (
            {"step": lambda *a: (*READY.step(*a)[:3], Episode(0.0, 0.0, 0))},
            r"ended of env=mine is .*; one of shape \[3\] is accepted",
        ),
    ],
)
def test_an_env_ready_made_keeps_the_contract(changes, message):
    with pytest.raises(ConfigError, match=message):
        probe_env(READY._replace(**changes), 3, "mine")


def test_what_is_no_env_is_refused():
    with pytest.raises(ConfigError, match="env=mine is of type Chain; a jaxq Env is accepted"):
        probe_env(Chain(), 3, "mine")
    assert probe_env(READY, 3, "mine") is READY


@pytest.mark.parametrize(
    "value, message",
    [
        (2.5, "max_steps_in_episode=2.5; a whole number of 1 or more is accepted"),
        (10**12, "must be a whole number from -2147483648 to 2147483647"),
        ([5, 5], r"max_steps_in_episode=\[5, 5\]; a whole number"),
        (None, "max_steps_in_episode=None; a whole number of 1 or more"),
        ("5", "max_steps"),
        (0, "a whole number of 1 or more is accepted"),
    ],
)
def test_a_parameter_is_of_the_kind_of_its_default(value, message):
    """Trap: a limit of 2.5 was 2, and recorded as 2.5."""
    env = from_gymnax(Chain(), Params(), 2)
    with pytest.raises(ConfigError, match=message):
        env.params({"max_steps_in_episode": value})
    env.params({"max_steps_in_episode": 7.0})


def test_a_limit_of_none_is_told_how_no_limit_is_said():
    with pytest.raises(ConfigError, match=r"max_steps_in_episode=None; .* is no limit"):
        from_gymnax(Chain(), Params(max_steps_in_episode=None), 2)


def with_legal_actions(self, position):
    """Nobody goes left at the left end, or right from 3 on."""
    legal = jnp.array([position > 0, position < 3])
    return ObservationLegalActions(position.astype(jnp.float32)[None], legal)


class Left(Chain):
    """It never reaches its goal; what an illegal action gives is no number."""

    look = with_legal_actions

    def step_env(self, key, state, action, params):
        legal = self.look(state.position).legal
        obs, after, reward, ended, info = super().step_env(key, state, action, params)
        return obs, after, jnp.where(legal[action], reward, jnp.nan), ended & False, info


def test_an_environment_of_gymnax_may_say_what_is_legal():
    made = Left()
    for wrapped in (made, StickyActionWrapper(made, 0.0)):
        env = from_gymnax(wrapped, made.default_params, 2, name="Left")
        spec = env.obs_spec
        assert isinstance(spec, ObservationLegalActions)
        assert spec.legal.shape == (2,) and spec.obs.shape == (1,)
        assert probe_env(env, 2, "ready") is env
        with pytest.raises(ConfigError, match="the legal actions of the obs_spec of env=ready are"):
            wide = jax.ShapeDtypeStruct((3,), bool)
            probe_env(env._replace(obs_spec=spec._replace(legal=wide)), 2, "ready")
        with pytest.raises(ConfigError, match=r"legal of the observation of env=ready after a "):
            probe_env(env._replace(num_actions=3, obs_spec=spec._replace(legal=wide)), 2, "ready")
        with pytest.raises(ConfigError, match="after a reset is nested; by its obs_spec float32"):
            probe_env(env._replace(obs_spec=spec.obs), 2, "ready")
    with pytest.raises(
        ConfigError, match="of type ShapeDtypeStruct; by its obs_spec an Observatio"
    ):
        plain = from_gymnax(chain(), Params(), 2)
        probe_env(plain._replace(obs_spec=spec), 2, "ready")


def test_random_steps_take_legal_actions():
    """Illegal ones would give a reward that is not finite."""
    made = Left()
    env = from_gymnax(made, made.default_params, 2, name="Left")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_random_steps(env)
        warn_of_random_steps(env, *raw_and_forms(made, made.default_params, "Left"))
