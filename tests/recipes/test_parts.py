"""What rows say that they read is what their functions read, and nothing is dropped in silence."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from common import RECIPES, SMALL, SMALL_HPARAMS, cast, recipe, tabular_env

from jaxq.config import Config, HParams
from jaxq.errors import ConfigError
from jaxq.learning import backups, losses, recurrent
from jaxq.recipes import parts
from jaxq.recipes.agents import AGENTS, make_agent_from, make_network_from
from jaxq.recipes.experiment import make_experiment, make_schedules, make_trainer_from
from jaxq.recipes.parts import TABLES
from jaxq.recipes.reading import EVALUATION, FIELDS, chosen, readers, reads, settle
from jaxq.recipes.validation import validate
from jaxq.recipes.watching import WatchedConfig

pytestmark = pytest.mark.usefixtures("compiled_quickly")

# Between them every kind of part, most of its rows, and all loops.
COVERING = (
    "table, newest steps",
    "soft-q",
    "ez-greedy-dqn",
    "munchausen-dqn",
    "rainbow",
    "iqn",
    "bootstrapped-dqn",
    "averaged-dqn",
    "weight-decay-dqn",
    "hl-gauss",
    "shrink-and-perturb-dqn",
    "chain-auto-dqn",
    "is-dqn",
    "i-dqn",
    "r2d2",
    "pqn",
    "online-q-adam",
    "stream-q",
    "qrc",
    "intentional-q",
)


class Watched(HParams):
    """Numbers that note which of them are read, through every transformation."""

    seen: set = set()

    def __getattribute__(self, name):
        if name in HParams._fields:
            Watched.seen.add(name)
        return super().__getattribute__(name)


@pytest.mark.parametrize("name", COVERING)
def test_rows_declare_what_their_functions_read(name):
    config, experiment = RECIPES[name], recipe(name)
    declared = set(reads(config))
    watched = WatchedConfig.of(config)
    env = tabular_env(config.num_envs)
    make_trainer_from(watched, env, make_agent_from(watched, env))
    unread = (declared & set(vars(config))) - watched.seen
    # The environment and evaluation are composed elsewhere; ``chunk_steps`` by all loops.
    elsewhere = {"env", "env_kwargs", "time_limit", "num_envs", "memory_inputs", *EVALUATION}
    assert unread <= elsewhere
    hparams = Watched(*cast(HParams()))
    Watched.seen = set()
    state, clock = jax.eval_shape(experiment.trainer.init, jax.random.key(0), hparams)
    jax.eval_shape(experiment.trainer.chunk, state, clock, hparams)
    jax.eval_shape(experiment.evaluate, state.params, jax.random.key(0), hparams)
    assert Watched.seen == declared & set(HParams._fields)


def test_every_field_is_read_by_something():
    roots = {"agent", "extra", "env", "env_kwargs", "env_params", "time_limit", "num_envs"}
    for field in set(FIELDS) - roots - set(EVALUATION):
        assert readers(field, Config()), field


def test_every_name_of_a_table_can_be_chosen():
    for field, table in TABLES.items():
        for name in table:
            assert chosen(replace(Config(), **{field: name}))


def test_a_presets_numbers_for_another_part_are_not_recorded():
    """dqn-breakout's Huber loss means nothing to C51, and RMSprop's decay nothing to Adam."""
    config = Config(agent="c51", capacity=5_000)
    hparams = HParams(huber_delta=1.0, rmsprop_decay=0.9, gamma=0.9)
    with pytest.raises(
        ConfigError, match=r"rmsprop_decay=0\.9 has no effect without optimizer=rmsprop"
    ):
        validate(config, hparams._replace(huber_delta=HParams().huber_delta))
    assert settle(config, hparams, ()) == (config, HParams(gamma=0.9))
    kept = settle(config, hparams, {"huber_delta"})[1]
    assert kept == HParams(huber_delta=1.0, gamma=0.9)


def test_the_choice_that_is_missing_is_named():
    config = Config(action_selection="softmax")
    with pytest.raises(
        ConfigError, match=r"epsilon_end=0\.5 has no effect without action_selection=eps"
    ):
        validate(config, HParams(epsilon_end=0.5))


def with_bonus(values, a_tm1, hparams):
    return backups.greedy(values, a_tm1, hparams)._replace(bonus=hparams.reward_scale)


def with_entropy(values, a_tm1, hparams):
    return backups.greedy(values, a_tm1, hparams)._replace(entropy=hparams.temperature)


@pytest.mark.parametrize(
    ("backup", "expected"),
    [
        (backups.greedy, {"policy"}),
        (backups.soft, {"policy", "entropy"}),
        (backups.munchausen, {"policy", "entropy", "bonus"}),
        (backups.minto, {"policy", "online"}),
        (with_bonus, {"policy", "bonus"}),
    ],
)
def test_what_a_backup_sets_is_seen(backup, expected):
    assert backups.sets(backup, HParams()) == expected


@pytest.mark.parametrize("backup", [with_bonus, with_entropy])
def test_a_backup_of_ones_own_is_refused_by_a_loss_that_would_lose_part_of_it(backup, monkeypatch):
    """C51 reads only the policy, R2D2 learns in other units, a longer window loses later ones."""
    monkeypatch.setitem(parts.BACKUPS, "mine", parts.Row(backup))
    sequences = {"memory": "lstm", "sequence_length": 4}
    for changes, message in (
        ({"agent": "c51"}, "which agent=c51 does not honour; greedy or double"),
        ({"agent": "r2d2", **sequences}, "which agent=r2d2 does not honour"),
        ({"n_step": 3}, "n_step=3 must be 1 for backup=mine"),
    ):
        with pytest.raises(ConfigError, match=message):
            validate(Config(backup="mine", **changes), HParams())
    validate(Config(backup="mine"), HParams())
    assert losses.q_loss.honours >= {"bonus"}
    assert recurrent.r2d2_loss.honours == {"policy", "online"}


def test_an_agent_of_ones_own_drops_no_choice():
    """Trap: softmax's temperature would be taken for epsilon, and a backup would not be used."""

    def careless(config, env):
        return make_agent_from(Config(widths=config.widths), env)

    for changes in ({"action_selection": "softmax"}, {"backup": "double"}, {"break_ties": True}):
        (field,) = changes
        with pytest.raises(ConfigError, match=f"{field}=.* has no effect on an agent whose"):
            make_experiment(replace(SMALL, **changes), HParams(), make_agent=careless)


