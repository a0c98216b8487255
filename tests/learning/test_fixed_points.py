"""On expected transitions every loss converges to ITS OWN fixed point, not always to Q*.

All transitions (or windows of a uniform policy) are enumerated with their probabilities, so that
nothing is sampled. The fixed points come from dynamic programming in ``exact.py``; on FrozenLake
some lie far from Q*, up to 0.9.
"""

from functools import cache, partial

import exact
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxq.config import HParams
from jaxq.learning import backups
from jaxq.learning.returns import lambda_returns, unscale
from jaxq.learning.targets import polyak, stack
from jaxq.networks import ensembles as member_networks
from jaxq.networks import heads, layers, modules
from jaxq.networks import torsos as networks
from jaxq.networks.legal import of_legal_actions
from jaxq.recipes.agents import AGENTS

pytestmark = pytest.mark.usefixtures("compiled_quickly")

LOSSES = {name: row.make[0] for name, row in AGENTS.items()}
MDPS = {"lake": exact.lake, "random": exact.sparse_mdp, "some illegal": exact.masked_mdp}
LAKE, MASKED = (pytest.param(name, marks=pytest.mark.slow) for name in ("lake", "some illegal"))
NAMES = pytest.mark.parametrize("name", [LAKE, "random", "some illegal"])
MOSTLY = pytest.mark.parametrize("name", [LAKE, "random", MASKED])  # where learning takes longer
GAMMA = 0.9
HPARAMS = HParams(gamma=GAMMA, temperature=0.1)
ZEROS = partial(nn.Dense, use_bias=False, kernel_init=nn.initializers.zeros)


@cache
def mdp_and_windows(name: str, length: int):
    mdp = MDPS[name]()
    return mdp, *exact.enumerate_windows(mdp, length)


def table(num_actions: int, module=heads.ValueNetwork, num_outputs: int = 1, **fields):
    head = heads.LinearHead(num_actions, num_outputs, ZEROS)
    return module(networks.Flatten(), head, **fields)


def learn(loss, network, steps, weights, hparams, optimizer, updates, target=None):
    """Parameters after full-batch updates; the target network follows every update."""
    target, network = target or polyak(), of_legal_actions(network)
    params = network.init(jax.random.key(0), jax.tree.map(lambda x: x[:1, 0], steps.obs))
    state = params, target.init(params), optimizer.init(params)

    def update(state, key):
        params, target_params, opt_state = state

        def objective(params):
            output = loss(network, params, target_params, key, steps, hparams)
            return jnp.sum(weights * output.loss)

        gradients = jax.grad(objective)(params)
        updates, opt_state = optimizer.update(gradients, opt_state, params)
        params = optax.apply_updates(params, updates)
        return (params, target.update(params, target_params, hparams), opt_state), None

    keys = jax.random.split(jax.random.key(1), updates)
    return jax.jit(lambda state: jax.lax.scan(update, state, keys)[0])(state)[0]


def learned(network, params, num_states):
    obs = jnp.eye(num_states)
    return network.apply(params, obs, None, ())[0]


def assert_close(q_values, expected, mdp, tolerance=0.02):
    seen = (mdp.ends == 0)[:, None] & np.broadcast_to(mdp.legal, mdp.transition.shape[:2])
    np.testing.assert_allclose(np.asarray(q_values)[seen], expected[seen], atol=tolerance)


SGD = optax.sgd(1.0)  # every (state, action) has total weight 1: one update is one exact backup


@NAMES
@pytest.mark.parametrize("backup", ["greedy", "double", "minto", "soft", "munchausen"])
def test_values(name, backup):
    mdp, steps, weights = mdp_and_windows(name, 1)
    network = modules.from_flax(table(mdp.transition.shape[1]))
    loss = partial(LOSSES["dqn"], backup=getattr(backups, backup))
    params = learn(loss, network, steps, weights, HPARAMS, SGD, 400)
    expected = {
        "soft": lambda: exact.soft(mdp, GAMMA, 0.1),
        "munchausen": lambda: exact.soft(mdp, GAMMA, 0.1, HPARAMS.munchausen_alpha),
    }.get(backup, lambda: exact.optimal(mdp, GAMMA))()
    assert_close(learned(network, params, len(mdp.ends)).q_values, expected, mdp, 1e-3)


def test_what_is_illegal_would_change_what_is_learned():
    """Else the fixed points of the masked problem would show nothing."""
    masked, mdp = exact.masked_mdp(), exact.sparse_mdp()
    assert 0.3 < masked.legal.mean() < 0.7 and masked.legal.any(axis=1).all()
    for values in (exact.optimal, lambda mdp, gamma: exact.soft(mdp, gamma, 0.1)):
        off = np.abs(values(masked, GAMMA) - values(mdp, GAMMA))
        assert off[(mdp.ends == 0)[:, None] & masked.legal].min() > 0.1


