"""Parts of one's own that break their contract would train something else; each is one sentence."""

import re
import warnings
from dataclasses import replace
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
import pytest
from common import SMALL, SMALL_HPARAMS

import jaxq
from jaxq import networks
from jaxq.errors import ConfigError
from jaxq.learning import backups, losses
from jaxq.learning.agents import make_agent
from jaxq.networks import heads, modules
from jaxq.recipes.agents import make_agent_from, make_network_from
from jaxq.recipes.experiment import make_experiment, make_schedules
from jaxq.recipes.own import declares
from jaxq.replay import rings
from jaxq.types import LossOutput, Selection

pytestmark = pytest.mark.usefixtures("compiled_quickly")

HERE = __name__


def composed(hparams=SMALL_HPARAMS, **changes):
    return make_experiment(replace(SMALL, **changes), hparams)


def named(function) -> str:
    """A function of a test, as a name."""
    globals()[f"given_{id(function)}"] = function
    return f"{HERE}:given_{id(function)}"


# Networks


class Wide(nn.Module):
    num_outputs: int

    @nn.compact
    def __call__(self, obs):
        values = nn.Dense(self.num_outputs, name="head")(obs)
        return heads.QOutput(values)


def with_outputs(num_outputs):
    def make(config, env):
        network = modules.from_flax(Wide(num_outputs))
        return make_agent(network, losses.q_loss)

    return make


@pytest.mark.parametrize("num_outputs", [1, 5])
def test_a_network_has_a_value_for_every_action(num_outputs):
    """Trap: with more outputs than actions it learned and acted on actions that do not exist."""
    with pytest.raises(ConfigError, match=rf"\[2, {num_outputs}\] for 2 observations; \[2, 2\]"):
        composed(agent=named(with_outputs(num_outputs)))
    composed(agent=named(with_outputs(2)))


def test_features_have_one_axis():
    class Deep(nn.Module):
        @nn.compact
        def __call__(self, obs):
            return jnp.stack([obs, obs], axis=1)

    with pytest.raises(ConfigError, match=r"the network of network=.*shape \[2, 2, 2\]"):
        composed(network=named(lambda config, obs_spec: Deep()))


def test_a_network_is_no_flax_module():
    with pytest.raises(ConfigError, match="network gave an object of type Wide; a jaxq Network"):
        composed(agent=named(lambda config, env: make_agent(Wide(2), losses.q_loss)))


def test_an_output_has_q_values():
    class Bare(nn.Module):
        @nn.compact
        def __call__(self, obs):
            return nn.Dense(2)(obs)

    with pytest.raises(ConfigError, match=r"gave an object of type .*QOutput.* is accepted"):
        composed(
            agent=named(lambda c, e: make_agent(modules.from_flax(Bare()), losses.q_loss)),
        )


class Swelling(nn.Module):
    """A memory that is not what it was."""

    @nn.compact
    def __call__(self, carry, x, resets):
        return x, jnp.concatenate([carry[None], carry[None]], axis=-1)


def test_a_memory_of_ones_own_is_a_cell():
    def remember(make_cell):
        structure = {"agent": "drqn", "sequence_length": 4, "memory_inputs": "action"}
        return composed(memory=named(make_cell), **structure)

    def flax_cell(config):
        return networks.step_by_step(partial(nn.SimpleCell, config.memory_width))

    experiment = remember(flax_cell)
    assert experiment.made_of["memory"]["name"].endswith("flax_cell")
    carry = experiment.agent.initial_carry(jax.random.key(0), 2)
    assert carry.shape == (2, experiment.config.memory_width)
    with pytest.raises(ConfigError, match="gave an object of type SimpleCell; a jaxq Cell of net"):
        remember(lambda config: nn.SimpleCell(3))
    with pytest.raises(
        ConfigError, match=r"memory=.* takes \(\), but it is called with \(config\)"
    ):
        remember(lambda: None)
    swelling = networks.Cell(Swelling, lambda rows: jnp.zeros((rows, 3)))
    with pytest.raises(
        ConfigError, match=r"memory of float32\[2, 6\] after a step, and of float32\[2, 3\] before"
    ):
        remember(lambda config: swelling)


