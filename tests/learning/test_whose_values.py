"""What losses learn, and loops with them, by hand: whose values, whose gradients, whose noise."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from common import tabular_env
from test_losses import BATCH

from jaxq.config import HParams
from jaxq.learning import backups, iterated, losses, optimizers, regularisers, td
from jaxq.learning.agents import make_agent
from jaxq.learning.backups import Values
from jaxq.learning.on_policy import lambda_loss
from jaxq.learning.recurrent import unroll
from jaxq.learning.streaming import q_prediction
from jaxq.loops.offline import OfflineState
from jaxq.loops.on_policy import RoundLengths, make_on_policy_trainer
from jaxq.loops.rollout import Schedules
from jaxq.loops.updating import make_update
from jaxq.networks import cells, heads, layers, memory, modules, torsos
from jaxq.networks import iterated as chains
from jaxq.types import Agent, Clock, LossOutput, Sample, Step, Transition

pytestmark = pytest.mark.usefixtures("compiled_quickly")

KEY = jax.random.key(0)
ROWS = jnp.arange(5)
ENV = tabular_env(2)
TABLE = modules.from_flax(
    heads.ValueNetwork(torsos.Flatten(), heads.LinearHead(3, 1, partial(nn.Dense, use_bias=False)))
)


def table(values):
    """Parameters of ``TABLE`` with values [S, A]."""
    return {"params": {"head": {"Dense_0": {"kernel": jnp.array(values)}}}}


@pytest.mark.parametrize("name", ["greedy", "double"])
def test_c51_evaluates_with_the_target_network(name):
    """Trap: where fixed points are learned, target and online network are the same."""
    atoms, logits = jnp.linspace(-2, 2, 5), jax.random.normal(KEY, (4, 5, 3, 5))
    outputs = Values(
        *(heads.CategoricalOutput(jax.nn.softmax(x) @ atoms, x, atoms) for x in logits)
    )
    backup, hparams = getattr(backups, name), HParams()
    found = losses.categorical_loss.__wrapped__(outputs, BATCH, hparams, backup)
    selects = outputs.target_t if name == "greedy" else outputs.online_t
    probs = jax.nn.softmax(outputs.target_t.logits[ROWS, selects.q_values.argmax(axis=1)])
    taken = outputs.online_tm1.logits[ROWS, BATCH.action]
    expected = [
        td.categorical_td(x, atoms, r, d, p)
        for x, r, d, p in zip(taken, BATCH.reward, BATCH.discount, probs)
    ]
    np.testing.assert_allclose(found.loss, jnp.stack(expected), rtol=1e-5)


def test_a_quantile_is_learned_at_its_own_fraction():
    """Trap: IQN draws other fractions for every output; elsewhere they are the same."""
    draws = jax.random.normal(KEY, (4, 5, 3, 4))
    fractions = jax.random.uniform(jax.random.key(1), (4, 5, 4))
    outputs = Values(*(heads.QuantileOutput(x.mean(-1), x, f) for x, f in zip(draws, fractions)))
    hparams = HParams(huber_delta=1.0)
    found = losses.quantile_loss.__wrapped__(outputs, BATCH, hparams, backups.greedy)
    best = outputs.target_t.quantiles[ROWS, outputs.target_t.q_values.argmax(axis=1)]
    targets = BATCH.reward[:, None] + BATCH.discount[:, None] * best
    taken = outputs.online_tm1.quantiles[ROWS, BATCH.action]
    expected = [
        td.quantile_regression(*one, jnp.float32(1.0)) for one in zip(taken, fractions[0], targets)
    ]
    np.testing.assert_allclose(found.loss, jnp.stack(expected), rtol=1e-5)


def test_every_output_that_a_loss_looks_at_has_noise_of_its_own():
    head = heads.LinearHead(2, 1, layers.NoisyDense)
    network = modules.from_flax(heads.ValueNetwork(torsos.Flatten(), head), draws=True)
    obs = jnp.ones((1, 3))
    params = network.init(KEY, obs)
    found = losses.evaluate(network, params, params, KEY, Transition(obs, 0, 0.0, 0.0, obs))
    mean = network.apply(params, obs, None, ())[0]
    assert len({float(output.q_values[0, 0]) for output in (*found, mean)}) == 5


def test_no_target_has_a_gradient():
    """Trap: with MINTO it comes from the network that learns."""
    q, r, d, p = jnp.array([1.0, 3.0]), jnp.float32(1.0), jnp.float32(0.5), jnp.array([0.3, 0.7])
    a, sources = jnp.int32(0), jnp.array([0.0, 1.0])
    for of_target in (
        lambda t: td.double_q_learning(q, a, r, d, t, t),
        lambda t: td.expected_sarsa(q, a, r, d, t, t / t.sum()),
        lambda t: td.categorical_td(q, sources, r, d, t),
        lambda t: td.quantile_regression(q, p, t, jnp.float32(1.0)),
    ):
        np.testing.assert_array_equal(jax.grad(of_target)(jnp.array([0.4, 0.6])), [0.0, 0.0])


def test_a_step_of_a_stream_by_hand():
    """The next value is that of the parameters after it, and the gradient goes through both."""
    before, after = table([[1.0, 2.0, 4.0], [0.0, 0.0, 9.0]]), table([[7.0] * 3, [3.0, 5.0, 4.0]])
    no = jnp.bool_(False)
    step = Step(jnp.eye(2)[0], jnp.int32(1), jnp.float32(2.0), no, no, jnp.eye(2)[1])
    hparams = HParams(gamma=0.5, reward_scale=3.0)
    found = q_prediction(TABLE, before, after, step, hparams)
    assert found.value == 2.0 and found.error == 6.0 + 0.5 * 5.0 - 2.0 and found.exploratory
    error = lambda params: q_prediction(TABLE, params, params, step, hparams).error  # noqa: E731
    slope = jax.grad(error)(after)["params"]["head"]["Dense_0"]["kernel"]
    np.testing.assert_array_equal(slope, [[0.0, -1.0, 0.0], [0.0, 0.5, 0.0]])


def test_pqn_unrolls_from_the_memory_stored_at_the_beginning():
    network = memory.recurrent(
        memory.RecurrentNetwork(torsos.Flatten(), heads.LinearHead(3), cells.lstm(4))
    )
    keys, shape = jax.random.split(KEY, 4), (2, 3)
    obs = jax.random.normal(keys[0], (*shape, 5))
    carry = tuple(jax.random.normal(keys[1], (2, *shape, 4)))
    done = jnp.array([[False, True, False], [False] * 3])
    action = jnp.array([[0, 1, 2], [2, 0, 1]])
    steps = Step(obs, action, None, done, done, None, carry)
    totals = jax.random.normal(keys[2], shape)
    params = network.init(keys[3], obs[:, 0])
    output = lambda_loss(network, params, KEY, steps, totals, HParams(huber_delta=0.3))
    first = jax.tree.map(lambda leaf: leaf[:, 0], carry)
    values, _ = unroll(network, params, KEY, first, steps)
    errors = (
        totals - np.take_along_axis(np.asarray(values), np.asarray(action)[..., None], 2)[..., 0]
    )
    np.testing.assert_allclose(output.loss, td.huber_loss(errors, 0.3).mean(axis=1), rtol=1e-5)


@pytest.mark.parametrize("backup", ["greedy", "double", "minto", "soft", "munchausen"])
def test_one_learned_head_of_a_chain_backs_up_as_dqn(backup):
    """With the head before it in place of the target network."""
    head = heads.LinearHead(3, 1, partial(nn.Dense, use_bias=False))
    network, how = (
        chains.shared_chain(torsos.Flatten(), head, 1),
        {"backup": getattr(backups, backup)},
    )
    keys = jax.random.split(KEY, 4)
    kernel, obs = jax.random.normal(keys[0], (2, 4, 3)), jax.random.normal(keys[1], (2, 8, 1, 4))
    params = {"params": {"head": {"Dense_0": {"kernel": kernel}}}}
    ends = jnp.arange(8)[:, None] % 3 == 0
    action, reward = jnp.arange(8)[:, None] % 3, jax.random.normal(keys[2], (8, 1))
    steps = Step(obs[0], action, reward, ends, ends, obs[1])
    hparams = HParams(gamma=0.9, temperature=0.5)
    found = iterated.shared_chain_loss(network, params, None, KEY, steps, hparams, **how)
    fixed, learned = map(table, kernel)
    expected = losses.q_loss(TABLE, learned, fixed, KEY, steps, hparams, **how)
    np.testing.assert_allclose(found.loss, expected.loss, rtol=1e-4, atol=1e-6)


def test_losses_get_the_target_network():
    """Trap: where it is copied at every update, or only looked at, nobody misses it."""

    def loss(params, target_params, key, steps, hparams):
        return LossOutput(params["w"] * target_params["w"] * steps.reward[:, 0], 0.0, {})

    agent = Agent(None, None, None, None, loss)
    sgd = optimizers.make_optimizer(optimizers.sgd)
    rates = Schedules(lambda hparams, steps: 0.0, lambda hparams, steps: 0.5)
    params, target = {"w": jnp.float32(2.0)}, {"w": jnp.float32(3.0)}
    state = OfflineState(params, target, sgd(HParams(), 1.0).init(params), None, KEY, KEY)
    sample = Sample(Step(*[None] * 6)._replace(reward=jnp.ones((4, 1))), None, None, jnp.ones(4))
    update = make_update(agent, sgd, rates, regularisers.NONE)
    after, *_ = update(state, Clock(0, 0), HParams(), sample, KEY, None)
    assert after.params["w"] == 2.0 - 0.5 * 3.0 and after.target_params["w"] == 3.0


def test_acting_greedily_remembers():
    """Trap: every evaluation of a memory would be one of its first step."""
    module = memory.RecurrentNetwork(torsos.Flatten(), heads.LinearHead(3), cells.gru(4))
    network = memory.recurrent(module)
    agent, obs = make_agent(network, losses.q_loss), jax.random.normal(KEY, (2, 2, 5))
    params, carry = network.init(KEY, obs[0]), agent.initial_carry(KEY, 2)
    expected, _ = network.unroll(params, obs, None, carry, jnp.zeros((2, 2), bool))
    for now, q_values in zip(obs, expected.q_values):
        action, value, carry = agent.act_greedy(params, carry, now)
        np.testing.assert_array_equal(action, q_values.argmax(axis=1))
        np.testing.assert_allclose(value, q_values.max(axis=1), rtol=1e-5)


def test_the_values_in_the_metrics_are_those_of_the_network_that_learns():
    draws = jax.random.normal(KEY, (4, 5, 3))
    obs, hparams = jnp.zeros((5, 1)), HParams()
    outputs = Values(*map(heads.QOutput, draws))
    found = losses.q_loss.__wrapped__(outputs, BATCH._replace(obs=obs), hparams, backups.greedy)
    np.testing.assert_allclose(found.aux["q_value"], draws[0].mean(axis=1), rtol=1e-5)
    np.testing.assert_array_equal(found.aux["td_error"], found.priority)


def test_an_update_of_pqn_by_hand():
    """Losses are averaged, the schedule's step size is taken, and the optimizer counts: 0.5 times
    1 + 2 + ... + 8, of eight minibatches whose loss is the weight."""

    def loss(params, key, steps, totals, hparams):
        return LossOutput(params["w"] + 0.0 * totals[:, 0], 0.0, {})

    agent = Agent(
        init=lambda key, obs: {"w": jnp.float32(0.0)},
        initial_carry=lambda key, num_envs: (),
        act=lambda params, carry, key, obs, amount: (jnp.zeros(2, jnp.int32), ()),
        act_greedy=lambda params, carry, obs: (None, jnp.zeros(2), ()),
        loss=loss,
        loop="on-policy",
    )
    counting = lambda hparams, rate: optax.chain(  # noqa: E731
        optax.scale_by_schedule(lambda count: count + 1.0), optax.scale(-rate)
    )
    rates = Schedules(lambda hparams, steps: 0.0, lambda hparams, steps: 0.5)
    lengths = RoundLengths(4, 1, 2, 4, 2, 1)
    trainer = make_on_policy_trainer(ENV, agent, counting, rates, lengths)
    run = jax.jit(lambda: trainer.chunk(*trainer.init(KEY, HParams()), HParams())[0])
    assert run().params["w"] == -0.5 * 36
