"""Diagnostics: each measure in closed form, and that to measure changes nothing."""

import re
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from common import RECIPES, SMALL, SMALL_HPARAMS, cast, same_bits, small, tabular_env
from tabular import truncation

from jaxq.config import HParams
from jaxq.learning import optimizers, traces
from jaxq.learning.traces import Online
from jaxq.loops import diagnostics
from jaxq.loops.offline import OfflineState
from jaxq.loops.on_policy import RoundLengths, of_updates
from jaxq.recipes.agents import make_agent_from
from jaxq.recipes.experiment import make_diagnostics_from, make_experiment, make_trainer_from
from jaxq.scoring import inside
from jaxq.types import Agent, Inside, Network, Trainer

pytestmark = pytest.mark.usefixtures("compiled_quickly")

KEY = jax.random.key(0)
EVERYTHING = set(inside.WORDS) - {"overestimation"}
OF_VALUES = {"policy_churn", "value_churn"}
OF_UNITS = {"dormant", "dead", "srank", "effective_rank", "feature_norm"}


@pytest.mark.parametrize(
    ("values", "delta", "rank"),
    [
        ([90.0, 9.5, 0.3, 0.2], 0.01, 2),
        ([90.0, 9.5, 0.3, 0.2], 0.001, 4),
        ([1.0, 1.0, 1.0, 1.0], 0.01, 4),
        ([5.0, 0.0, 0.0], 0.01, 1),
        ([0.0, 0.0], 0.01, 1),
    ],
)
def test_srank_is_how_many_values_make_up_almost_all(values, delta, rank):
    assert diagnostics.srank(jnp.array(values), delta) == rank


@pytest.mark.parametrize(
    ("values", "rank"),
    [
        ([3.0, 3.0, 3.0], 3.0),
        ([7.0, 0.0, 0.0], 1.0),
        ([2.0, 1.0, 1.0], 2.0**1.5),
        ([0.0, 0.0], 1.0),
    ],
)
def test_effective_rank_is_the_exponential_of_an_entropy(values, rank):
    np.testing.assert_allclose(diagnostics.effective_rank(jnp.array(values)), rank, rtol=1e-6)


def test_churn_counts_states_whose_greedy_action_moves():
    before = jnp.array([[1.0, 0.0], [1.0, 0.0], [0.0, 2.0], [0.0, 3.0]])
    after = before + jnp.array([[0.0, 0.5], [0.0, 1.5], [0.0, 0.0], [4.0, 0.0]])
    found = diagnostics.churn(before, after)
    assert found["policy_churn"] == 0.5 and found["value_churn"] == 6.0 / 8
    assert np.isnan(diagnostics.churn(before, jnp.nan * after)["policy_churn"])


def test_what_is_inside_of_a_made_up_network():
    """Features of ranks 1 and 2 in two members; a layer of four units, two of them dead in one."""
    features = jnp.array([[[3.0, 4.0], [3.0, 4.0]], [[1.0, 0.0], [0.0, 1.0]]])
    activity = [jnp.array([[0.0, 0.0, 1.0, 1.0], [0.09, 1.3, 1.3, 1.31]])]
    network = Network(None, None, inside=lambda params, obs: Inside(features, activity))
    found = diagnostics.look_inside(network, None, None)
    assert found["dead"] == 2 / 8 and found["dormant"] == 3 / 8
    assert found["srank"] == 1.5 and found["feature_norm"] == (5.0 + 1.0) / 2
    np.testing.assert_allclose(found["effective_rank"], 1.5, rtol=1e-6)
    without = Network(None, None, inside=lambda params, obs: Inside(None, []))
    assert diagnostics.look_inside(without, None, None) == {}


def test_matrices_of_members_are_decomposed_one_after_the_other():
    """All at once they wait for each other for ever, where every device has some."""
    network = Network(None, None, inside=lambda params, obs: Inside(params, []))
    look = jax.jit(jax.vmap(lambda params: diagnostics.look_inside(network, params, None)))
    features = jnp.stack([jnp.diag(jnp.arange(1.0, 4.0)), jnp.eye(3), jnp.ones((3, 3))])
    shapes = re.findall(r"gesdd.*?: \(tensor<(.*?)xf32>\)", look.lower(features).as_text())
    assert shapes and all(shape == "3x3" for shape in shapes)
    np.testing.assert_allclose(look(features)["srank"], [3.0, 3.0, 1.0])
    np.testing.assert_allclose(look(features)["effective_rank"][1:], [3.0, 1.0], rtol=1e-4)


