"""Memory and noise: what acting saw, sequences see again, also across an end."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tabular
from common import RECIPES, tabular_env
from test_losses import HPARAMS, KEY, NETWORK, parameters, q_loss, random_steps

from jaxq.config import Config
from jaxq.envs.previous import with_previous_action
from jaxq.learning import backups, losses, recurrent
from jaxq.learning.agents import make_agent
from jaxq.learning.returns import rescale
from jaxq.loops.rollout import Actor, make_act_and_step
from jaxq.networks import cells, heads, memory
from jaxq.networks import torsos as networks
from jaxq.recipes import agents

pytestmark = pytest.mark.usefixtures("compiled_quickly")

recurrent_q_loss = jax.jit(
    recurrent.recurrent_q_loss,
    static_argnums=0,
    static_argnames=("burn_in", "n_step", "rescaling"),
)
unroll = jax.jit(recurrent.unroll, static_argnums=0, static_argnames="burn_in")
LSTM, LRU = (
    memory.recurrent(memory.RecurrentNetwork(networks.MLP((8,)), heads.LinearHead(4), cell))
    for cell in (cells.lstm(6), cells.lru(6))
)


@pytest.mark.parametrize(
    "network, see",
    [(LSTM, lambda env: env), (LRU, partial(with_previous_action, reward=True))],
    ids=["lstm", "lru, action and reward"],
)
def test_unrolling_from_the_stored_carry_reproduces_acting(network, see):
    """Episodes end after 10 steps; a sequence of 25 crosses two ends."""
    env, agent = see(tabular_env(3)), make_agent(network, recurrent.recurrent_q_loss)
    env_params = env.params(tabular.truncation())
    obs, env_state = jax.jit(env.reset)(KEY, env_params)
    carry = agent.initial_carry(KEY, 3)
    params = jax.jit(agent.init)(KEY, obs)
    step = make_act_and_step(env, agent)
    actor, seen, stored = Actor(obs, carry, env_state), [], []
    apply, step = jax.jit(network.apply), jax.jit(step)
    for key in jax.random.split(KEY, 30):
        output, _ = apply(params, actor.obs, None, actor.carry)
        actor, (one, _) = step(actor, key, params, 1.0, env_params)
        seen.append(output.q_values)
        stored.append(one)
    steps = jax.tree.map(lambda *x: jnp.stack(x, axis=1), *stored[3:28])  # [E, 25, ...]
    assert int(steps.done.sum()) == 6
    start = jax.tree.map(lambda x: x[:, 0], steps.carry)
    assert all(leaf.any() for leaf in jax.tree.leaves(start))
    values, _ = unroll(network, params, KEY, start, steps)
    np.testing.assert_allclose(values, jnp.stack(seen[3:28], axis=1), atol=1e-5)
    late, _ = unroll(network, params, KEY, start, steps, burn_in=9)
    np.testing.assert_allclose(late, values[:, 9:], atol=1e-6)


@pytest.mark.parametrize("burn_in", [0, 3])
def test_all_steps_at_once_are_one_step_after_the_other(burn_in):
    """Torso, head and the gradient of the recurrent weights leave the scan, and nothing changes."""
    params = jax.jit(LSTM.init)(KEY, jnp.zeros((1, 4)))
    steps = random_steps(6)
    carry = jax.tree.map(lambda x: x + 0.5, LSTM.initial_carry(KEY, 32))

    def value_and_grad(network):
        def total(params):
            values, carries = recurrent.unroll(network, params, KEY, carry, steps, burn_in)
            weights = jnp.arange(values.size).reshape(values.shape) / values.size
            return jnp.sum(weights * values), (values, carries)

        return jax.jit(jax.value_and_grad(total, has_aux=True))(params)

    together, apart = value_and_grad(LSTM), value_and_grad(LSTM._replace(unroll=None))
    assert steps.done.any()
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), together, apart
    )


@pytest.mark.parametrize("backup", ["greedy", "double", "minto", "soft", "munchausen"])
def test_without_memory_it_is_the_feed_forward_loss(backup):
    """A sequence is then a batch of one-step windows."""
    params, target = parameters()
    hparams = HPARAMS._replace(temperature=0.5, reward_scale=0.5, huber_delta=0.3)
    steps, how = random_steps(4), {"backup": getattr(backups, backup)}
    alone = jax.tree.map(lambda x: x.reshape(-1, 1, *x.shape[2:]), steps)
    sequence, single = (
        jax.jit(partial(loss, NETWORK, **how))(params, target, KEY, batch, hparams).loss
        for loss, batch in ((recurrent.recurrent_q_loss, steps), (losses.q_loss, alone))
    )
    expected = single.reshape(32, 4).mean(axis=1)
    np.testing.assert_allclose(sequence, expected, rtol=1e-4, atol=1e-6)


def test_the_value_after_a_step_remembers_that_step():
    """Without ends the next observation is what followed: its values are those of the unroll."""
    module = memory.RecurrentNetwork(networks.MLP((8,)), heads.LinearHead(3), cells.lstm(6))
    lstm, steps, none = memory.recurrent(module), random_steps(6), jnp.zeros((32, 6), bool)
    carry = jax.tree.map(lambda x: x + 0.5, lstm.initial_carry(KEY, 32))
    stored = jax.tree.map(lambda x: x[:, None], carry)
    following = jnp.roll(steps.obs, -1, axis=1)
    steps = steps._replace(done=none, terminated=none, next_obs=following, carry=stored)
    params, target = (jax.jit(lstm.init)(jax.random.key(k), jnp.zeros((1, 4))) for k in (1, 2))
    online, fixed = (recurrent.unroll(lstm, p, KEY, carry, steps)[0] for p in (params, target))
    first = jax.tree.map(lambda x: x[:, :5], steps._replace(carry=()))._replace(carry=stored)
    output = recurrent.recurrent_q_loss(lstm, params, target, KEY, first, HPARAMS)
    taken = recurrent.taken(online, steps.action)[:, :5]
    errors = steps.reward[:, :5] + 0.9 * fixed[:, 1:].max(-1) - taken
    np.testing.assert_allclose(output.loss, (0.5 * errors**2).mean(axis=1), rtol=1e-4)


def test_a_loss_of_sequences_gets_the_lengths_of_the_configuration():
    config = replace(RECIPES["r2d2"], n_step=3, burn_in=2)
    keywords = agents.make_loss_from(config).keywords
    assert (keywords["n_step"], keywords["burn_in"]) == (3, 2)


@pytest.mark.parametrize("n_step", [1, 3])
def test_n_step_targets_inside_a_sequence_are_those_of_windows(n_step):
    params, target = parameters()
    steps = random_steps(6)
    sequence = recurrent_q_loss(
        NETWORK, params, target, KEY, steps, HPARAMS, burn_in=6 - n_step, n_step=n_step
    )
    window = jax.tree.map(lambda x: x[:, 6 - n_step :], steps)
    if n_step == 1:
        expected = q_loss(NETWORK, params, target, KEY, window, HPARAMS).loss
        np.testing.assert_allclose(sequence.loss, expected, rtol=1e-4, atol=1e-6)
    q_values = jax.jit(lambda p, obs: NETWORK.apply(p, obs, None, ())[0].q_values)
    rows = jnp.arange(32)
    total = jnp.zeros(32)
    for k in range(n_step):  # by hand: every position bootstraps where it must
        position, value = 6 - n_step + k, q_values(target, steps.next_obs[:, -1]).max(axis=1)
        for later in reversed(range(position, 6)):
            own = q_values(target, steps.next_obs[:, later]).max(axis=1)
            value = jnp.where(steps.done[:, later], own, value)
            discount = HPARAMS.gamma * (1.0 - steps.terminated[:, later])
            value = steps.reward[:, later] + discount * value
        taken = q_values(params, steps.obs[:, position])[rows, steps.action[:, position]]
        total += 0.5 * (value - taken) ** 2
    np.testing.assert_allclose(sequence.loss, total / n_step, rtol=1e-4, atol=1e-6)


def test_rescaled_targets_by_hand():
    params, target = parameters()
    steps = random_steps(1)._replace(terminated=jnp.ones((32, 1), bool))
    loss = recurrent_q_loss(
        NETWORK, params, target, KEY, steps, HPARAMS, rescaling=recurrent.SIGNED_HYPERBOLIC
    )
    output, _ = NETWORK.apply(params, steps.obs[:, 0], None, ())
    taken = output.q_values[jnp.arange(32), steps.action[:, 0]]
    np.testing.assert_allclose(
        loss.loss, 0.5 * (rescale(steps.reward[:, 0]) - taken) ** 2, rtol=1e-4, atol=1e-6
    )


def test_burn_in_has_no_gradient_and_does_move_the_memory():
    params = jax.jit(LSTM.init)(KEY, jnp.zeros((1, 5)))
    steps = random_steps(6)
    obs = jnp.concatenate([steps.obs, steps.reward[..., None]], axis=-1)
    steps = steps._replace(obs=obs, next_obs=obs, done=jnp.zeros((32, 6), bool))
    carry = LSTM.initial_carry(KEY, 32)

    @jax.jit
    def total(early, late):
        mixed = steps._replace(obs=jnp.concatenate([early, late], axis=1))
        return recurrent.unroll(LSTM, params, KEY, carry, mixed, burn_in=3)[0].sum()

    early, late = jax.jit(jax.grad(total, (0, 1)))(obs[:, :3], obs[:, 3:])
    assert not early.any() and late.any()
    assert total(obs[:, :3], obs[:, 3:]) != total(0.0 * obs[:, :3], obs[:, 3:])


def test_the_priority_mixes_the_largest_and_the_mean_error():
    params, target = parameters()
    steps = random_steps(4)
    output = recurrent_q_loss(NETWORK, params, target, KEY, steps, HPARAMS)
    alone = jax.tree.map(lambda x: x.reshape(-1, 1, *x.shape[2:]), steps)
    size = q_loss(NETWORK, params, target, KEY, alone, HPARAMS).priority.reshape(32, 4)
    expected = 0.9 * size.max(axis=1) + 0.1 * size.mean(axis=1)
    np.testing.assert_allclose(output.priority, expected, rtol=1e-4)


def test_noise_is_per_environment():
    """While acting, no two environments share noise, and none is left when greedy."""
    config = Config(dense="noisy", widths=(8,))
    env = tabular_env(16)
    agent = agents.make_agent_from(config, env)
    obs = jnp.zeros((16, 16), bool)
    params = jax.jit(agent.init)(KEY, obs)
    network = agents.make_network_from(config, env)
    alone = lambda key: network.apply(params, obs[:1], key, ())[0].q_values  # noqa: E731
    noisy = jax.jit(jax.vmap(alone))(jax.random.split(KEY, 100))
    assert np.std(noisy[:, 0, 0]) > 1e-3
    picker = make_agent(network, losses.q_loss, lambda key, q_values, epsilon: q_values)
    q_values, _ = jax.jit(picker.act)(params, (), KEY, obs, 0.0)
    assert len(np.unique(np.asarray(q_values)[:, 0])) == 16
    greedy = jax.jit(agent.act_greedy)
    first, second = (greedy(params, (), obs)[1] for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_no_decomposition_in_the_initialisation():
    """Trap: the QR of flax's orthogonal weights, batched over members, deadlocks on a CPU."""
    text = jax.jit(LSTM.init).lower(KEY, jnp.zeros((1, 5))).as_text().lower()
    assert "lapack" not in text