# Losses and windows


def scaled(change):
    """DQN's loss, its output changed."""

    def loss(*arguments, backup):
        output = losses.q_loss(*arguments, backup)
        return change(output)

    return named(lambda config, env: make_agent_from(config, env, loss=loss))


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda out: out._replace(loss=out.loss.mean()), r"gives loss float32\[\]; one number a w"),
        (lambda out: out._replace(aux={"x": 0.5}), "gives x float; one number a window"),
        (lambda out: out._replace(aux={"x": out.loss[:, None]}), r"gives x float32\[\d+, 1\]"),
        (lambda out: None, "gave an object of type NoneType; a jaxq LossOutput"),
        (lambda out: tuple(out), "gave an object of type tuple"),
    ],
)
def test_a_loss_is_one_number_a_window(change, message):
    with pytest.raises(ConfigError, match=message):
        composed(agent=scaled(change))


def test_a_loss_that_does_not_say_what_it_honours_honours_the_policy():
    """Trap: C51's loss in a function of one's own took a bonus and lost it."""

    def with_bonus(values, a_tm1, hparams):
        return backups.greedy(values, a_tm1, hparams)._replace(bonus=jnp.float32(1.0))

    def mine(*arguments, backup):
        return losses.categorical_loss(*arguments, backup)

    def agent(config, env, loss=mine):
        return make_agent_from(config, env, like="c51", loss=loss)

    with pytest.raises(ConfigError, match=r"does not honour; .*jaxq\.backups\.honours"):
        composed(agent=named(agent), backup=named(with_bonus))

    @backups.honours("policy", "bonus")
    def marked(*arguments, backup, scale=1.0):
        return losses.q_loss(*arguments, backup)

    for loss in (marked, partial(marked, scale=2.0)):
        make = named(lambda config, env, loss=loss: make_agent_from(config, env, loss=loss))
        composed(agent=make, backup=named(with_bonus))


def test_a_longer_window_is_n_step_and_nothing_else():
    """Trap: sequence_length made 4-step targets of an agent's own, recorded as n_step=1."""
    with pytest.raises(ConfigError, match="sequence_length=4 has no effect on a loss that folds"):
        composed(agent=named(lambda c, e: make_agent_from(c, e)), sequence_length=4)
    plain = named(lambda c, e: make_agent(make_network_from(c, e), losses.q_loss))
    with pytest.raises(ConfigError, match="sequence_length=4 has no effect on an agent whose"):
        composed(agent=plain, sequence_length=4)


def ring_of(window):
    def make(config, step):
        sizes = {"capacity": config.capacity, "batch_size": config.batch_size}
        return rings.uniform(step, **sizes, window=window)

    return named(make)


def test_a_replay_gives_windows_of_the_length_that_was_asked_for():
    """Trap: one that always gave single steps made n_step=3 the same as 1."""
    composed(replay=ring_of(3), n_step=3)
    with pytest.raises(ConfigError, match=r"gives windows of 1 steps; 3 are accepted"):
        composed(replay=ring_of(1), n_step=3)
    with pytest.raises(ConfigError, match="gave an object of type NoneType; a jaxq Replay"):
        composed(replay=named(lambda config, step: None))


# Optimizers, selections, schedules, backups


@pytest.mark.parametrize("wrong", [optax.adam(1e-3), optax.sgd(0.1)])
def test_an_optimizer_gives_the_direction_and_jaxq_the_step(wrong):
    """Trap: optax.adam would go uphill, since minus the step size is in it already."""
    with pytest.raises(ConfigError, match="goes against the gradient, and jaxq multiplies"):
        composed(optimizer=named(lambda hparams: wrong))
    composed(optimizer=named(lambda hparams: optax.scale_by_adam()))
    with pytest.raises(ConfigError, match=r"an object of type NoneType; an optax\.Grad"):
        composed(optimizer=named(lambda hparams: None))


