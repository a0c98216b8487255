"""What goes on inside a member, measured at evaluations: churn, ranks, dormant units and norms.

Everything is measured on a batch of observations that is held out: drawn once, at the beginning of
a run, by random play that nothing else of the run sees. Churn is that of updates which a copy of
the member makes for it. Nothing here changes a member, and a loop is asked for nothing but more
updates.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxq.config import HParams
from jaxq.learning.plasticity import dormant_scores
from jaxq.learning.traces import TraceRule
from jaxq.legal import legal_actions, uniform
from jaxq.networks.ensembles import EnsembleCarry, MixtureCarry
from jaxq.networks.statistics import join, split
from jaxq.types import Agent, Clock, Env, Network, PyTree, Trainer

UPDATES = 20  # between which churn is measured, as Tang & Berseth (2024) do
DELTA = 0.01  # of srank
DORMANT = 0.1  # score up to which a unit is dormant, of Sokar et al. (2023)
_HELD_OUT = 512  # observations; an srank is at most that, and others take 2,048
_APART = 8  # steps between those of one environment
_TOGETHER = 32  # environments that give observations, at most


class Beginning(NamedTuple):
    """What a member is compared with as long as it learns."""

    obs: PyTree  # [N, *obs], held out
    weights: PyTree  # at step 0, without running statistics


class Diagnostics(NamedTuple):
    """``begin(params, key, hparams) -> Beginning``, with the parameters at step 0;
    ``measure(state, clock, beginning, key, hparams, *data) -> numbers by name``, with the data of
    the trainer, if it has any.
    """

    begin: Callable
    measure: Callable


class Noted(NamedTuple):
    """The state of an optimizer or a trace rule, and sums over its updates."""

    state: PyTree
    gradient: jax.Array  # [] of the norms of gradients, before clipping
    update: jax.Array  # [] of the norms of what was added to the weights


def make_diagnostics(env: Env, agent: Agent, noting: Trainer) -> Diagnostics:
    """Diagnostics of one member; what is not known of its agent is left out.

    With a network: churn, unless it has a memory, without which no single state has a value. With a
    network that shows what is inside, see ``Network.inside``: features and units. Of an ensemble
    the values are those that act, and anything else is the mean over its members.

    Args:
      env: in which observations to hold out are found.
      noting: the trainer with an optimizer of ``note_optimizer`` or a rule of ``note_rule``.
    """
    network = agent.network if agent.network and not _remembers(agent.network) else None

    def begin(params: PyTree, key: jax.Array, hparams: HParams) -> Beginning:
        return Beginning(hold_out(env, key, hparams), split(params)[0])

    def measure(
        state: PyTree,
        clock: Clock,
        beginning: Beginning,
        key: jax.Array,
        hparams: HParams,
        *data: PyTree,
    ) -> dict[str, jax.Array]:
        weights, _ = split(state.params)
        found = {"weight_distance": distance(weights, beginning.weights)}
        if network and network.inside:
            found |= look_inside(network, state.params, beginning.obs)
        if noting.learn is None:
            return found
        begun = state._replace(opt_state=Noted(state.opt_state, *jnp.zeros((2,))))
        later = noting.learn(begun, clock, key, hparams, UPDATES, *data)
        found["update_norm"] = later.opt_state.update / UPDATES
        if agent.loop != "streaming":
            found["gradient_norm"] = later.opt_state.gradient / UPDATES
        if network:
            seen = split(state.params)[1]  # since what was observed meanwhile is no churn
            after = join(split(later.params)[0], seen)
            found |= churn(
                *(
                    network.apply(params, beginning.obs, None, ())[0].q_values
                    for params in (state.params, after)
                )
            )
        return found

    return Diagnostics(begin, measure)


def hold_out(env: Env, key: jax.Array, hparams: HParams) -> PyTree:
    """Observations [512, *obs] of random play, a few steps apart, from some of the environments."""
    env_params = env.params(hparams.env_params)
    together = min(env.num_envs, _TOGETHER)
    rows = math.ceil(_HELD_OUT / together)
    key_reset, key_play = jax.random.split(key)

    def step(playing, key):
        key_act, key_env = jax.random.split(key)
        legal = legal_actions(playing[0])
        action = uniform(key_act, env.num_envs, env.num_actions, legal)
        obs, env_state, _, _ = env.step(key_env, playing[1], action, env_params)
        return (obs, env_state), None

    def row(playing, key):
        playing, _ = jax.lax.scan(step, playing, jax.random.split(key, _APART))
        return playing, jax.tree.map(lambda leaf: leaf[:together], playing[0])

    playing = env.reset(key_reset, env_params)
    _, obs = jax.lax.scan(row, playing, jax.random.split(key_play, rows))
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:_HELD_OUT], obs)


def look_inside(network: Network, params: PyTree, obs: jax.Array) -> dict[str, jax.Array]:
    """Ranks and norm of the features, and the shares of hidden units that are dormant or dead."""
    features, activity = network.inside(params, obs)
    found = {}
    if activity:
        layers = [layer.reshape(-1, layer.shape[-1]) for layer in activity]  # [members, N]
        scores = jnp.concatenate([jax.vmap(dormant_scores)(layer).ravel() for layer in layers])
        found = {"dormant": share_up_to(scores, DORMANT), "dead": share_up_to(scores, 0.0)}
    if features is None:
        return found
    features = features.reshape(-1, *features.shape[-2:])  # [members, B, F]
    singular = jax.vmap(_singular_values)(features)
    return found | {
        "srank": jax.vmap(srank)(singular).mean(),
        "effective_rank": jax.vmap(effective_rank)(singular).mean(),
        "feature_norm": jnp.linalg.norm(features, axis=-1).mean(),
    }


@jax.custom_batching.sequential_vmap
def _singular_values(features: jax.Array) -> jax.Array:
    """Of one matrix after the other. A batch of them is shared among the threads of XLA's CPU by
    one that waits for the others, and for ever if every device has one that waits."""
    return jnp.linalg.svd(features, compute_uv=False)


def churn(before: jax.Array, after: jax.Array) -> dict[str, jax.Array]:
    """How values [B, A] have changed (Tang & Berseth 2024, section 3): the share of states whose
    greedy action is another one, and the mean size of the change over states and actions."""
    moved = jnp.argmax(before, axis=-1) != jnp.argmax(after, axis=-1)
    change = jnp.mean(jnp.abs(after - before))
    return {
        "policy_churn": jnp.where(jnp.isnan(change), jnp.nan, moved.mean()),
        "value_churn": change,
    }


def srank(singular_values: jax.Array, delta: float = DELTA) -> jax.Array:
    """The effective rank of Kumar et al. (2021, section 3): the least k with

    ``s_1 + ... + s_k >= (1 - delta) (s_1 + ... + s_n)``, the values [n] in falling order.
    """
    total = jnp.cumsum(singular_values)
    rank = 1.0 + jnp.argmax(total >= (1.0 - delta) * total[-1])
    return jnp.where(jnp.isnan(total[-1]), jnp.nan, rank)


def effective_rank(singular_values: jax.Array) -> jax.Array:
    """The effective rank of Roy & Vetterli (2007): ``exp H(p)``, ``p`` the singular values [n] over
    their sum."""
    share = singular_values / jnp.maximum(singular_values.sum(), jnp.finfo(jnp.float32).tiny)
    return jnp.exp(-jnp.sum(jax.scipy.special.xlogy(share, share)))


def share_up_to(scores: jax.Array, threshold: float) -> jax.Array:
    """The share of scores [N] that are at most ``threshold``."""
    return jnp.where(jnp.isnan(scores), jnp.nan, scores <= threshold).mean()


def distance(params: PyTree, others: PyTree) -> jax.Array:
    """The Euclidean norm of the difference of two trees, as of one vector."""
    return optax.tree.norm(jax.tree.map(jnp.subtract, params, others))


def note_optimizer(optimizer: Callable) -> Callable:
    """``optimizer(hparams, learning_rate)`` that notes what it is given and what it gives."""

    def noting(hparams: HParams, learning_rate: jax.Array) -> optax.GradientTransformation:
        inner = optimizer(hparams, learning_rate)

        def init(params: PyTree) -> Noted:
            return Noted(inner.init(params), *jnp.zeros((2,)))

        def update(gradients: PyTree, noted: Noted, params: PyTree = None) -> tuple[PyTree, Noted]:
            updates, state = inner.update(gradients, noted.state, params)
            gradient, change = map(optax.tree.norm, (gradients, updates))
            return updates, Noted(state, noted.gradient + gradient, noted.update + change)

        return optax.GradientTransformation(init, update)

    return noting


def note_rule(rule: TraceRule) -> TraceRule:
    """A trace rule that notes what it adds to weights; it has no gradient of a loss."""

    def init(*arguments: PyTree) -> Noted:
        return Noted(rule.init(*arguments), *jnp.zeros((2,)))

    def update(noted: Noted, weights: PyTree, *arguments: PyTree) -> tuple[PyTree, Noted]:
        changed, state = rule.update(noted.state, weights, *arguments)
        size = distance(changed, weights)
        return changed, noted._replace(state=state, update=noted.update + size)

    return TraceRule(init, update)


def _remembers(network: Network) -> bool:
    """Whether values depend on more than the observation; an ensemble's carry is only drawn."""
    carry = jax.eval_shape(lambda: network.initial_carry(jax.random.key(0), 1))
    return carry != () and not isinstance(carry, EnsembleCarry | MixtureCarry)
