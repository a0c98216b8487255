"""Iterated Q-learning: every link of a chain is one Bellman iteration further."""

from functools import partial

import exact
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_losses import HPARAMS, KEY, q_loss, random_steps

from jaxq.config import Config, HParams
from jaxq.errors import ConfigError
from jaxq.learning.iterated import chain_loss, shared_chain_loss
from jaxq.learning.targets import shift_heads, shift_networks
from jaxq.networks import heads, iterated, layers, modules
from jaxq.networks import torsos as networks
from jaxq.networks.statistics import normalized, split
from jaxq.recipes.validation import validate
from jaxq.types import Clock

pytestmark = pytest.mark.usefixtures("compiled_quickly")

LENGTH = 3
TABLE = heads.LinearHead(3, 1, partial(nn.Dense, use_bias=False))
CHAINS = {
    "is-dqn": (iterated.shared_chain(networks.Flatten(), TABLE, LENGTH), shared_chain_loss),
    "i-dqn": (
        iterated.chain(heads.ValueNetwork(networks.Flatten(), TABLE), LENGTH),
        chain_loss,
    ),
}
TARGETS = {"is-dqn": shift_heads(), "i-dqn": shift_networks(4, 1)}
OBS = jnp.ones((2, 4))


def clock(steps):
    return Clock(jnp.int32(steps), jnp.int32(0))


def members(network, params, obs):
    return np.asarray(network.apply(params, obs, None, ())[0].members)


@pytest.mark.parametrize("name", CHAINS)
def test_after_every_window_a_link_is_one_iteration_further(name):
    """Tabular and in expectation, where one update is one exact backup: Q_k is T^k Q_0, and
    T^(k+1) Q_0 after a shift and another window."""
    (network, loss), target = CHAINS[name], TARGETS[name]
    mdp = exact.sparse_mdp()
    steps, weights = exact.enumerate_windows(mdp, 1)
    every_state, lives = jnp.eye(len(mdp.ends)), mdp.ends == 0
    params = jax.jit(network.init)(KEY, every_state)
    target_params = target.init(params)
    first = members(network, params, every_state)[:, 0]  # Q_0 of both, by what targets begin with

    @jax.jit
    def update(params, target_params):
        def objective(params):
            output = loss(network, params, target_params, KEY, steps, HPARAMS)
            return jnp.sum(weights * output.loss)

        params = jax.tree.map(lambda p, g: p - g, params, jax.grad(objective)(params))
        return params, target.update(params, target_params, HPARAMS)

    iterations = [first]
    for _ in range(LENGTH + 2):
        iterations.append(exact.expect(mdp, iterations[-1].max(axis=1), HPARAMS.gamma))
    for window in range(3):
        for _ in range(LENGTH):
            params, target_params = update(params, target_params)
        learned = members(network, params, every_state)[:, -LENGTH:]
        for k in range(LENGTH):
            expected = iterations[window + k + 1]
            np.testing.assert_allclose(learned[lives, k], expected[lives], atol=1e-5)
        params, target_params = target.shift(params, target_params, clock(4), HPARAMS)


@pytest.mark.parametrize("name", CHAINS)
def test_a_shift_moves_by_one_place_and_nothing_else(name):
    head = heads.DuelingHead(3, stream_widths=(5,))
    if name == "is-dqn":
        network = iterated.shared_chain(networks.MLP((6,)), head, LENGTH)
    else:
        network = iterated.chain(heads.ValueNetwork(networks.MLP((6,)), head), LENGTH)
    network, target = normalized(network), TARGETS[name]
    params = network.observe(jax.jit(network.init)(KEY, OBS), jnp.arange(8.0).reshape(2, 4))
    shifted, _ = target.shift(params, target.init(params), clock(4), HPARAMS)
    before, after = (members(network, p, OBS) for p in (params, shifted))
    np.testing.assert_array_equal(after[:, :-1], before[:, 1:])
    np.testing.assert_array_equal(after[:, -1], before[:, -1])
    assert (before[:, 1:] != before[:, :-1]).all()
    same = jax.tree.map(lambda a, b: bool((a == b).all()), params, shifted)
    assert all(jax.tree.leaves(split(same)[1]))
    if name == "is-dqn":
        assert all(jax.tree.leaves(same["params"]["torso"]))


def test_target_networks_follow_one_place_behind_and_take_their_places_in_a_shift():
    target = shift_networks(8, 2)
    params, old = {"members": jnp.arange(3.0)}, {"members": jnp.array([7.0, 8.0, 9.0])}
    followed = target.update(params, old, HPARAMS)
    np.testing.assert_array_equal(followed["members"], [7.0, 0.0, 1.0])
    for steps, shifts in ((6, False), (8, True), (9, True), (10, False), (13, False), (17, True)):
        new, targets = target.shift(params, followed, clock(steps), HPARAMS)
        expected = ([1.0, 2.0, 2.0], params) if shifts else (params["members"], followed)
        np.testing.assert_array_equal(new["members"], expected[0])
        np.testing.assert_array_equal(targets["members"], expected[1]["members"])


