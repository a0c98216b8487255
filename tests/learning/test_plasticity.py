"""What starts anew: by hand-made dormant units, and closed forms."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.traverse_util import flatten_dict

from jaxq.config import HParams
from jaxq.errors import ConfigError
from jaxq.learning import plasticity
from jaxq.learning.plasticity import Anew, Learner
from jaxq.networks import heads, modules, statistics, torsos
from jaxq.networks.units import hidden_layers

pytestmark = pytest.mark.usefixtures("compiled_quickly")

IMAGES, NUMBERS = jnp.zeros((1, 5, 5, 2), bool), jnp.zeros((1, 4))
LINEAR = heads.LinearHead(3)
ADAM = optax.adam(1e-3)
# A network, what it sees, and a unit to be killed: the path of the layer that makes it, its number.
NETWORKS = {
    "first layer": (torsos.MLP((6, 5)), LINEAR, NUMBERS, ("torso", "Dense_0"), 2),
    "last layer": (torsos.MLP((6, 5)), LINEAR, NUMBERS, ("torso", "Dense_1"), 4),
    "channel": (torsos.MinAtarTorso((6,), channels=3), LINEAR, IMAGES, ("torso", "PatchConv_0"), 1),
    "streams": (
        torsos.MLP((6,)),
        heads.DuelingHead(3, stream_widths=(4, 5)),
        NUMBERS,
        ("head", "Dense_4"),
        3,
    ),
    "before streams": (
        torsos.MLP((6,)),
        heads.DuelingHead(3, stream_widths=(4,)),
        NUMBERS,
        ("torso", "Dense_0"),
        0,
    ),
}


def learner_of(torso, head, obs):
    """A network, a learner whose moments are all 1, and other parameters."""
    network = modules.from_flax(heads.ValueNetwork(torso, head))
    params, fresh = (jax.jit(network.init)(jax.random.key(seed), obs) for seed in (0, 1))
    opt_state = jax.tree.map(jnp.ones_like, ADAM.init(params))
    return network, Learner(params, params, opt_state), fresh


def recycle(network, learner, fresh, obs, threshold):
    anew = Anew(fresh, ADAM.init, lambda: obs, network)
    reset = lambda learner, hparams: plasticity.redo(learner, anew, hparams)  # noqa: E731
    return jax.jit(reset)(learner, HParams(dormant_threshold=threshold))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_dead_unit_is_recycled_and_outputs_stay(name):
    torso, head, obs, path, unit = NETWORKS[name]
    network, learner, fresh = learner_of(torso, head, obs)
    rows = jax.random.normal(jax.random.key(2), (16, *obs.shape[1:]))
    rows = rows > 0 if obs.dtype == bool else rows
    params = jax.tree.map(jnp.abs, learner.params)  # so that all other units are active
    layer = params["params"][path[0]][path[1]]
    layer["bias"] = layer["bias"].at[unit].set(-1e3)
    learner = learner._replace(params=params)
    after = recycle(network, learner, fresh, rows, 0.0)
    q_values = jax.jit(lambda params: network.apply(params, rows, None, ())[0].q_values)
    np.testing.assert_array_equal(q_values(after.params), q_values(params))
    new, drawn = (tree["params"][path[0]][path[1]] for tree in (after.params, fresh))
    for leaf in ("kernel", "bias"):
        np.testing.assert_array_equal(new[leaf][..., unit], drawn[leaf][..., unit])
        assert not after.opt_state[0].mu["params"][path[0]][path[1]][leaf][..., unit].any()
    changed = jax.tree.map(lambda a, b: np.sum(a != b), after.params, params)
    zeroed = jax.tree.map(lambda a: np.sum(a == 0), after.opt_state[0].nu)
    # Other weights of the layer stay; what leads out is 0, here and in the optimizer.
    (layers_with_unit,) = [
        found
        for found in hidden_layers(network, params, lambda: rows)
        if ("params", *path) in found.modules
    ]
    one_unit = layer["kernel"].size // layer["kernel"].shape[-1]
    total = one_unit + 1
    for reader in layers_with_unit.readers:
        before, now, memory, count, forgotten = (
            flatten_dict(tree)[(*reader, "kernel")]
            for tree in (params, after.params, after.opt_state[0].mu, changed, zeroed)
        )
        places = before.shape[0] // len(layers_with_unit.activity)
        out = slice(unit * places, (unit + 1) * places)
        assert before[out].all() and not now[out].any() and not memory[out].any()
        assert count == forgotten == places * before.shape[1]
        total += count
    assert sum(jax.tree.leaves(changed)) == sum(jax.tree.leaves(zeroed)) == total
    assert after.target_params is learner.target_params or jax.tree.all(
        jax.tree.map(np.array_equal, after.target_params, learner.target_params)
    )


def test_activity_is_over_the_mean_of_the_layer():
    """Mean sizes 0, 1 and 3 have the scores 0, 0.75 and 2.25."""
    scores = plasticity.dormant_scores(jnp.array([0.0, 1.0, 3.0]))
    np.testing.assert_allclose(scores, [0.0, 0.75, 2.25])


def test_the_threshold_is_a_share_of_the_mean():
    network, learner, fresh = learner_of(torsos.MLP((8,)), LINEAR, NUMBERS)
    rows = jax.random.normal(jax.random.key(2), (16, 4))
    (layer,) = hidden_layers(network, learner.params, lambda: rows)
    scores = np.sort(layer.activity / layer.activity.mean())
    after = recycle(network, learner, fresh, rows, float(scores[2:4].mean()))
    kernel = after.params["params"]["head"]["Dense_0"]["kernel"]
    assert (kernel == 0).all(axis=1).sum() == 3


def test_both_signs_of_a_unit_count_once_and_lead_on_together():
    torso = torsos.MLP((5,), both_signs=True)
    network, learner, fresh = learner_of(torso, LINEAR, NUMBERS)
    rows = jax.random.normal(jax.random.key(2), (16, 4))
    (layer,) = hidden_layers(network, learner.params, lambda: rows)
    dense = learner.params["params"]["torso"]["Dense_0"]
    size = jnp.abs(rows @ dense["kernel"] + dense["bias"]).mean(axis=0)
    np.testing.assert_allclose(layer.activity, 0.5 * size, rtol=1e-5)
    scores = np.sort(size / size.mean())
    after = recycle(network, learner, fresh, rows, float(scores[:2].mean()))
    gone = (after.params["params"]["head"]["Dense_0"]["kernel"] == 0).all(axis=1)
    np.testing.assert_array_equal(gone, np.repeat(size == size.min(), 2))


def test_running_statistics_are_not_learned_and_stay():
    plain, _, _ = learner_of(torsos.MLP((8,)), LINEAR, NUMBERS)
    network = statistics.normalized(plain)
    params, fresh = (network.init(jax.random.key(seed), NUMBERS) for seed in (0, 1))
    rows = 3.0 + jax.random.normal(jax.random.key(2), (16, 4))
    params = network.observe(params, rows)
    learner = Learner(params, params, ADAM.init(params))
    anew = Anew(fresh, ADAM.init, lambda: rows, network)
    for reset in (plasticity.head, plasticity.shrink_and_perturb, plasticity.redo):
        found = reset(learner, anew, HParams(dormant_threshold=0.8))
        jax.tree.map(
            np.testing.assert_array_equal, found.params["statistics"], params["statistics"]
        )
        assert found.params["params"]["head"]["Dense_0"]["kernel"].tolist() != (
            params["params"]["head"]["Dense_0"]["kernel"].tolist()
        )
    # Units are as active as on what the network sees, which is normalised.
    (layer,) = hidden_layers(network, params, lambda: rows)
    seen = statistics.normalize(params["statistics"]["observations"], rows)
    (expected,) = hidden_layers(plain, {"params": params["params"]}, lambda: seen)
    np.testing.assert_array_equal(layer.activity, expected.activity)


def test_networks_without_known_units_are_refused():
    network, learner, fresh = learner_of(torsos.Flatten(), LINEAR, NUMBERS)
    with pytest.raises(ConfigError, match="reset=redo has no effect on a network without hidden"):
        recycle(network, learner, fresh, NUMBERS, 0.1)


def test_asking_for_activity_changes_neither_parameters_nor_programs():
    network, learner, _ = learner_of(torsos.MLP((6,)), LINEAR, NUMBERS)
    assert set(learner.params) == {"params"}
    text = str(jax.make_jaxpr(partial(network.apply, learner.params))(NUMBERS, None, ()))
    assert "abs" not in text and "reduce_sum" not in text


def test_shrink_and_perturb_by_hand():
    old, new = {"w": jnp.array([4.0])}, {"w": jnp.array([10.0])}
    learner = Learner(old, {"w": jnp.array([[4.0], [2.0]])}, ADAM.init(old))
    anew = Anew(new, ADAM.init, None, None)
    found = plasticity.shrink_and_perturb(learner, anew, HParams(shrink=0.5, perturb=0.1))
    np.testing.assert_allclose(found.params["w"], [3.0])
    np.testing.assert_allclose(found.target_params["w"], [[3.0], [2.0]])
    for shrink, expected in ((1.0, 4.0), (0.0, 10.0)):
        hparams = HParams(shrink=shrink, perturb=1.0 - shrink)
        found = plasticity.shrink_and_perturb(learner, anew, hparams)
        np.testing.assert_array_equal(found.params["w"], [expected])


@pytest.mark.parametrize("reset", [plasticity.head, plasticity.shrink_and_perturb])
def test_random_priors_stay(reset):
    """They never change, or values would jump with nothing learned."""
    tree = lambda value: {n: {"head": jnp.full(2, value)} for n in ("members", "priors")}  # noqa: E731
    anew = Anew(tree(1.0), ADAM.init, None, None)
    mixed = reset(Learner(tree(0.0), None, ()), anew, HParams())
    assert mixed.params["members"]["head"].all() and not mixed.params["priors"]["head"].any()
    assert mixed.target_params is None