@pytest.mark.parametrize(
    "field, function, message",
    [
        ("action_selection", lambda key, q, amount: q.argmax(-1) * 1.0, r"float32\[2\]; an integ"),
        ("action_selection", lambda key, q, amount: jnp.int32(0), r"int32\[\]; an integer for ev"),
        ("action_selection", lambda key, q, amount: None, "gives NoneType"),
        ("exploration", lambda a, b, n, t: jnp.zeros(3), r"float32\[3\]; a single number"),
        ("exploration", lambda a, b, n, t: None, "gives NoneType; a single number"),
        ("learning_rate_schedule", lambda a, b, n, t: jnp.zeros(3), r"float32\[3\]; a single n"),
        ("activation", lambda x: x[:, 0], r"float32\[2\]; what it is given, number by number"),
        ("activation", lambda x: None, "gives NoneType; what it is given"),
        ("activation", lambda x: jax.nn.softmax(x), "beside others than alone; a function of each"),
        ("backup", lambda v, a, h: backups.Lookahead(v.target_t.max()), r"policy of shape \[\];"),
        (
            "backup",
            lambda v, a, h: backups.greedy(v, a, h)._replace(bonus=v.target_t),
            r"gives a bonus of shape \[\d+\]; \[\] is accepted",
        ),
    ],
)
def test_what_a_function_gives_has_the_shape_of_its_contract(field, function, message):
    with pytest.raises(ConfigError, match=message):
        composed(**{field: named(function)})


@pytest.mark.parametrize(
    "field, function",
    [
        ("agent", lambda config: None),
        ("backup", lambda values, a_tm1: None),
        ("network", lambda config, obs_spec, more: None),
        ("replay", lambda: None),
        ("target", lambda a, b: None),
        ("optimizer", lambda: None),
        ("exploration", lambda a, b, c: None),
        ("learning_rate_schedule", lambda a, b, c: None),
        ("activation", lambda x, y: None),
        ("action_selection", lambda key, q_values: None),
    ],
)
def test_a_function_takes_what_it_is_called_with(field, function):
    with pytest.raises(ConfigError, match=rf"{field}=.* takes \(.*, but it is called with \("):
        composed(**{field: named(function)})


def test_what_is_handed_over_takes_what_it_is_called_with():
    network = composed().agent.network
    with pytest.raises(ConfigError, match=r"loss takes \(.*called with \(network, params, target"):
        make_agent(network, lambda network, params: 0.0)
    with pytest.raises(ConfigError, match=r"loss takes \(.*called with \(network, params_tm1"):
        make_agent(network, losses.q_loss, loop="streaming")
    with pytest.raises(ConfigError, match=r"make_env takes \(config\), but it is called with"):
        make_experiment(SMALL, SMALL_HPARAMS, make_env=lambda config: None)


def counting(config, select=None):
    """Every second action is random; what it remembers is a count."""

    def alternate(count, key, q_values, amount):
        return jnp.where(count % 2 == 0, q_values.argmax(-1), 0), count + 1

    return Selection(lambda num_envs: jnp.zeros(num_envs, jnp.int32), select or alternate)


def test_selecting_actions_may_remember_something():
    composed(action_selection=named(lambda config: counting(config)))
    for wrong, message in (
        (lambda config: counting(config, lambda s, k, q, a: (q.argmax(-1), ())), "another form"),
        (
            lambda config: counting(config, lambda s, k, q, a: (q, s)),
            r"float32\[2, 2\]; an integer",
        ),
        (lambda config: None, "gave an object of type NoneType; a jaxq Selection"),
    ):
        with pytest.raises(ConfigError, match=message):
            composed(action_selection=named(wrong))


def by_own_numbers(config):
    """Softmax of the values whose inverse temperature grows from 0 to ``extra.beta``."""

    def select(state, key, q_values, amount):
        explores, beta = amount
        return jax.random.categorical(key, (1.0 - explores) * beta * q_values), state

    amount = lambda hparams, scheduled: (scheduled, hparams.extra["beta"])  # noqa: E731
    return Selection(lambda num_envs: (), select, amount)