def test_one_network_is_dqn():
    """Its target network is copied at every shift, and left alone between them."""
    module = heads.ValueNetwork(networks.MLP((16,)), heads.LinearHead(3))
    network, plain = iterated.chain(module, 1), modules.from_flax(module)
    params, target = (jax.jit(plain.init)(jax.random.key(k), OBS) for k in (1, 2))
    stacked = lambda p: {"members": jax.tree.map(lambda x: x[None], p)}  # noqa: E731
    steps = random_steps(2)
    hparams = HPARAMS._replace(huber_delta=0.3)
    expected = q_loss(plain, params, target, KEY, steps, hparams)
    found = chain_loss(network, stacked(params), stacked(target), KEY, steps, hparams)
    for name in ("loss", "priority"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-5)
    follows, (params, target) = shift_networks(4, 2), map(stacked, (params, target))
    kept = follows.update(params, target, HPARAMS)
    jax.tree.map(np.testing.assert_array_equal, kept, target)
    new, copied = follows.shift(params, kept, clock(4), HPARAMS)
    jax.tree.map(np.testing.assert_array_equal, (new, copied), (params, params))


def test_one_head_without_a_torso_is_dqn():
    network, plain = iterated.shared_chain(networks.Flatten(), TABLE, 1), None
    plain = modules.from_flax(heads.ValueNetwork(networks.Flatten(), TABLE))
    params = jax.jit(network.init)(KEY, OBS)
    fixed, learned = (
        {"params": jax.tree.map(lambda x, k=k: x[k], params["params"])} for k in (0, 1)
    )
    steps = random_steps(1)
    expected = q_loss(plain, learned, fixed, KEY, steps, HPARAMS)
    found = shared_chain_loss(network, params, None, KEY, steps, HPARAMS)
    np.testing.assert_allclose(found.loss, expected.loss, rtol=1e-5)


def test_the_first_head_is_not_taught_and_its_features_are_the_online_ones():
    """So targets change at every update, although no gradient goes through them."""
    network = iterated.shared_chain(networks.MLP((6,)), heads.LinearHead(3), 1)
    params, steps = jax.jit(network.init)(KEY, OBS), random_steps(1)

    def total(params):
        return shared_chain_loss(network, params, None, KEY, steps, HPARAMS).loss.sum()

    gradient = jax.jit(jax.grad(total))(params)["params"]
    for leaf in jax.tree.leaves(gradient["head"]):
        assert not leaf[0].any() and leaf[1].any()
    moved = {"params": {**params["params"], "head": jax.tree.map(jnp.zeros_like, gradient["head"])}}
    moved["params"]["head"] = jax.tree.map(  # the learned head says nothing, the first stays
        lambda zero, head: zero.at[0].set(head[0]),
        moved["params"]["head"],
        params["params"]["head"],
    )
    other = {"params": {**moved["params"], "torso": jax.tree.map(jnp.cos, gradient["torso"])}}
    assert abs(total(moved) - total(other)) > 0.1


@pytest.mark.parametrize("name", CHAINS)
def test_one_of_the_learned_acts_at_every_step_and_their_mean_greedily(name):
    network, _ = CHAINS[name]
    obs = jnp.ones((600, 4))
    params = jax.jit(network.init)(KEY, obs)
    output, _ = jax.jit(network.apply)(params, obs, jax.random.key(1), ())
    learned = output.members[:, -LENGTH:]
    which = np.argmax((learned == output.q_values[:, None]).all(axis=-1), axis=1)
    np.testing.assert_array_equal(output.q_values, learned[np.arange(600), which])
    np.testing.assert_allclose(np.bincount(which) / 600, 1 / LENGTH, atol=0.06)
    greedy, _ = network.apply(params, obs, None, ())
    np.testing.assert_allclose(greedy.q_values, learned.mean(axis=1), rtol=1e-5, atol=1e-6)
    assert not network.draws  # environments act side by side in one call


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"agent": "is-dqn"}, "target=polyak must be shift-heads for agent=is-dqn"),
        ({"agent": "i-dqn", "target": "shift-heads"}, "target=shift-heads"),
        ({"target": "shift-networks"}, "agent=dqn has not; agent=i-dqn is accepted"),
        (
            {"agent": "i-dqn", "target": "shift-networks", "shift_period": 700},
            "shift_period=700 must be a multiple of target_period=500",
        ),
        (
            {"agent": "is-dqn", "target": "shift-heads", "regulariser": "chain"},
            "regulariser=chain compares values with those before",
        ),
        ({"shift_period": 1_000}, "shift_period=1000 has no effect without target=shift-networks"),
        (
            {"agent": "is-dqn", "target": "shift-heads", "reset": "redo", "reset_period": 10_000},
            "reset=redo recycles units of one network",
        ),
    ],
)
def test_what_does_not_fit_together_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        validate(Config(**changes), HParams())


def test_every_head_has_noise_of_its_own():
    head = heads.LinearHead(2, 1, layers.NoisyDense)
    network = iterated.shared_chain(networks.Flatten(), head, 2, draws=True)
    params = jax.tree.map(lambda x: jnp.stack([x[0]] * 3), network.init(KEY, OBS))
    found = network.apply(params, OBS, KEY, ())[0].members
    assert (found[:, 1] != found[:, 2]).any()
