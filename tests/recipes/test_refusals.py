"""Parts of one's own that do not fit are refused in a sentence, before anything compiles."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from common import SMALL, SMALL_HPARAMS

from jaxq.config import Config, HParams, Preset
from jaxq.errors import ConfigError
from jaxq.learning import backups, losses
from jaxq.learning.agents import make_agent
from jaxq.recipes.agents import make_agent_from
from jaxq.recipes.experiment import make_experiment
from jaxq.recipes.own import declares
from jaxq.recipes.parts import find
from jaxq.runs.spec import RunSpec, compose

HERE = __name__


def tried(make, hparams=SMALL_HPARAMS, **changes):
    return make_experiment(replace(SMALL, **changes), hparams, make_agent=make)


def by_name(hparams=SMALL_HPARAMS, **changes):
    return make_experiment(replace(SMALL, **changes), hparams)


def test_the_loop_is_the_one_that_the_configuration_is_made_for():
    """Trap: lengths are checked for one loop, and another trains with them."""
    on_policy = lambda config, env: make_agent_from(config, env, like="pqn")  # noqa: E731
    with pytest.raises(ConfigError, match="is made for the on-policy loop and the configuration"):
        tried(on_policy)


def agent_from_this_file(config, env):
    return make_agent_from(config, env)._replace(initial_carry=lambda key, rows: ())


def test_an_agent_of_ones_own_may_begin_with_the_one_that_is_configured():
    by_name(agent=f"{HERE}:agent_from_this_file")


@pytest.mark.parametrize(
    ("like", "changes", "message"),
    [
        ("iqn", {}, "huber_delta=inf must be positive and finite"),
        ("averaged", {}, "target=polyak must be stack"),
        ("drqn", {}, "memory=none must be one of lstm, gru, mingru, lru"),
    ],
)
def test_what_an_agent_needs_it_needs_in_ones_own_too(like, changes, message):
    with pytest.raises(ConfigError, match=message):
        tried(lambda config, env: make_agent_from(config, env, like=like), **changes)


def plain_loss(network, params, target_params, key, steps, hparams, backup):
    return losses.q_loss(network, params, target_params, key, steps, hparams, backup)


def test_a_loss_honours_what_the_one_it_replaces_honours():
    make = lambda config, env: make_agent_from(config, env, like="c51", loss=plain_loss)  # noqa: E731
    with pytest.raises(ConfigError, match="backup=soft sets entropy"):
        tried(make, backup="soft")


def test_no_choice_is_dropped_in_silence():
    def select(key, q_values, amount):
        return jnp.zeros(len(q_values), jnp.int32)

    def my_agent(config, env):
        return make_agent(make_agent_from(config, env), losses.q_loss)

    with pytest.raises(ConfigError, match="break_ties=True has no effect on action_selection"):
        by_name(action_selection=f"{HERE}:my_select", break_ties=True)
    with pytest.raises(ConfigError, match="num_atoms=7 has no effect without agent=c51"):
        by_name(backup=f"{HERE}:my_backup", num_atoms=7, hparams=HParams(extra={"alpha": 0.1}))
    with pytest.raises(ConfigError, match="extra=depth=3 has no effect without your own parts"):
        by_name(extra=("depth=3",))
    with pytest.raises(ConfigError, match="extra=depht=3 has no effect: no part of this run"):
        by_name(agent=f"{HERE}:agent_from_this_file", extra=("depht=3",))


def my_select(key, q_values, amount):
    return jnp.zeros(len(q_values), jnp.int32)


def my_backup(values, a_tm1, hparams):
    bonus = hparams.extra["alpha"] * values.target_tm1[a_tm1]
    return backups.greedy(values, a_tm1, hparams)._replace(bonus=bonus)


def test_numbers_of_a_backup_of_ones_own():
    with pytest.raises(ConfigError, match=r"extra.alpha is missing, which the backup reads"):
        by_name(backup=f"{HERE}:my_backup")
    by_name(SMALL_HPARAMS._replace(extra={"alpha": 0.1}), backup=f"{HERE}:my_backup")


def three(*_):
    return 3


@pytest.mark.parametrize("field", ["agent", "target", "network", "backup"])
def test_what_is_made_is_what_is_asked_for(field):
    with pytest.raises(ConfigError, match="an object of type int"):
        by_name(**{field: f"{HERE}:three"})


def test_a_metric_of_ones_own_hides_none_that_every_run_has():
    """Trap: a loss of NaN, by which a member is known to have diverged, would not be seen."""

    def my_loss(*arguments, backup):
        output = losses.q_loss(*arguments, backup)
        return output._replace(aux={"loss": jnp.zeros_like(output.loss)})

    with pytest.raises(ConfigError, match="aux=loss of a loss is the name of another metric"):
        tried(lambda config, env: make_agent_from(config, env, loss=my_loss))


def test_parameters_have_names():
    def my_agent(config, env):
        agent = make_agent_from(config, env)
        listed = agent._replace(
            init=lambda key, obs: [agent.init(key, obs)],
            act=lambda params, *rest: agent.act(params[0], *rest),
            act_greedy=lambda params, *rest: agent.act_greedy(params[0], *rest),
            loss=lambda params, target, *rest: agent.loss(params[0], target[0], *rest),
        )
        return listed if (config.backup, config.action_selection, config.break_ties) else None

    with pytest.raises(ConfigError, match="params of an agent must be dictionaries of arrays"):
        tried(my_agent)


def test_a_declaration_names_fields():
    @declares("widhts")
    def make(config, env):
        return None

    globals()["misspelt"] = make
    with pytest.raises(ConfigError, match="reads=widhts does not exist; did you mean widths"):
        find("agent", f"{HERE}:misspelt")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": [0.5]}, "must be a whole number"),
        ({"seeds": ["a"]}, "must be a whole number"),
        ({"seeds": ["0"]}, "seeds='0' must be a whole number"),
        ({"lanes": []}, "lanes is empty"),
        ({"lanes": [SMALL_HPARAMS, SMALL_HPARAMS._replace(extra={"a": 1})]}, "extra must name"),
    ],
)
def test_what_a_run_is_asked_to_do_is_checked(changes, message):
    spec = RunSpec("x", SMALL, [SMALL_HPARAMS], [0], 200)._replace(**changes)
    with pytest.raises(ConfigError, match=message):
        compose(spec)


def test_seeds_of_numpy_are_plain_numbers_in_the_record():
    spec = RunSpec("x", Config(), [HParams()], np.arange(2), 20_000)
    assert spec.document()["seeds"] == [0, 1] and type(spec.document()["seeds"][0]) is int


def test_a_number_keeps_all_its_digits_on_the_command_line():
    """Trap: what was stored was written out in six digits, and read again as another number."""
    from jaxq.cli.arguments import parse
    from jaxq.cli.main import RunOptions

    hparams = HParams(extra={"alpha": 1 / 3}, env_params={"slip": [0.1, 0.2], "hard": True})
    preset = Preset("A preset.", Config(), hparams, 20_000, 1)
    parsed = parse("--env-params gravity 5".split(), "x", preset, RunOptions())
    assert parsed.hparams.extra == hparams.extra
    assert parsed.hparams.env_params == {**hparams.env_params, "gravity": 5}
