"""Losses: reductions to simpler cases, and where gradients may go."""

import inspect
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxq.config import HParams
from jaxq.learning import backups, iterated, losses, td
from jaxq.learning.backups import Values
from jaxq.networks import heads, modules
from jaxq.networks import torsos as networks
from jaxq.types import Step, Transition

pytestmark = pytest.mark.usefixtures("compiled_quickly")

NETWORK = modules.from_flax(heads.ValueNetwork(networks.MLP((16,)), heads.LinearHead(3)))
# Compiled whole: operation by operation takes many times as long.
q_loss = jax.jit(losses.q_loss, static_argnums=0)
double_q_loss = jax.jit(partial(losses.q_loss, backup=backups.double), static_argnums=0)
KEY = jax.random.key(0)
HPARAMS = HParams(gamma=0.9)
BATCH = Transition(
    None,
    jnp.array([0, 1, 2, 0, 1]),
    jnp.linspace(-1, 1, 5),
    jnp.array([0.9, 0.9, 0.0, 0.9, 0.9]),
    None,
)


@partial(jax.jit, static_argnums=(0, 1))
def random_steps(window: int, batch: int = 32) -> Step:
    keys = jax.random.split(KEY, 6)
    shape = (batch, window)
    terminated = jax.random.bernoulli(keys[3], 0.2, shape)
    return Step(
        obs=jax.random.normal(keys[0], (*shape, 4)),
        action=jax.random.randint(keys[1], shape, 0, 3).astype(jnp.uint8),
        reward=jax.random.normal(keys[2], shape),
        terminated=terminated,
        done=terminated | jax.random.bernoulli(keys[4], 0.2, shape),
        next_obs=jax.random.normal(keys[5], (*shape, 4)),
    )


@cache
def parameters():
    init = jax.jit(NETWORK.init)
    return tuple(init(jax.random.key(seed), jnp.zeros((1, 4))) for seed in (1, 2))


@pytest.mark.parametrize("window", [1, 3])
def test_double_with_equal_parameters_is_plain(window):
    params, _ = parameters()
    steps = random_steps(window)
    plain = q_loss(NETWORK, params, params, KEY, steps, HPARAMS)
    double = double_q_loss(NETWORK, params, params, KEY, steps, HPARAMS)
    np.testing.assert_allclose(plain.loss, double.loss, rtol=1e-5)


@pytest.mark.parametrize("loss", [q_loss, double_q_loss])
def test_no_gradient_with_respect_to_the_target(loss):
    params, target = parameters()
    steps = random_steps(2)

    def total(params, target):
        return loss(NETWORK, params, target, KEY, steps, HPARAMS).loss.sum()

    online, frozen = jax.jit(jax.grad(total, argnums=(0, 1)))(params, target)
    assert all(np.all(leaf == 0) for leaf in jax.tree.leaves(frozen))
    assert any(np.any(leaf != 0) for leaf in jax.tree.leaves(online))


