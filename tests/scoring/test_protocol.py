"""Protocols: what two scores must share to be compared, and how that is said."""

import pytest

import jaxq
from jaxq.config import HParams
from jaxq.documents import plain_numbers
from jaxq.envs.libraries import version_of
from jaxq.scoring.protocol import (
    completed,
    flat,
    lane_protocols,
    make_protocol,
    own_part,
    protocol_words,
    split,
)

HERE = version_of("gymnax")["gymnax"]
SAYS = {
    "environment": "CartPole-v1",
    "time_limit": "bootstrap",
    "num_actions": 2,
    "sticky_actions": 0.0,
}


def protocol_of(config, *lanes):
    return make_protocol(SAYS, {"gymnax": "1.0.1"}, config, [plain_numbers(lane) for lane in lanes])


def test_what_a_protocol_holds():
    held = protocol_of({"env_kwargs": ["size=10"], "gamma": 0.5}, HParams(env_params={"mass": 2}))
    own = {"gymnax": "1.0.1", "env_kwargs": ["size=10"], "evaluation": "greedy"}
    assert held == {**SAYS, **own, "env_params.mass": 2.0}


@pytest.mark.parametrize(
    "config, lane",
    [
        ({"env_kwargs": ["size=20"]}, HParams()),
        ({"env_kwargs": ["size=10"]}, HParams(env_params={"mass": 1.0})),
        ({"env_kwargs": ["size=10"]}, HParams(eval_epsilon=0.05)),
    ],
    ids=["env_kwargs", "env_params", "eval_epsilon"],
)
def test_what_changes_an_environment_or_an_evaluation_changes_the_protocol(config, lane):
    assert protocol_of(config, lane) != protocol_of({"env_kwargs": ["size=10"]}, HParams())


def test_what_belongs_to_the_method_does_not_change_it():
    lane = HParams(gamma=0.5, learning_rate=1.0)
    assert protocol_of({"agent": "c51"}, lane) == protocol_of({}, HParams())


def test_lanes_say_only_what_they_do_not_share():
    lanes = [HParams(env_params={"mass": m, "length": 1.0}, eval_epsilon=0.1) for m in (1.0, 2.0)]
    shared = protocol_of({}, *lanes)
    assert shared["evaluation"] == "epsilon 0.1" and shared["env_params.length"] == 1.0
    own = [own_part(shared, plain_numbers(lane)) for lane in lanes]
    assert own == [{"env_params.mass": 1.0}, {"env_params.mass": 2.0}]
    document = {"protocol": shared, "lanes": [{"protocol": part} for part in own]}
    assert lane_protocols(document) == [protocol_of({}, lane) for lane in lanes]
    assert split(lane_protocols(document)) == (shared, own)
    assert own_part(protocol_of({}, lanes[0]), plain_numbers(lanes[0])) == {}


def test_words_name_the_library_and_its_version():
    says = make_protocol({"environment": "pgx/2048"}, {"pgx": "2.6.0"}, {}, [{}])
    assert protocol_words(says) == "pgx/2048 (pgx 2.6.0), greedy evaluation"


def test_words_of_a_protocol():
    protocol = {**SAYS, "time_limit": "terminal", "sticky_actions": 0.25, "ramping": True}
    protocol |= {"evaluation": "greedy", "env_kwargs": ["size=10"], "env_params.memory_length": 5.0}
    assert protocol_words(protocol) == (
        "CartPole-v1, 2 actions, sticky actions (0.25), episodes terminate at time limits, "
        "greedy evaluation, size=10, ramping true, memory length 5"
    )


def test_the_limit_of_steps_is_said_once():
    """By default as the environment has it, and where a lane gives another, by that alone."""
    env = jaxq.make_env("CartPole-v1", 1)
    assert env.protocol["limit"] == {"max_steps_in_episode": 500}
    default = make_protocol(env.protocol, {}, {}, [{}])
    assert "values bootstrap through the time limit of 500 steps" in protocol_words(default)
    lanes = [{"env_params": {"max_steps_in_episode": steps}} for steps in (100, 500)]
    shared = make_protocol(env.protocol, {}, {}, lanes)
    assert "limit" not in shared
    assert own_part(shared, lanes[0]) == {"env_params.max_steps_in_episode": 100.0}
    alone = make_protocol(env.protocol, {}, {}, lanes[1:])
    words = "values bootstrap through time limits, greedy evaluation, max steps in episode 500"
    assert words in protocol_words(alone)
    assert flat(alone) == flat(default)


def test_no_limit_is_said_too():
    env = jaxq.make_env("Breakout-MinAtar-original", 1)
    assert ", no time limit," in protocol_words(make_protocol(env.protocol, {}, {}, [{}]))
    assert flat(env.protocol)["max_steps_in_episode"] == "none"


def test_what_a_ready_made_environment_calls_a_limit_is_its_own():
    says = {**SAYS, "limit": 3}
    assert make_protocol(says, {}, {}, [{}]) == {**says, "env_kwargs": [], "evaluation": "greedy"}
    assert protocol_words(says).endswith("through time limits, limit 3") and flat(says) == says


@pytest.mark.parametrize(
    "env, version, given, limit",
    [
        ("CartPole-v1", HERE, {}, {"max_steps_in_episode": 500}),
        ("CartPole-v1", HERE, {"max_steps_in_episode": 200.0}, None),
        ("CartPole-v1", "0.0.9", {}, None),
        ("mine:Env", HERE, {}, None),
    ],
    ids=["known", "given", "another version", "somebody's own"],
)
def test_an_older_protocol_is_completed_with_what_is_known(env, version, given, limit):
    config, lanes = {"env": env}, [{"env_params": given}]
    old = make_protocol(SAYS, {"gymnax": version}, config, lanes)
    found = completed(old, config, lanes[0])
    assert found == ({**old, "limit": limit} if limit else old)
    assert completed(found, config, lanes[0]) == found
