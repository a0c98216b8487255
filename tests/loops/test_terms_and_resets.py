"""What terms, resets and replays are handed, by hand."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from common import SMALL, SMALL_HPARAMS, cast, small, tabular_env
from flax.traverse_util import flatten_dict

from jaxq.config import HParams
from jaxq.learning import optimizers, plasticity, regularisers
from jaxq.learning.plasticity import Anew, Learner
from jaxq.learning.targets import polyak
from jaxq.loops import offline, resets
from jaxq.loops.rollout import Schedules
from jaxq.loops.updating import make_update
from jaxq.networks import heads, layers, modules, torsos
from jaxq.recipes.experiment import make_optimizer_from
from jaxq.replay import rings
from jaxq.replay.datasets import Windows
from jaxq.types import Agent, Clock, LossOutput, Network, Sample, Step

pytestmark = pytest.mark.usefixtures("compiled_quickly")

KEY = jax.random.key(0)
SGD = optimizers.make_optimizer(optimizers.sgd)
ALWAYS = Schedules(lambda hparams, steps: 0.0, lambda hparams, steps: 1.0)
ADAM = optax.adam(1e-3)


def loss_of_weight(params, target_params, key, steps, hparams):
    """The weight times the first reward of a window."""
    return LossOutput(params["w"] * steps.reward[:, 0], 0.0, {})


def update_once(network, params, obs, regulariser, loss=loss_of_weight):
    """What one update leaves and reports: two windows of two steps, weighed 1 and 1/4."""
    agent = Agent(None, None, None, None, loss, network=network)
    rewards, no = jnp.array([[2.0, 9.0], [4.0, 9.0]]), jnp.zeros((2, 2), bool)
    steps = Step(obs, jnp.zeros((2, 2), jnp.uint8), rewards, no, no, obs)
    state = offline.OfflineState(
        params, None, SGD(HParams(), 1.0).init(params), None, KEY, KEY, regulariser.init(params)
    )
    sample = Sample(steps, None, None, jnp.array([1.0, 0.25]))
    update = make_update(agent, SGD, ALWAYS, regulariser)
    after, _, metrics = update(state, Clock(0, 0), HParams(), sample, KEY, lambda: obs[:, 1])
    return after, metrics


@pytest.mark.parametrize("kind", ["uniform", "latest"])
def test_a_window_comes_with_the_memory_of_its_first_step(kind):
    """Trap: nothing but the prioritized replay was ever asked for one."""
    flag = jax.ShapeDtypeStruct((2,), bool)
    number, row = (jax.ShapeDtypeStruct((2, *shape), jnp.float32) for shape in ((), (3,)))
    step = Step(row, flag, number, flag, flag, row, carry=row)
    if kind == "uniform":
        replay = rings.uniform(step, capacity=12, batch_size=64, window=3)
    else:
        replay = rings.latest(step, rows_per_block=6, window=3)
    marks = jnp.arange(12.0).reshape(6, 2)  # 2 * row + environment
    rows, no = marks[..., None] * jnp.array([1.0, 10.0, 100.0]), jnp.zeros((6, 2), bool)
    steps = Step(rows, no, marks, no, no, rows, carry=-rows)
    state = replay.add(replay.init(), Clock(jnp.int32(0), jnp.int32(0)), steps)
    sample = replay.sample(state, Clock(jnp.int32(12), jnp.int32(0)), KEY, HParams())
    assert sample.steps.carry.shape[1] == 1 and len(set(np.asarray(sample.steps.reward[:, 0]))) > 3
    np.testing.assert_array_equal(sample.steps.carry[:, 0], -sample.steps.obs[:, 0])


def test_a_term_is_told_the_loss_without_it_and_the_parameters_before():
    """Windows 2 w and 4 w at w = 2, weighed: (4 + 8 / 4) / 2; CHAIN's own weight is a share of it.

    The term of 5 w is learned, and is not in the loss.
    """
    regulariser = regularisers.NONE._replace(
        term=lambda params, state, look, hparams: (5.0 * params["w"], {"mine": params["w"] + 1.0}),
        update=lambda state, params, loss, metrics: (params["w"], loss, metrics["mine"]),
    )
    params, obs = {"w": jnp.float32(2.0)}, jnp.zeros((2, 2, 3))
    after, metrics = update_once(None, params, obs, regulariser)
    np.testing.assert_array_equal(after.regulariser, [2.0, 3.0, 3.0])
    assert after.params["w"] == 2.0 - (1.5 + 5.0) and metrics["loss"] == (4.0 + 8.0) / 2


def test_values_beside_the_loss_are_of_the_first_observation_and_without_noise():
    """Trap: with n steps CQL could look at the last state for the first action."""
    head = heads.LinearHead(2, 1, layers.NoisyDense)
    network = modules.from_flax(heads.ValueNetwork(torsos.Flatten(), head), draws=True)
    obs = jax.random.normal(KEY, (2, 2, 3))
    params = network.init(KEY, obs[:, 0])

    def term(params, state, look, hparams):
        return 0.0, {"here": look.here()[0](params), "elsewhere": look.elsewhere()(params)}

    def loss(params, target_params, key, steps, hparams):
        return LossOutput(jnp.zeros(2), 0.0, {})

    regulariser = regularisers.NONE._replace(term=term)
    _, metrics = update_once(network, params, obs, regulariser, loss)
    for name, place in (("here", 0), ("elsewhere", 1)):
        expected = network.apply(params, obs[:, place], None, ())[0].q_values
        np.testing.assert_allclose(metrics[name], expected, rtol=1e-6)


def test_what_starts_anew_looks_at_a_batch_of_the_replay():
    """Trap: ReDo's units, dormant on the two observations that are acted on. Traced only."""
    made, hparams, seen = small(), cast(SMALL_HPARAMS), []

    def spy(learner, anew, hparams):
        seen.append(anew.look().shape)
        return learner

    optimizer = make_optimizer_from(SMALL)
    trainer = resets.with_resets(made.trainer, made.agent, optimizer, spy, 200, 100)
    start = jax.eval_shape(trainer.init, KEY, hparams)
    jax.eval_shape(trainer.chunk, *start, hparams)
    assert seen and set(seen) == {(SMALL.batch_size, 4)}  # and not what two environments show


