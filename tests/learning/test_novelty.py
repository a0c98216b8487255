"""RND: reductions to DQN, what a bonus is by hand, and that only training notices it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_losses import HPARAMS, KEY, NETWORK, parameters, q_loss, random_steps

from jaxq.learning.novelty import random_distillation_loss
from jaxq.networks import heads
from jaxq.networks import novelty as networks
from jaxq.networks.statistics import NAME
from jaxq.networks.torsos import MLP

pytestmark = pytest.mark.usefixtures("compiled_quickly")

TORSO = MLP((16,))
MODULE = heads.ValueNetwork(TORSO, heads.LinearHead(3))
RND = networks.novelty(MODULE, TORSO)
NUMBERS = HPARAMS._replace(intrinsic_gamma=0.8, intrinsic_scale=3.0, huber_delta=0.3)
loss_of, apply, count = (
    jax.jit(random_distillation_loss, static_argnums=0),
    jax.jit(RND.apply),
    jax.jit(RND.observe),
)


def distilling(member, target):
    """Parameters of RND whose values are those of ``parameters()``, seen by one batch."""
    obs = jax.random.normal(jax.random.key(5), (2, 4))
    params = jax.jit(RND.init)(KEY, obs)
    members = {"members": jax.tree.map(lambda *x: jnp.stack(x), member, member)}
    others = {"members": jax.tree.map(lambda *x: jnp.stack(x), target, target)}
    params = count({**params, "values": members}, jax.random.normal(KEY, (50, 2, 4)))
    return params, {**params, "values": others}


def test_values_of_rewards_and_of_bonuses_learn_as_dqn_does():
    steps = random_steps(1)
    params, target = distilling(*parameters())
    output = loss_of(RND, params, target, KEY, steps, NUMBERS)
    grads = jax.jit(jax.grad(lambda p: loss_of(RND, p, target, KEY, steps, NUMBERS).loss.sum()))(
        params
    )
    bonus = apply(params, steps.next_obs[:, 0], None, ())[0].bonus
    np.testing.assert_allclose(output.aux["bonus"], bonus, rtol=1e-5)
    for_bonus = steps._replace(reward=3.0 * bonus[:, None])
    cases = [(steps, NUMBERS), (for_bonus, NUMBERS._replace(gamma=0.8, reward_scale=1.0))]
    priority = 0.0
    for member, (steps, numbers) in enumerate(cases):
        plain = lambda p: q_loss(NETWORK, p, parameters()[1], KEY, steps, numbers)  # noqa: B023, E731
        expected = jax.jit(jax.grad(lambda p: plain(p).loss.sum()))(parameters()[0])  # noqa: B023
        got = jax.tree.map(lambda x: x[member], grads["values"]["members"])  # noqa: B023
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), got, expected)
        priority += plain(parameters()[0]).priority
    np.testing.assert_allclose(output.priority, priority, rtol=1e-4)
    assert not any(leaf.any() for leaf in jax.tree.leaves(grads[NAME]))
    assert all(leaf.any() for leaf in jax.tree.leaves(grads["predictor"]))


def test_a_bonus_is_the_error_over_the_spread_of_its_discounted_sums():
    params, _ = distilling(*parameters())
    draw = np.random.default_rng(0)
    before = {
        name: jax.tree.map(np.asarray, params[NAME][networks.NAME][name])
        for name in ("observations", "errors")
    }
    obs = draw.normal(size=(3, 2, 4)).astype(np.float32)  # 3 steps of 2 environments
    after = count(params, obs)
    seen = after[NAME][networks.NAME]
    mean, spread = seen["observations"]["mean"], np.sqrt(seen["observations"]["variance"] + 1e-8)
    shown = np.clip((obs - mean) / spread, -5.0, 5.0).reshape(-1, 4)
    outputs = networks._Outputs(TORSO)
    predicted, target = (outputs.apply(p, shown) for p in (params["predictor"], seen["random"]))
    errors = np.mean((np.asarray(predicted) - target) ** 2, axis=-1).reshape(3, 2)
    sums, every = before["errors"]["sums"], []
    for step in errors:
        sums = 0.99 * sums + step
        every.append(sums)
    np.testing.assert_allclose(seen["errors"]["sums"], sums, rtol=1e-4)
    number, total = 100, 106  # what has been counted before, and now
    old = before["errors"]
    joined_mean = (number * old["mean"] + np.sum(every)) / total
    squares = (number - 1) * old["variance"] + number * (old["mean"] - joined_mean) ** 2
    variance = (squares + np.sum((np.array(every) - joined_mean) ** 2)) / (total - 1)
    np.testing.assert_allclose(seen["errors"]["variance"], variance, rtol=1e-3)
    bonus = apply(after, obs[-1], None, ())[0].bonus
    np.testing.assert_allclose(bonus, errors[-1] / np.sqrt(variance), rtol=1e-3)


def test_bonuses_lead_in_training_alone():
    params, _ = distilling(*parameters())
    obs = jax.random.normal(KEY, (8, 4))
    params["values"]["members"] = jax.tree.map(
        lambda x: x * jnp.arange(1.0, 3.0).reshape(2, *[1] * (x.ndim - 1)),
        params["values"]["members"],
    )
    training, greedy = (apply(params, obs, key, ())[0] for key in (KEY, None))
    np.testing.assert_array_equal(greedy.q_values, greedy.members[:, 0])
    np.testing.assert_allclose(training.q_values, training.members.sum(axis=1), rtol=1e-6)
    assert np.any(training.q_values != greedy.q_values)


def test_what_was_predicted_often_is_no_longer_new():
    params, target = distilling(*parameters())
    here, there = 0.5 * jax.random.normal(KEY, (2, 32, 4)) + jnp.array([[[1.0]], [[-1.0]]])
    steps = random_steps(1)._replace(next_obs=here[:, None])

    @jax.jit
    def learn(predictor, _):
        def total(predictor):
            all_params = {**params, "predictor": predictor}
            return loss_of(RND, all_params, target, KEY, steps, NUMBERS).loss.mean()

        gradient = jax.grad(total)(predictor)
        return jax.tree.map(lambda p, g: p - 0.3 * g, predictor, gradient), None

    predictor, _ = jax.lax.scan(learn, params["predictor"], None, 300)

    def bonus(predictor, obs):
        return float(apply({**params, "predictor": predictor}, obs, None, ())[0].bonus.mean())

    assert bonus(predictor, here) < 0.1 * bonus(params["predictor"], here)
    assert bonus(predictor, there) > 10.0 * bonus(predictor, here)


def test_what_is_far_from_all_seen_is_clipped():
    params, _ = distilling(*parameters())
    far, further = (apply(params, x * jnp.ones((1, 4)), None, ())[0].error for x in (1e3, 1e5))
    np.testing.assert_array_equal(far, further)


def test_a_bonus_is_the_predictors_own_and_not_scaled_as_rewards_are():
    """Not that of the target network, whose predictor here says nothing."""
    steps, numbers = random_steps(1), NUMBERS._replace(reward_scale=0.5)
    params, target = distilling(*parameters())
    target = {**target, "predictor": jax.tree.map(jnp.zeros_like, target["predictor"])}
    output = loss_of(RND, params, target, KEY, steps, numbers)
    bonus = apply(params, steps.next_obs[:, 0], None, ())[0].bonus
    for_bonus = steps._replace(reward=3.0 * bonus[:, None])
    cases = [(steps, numbers), (for_bonus, numbers._replace(gamma=0.8, reward_scale=1.0))]
    expected = sum(q_loss(NETWORK, *parameters(), KEY, *case).priority for case in cases)
    np.testing.assert_allclose(output.priority, expected, rtol=1e-4)
