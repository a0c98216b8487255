"""Ensembles: reductions to one network, masks, and priors that never learn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_losses import HPARAMS, KEY, NETWORK, parameters, q_loss, random_steps

from jaxq.learning import ensembles, targets
from jaxq.networks import ensembles as member_networks
from jaxq.networks import heads, layers
from jaxq.networks import torsos as networks

pytestmark = pytest.mark.usefixtures("compiled_quickly")

bootstrapped_loss, random_mixture_loss, maxmin_loss, averaged_loss = (
    jax.jit(loss, static_argnums=0)
    for loss in (
        ensembles.bootstrapped_loss,
        ensembles.random_mixture_loss,
        ensembles.maxmin_loss,
        ensembles.averaged_loss,
    )
)
MODULE = heads.ValueNetwork(networks.MLP((16,)), heads.LinearHead(3))


def steps_with_mask(mask):
    steps = random_steps(1)
    mask = jnp.broadcast_to(jnp.array(mask), (32, 1, len(mask)))
    return steps._replace(carry=member_networks.EnsembleCarry(jnp.zeros((32, 1), jnp.uint8), mask))


def repeated(params, count):
    return {"members": jax.tree.map(lambda x: jnp.stack([x] * count), params)}


def test_equal_members_without_masks_learn_as_dqn():
    network, (params, target) = member_networks.ensemble(MODULE, 3), parameters()
    hparams = HPARAMS._replace(huber_delta=0.3)
    plain = lambda p: q_loss(NETWORK, p, target, KEY, random_steps(1), hparams).loss.sum()  # noqa: E731
    many = lambda p: bootstrapped_loss(  # noqa: E731
        network, p, repeated(target, 3), KEY, steps_with_mask([True] * 3), hparams
    ).loss.sum()
    expected = jax.jit(jax.grad(plain))(params)
    grads = jax.jit(jax.grad(many))(repeated(params, 3))["members"]
    for member in range(3):
        got = jax.tree.map(lambda x, m=member: x[m], grads)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), got, expected)


@pytest.mark.parametrize("loss", [random_mixture_loss, maxmin_loss], ids=["rem", "maxmin"])
def test_equal_members_mixed_are_dqn(loss):
    network, (params, target) = member_networks.ensemble(MODULE, 3), parameters()
    steps = random_steps(3)
    plain = q_loss(NETWORK, params, target, KEY, steps, HPARAMS)
    mixed = loss(network, repeated(params, 3), repeated(target, 3), KEY, steps, HPARAMS)
    np.testing.assert_allclose(mixed.loss, plain.loss, rtol=1e-4, atol=1e-5)


def test_a_priority_is_of_the_members_that_learn():
    network = member_networks.ensemble(MODULE, 2)
    params, target = (jax.jit(network.init)(jax.random.key(k), jnp.zeros((1, 4))) for k in (0, 1))
    steps = steps_with_mask([True, False])
    found = bootstrapped_loss(network, params, target, KEY, steps, HPARAMS)
    one, other = (jax.tree.map(lambda x: x[0], tree["members"]) for tree in (params, target))
    expected = q_loss(NETWORK, one, other, KEY, random_steps(1), HPARAMS)
    np.testing.assert_allclose(found.priority, expected.priority, rtol=1e-4, atol=1e-5)


def test_maxmin_takes_the_minimum_before_the_maximum():
    """Two members see (5, 0, 0) and (0, 4, 1): their minimum is (0, 0, 0), its maximum 0."""
    network = member_networks.ensemble(MODULE, 2)
    members = jnp.array([[[5.0, 0.0, 0.0], [0.0, 4.0, 1.0]]])
    fake = network._replace(
        apply=lambda p, obs, *x: (
            heads.EnsembleOutput(None, jnp.broadcast_to(p * members, (len(obs), 2, 3))),
            (),
        )
    )
    steps = random_steps(1)._replace(reward=jnp.zeros((32, 1)), terminated=jnp.zeros((32, 1), bool))
    output = maxmin_loss(fake, 0.0, 1.0, KEY, steps, HPARAMS)
    np.testing.assert_array_equal(output.loss, 0.0)


def test_a_mask_stops_learning_and_a_prior_never_learns():
    network = member_networks.ensemble(MODULE, 2, prior_scale=3.0)
    params = jax.jit(network.init)(KEY, jnp.zeros((1, 4)))
    steps = steps_with_mask([True, False])

    def total(params):
        return bootstrapped_loss(network, params, params, KEY, steps, HPARAMS).loss.sum()

    gradient = jax.jit(jax.grad(total))(params)
    assert all(not leaf.any() for leaf in jax.tree.leaves(gradient["priors"]))
    first, second = (jax.tree.map(lambda x, i=i: x[i], gradient["members"]) for i in range(2))
    assert any(leaf.any() for leaf in jax.tree.leaves(first))
    assert all(not leaf.any() for leaf in jax.tree.leaves(second))


def test_one_member_acts_for_an_episode_and_their_mean_greedily():
    network = member_networks.ensemble(MODULE, 5, prior_scale=1.0, mask_probability=0.5)
    obs = jax.random.normal(KEY, (64, 4))
    params = jax.jit(network.init)(KEY, obs)
    apply = jax.jit(network.apply)
    carry = network.initial_carry(jax.random.key(1), 64)
    assert set(np.unique(carry.member)) == set(range(5))
    output, after = apply(params, obs, jax.random.key(2), carry)
    chosen = output.members[jnp.arange(64), carry.member]
    np.testing.assert_array_equal(output.q_values, chosen)
    np.testing.assert_array_equal(after.member, carry.member)  # until the episode ends
    assert 0.3 < np.mean(after.mask) < 0.7 and np.any(after.mask != carry.mask)
    greedy, _ = apply(params, obs, None, carry)
    np.testing.assert_allclose(greedy.q_values, output.members.mean(axis=1), rtol=1e-6)


def test_a_random_mixture_acts_for_an_episode_and_the_mean_greedily():
    """REM: one mixture for every environment and episode, as its authors act online."""
    network = member_networks.mixture(MODULE, 4)
    obs = jax.random.normal(KEY, (16, 4))
    params, carry = jax.jit(network.init)(KEY, obs), network.initial_carry(jax.random.key(1), 16)
    np.testing.assert_allclose(carry.weights.sum(axis=1), 1.0, rtol=1e-6)
    assert len(np.unique(carry.weights[:, 0])) == 16
    for key in (jax.random.key(2), jax.random.key(3)):
        output, after = jax.jit(network.apply)(params, obs, key, carry)
        mixed = (carry.weights[..., None] * output.members).sum(axis=1)
        np.testing.assert_allclose(output.q_values, mixed, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(after.weights, carry.weights)
    greedy, _ = network.apply(params, obs, None, carry)
    np.testing.assert_allclose(greedy.q_values, output.members.mean(axis=1), rtol=1e-5, atol=1e-6)


def test_the_minimum_of_maxmin_acts():
    """Lan et al. 2020, algorithm 1: while training, and greedily."""
    network = member_networks.ensemble(MODULE, 3, combine=jnp.min)
    obs = jax.random.normal(KEY, (16, 4))
    params, carry = jax.jit(network.init)(KEY, obs), network.initial_carry(KEY, 16)
    for key in (None, jax.random.key(1)):
        output, _ = jax.jit(network.apply)(params, obs, key, carry)
        np.testing.assert_array_equal(output.q_values, output.members.min(axis=1))


def test_averaged_targets_average_values():
    params, _ = parameters()
    init = jax.jit(NETWORK.init)
    history = [init(jax.random.key(k), jnp.zeros((1, 4))) for k in range(3)]
    target = targets.stack(3)
    stack = target.init(params)
    for old in history:  # the newest comes first, the oldest falls out
        stack = target.update(old, stack, HPARAMS)
    jax.tree.map(
        lambda leaf, *old: np.testing.assert_array_equal(leaf, jnp.stack(old[::-1])),
        stack,
        *history,
    )
    steps = random_steps(1)
    output = averaged_loss(NETWORK, params, stack, KEY, steps, HPARAMS)
    q_values = jax.jit(lambda p, obs: NETWORK.apply(p, obs, None, ())[0].q_values)
    mean = sum(q_values(old, steps.next_obs[:, 0]) for old in history) / 3
    taken = q_values(params, steps.obs[:, 0])[jnp.arange(32), steps.action[:, 0]]
    discount = HPARAMS.gamma * (1.0 - steps.terminated[:, 0])
    errors = steps.reward[:, 0] + discount * mean.max(axis=1) - taken
    np.testing.assert_allclose(output.loss, 0.5 * errors**2, rtol=1e-4, atol=1e-5)


def test_values_are_those_of_members_and_of_priors_at_their_scale():
    network, obs = member_networks.ensemble(MODULE, 3, prior_scale=3.0), jnp.eye(4)
    params = jax.jit(network.init)(KEY, obs)
    values = lambda part: jax.vmap(lambda p: MODULE.apply(p, obs).q_values, 0, 1)(params[part])  # noqa: E731
    found = network.apply(params, obs, None, ())[0].members
    np.testing.assert_allclose(found, values("members") + 3.0 * values("priors"), atol=1e-5)
    parts = (jax.tree.leaves(params[part])[1] for part in ("members", "priors"))
    kernels = {np.asarray(kernel).tobytes() for part in parts for kernel in part}
    assert len(kernels) == 6  # each begins as another network, and its prior is another still


def test_every_member_has_noise_of_its_own():
    dense = layers.NoisyDense
    module = heads.ValueNetwork(networks.MLP((6,), dense=dense), heads.LinearHead(2, 1, dense))
    network, obs = member_networks.ensemble(module, 2, draws=True), jnp.eye(4)
    params = jax.tree.map(lambda x: jnp.stack([x[0]] * 2), jax.jit(network.init)(KEY, obs))
    first, second = network.apply(params, obs, KEY, ())[0].members.swapaxes(0, 1)
    assert (first != second).any()