def test_selecting_actions_may_take_numbers_of_its_own():
    """Trap: only the two selections of ours that need it were given a number."""
    config = replace(SMALL, action_selection=named(by_own_numbers))
    hparams = SMALL_HPARAMS._replace(extra={"beta": 3.0}, epsilon_start=0.5, epsilon_end=0.5)
    exploration = make_schedules(config).exploration
    assert exploration(hparams, jnp.int32(0)) == (0.5, 3.0)
    made = make_experiment(config, hparams)
    begun = jax.eval_shape(made.trainer.init, jax.random.key(0), hparams)
    *_, metrics = jax.eval_shape(made.trainer.chunk, *begun, hparams)
    assert metrics["epsilon"].shape == ()  # what the schedule says
    with pytest.raises(
        ConfigError, match=r"extra\.beta is missing, which action_selection=.* reads"
    ):
        make_experiment(config, SMALL_HPARAMS)
    for amount, message in (
        (lambda hparams, scheduled: (), "gives NoneType; an amount of single numbers"),
        (lambda hparams, scheduled: jnp.zeros(2), r"float32\[2\]; an amount of single numbers"),
    ):
        wrong = lambda config, amount=amount: by_own_numbers(config)._replace(amount=amount)  # noqa: E731
        with pytest.raises(ConfigError, match=message):
            make_experiment(replace(SMALL, action_selection=named(wrong)), hparams)


# What is read


def test_structure_of_ones_own_is_read_by_name():
    """Trap: a misspelt name left the default in place."""

    def agent(config, env):
        depth = jaxq.words_as_values(config.extra).get("depth", 2)
        assert depth in (2, 3)
        return make_agent_from(config, env)

    composed(agent=named(agent), extra=("depth=3",))
    with pytest.raises(ConfigError, match="extra=dpeth=3 has no effect: no part of this run"):
        composed(agent=named(agent), extra=("dpeth=3",))

    def torso(config, obs_spec):
        return nn.Dense(jaxq.words_as_values(config.extra)["width"])

    composed(network=named(torso), extra=("width=4",))
    with pytest.raises(ConfigError, match="extra=depth=3 has no effect"):
        composed(network=named(torso), extra=("width=4", "depth=3"))


def test_fields_that_nothing_reads_are_said():
    def agent(config, env):
        return make_agent(modules.from_flax(Wide(2)), losses.q_loss)

    changes = {"widths": (8,), "num_atoms": 21, "dense": "noisy"}
    idle = r"dense=noisy num_atoms=21 widths=8 has no effect and is recorded"
    with pytest.warns(UserWarning, match=idle):
        composed(agent=named(agent), **changes)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        composed(agent=named(lambda c, e: make_agent_from(c, e)), widths=(8,), dueling=True)


def test_numbers_that_nothing_reads_are_said():
    make = named(lambda config, env: make_agent_from(config, env))
    with pytest.warns(UserWarning, match=r"td_lambda=0\.3 has no effect .* \(agent\) reads it"):
        composed(SMALL_HPARAMS._replace(td_lambda=0.3), agent=make)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        composed(SMALL_HPARAMS._replace(reward_scale=0.3, gamma=0.9), agent=make)


@pytest.mark.parametrize("bounds", [(1.0, 0.0), (0, "a"), ("0", "1"), 3, (1.0,), "01"])
def test_bounds_are_two_numbers_in_order(bounds):
    with pytest.raises(ConfigError, match=rf"declares alpha={re.escape(repr(bounds))}; the low"):
        declares(alpha=bounds)


def test_what_is_read_has_a_name():
    with pytest.raises(ConfigError, match="declares 3; names of fields are accepted"):
        declares(3)


def test_what_is_looked_at_is_not_in_the_program():
    """The checks are traced once and leave nothing behind."""
    experiment = composed()
    shapes = jax.eval_shape(experiment.trainer.init, jax.random.key(0), SMALL_HPARAMS)
    text = jax.jit(experiment.trainer.chunk).lower(*shapes, SMALL_HPARAMS).as_text()
    assert "callback" not in text and LossOutput.__name__ not in text