@NAMES
def test_three_step_windows_of_a_uniform_policy(name):
    mdp, steps, weights = mdp_and_windows(name, 3)
    network = modules.from_flax(table(mdp.transition.shape[1]))
    params = learn(LOSSES["dqn"], network, steps, weights, HPARAMS, SGD, 200)
    expected = exact.lambda_values(mdp, GAMMA, 1.0, 3)
    assert np.abs(expected - exact.optimal(mdp, GAMMA)).max() > 0.02  # another fixed point
    assert_close(learned(network, params, len(mdp.ends)).q_values, expected, mdp, 1e-3)


@NAMES
def test_lambda_returns_of_a_uniform_policy(name):
    mdp, steps, weights = mdp_and_windows(name, 3)
    network = modules.from_flax(table(mdp.transition.shape[1]))

    def loss(network, params, target_params, key, steps, hparams):
        """PQN: the returns are computed by the parameters before the update."""
        rows = jax.tree.map(lambda x: x.reshape(-1, x.shape[-1]), steps.next_obs)
        q_values = network.apply(target_params, rows, None, ())[0][0]
        values = q_values.max(axis=-1).reshape(steps.done.shape)
        discounts = GAMMA * (1.0 - steps.terminated)
        totals = jax.vmap(lambda_returns, (0, 0, 0, 0, None))(
            steps.reward, discounts, values, steps.done, 0.7
        )
        first = jax.tree.map(lambda x: x[:, :1], steps)
        return LOSSES["pqn"](network, params, key, first, totals[:, :1], hparams)

    params = learn(loss, network, steps, weights, HPARAMS, SGD, 200)
    expected = exact.lambda_values(mdp, GAMMA, 0.7, 3)
    assert_close(learned(network, params, len(mdp.ends)).q_values, expected, mdp, 1e-3)


@NAMES
@pytest.mark.parametrize("agent", ["drqn", "r2d2"])
def test_sequences_and_rescaled_values(name, agent):
    mdp, steps, weights = mdp_and_windows(name, 1)
    network = modules.from_flax(table(mdp.transition.shape[1]))
    params = learn(LOSSES[agent], network, steps, weights, HPARAMS, SGD, 400)
    values = learned(network, params, len(mdp.ends)).q_values
    expected = exact.optimal(mdp, GAMMA) if agent == "drqn" else exact.rescaled(mdp, GAMMA)
    assert_close(values, expected, mdp, 2e-3)
    if agent == "r2d2":
        back = np.asarray(unscale(values))
        off = np.abs(back - exact.optimal(mdp, GAMMA))[mdp.ends == 0].max()
        assert off > 1e-3  # the mean of h is not h of the mean


@MOSTLY
@pytest.mark.parametrize("agent, tolerance", [("rem", 0.02), ("maxmin", 0.15)])
def test_ensembles(name, agent, tolerance):
    """A random member learns, or each by its share: all reach Q*.

    Every window comes 16 times, so that maxmin's minimum is hardly one over the draws; what is left
    pulls its values down by up to 0.12, of 8.
    """
    mdp, steps, weights = mdp_and_windows(name, 1)
    steps, weights = jax.tree.map(lambda x: np.repeat(x, 16, axis=0), (steps, weights / 16))
    module = table(mdp.transition.shape[1])
    network = member_networks.ensemble(module, 3)
    optimizer = optax.sgd(optax.linear_schedule(0.5, 0.005, 4_000))
    params = learn(LOSSES[agent], network, steps, weights, HPARAMS, optimizer, 4_000)
    output = learned(network, params, len(mdp.ends))
    assert_close(output.members.mean(axis=1), exact.optimal(mdp, GAMMA), mdp, tolerance)


@MOSTLY
def test_bootstrapped_members_with_priors(name):
    """Whatever its prior and its mask, every member reaches Q*."""
    mdp, steps, weights = mdp_and_windows(name, 1)
    module = heads.ValueNetwork(
        networks.Flatten(), heads.LinearHead(mdp.transition.shape[1], 1, networks.Dense)
    )
    network = member_networks.ensemble(module, 3, prior_scale=2.0)
    mask = jnp.ones((len(weights), 1, 3), bool)
    steps = steps._replace(carry=member_networks.EnsembleCarry(jnp.zeros((len(weights), 1)), mask))
    optimizer = optax.adam(optax.linear_schedule(0.05, 1e-3, 4_000))
    params = learn(LOSSES["bootstrapped"], network, steps, weights, HPARAMS, optimizer, 4_000)
    output = learned(network, params, len(mdp.ends))
    for member in range(3):
        assert_close(output.members[:, member], exact.optimal(mdp, GAMMA), mdp)


@NAMES
def test_averaged_targets(name):
    mdp, steps, weights = mdp_and_windows(name, 1)
    network = modules.from_flax(table(mdp.transition.shape[1]))
    params = learn(LOSSES["averaged"], network, steps, weights, HPARAMS, SGD, 800, stack(4))
    assert_close(
        learned(network, params, len(mdp.ends)).q_values, exact.optimal(mdp, GAMMA), mdp, 1e-3
    )


