"""HL-Gauss: a Gaussian as a histogram, and values learned by classification."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from common import SMALL

from jaxq.config import HParams
from jaxq.learning import backups, losses, td
from jaxq.learning.backups import Values
from jaxq.networks.heads import CategoricalOutput, bin_centers
from jaxq.recipes.agents import make_network_from
from jaxq.recipes.experiment import make_env_from
from jaxq.types import Transition

pytestmark = pytest.mark.usefixtures("compiled_quickly")

CENTERS = jnp.linspace(*bin_centers((-4.0, 4.0), 16), 16)  # bins 0.5 wide
histogram = jax.jit(jax.vmap(td.gaussian_histogram, (0, None, None)))


def test_atoms_are_the_middles_of_bins():
    assert bin_centers((-4.0, 4.0), 16) == (-3.75, 3.75)
    config = replace(SMALL, agent="hl-gauss", num_atoms=10)
    env = make_env_from(config, 1)
    network = make_network_from(config, env)
    obs = jax.ShapeDtypeStruct((1, *env.obs_spec.shape), jnp.float32)
    params = jax.eval_shape(network.init, jax.random.key(0), obs)
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), params)
    output, _ = network.apply(zeros, jnp.zeros(obs.shape), None, ())
    np.testing.assert_allclose(output.atoms, np.arange(-90.0, 91.0, 20.0), rtol=1e-6)


def test_nothing_is_lost_and_the_mean_is_kept_away_from_the_ends():
    """At a middle exactly; between them to a thousandth of a bin, as the ratio of 0.75 is for."""
    targets = jnp.concatenate([jnp.linspace(-2.0, 2.0, 41), CENTERS[4:-4]])
    probs = histogram(targets, CENTERS, 0.75)
    np.testing.assert_allclose(probs.sum(axis=1), 1.0, atol=1e-6)
    means = probs @ CENTERS
    np.testing.assert_allclose(means, targets, atol=5e-4)
    np.testing.assert_allclose(means[41:], CENTERS[4:-4], atol=2e-6)


def test_the_ratio_is_the_standard_deviation_in_widths_of_a_bin():
    """With the variance 1/12 that a uniform bin adds (Sheppard's correction)."""
    for ratio in (0.75, 1.5):
        probs = histogram(jnp.array([0.1]), CENTERS, ratio)[0]
        variance = probs @ (CENTERS - probs @ CENTERS) ** 2 / 0.5**2
        assert float(variance) == pytest.approx(ratio**2 + 1 / 12, rel=0.02)


def test_a_narrow_gaussian_is_one_hot():
    probs = histogram(jnp.array([0.1, -3.9]), CENTERS, 1e-3)
    np.testing.assert_array_equal(probs, np.eye(16)[[8, 0]])
    logits = jnp.arange(16.0)
    loss = td.hl_gauss(logits, CENTERS, jnp.float32(0.1), jnp.float32(1e-3))
    assert float(loss) == pytest.approx(-float(jax.nn.log_softmax(logits)[8]))


def test_targets_at_and_beyond_the_ends():
    """Trap: far outside, nothing of a Gaussian is left inside, and 0 / 0 is no number."""
    probs = histogram(jnp.array([-4.0, -1e6, 4.0, 5.0, 1e30]), CENTERS, 0.75)
    np.testing.assert_allclose(probs.sum(axis=1), 1.0, atol=1e-6)
    np.testing.assert_array_equal(probs[0], probs[1])
    np.testing.assert_array_equal(probs[2], probs[4])
    assert probs[0].argmax() == 0 and probs[3].argmax() == 15


def test_the_gradient_is_that_of_a_classification():
    """Probabilities less the histogram, for the action taken, and none for the target."""
    logits = jax.random.normal(jax.random.key(0), (16,))
    gradients = jax.grad(td.hl_gauss, (0, 2))(logits, CENTERS, jnp.float32(1.3), jnp.float32(0.75))
    probs = td.gaussian_histogram(jnp.float32(1.3), CENTERS, jnp.float32(0.75))
    np.testing.assert_allclose(gradients[0], jax.nn.softmax(logits) - probs, atol=1e-6)
    assert gradients[1] == 0.0


@pytest.mark.parametrize("backup", ["greedy", "double", "soft", "munchausen", "minto"])
def test_every_backup_gives_the_target_that_it_gives_dqn(backup):
    """The TD errors are DQN's, and the loss is the cross-entropy with those targets."""
    backup = getattr(backups, backup)
    logits = 2.0 * jax.random.normal(jax.random.key(1), (4, 5, 3, 16))
    outputs = Values(
        *(CategoricalOutput(jax.nn.softmax(one) @ CENTERS, one, CENTERS) for one in logits)
    )
    action = jnp.array([0, 1, 2, 0, 1])
    reward, discount = jnp.linspace(-1.0, 1.0, 5), jnp.array([0.9, 0.9, 0.0, 0.9, 0.9])
    batch = Transition(None, action, reward, discount, None)
    hparams = HParams(temperature=0.5)
    loss = partial(losses.histogram_loss.__wrapped__, outputs, batch, hparams, backup)
    output = jax.jit(loss)()
    q_values = losses.each(outputs, "q_values")
    errors = losses.td_errors(q_values, batch, hparams, backup)
    targets = errors + q_values.online_tm1[jnp.arange(5), action]
    np.testing.assert_allclose(output.priority, jnp.abs(errors), rtol=1e-4, atol=1e-5)
    probs = histogram(targets, CENTERS, 0.75)
    taken = jax.nn.log_softmax(logits[0])[jnp.arange(5), action]
    np.testing.assert_allclose(output.loss, -(probs * taken).sum(axis=1), rtol=1e-4)