def test_double_selects_online_and_evaluates_with_the_target():
    params, target = parameters()
    steps = random_steps(1)
    apply = jax.jit(lambda p, obs: NETWORK.apply(p, obs, KEY, ())[0].q_values)
    rows = jnp.arange(32)
    choice = apply(params, steps.next_obs[:, 0]).argmax(-1)
    future = apply(target, steps.next_obs[:, 0])[rows, choice]
    value = apply(params, steps.obs[:, 0])[rows, steps.action[:, 0]]
    bootstrap = 0.9 * (1.0 - steps.terminated[:, 0]) * future
    errors = steps.reward[:, 0] + bootstrap - value
    output = double_q_loss(NETWORK, params, target, KEY, steps, HPARAMS)
    np.testing.assert_allclose(output.loss, 0.5 * errors**2, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(output.priority, np.abs(errors), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("form", ["probabilities", "quantiles"])
def test_minto_backs_up_the_distribution_of_the_lesser_mean_whole(form):
    """Means (2, 0) of the target network, (1, 5) of the online one: the online one's action 0."""
    atoms = jnp.arange(-2.0, 3.0)
    target, online = jnp.array([[[2.0, 2.0], [0.0, 0.0]]]), jnp.array([[[-3.0, 5.0], [5.0, 5.0]]])
    batch = Transition(None, jnp.array([0]), jnp.zeros(1), jnp.ones(1), None)
    args = batch, HPARAMS._replace(huber_delta=1.0), backups.minto
    if form == "quantiles":
        make = lambda x: heads.QuantileOutput(x.mean(-1), x, jnp.array([[0.25, 0.75]]))  # noqa: E731
        outputs = Values(make(jnp.zeros((1, 2, 2))), make(online), make(target), make(target))
        found = losses.quantile_loss.__wrapped__(outputs, *args).loss[0]
        expected = td.quantile_regression(
            jnp.zeros(2), jnp.array([0.25, 0.75]), online[0, 0], jnp.float32(1.0)
        )
    else:  # of mean 0, or 1 of the target network
        make = lambda x: heads.CategoricalOutput(jax.nn.softmax(x) @ atoms, x, atoms)  # noqa: E731
        wide, low = jnp.array([8.0, 0, 0, 0, 8.0]), jnp.array([8.0, 0, 0, 0, 0])
        one, two = jnp.array([0, 0, 0, 20.0, 0]), jnp.array([0, 0, 0, 0, 20.0])
        target, online = jnp.stack([one, low])[None], jnp.stack([wide, two])[None]
        tm1 = jnp.arange(10.0).reshape(1, 2, 5)
        outputs = Values(make(tm1), make(online), make(target), make(target))
        found = losses.categorical_loss.__wrapped__(outputs, *args).loss[0]
        expected = -jnp.sum(jax.nn.softmax(wide) * jax.nn.log_softmax(tm1[0, 0]))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_q_loss_scales_rewards_and_is_linear_beyond_delta():
    params, target = parameters()
    steps, hparams = random_steps(1), HPARAMS._replace(reward_scale=0.5, huber_delta=0.3)
    q = lambda p, obs: NETWORK.apply(p, obs[:, 0], None, ())[0].q_values  # noqa: E731
    taken = q(params, steps.obs)[jnp.arange(32), steps.action[:, 0]]
    future = 0.9 * (1.0 - steps.terminated[:, 0]) * q(target, steps.next_obs).max(axis=1)
    e = np.abs(0.5 * steps.reward[:, 0] + future - taken)
    out = q_loss(NETWORK, params, target, KEY, steps, hparams)
    expected = np.where(e <= 0.3, 0.5 * e**2, 0.3 * (e - 0.15))
    np.testing.assert_allclose(out.loss, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("backup", ["greedy", "double", "soft", "munchausen"])
def test_one_quantile_at_one_half_learns_half_of_what_dqn_does(backup):
    """With every backup, entropies and bonuses included; the priority is the loss."""
    backup, values = getattr(backups, backup), jax.random.normal(KEY, (4, 5, 3))
    outputs = [heads.QuantileOutput(q, q[..., None], jnp.full((5, 1), 0.5)) for q in values]
    hparams = HParams(temperature=0.5, huber_delta=1.0)
    output = losses.quantile_loss.__wrapped__(Values(*outputs), BATCH, hparams, backup)
    errors = losses.td_errors(Values(*values), BATCH, hparams, backup)
    expected = 0.5 * td.huber_loss(errors, 1.0)
    np.testing.assert_allclose(output.loss, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(output.priority, output.loss)


def test_the_priority_of_c51_is_its_loss():
    atoms, logits = jnp.linspace(-2, 2, 5), jax.random.normal(KEY, (4, 5, 3, 5))
    means = jax.nn.softmax(logits) @ atoms
    outputs = [heads.CategoricalOutput(q, x, atoms) for q, x in zip(means, logits)]
    output = losses.categorical_loss.__wrapped__(Values(*outputs), BATCH, HPARAMS, backups.double)
    np.testing.assert_array_equal(output.priority, output.loss)


def test_help_shows_how_a_loss_is_called():
    """Trap: it showed the function of outputs that the loss was made of."""
    called = "network params target_params key steps hparams backup".split()
    for loss in (losses.q_loss, losses.quantile_loss, iterated.chain_loss):
        assert [*inspect.signature(loss).parameters] == called
        assert (
            "\n  steps: windows of consecutive steps, leaves [B, T, ...]: obs, action, reward"
            in loss.__doc__
        )