def test_a_loss_without_a_parameter_for_the_backup_refuses_one():
    def my_loss(network, params, target_params, key, steps, hparams):
        return losses.q_loss(network, params, target_params, key, steps, hparams)

    def make_agent(config, env):
        return make_agent_from(config, env, loss=my_loss)

    make_experiment(SMALL, SMALL_HPARAMS, make_agent=make_agent)
    with pytest.raises(ConfigError, match="backup=double has no effect on a loss without"):
        make_experiment(replace(SMALL, backup="double"), SMALL_HPARAMS, make_agent=make_agent)


def test_numbers_of_ones_own_are_neither_missing_nor_idle():
    def my_loss(network, params, target_params, key, steps, hparams):
        output = losses.q_loss(network, params, target_params, key, steps, hparams)
        return output._replace(loss=hparams.extra["alpha"] * output.loss)

    def make_agent(config, env):
        return make_agent_from(config, env, loss=my_loss)

    for extra, message in (
        ({}, "extra.alpha is missing, which a part of your own reads; --extra alpha NUMBER"),
        ({"alpha": 0.1, "alhpa": 0.2}, "extra.alhpa has no effect: no part of this run reads it"),
    ):
        with pytest.raises(ConfigError, match=message):
            make_experiment(SMALL, SMALL_HPARAMS._replace(extra=extra), make_agent=make_agent)
    made = make_experiment(SMALL, SMALL_HPARAMS._replace(extra={"alpha": 1}), make_agent=make_agent)
    assert made.made_of["agent"]["name"].endswith("make_agent")


def test_hyperparameters_are_hparams():
    class Mine(HParams):
        pass

    with pytest.raises(ConfigError, match="hparams=Mine must be HParams; numbers of your own go"):
        validate(Config(), Mine())


def test_names_of_agents_are_rows():
    assert set(AGENTS) == set(TABLES["agent"])


def cosine(start, end, num_steps, step):
    return end + (start - end) * 0.5 * (1.0 + jnp.cos(jnp.pi * jnp.minimum(step / num_steps, 1.0)))


def test_the_step_size_follows_a_schedule_of_ones_own():
    config = replace(SMALL, learning_rate_schedule=f"{__name__}:cosine")
    hparams = cast(HParams(learning_rate=0.3, learning_rate_end=0.1, learning_rate_steps=400.0))
    learning_rate = make_schedules(config).learning_rate
    found = [learning_rate(hparams, jnp.int32(step)) for step in (0, 200, 400, 900)]
    np.testing.assert_allclose(found, [0.3, 0.2, 0.1, 0.1], rtol=1e-6)


@pytest.mark.parametrize("network, shape", [("mlp", (3,)), ("minatar", (4, 5, 2))])
def test_a_librarys_function_follows_every_hidden_layer(network, shape):
    """Of torso and head, and of images, whose units stand on another axis."""
    obs = jax.random.uniform(jax.random.key(0), (2, *shape))
    env = tabular_env(1)._replace(obs_spec=jax.ShapeDtypeStruct(shape, jnp.float32), num_actions=2)
    wide = replace(SMALL, network=network, widths=(8, 8), dueling=True, stream_widths=(4,))

    def values(activation):
        net = make_network_from(replace(wide, activation=activation), env)
        return net.apply(net.init(jax.random.key(1), obs), obs, None, ())[0].q_values

    np.testing.assert_array_equal(values("jax.nn:relu"), values("relu"))
    assert not np.allclose(values("jax.nn:silu"), values("relu"), atol=1e-3)
    np.testing.assert_array_equal(values("jax.nn:leaky_relu"), values("leaky-relu"))