@MOSTLY
def test_categorical(name):
    """Means and whole distributions under the projected operator; means equal Q* in the middle."""
    mdp, steps, weights = mdp_and_windows(name, 1)
    bounds = (-1.0, 2.0) if name == "lake" else (-15.0, 15.0)
    atoms = np.linspace(*bounds, 31)
    network = modules.from_flax(
        table(mdp.transition.shape[1], heads.CategoricalNetwork, 31, support=bounds)
    )
    optimizer = optax.adam(optax.linear_schedule(0.2, 0.01, 4_000))
    params = learn(LOSSES["c51"], network, steps, weights, HPARAMS, optimizer, 4_000)
    output = learned(network, params, len(mdp.ends))
    probs = exact.categorical(mdp, GAMMA, atoms)
    assert_close(output.q_values, probs @ atoms, mdp)
    if name != "lake":  # where some actions are equally good
        assert_close(jax.nn.softmax(output.logits), probs, mdp, 0.02)
    assert_close(output.q_values, exact.optimal(mdp, GAMMA), mdp, 0.03)


@MOSTLY
def test_values_learned_by_classification(name):
    """The histograms' means, which are Q* although bins are 0.75 wide, if no edge is near."""
    mdp, steps, weights = mdp_and_windows(name, 1)
    bounds = (-1.0, 2.0) if name == "lake" else (-15.0, 15.0)
    module = table(
        mdp.transition.shape[1],
        heads.CategoricalNetwork,
        40,
        support=heads.bin_centers(bounds, 40),
    )
    network = modules.from_flax(module)
    optimizer = optax.adam(optax.linear_schedule(0.2, 0.01, 4_000))
    params = learn(LOSSES["hl-gauss"], network, steps, weights, HPARAMS, optimizer, 4_000)
    values = learned(network, params, len(mdp.ends)).q_values
    edges = np.linspace(*bounds, 41)
    sigma = HPARAMS.sigma_ratio * (edges[1] - edges[0])
    assert_close(values, exact.histogram(mdp, GAMMA, edges, sigma), mdp, 0.01)
    assert_close(values, exact.optimal(mdp, GAMMA), mdp, 0.02)


@MOSTLY
def test_quantiles(name):
    mdp, steps, weights = mdp_and_windows(name, 1)
    network = modules.from_flax(table(mdp.transition.shape[1], heads.QuantileNetwork, 7))
    optimizer = optax.adam(optax.linear_schedule(0.05, 1e-3, 6_000))
    hparams = HPARAMS._replace(huber_delta=1.0)
    params = learn(LOSSES["qr-dqn"], network, steps, weights, hparams, optimizer, 6_000)
    output = learned(network, params, len(mdp.ends))
    expected = exact.quantiles(mdp, GAMMA, 7)
    assert_close(output.quantiles, expected, mdp)
    assert_close(output.q_values, expected.mean(axis=-1), mdp)


@pytest.mark.parametrize("name", ["random", "some illegal"])  # a minute each
@pytest.mark.parametrize(
    "agent, backup, dense, tolerance",
    [
        # Its own noise never vanishes entirely.
        pytest.param("dqn", "greedy", "noisy", 0.1, marks=pytest.mark.slow),
        # Of values up to 8; random fractions now and then select another action than midpoints.
        pytest.param("iqn", "greedy", "plain", 0.3, marks=pytest.mark.slow),
        pytest.param("iqn", "munchausen", "plain", 0.3, marks=pytest.mark.slow),
    ],
)
def test_methods_that_draw(name, agent, backup, dense, tolerance):
    """Noise and random fractions: near the fixed point, within the tolerance of the row."""
    mdp, steps, weights = mdp_and_windows(name, 1)
    num_states, num_actions, _ = mdp.transition.shape
    torso = networks.MLP((64,), dense=layers.NoisyDense if dense == "noisy" else layers.Dense)
    head = heads.LinearHead(num_actions, 1, torso.dense)
    if agent == "iqn":
        network = modules.from_flax(heads.ImplicitQuantileNetwork(torso, head, 16))
    else:
        network = modules.from_flax(heads.ValueNetwork(torso, head))
    hparams = HPARAMS
    if agent == "iqn":  # a policy of random values needs a temperature that hides their noise
        hparams = HPARAMS._replace(huber_delta=1.0, temperature=1.0)
    loss = partial(LOSSES[agent], backup=getattr(backups, backup))
    optimizer = optax.adam(optax.linear_schedule(5e-3, 1e-5, 3_000))
    params = learn(loss, network, steps, weights, hparams, optimizer, 3_000)
    expected = {
        ("dqn", "greedy"): lambda: exact.optimal(mdp, GAMMA),
        ("iqn", "greedy"): lambda: exact.quantiles(mdp, GAMMA, 15).mean(axis=-1),
        ("iqn", "munchausen"): lambda: exact.quantiles(
            mdp, GAMMA, 15, temperature=1.0, alpha=HPARAMS.munchausen_alpha
        ).mean(axis=-1),
    }[agent, backup]()
    assert_close(learned(network, params, num_states).q_values, expected, mdp, tolerance)