def test_distance_is_that_of_one_vector():
    ours, others = {"a": jnp.ones(3), "b": jnp.zeros(1)}, {"a": jnp.zeros(3), "b": jnp.ones(1)}
    assert diagnostics.distance(ours, others) == 2.0


def test_an_optimizer_that_is_noted_does_the_same():
    plain = optimizers.make_optimizer(optimizers.adam, clip_gradients=True)
    hparams, params = cast(HParams(max_gradient_norm=1.0)), {"w": jnp.array([1.0, 2.0])}
    ours, noting = plain(hparams, 0.1), diagnostics.note_optimizer(plain)(hparams, 0.1)
    state, noted = ours.init(params), noting.init(params)
    size = 0.0
    for gradient in ([3.0, 4.0], [0.0, -1.0]):
        gradients = {"w": jnp.array(gradient)}
        updates, state = ours.update(gradients, state, params)
        same, noted = noting.update(gradients, noted, params)
        assert same_bits(updates, same) and same_bits(state, noted.state)
        size += float(optax.global_norm(updates))
    assert noted.gradient == 5.0 + 1.0
    np.testing.assert_allclose(noted.update, size, rtol=1e-6)


def test_a_trace_rule_that_is_noted_does_the_same():
    rule, hparams = traces.obgd(), cast(HParams())
    weights = {"w": jnp.array([1.0, 2.0])}
    online = Online(lambda w: w["w"].sum(), lambda w: 3.0 - w["w"].sum())
    noting = diagnostics.note_rule(rule)
    state = rule.init(KEY, weights, None, hparams)
    plain, _ = rule.update(state, weights, online, 0.5, hparams, 0.1)
    begun = noting.init(KEY, weights, None, hparams)
    noted, after = noting.update(begun, weights, online, 0.5, hparams, 0.1)
    assert same_bits(plain, noted)
    assert after.update == diagnostics.distance(plain, weights)


@pytest.mark.parametrize(("minibatches", "epochs"), [(32, 2), (16, 4), (4, 2), (1, 1), (3, 7)])
def test_rounds_are_cut_to_exactly_so_many_updates(minibatches, epochs):
    lengths = of_updates(RoundLengths(64, 1, 8, minibatches, epochs, 10), 20)
    assert lengths.minibatches * lengths.epochs * lengths.rounds_per_chunk == 20
    assert lengths.minibatches <= minibatches and lengths.epochs <= epochs
    assert (lengths.rows, lengths.batch_size) == (64, 8)


def test_what_is_held_out_follows_from_the_key():
    hparams, env = cast(HParams()), small().env
    hold_out = jax.jit(lambda key: diagnostics.hold_out(env, key, hparams))
    first, again, other = hold_out(KEY), hold_out(KEY), hold_out(jax.random.key(1))
    assert first.shape == (512, 4) and same_bits(first, again) and not same_bits(first, other)
    assert len(np.unique(first, axis=0)) == 512


# A row for every loop, and for every kind of network.
MEASURED = {
    "double-dqn": EVERYTHING,
    "chain-dqn": EVERYTHING,
    "iqn": EVERYTHING,
    "bootstrapped-dqn": EVERYTHING,
    "rem": EVERYTHING,
    "is-dqn": EVERYTHING,
    "i-dqn": EVERYTHING,
    "r2d2": EVERYTHING - OF_VALUES - OF_UNITS,
    "pqn": EVERYTHING,
    "stream-q": EVERYTHING - {"gradient_norm"},
}


def measured_once(config, hparams):
    """``() -> `` what is measured of a member of the tabular environment at its beginning."""
    env, eval_env = tabular_env(config.num_envs), tabular_env(config.eval_episodes)
    agent = make_agent_from(config, env)
    trainer = make_trainer_from(config, env, agent)
    made = make_diagnostics_from(config, env, eval_env, agent)
    return partial(at_the_beginning, trainer, made, hparams)


def at_the_beginning(trainer, made, hparams):
    state, clock = trainer.init(KEY, hparams)
    beginning = made.begin(state.params, KEY, hparams)
    return made.measure(state, clock, beginning, KEY, hparams)


