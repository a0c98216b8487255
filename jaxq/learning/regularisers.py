"""Terms beside the loss: towards the first parameters, against what an update does elsewhere, or
against values of actions that data do not show.

A ``Regulariser`` remembers what it needs; the loop keeps it and knows nothing of it.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxq.config import HParams
from jaxq.networks.statistics import join, split
from jaxq.types import Look, PyTree, Regulariser

# Of CHAIN's authors' code: updates before the weight is found, those it is averaged over, and what
# keeps it finite.
_FIRST, _WINDOW, _SMALL = 10_000, 50_000, 1e-8


NONE = Regulariser(  # the loss as it is
    init=lambda params: (),
    term=lambda params, state, look, hparams: (0.0, {}),
    update=lambda state, params, loss, metrics: state,
    restart=lambda state, params: state,
)


def l2_init() -> Regulariser:
    """L2 Init (Kumar et al. 2023): ``weight |weights - weights at the start|^2``, over all of them.

    A reset changes parameters, not what they are drawn to.
    """

    def term(params: PyTree, start: PyTree, look: Look, hparams: HParams):
        del look
        weights, _ = split(params)
        squares = jax.tree.map(lambda new, old: jnp.sum((new - old) ** 2), weights, start)
        distance = sum(jax.tree.leaves(squares))
        return hparams.l2_init_weight * distance, {"l2_init": distance}

    return NONE._replace(init=lambda params: split(params)[0], term=term)


def conservative() -> Regulariser:
    """CQL(H) (Kumar et al. 2020, section 3.2).

    ``weight * mean (logsumexp_a Q(s, a) - Q(s, a_data))`` over the loss's own batch. Values of
    actions that the data take rise and those of others fall; alone it would end where the softmax
    of the values is how the data act. Of distributions and ensembles these are the means.
    """

    def term(params: PyTree, state: tuple, look: Look, hparams: HParams):
        del state
        values, action = look.here()
        q_values = values(params)
        taken = jnp.take_along_axis(q_values, action[:, None].astype(jnp.int32), axis=1)[:, 0]
        gap = jnp.mean(jax.nn.logsumexp(q_values, axis=1) - taken)
        return hparams.cql_weight * gap, {"cql_gap": gap}

    return NONE._replace(term=term)


class Churn(NamedTuple):
    """What CHAIN remembers."""

    previous: PyTree  # parameters one update ago
    updates: jax.Array  # [] float32, counted
    loss: jax.Array  # [], running mean of its size
    churn: jax.Array  # [], running mean


def chain() -> Regulariser:
    """CHAIN (Tang & Berseth 2024, section 4.1): values that the last update changed elsewhere.

    ``weight * mean (Q_now(s, a) - Q_before(s, a))^2`` over all actions and the states of a batch
    that is independent of the loss's, with the parameters one update ago. Of distributions these
    are the means.
    """
    return _chain(lambda state, hparams: hparams.churn_weight)


def chain_auto() -> Regulariser:
    """CHAIN with a weight that keeps its term at a share of the loss (section 4.3).

    ``share * mean |loss| / mean churn`` after 10,000 updates, the fixed weight before. The authors
    average over the last 50,000 updates; here the mean is that of all up to then, and afterwards
    forgets at the rate of such a window, so that nothing but two numbers is kept.
    """

    def weight(state: Churn, hparams: HParams) -> jax.Array:
        found = hparams.churn_share * state.loss / (state.churn + _SMALL)
        return jnp.where(state.updates >= _FIRST, found, hparams.churn_weight)

    return _chain(weight)


def _chain(weight: Callable[[Churn, HParams], jax.Array]) -> Regulariser:
    def init(params: PyTree) -> Churn:
        return Churn(params, *jnp.zeros((3,)))

    def term(params: PyTree, state: Churn, look: Look, hparams: HParams):
        values = look.elsewhere()
        old, (_, seen) = split(state.previous)[0], split(params)
        before = jax.lax.stop_gradient(values(join(old, seen)))  # what was seen since is no churn
        churn = jnp.mean((values(params) - before) ** 2)
        now = jax.lax.stop_gradient(weight(state, hparams))
        return now * churn, {"churn": churn, "chain_weight": now}

    def update(state: Churn, params: PyTree, loss: jax.Array, metrics: dict) -> Churn:
        updates = state.updates + 1.0
        share = 1.0 / jnp.minimum(updates, _WINDOW)
        mean = lambda old, new: old + share * (new - old)  # noqa: E731
        return Churn(
            previous=params,
            updates=jnp.minimum(updates, _WINDOW),
            loss=mean(state.loss, jnp.abs(loss)),
            churn=mean(state.churn, metrics["churn"]),
        )

    return Regulariser(init, term, update, lambda state, params: state._replace(previous=params))
