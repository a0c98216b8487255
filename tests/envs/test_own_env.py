"""Environments of one's own: what a name may stand for, and what is said where it does not."""

import gymnax
import jax.numpy as jnp
import pytest
import tabular
from gymnax.environments import spaces
from gymnax.wrappers import StickyActionWrapper

from jaxq.envs import gymnax as envs
from jaxq.envs import own
from jaxq.envs.libraries import make_env
from jaxq.errors import ConfigError


class Halfway:
    """Has a step and inherits nothing."""

    def step_env(self, key, state, action, params):
        raise NotImplementedError


class Mine(tabular.Tabular):
    """Says itself what its time limit means and how it is shown."""

    time_limit = "terminal"
    observations = "numbers"

    def __init__(self, size=3):
        self.size = size


def pair(limit=5):
    env = tabular.Tabular()
    return env, env.default_params.replace(max_steps_in_episode=limit)


def ready_made(num_envs, time_limit="bootstrap"):
    return envs.from_gymnax(*pair(), num_envs, time_limit=time_limit, name="Ready")


def test_a_class_is_made_with_its_arguments_and_says_what_it_is():
    env = own.from_object(Mine, "mine:Mine", 3, ("size=7",))
    assert (env.name, env.num_envs, env.num_actions) == ("mine:Mine", 3, 4)
    assert env.protocol["time_limit"] == "terminal"
    assert env.obs_spec.shape == () and env.obs_spec.dtype == jnp.float32
    assert own.gymnax_of(Mine, "mine:Mine", ("size=7",))[0].size == 7


def test_what_a_class_does_not_say_is_the_default_and_the_caller_has_the_last_word():
    env = own.from_object(tabular.Tabular, "mine:Tabular", 1)
    assert env.protocol["time_limit"] == "bootstrap" and env.obs_spec.shape == (16,)
    env = own.from_object(Mine, "mine:Mine", 1, time_limit="bootstrap")
    assert env.protocol["time_limit"] == "bootstrap"


def test_a_class_says_for_how_many_environments_a_reset_is_computed():
    """As a RawEnv does; of 16 environments one reset a step, in place of one each."""

    class Dear(tabular.Tabular):
        reset_ratio = 16

    raw, _ = own.raw_of(Dear, "mine:Dear")
    assert raw.reset_ratio == 16
    assert own.raw_of(tabular.Tabular, "mine:Tabular")[0].reset_ratio == 1
    Dear.reset_ratio = 1.5
    with pytest.raises(ConfigError, match=r"reset_ratio=1\.5; a whole number of 1 or more"):
        own.from_object(Dear, "mine:Dear", 16)


def test_an_attribute_that_is_no_string_is_the_environments_own():
    def function():
        env = Mine()
        env.time_limit = 500
        return env

    assert own.from_object(function, "mine:f", 1).protocol["time_limit"] == "bootstrap"


def test_a_wrapped_environment_says_what_the_one_inside_says():
    env = own.from_object(lambda: StickyActionWrapper(Mine(), 0.1), "mine:f", 1)
    assert env.protocol["time_limit"] == "terminal"


def test_a_function_may_give_an_environment_and_parameters():
    env = own.from_object(pair, "mine:pair", 2, ("limit=9",))
    assert int(env.params({}).max_steps_in_episode) == 9
    assert own.gymnax_of(pair, "mine:pair")[1].max_steps_in_episode == 5
    assert own.raw_of(pair, "mine:pair")[0].params.max_steps_in_episode == 5


def test_a_function_of_num_envs_may_give_an_env_ready_made():
    env = own.from_object(ready_made, "mine:ready_made", 4)
    assert (env.name, env.num_envs) == ("Ready", 4)
    env = own.from_object(ready_made, "mine:ready_made", 4, time_limit="terminal")
    assert env.protocol["time_limit"] == "terminal"
    with pytest.raises(ConfigError, match="env=mine:ready_made makes an Env ready-made"):
        own.raw_of(ready_made, "mine:ready_made")