STILL = cast(HParams(learning_rate=0.0, huber_delta=1.0, env_params=truncation()))


@pytest.mark.parametrize("name", MEASURED)
def test_what_is_defined_for_a_member_is_measured(name):
    assert set(jax.eval_shape(measured_once(RECIPES[name], STILL))) == MEASURED[name]


_SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in MEASURED if name != "pqn"]


@pytest.mark.parametrize("name", ["pqn", *_SLOW])
def test_a_member_that_does_not_learn_has_no_churn(name):
    """All measures are finite, and nothing moves at step size 0; nor do running statistics count,
    which change while a loop acts that learns from what it does."""
    config = replace(RECIPES[name], **({"observations": "normalized"} if name == "pqn" else {}))
    found = jax.device_get(jax.jit(measured_once(config, STILL))())
    assert all(np.isfinite(value) for value in found.values()), found
    still = {"weight_distance", "update_norm", *OF_VALUES} & set(found)
    assert all(found[measure] == 0.0 for measure in still)
    assert found.get("gradient_norm", 1.0) > 0.0


def test_churn_is_that_of_twenty_updates_of_the_loop():
    """By hand: twenty updates from the same key. They count in the optimizer, and nothing acts."""
    experiment = small(diagnose=True)
    trainer, hparams = experiment.trainer, cast(SMALL_HPARAMS._replace(learning_rate=0.1))

    @jax.jit
    def both():
        state, clock = trainer.init(KEY, hparams)
        beginning = experiment.diagnostics.begin(state.params, KEY, hparams)
        found = experiment.diagnostics.measure(state, clock, beginning, KEY, hparams)
        later = trainer.learn(state, clock, KEY, hparams, diagnostics.UPDATES)
        values = [
            experiment.agent.network.apply(params, beginning.obs, None, ())[0].q_values
            for params in (state.params, later.params)
        ]
        return found, state.env_state, later.env_state, later.opt_state, values

    found, old, new, opt_state, (before, after) = jax.device_get(both())
    assert [x for x in jax.tree.leaves(opt_state) if x.dtype == np.int32] == [20]
    assert same_bits(old, new)
    moved = before.argmax(axis=1) != after.argmax(axis=1)
    assert 0.0 < found["policy_churn"] == pytest.approx(moved.mean())
    assert found["value_churn"] == pytest.approx(np.abs(before - after).mean(), rel=1e-5)
    assert found["weight_distance"] == 0.0 and found["update_norm"] > 0.0


def test_to_be_measured_is_the_same_program():
    """That runs have the same bits, see ``runs/test_diagnosing``."""
    on, off, hparams = small(diagnose=True), small(), cast(SMALL_HPARAMS)
    state, clock = jax.eval_shape(off.trainer.init, KEY, hparams)
    programs = [
        jax.jit(made.trainer.chunk).lower(state, clock, hparams).as_text() for made in (on, off)
    ]
    assert programs[0] == programs[1] and off.diagnostics is None


def test_an_agent_without_a_network_has_what_needs_none():
    def without_network(config, env):
        return make_agent_from(config, env)._replace(network=None)

    config, hparams = replace(SMALL, diagnose=True), cast(SMALL_HPARAMS)
    made = make_experiment(config, SMALL_HPARAMS, make_agent=without_network)
    found = jax.eval_shape(partial(at_the_beginning, made.trainer, made.diagnostics, hparams))
    assert set(found) == EVERYTHING - OF_VALUES - OF_UNITS


def test_norms_are_means_over_the_updates_and_distances_from_the_first_weights():
    def learn(state, clock, key, hparams, updates):
        noted = state.opt_state._replace(gradient=3.0 * updates, update=5.0 * updates)
        return state._replace(opt_state=noted)

    agent, trainer = Agent(None, None, None, None, None), Trainer(None, None, learn=learn)
    measure = diagnostics.make_diagnostics(None, agent, trainer).measure
    state = OfflineState({"w": jnp.ones(4)}, None, (), None, None, None)
    first = diagnostics.Beginning(None, {"w": jnp.zeros(4)})
    found = measure(state, None, first, KEY, None)
    assert found == {"weight_distance": 2.0, "update_norm": 5.0, "gradient_norm": 3.0}
