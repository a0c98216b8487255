"""Terms beside the loss: closed forms, and that nothing is added where nothing should be."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from common import SMALL_HPARAMS, cast, programs, same_bits, small

from jaxq.config import HParams
from jaxq.learning import regularisers
from jaxq.learning.regularisers import Churn
from jaxq.types import Look

OBS = jnp.array([[1.0, 2.0], [0.0, -1.0]])
PARAMS = {"w": jnp.array([[1.0, 0.0], [0.0, 2.0]])}
BEFORE = {"w": jnp.array([[1.0, 1.0], [0.0, 2.0]])}
HPARAMS = HParams(churn_weight=10.0, churn_share=0.05, l2_init_weight=0.5)


ACTION = jnp.array([1, 0], jnp.uint8)


def values():
    """Values linear in what is seen: OBS @ w."""
    return lambda params: OBS @ params["w"]


LOOK = Look(values, lambda: (values(), ACTION))


def gradient(regulariser, state, params=PARAMS):
    term = lambda params: regulariser.term(params, state, LOOK, HPARAMS)  # noqa: E731
    (value, _), gradients = jax.value_and_grad(term, has_aux=True)(params)
    return float(value), gradients["w"]


def test_l2_init_draws_to_the_first_parameters():
    regulariser = regularisers.l2_init()
    value, found = gradient(regulariser, regulariser.init(BEFORE))
    assert value == 0.5  # 0.5 * 1
    np.testing.assert_array_equal(found, [[0.0, -1.0], [0.0, 0.0]])
    assert gradient(regulariser, regulariser.init(PARAMS))[0] == 0.0
    assert regulariser.update(BEFORE, PARAMS, 1.0, {}) is BEFORE
    assert regulariser.restart(BEFORE, PARAMS) is BEFORE
    counted = {"statistics": {"count": jnp.float32(1e6)}}  # is no weight
    found = regulariser.term(PARAMS | counted, regulariser.init(BEFORE | counted), LOOK, HPARAMS)
    assert float(found[0]) == 0.5


def test_chain_by_hand():
    """Values changed by -1 in one of 2 x 2: a mean square of 1/4, whose slope is -1/2."""
    regulariser = regularisers.chain()
    value, found = gradient(regulariser, regulariser.init(BEFORE))
    assert value == pytest.approx(10.0 / 4)
    np.testing.assert_allclose(found, [[0.0, -5.0], [0.0, -10.0]])


def test_chain_begins_without_a_gradient():
    """And after a reset: what was reset has not churned."""
    regulariser = regularisers.chain()
    state = regulariser.restart(regulariser.init(BEFORE), PARAMS)
    value, found = gradient(regulariser, state)
    assert value == 0.0 and not found.any()


def test_the_previous_parameters_are_those_of_one_update_ago():
    regulariser = regularisers.chain()
    state = regulariser.update(regulariser.init(PARAMS), BEFORE, 1.0, {"churn": 0.0})
    assert state.previous is BEFORE


def test_the_weight_that_chain_finds():
    """Fixed at first, then a share of the loss: 0.05 * 8 / 2, and no gradient through it."""
    regulariser = regularisers.chain_auto()
    for updates, weight in ((9_999.0, 10.0), (10_000.0, 0.05 * 8.0 / 2.0)):
        state = Churn(BEFORE, *jnp.array([updates, 8.0, 2.0]))
        value, found = gradient(regulariser, state)
        assert value == pytest.approx(weight / 4, rel=1e-5)
        np.testing.assert_allclose(found, weight * np.array([[0.0, -0.5], [0.0, -1.0]]), rtol=1e-5)


def test_the_means_are_those_of_all_updates_and_later_forget():
    regulariser, state = regularisers.chain_auto(), regularisers.chain_auto().init(PARAMS)
    for loss, churn in ((-1.0, 4.0), (2.0, 0.0), (6.0, 2.0)):
        state = regulariser.update(state, PARAMS, loss, {"churn": churn})
    np.testing.assert_allclose(state[1:], [3.0, 3.0, 2.0], rtol=1e-6)
    full = regulariser.update(Churn(PARAMS, 5e4, 1.0, 1.0), PARAMS, 5e4 + 1.0, {"churn": 1.0})
    np.testing.assert_allclose(full[1:], [5e4, 2.0, 1.0], rtol=1e-6)


def test_cql_by_hand():
    """Of a table the gradient is the softmax less the action taken, times the weight."""
    table = {"w": jnp.array([[0.5, -1.0, 2.0], [1.0, 1.0, 0.0]])}
    look = Look(None, lambda: (lambda params: params["w"], jnp.array([0, 1], jnp.uint8)))
    regulariser, hparams = regularisers.conservative(), HParams(cql_weight=3.0)

    def term(params, state=()):
        return regulariser.term(params, state, look, hparams)

    (value, metrics), found = jax.value_and_grad(term, has_aux=True)(table)
    softmax, taken = jax.nn.softmax(table["w"]), np.eye(3)[[0, 1]]
    np.testing.assert_allclose(found["w"], 3.0 * (softmax - taken) / 2, rtol=1e-6)  # of 2 states
    gaps = -np.log(np.asarray(softmax)[[0, 1], [0, 1]])
    np.testing.assert_allclose(value, 3.0 * gaps.mean(), rtol=1e-6)
    np.testing.assert_allclose(metrics["cql_gap"], gaps.mean(), rtol=1e-6)
    assert regulariser.init(table) == ()


@pytest.mark.parametrize("regulariser", ["chain", pytest.param("l2-init", marks=pytest.mark.slow)])
def test_with_weight_0_it_is_the_method_without_it(regulariser):
    """The same keys and batches; another program, so that sums may be rounded in another order."""
    hparams = cast(SMALL_HPARAMS._replace(churn_weight=0.0, l2_init_weight=0.0))
    found = []
    for changes in ({}, {"regulariser": regulariser}):
        init, chunk = programs(small(**changes).trainer)
        state, _, metrics = chunk(*init(jax.random.key(0), hparams), hparams)
        found.append(state)
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)  # noqa: E731
    jax.tree.map(close, found[0].params, found[1].params)
    assert same_bits(found[0].key, found[1].key)
    assert float(metrics[regulariser.replace("-", "_").replace("chain", "churn")]) > 0.0


def test_chain_begins_with_what_was_observed_before_the_first_update():
    """Trap: its first churn was between observations as they are and normalised ones."""
    trainer = small(observations="normalized", regulariser="chain").trainer
    state, _ = jax.jit(trainer.init)(jax.random.key(0), SMALL_HPARAMS)
    assert same_bits(state.regulariser.previous, state.params)
    assert state.params["statistics"]