@pytest.mark.parametrize(
    "thing, kwargs, message",
    [
        (3, (), "env=m:x is an object of type int; accepted: a gymnax-1.0 class"),
        (Mine(), (), "env=m:x is an object of type Mine; accepted"),
        (lambda: None, (), "env=m:x gave None; accepted"),
        (lambda: Mine, (), "env=m:x gave the class Mine; accepted"),
        (lambda: (Mine(), 1, 2), (), "env=m:x gave a tuple of Mine, int, int; accepted"),
        (lambda: Halfway(), (), "gave an object of type Halfway, which has no reset; accepted"),
        (lambda: ready_made(1), (), "env=m:x gave an object of type Env; accepted"),
        (lambda num_envs: Mine(), (), "has a parameter num_envs and gave an object of type Mine"),
        (lambda num_envs: ready_made(1), (), "made 1 environments where num_envs=2 was asked for"),
        (ready_made, ("num_envs=3",), "env_kwargs=num_envs=... is not accepted"),
        (Mine, ("sise=3",), "env=m:x cannot be called with sise: .*'sise'"),
        (lambda size: Mine(size), (), "env=m:x cannot be called with no arguments: .*'size'"),
    ],
)
def test_anything_else_is_refused_in_one_sentence(thing, kwargs, message):
    with pytest.raises(ConfigError, match=message):
        own.from_object(thing, "m:x", 2, kwargs)


def raises(*arguments):
    raise ValueError("no")


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"step_env": lambda self, key, state, action: None},
            r"step_env of env=m:x takes \(key, state, action\), but it is called with "
            r"\(key, state, action, params\): too many",
        ),
        ({"reset_env": lambda self, key: None}, r"reset_env of env=m:x takes \(key\), but"),
        ({"is_truncated": lambda self, state: None}, r"is_truncated of env=m:x takes \(state\)"),
        ({"action_space": lambda self: None}, r"action_space of env=m:x takes \(\), but it is"),
        ({"observation_space": lambda self: None}, r"observation_space of env=m:x takes \(\)"),
        ({"observation_space": raises}, "observation_space of env=m:x raised ValueError: no"),
        ({"default_params": property(raises)}, "default_params of env=m:x raised ValueError: no"),
        ({"action_space": lambda self, params: 2}, r"m:x is 2; Discrete\(2\) is accepted"),
        (
            {"action_space": lambda self, params: spaces.Discrete(None)},
            "action_space of env=m:x raised ",
        ),
    ],
)
def test_a_method_that_cannot_be_called_is_named(changes, message):
    """Trap: Python's TypeError or ValueError came through, with a traceback of this house."""
    with pytest.raises(ConfigError, match=message):
        own.from_object(type("Wrong", (tabular.Tabular,), changes), "m:x", 2)


def test_an_error_inside_a_function_of_ones_own_is_told_with_its_place():
    def broken():
        raise KeyError("mine")

    told = r"env=m:x raised KeyError: 'mine' \(test_own_env.py, line \d+\)"
    with pytest.raises(ConfigError, match=told):
        own.from_object(broken, "m:x", 1)


def test_a_registered_name_is_accepted_in_the_same_process():
    """All of gymnax's own names are known, so only what was registered is registered."""
    assert envs._registered() == ()
    gymnax.register("Mine-original", Mine)
    try:
        assert "Mine-original" in envs.env_names()
        env = make_env("Mine-original", 2, ("size=4",))
        assert env.name == "Mine-original" and env.protocol["time_limit"] == "terminal"
        assert envs.make_gymnax("Mine-original", ("size=4",))[0].size == 4
        assert envs.registered("Mine-original") is Mine and envs.registered("CartPole-v1") is None
        with pytest.raises(ConfigError, match=r"env_kwargs=.*sise"):
            make_env("Mine-original", 2, ("sise=4",))
    finally:
        gymnax.registration._registry.pop("Mine-original")
        gymnax.registered_envs.remove("Mine-original")
    with pytest.raises(ConfigError, match="env=Mine-original does not exist"):
        make_env("Mine-original", 2)