def test_what_is_looked_at_elsewhere_in_a_dataset_is_another_batch():
    env = tabular_env(1)

    def windows(step):
        def sample(records, key):
            obs, zeros = jax.random.normal(key, (4, 1, 3)), jnp.zeros((4, 1))
            steps = Step(obs, zeros.astype(int), zeros, zeros > 0, zeros > 0, obs)
            return Sample(steps, jnp.arange(4), jnp.ones(4), jnp.ones(4))

        shown = Step(jnp.zeros((1, 3)), *[None] * 5)
        return Windows(sample, lambda records: shown)

    network = Network(
        None, lambda params, obs, key, carry: (heads.QOutput(params["w"] * obs), carry)
    )
    agent = Agent(
        lambda key, obs: {"w": jnp.float32(1.0)},
        lambda key, rows: (),
        None,
        None,
        loss_of_weight,
        network=network,
    )

    def term(params, state, look, hparams):
        apart = jnp.abs(look.elsewhere()(params) - look.here()[0](params))
        return 0.0, {"apart": apart.min()}

    how = windows, tuple, SGD, ALWAYS, polyak(), offline.OfflineLengths(1, 1)
    regulariser = regularisers.NONE._replace(term=term)
    trainer = offline.make_offline_trainer(env, agent, *how, regulariser)
    hparams, records = cast(HParams()), jnp.zeros((1, 1, 1), jnp.uint32)
    *_, metrics = trainer.chunk(*trainer.init(KEY, hparams, records), hparams, records)
    assert metrics["apart"] > 0.0


def recycled(torso, change):
    """Weights by path before and after ReDo at threshold 0, and those that are drawn."""
    network = modules.from_flax(heads.ValueNetwork(torso, heads.LinearHead(2)))
    obs = jax.random.normal(KEY, (16, 3))
    params, fresh = (network.init(jax.random.key(seed), obs) for seed in (1, 2))
    params = {"params": {**params["params"], "torso": change(params["params"]["torso"])}}
    moments = jax.tree.map(jnp.ones_like, ADAM.init(params))
    anew = Anew(fresh, ADAM.init, lambda: obs, network)
    hparams = HParams(dormant_threshold=0.0)
    after = plasticity.redo(Learner(params, params, moments), anew, hparams)
    return [flatten_dict(tree["params"]["torso"]) for tree in (params, after.params, fresh)]


def test_what_normalises_a_dormant_unit_starts_anew_with_it():
    """Trap: a unit that its normalisation has silenced would be silent again."""

    def silence(torso):
        norm = {"scale": jnp.full(4, 3.0), "bias": jnp.full(4, 50.0).at[2].set(-50.0)}
        return {**torso, "LayerNorm_0": norm}

    before, after, fresh = recycled(torsos.MLP((4,), layer_norm=True), silence)
    for leaf, drawn in (("scale", 1.0), ("bias", 0.0)):
        path = "LayerNorm_0", leaf
        assert after[path][2] == fresh[path][2] == drawn
        np.testing.assert_array_equal(np.delete(after[path], 2), np.delete(before[path], 2))
    kernels = [tree["Dense_0", "kernel"][:, 2] for tree in (after, fresh)]
    np.testing.assert_array_equal(*kernels)


def test_what_leads_from_one_dormant_unit_into_another_is_0():
    def silence(torso):
        torso = jax.tree.map(jnp.abs, torso)
        for layer, unit in (("Dense_0", 0), ("Dense_1", 1)):
            bias = jnp.full(3, 50.0).at[unit].set(-1e4)
            torso = {**torso, layer: {**torso[layer], "bias": bias}}
        return torso

    before, after, fresh = recycled(torsos.MLP((3, 3)), silence)
    path = "Dense_1", "kernel"
    np.testing.assert_array_equal(after[path][0], 0.0)
    np.testing.assert_array_equal(after[path][1:, 1], fresh[path][1:, 1])
    np.testing.assert_array_equal(after[path][1:, [0, 2]], before[path][1:, [0, 2]])


@pytest.mark.parametrize("activation", [nn.leaky_relu, nn.tanh])
def test_a_unit_below_zero_is_active_too(activation):
    """Trap: with ReLU a mean size is a mean; of others negative units looked dormant."""
    torso = torsos.MLP((6,), activation=activation)
    network = modules.from_flax(heads.ValueNetwork(torso, heads.LinearHead(2)))
    obs = jax.random.normal(KEY, (16, 3))
    params = network.init(KEY, obs)
    features, (activity,) = network.inside(params, obs)
    assert (features < 0.0).any(axis=0).all()
    np.testing.assert_allclose(activity, np.abs(features).mean(axis=0), rtol=1e-6)


@pytest.mark.parametrize("observations", ["raw", "normalized"])
def test_what_does_not_learn_has_no_churn(observations):
    """Trap: CHAIN held values against those of earlier statistics, and so against normalising."""
    trainer = small(observations=observations, regulariser="chain").trainer
    hparams = cast(SMALL_HPARAMS._replace(learning_rate=0.0))
    start = jax.jit(trainer.init)(KEY, hparams)
    *_, metrics = jax.jit(trainer.chunk)(*start, hparams)
    assert metrics["churn"] == 0.0
