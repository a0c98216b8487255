"""What starts anew from time to time, so that a network goes on learning.

``reset(learner, anew, hparams) -> Learner``: which parameters are made anew, and what becomes of
the target network and of the optimizer. Random priors never change, so they stay, and running
statistics are not learned.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxq.config import HParams
from jaxq.networks.statistics import NAME
from jaxq.networks.units import hidden_layers
from jaxq.types import Network, PyTree


class Learner(NamedTuple):
    """What has been learned, of one member."""

    params: PyTree
    target_params: PyTree  # None if there are none; leaves may have more leading axes
    opt_state: PyTree


class Anew(NamedTuple):
    """What a reset is made with."""

    params: PyTree  # drawn as at the start of a run
    init_optimizer: Callable  # ``init_optimizer(params) -> opt_state``
    look: Callable  # ``look() -> obs [B, *obs]``, a batch of what is learned from; once
    network: Network | None


def head(learner: Learner, anew: Anew, hparams: HParams) -> Learner:
    """The last layers start again, against the primacy bias (Nikishin et al. 2022, section 4).

    Every module called ``head``, in the parameters and in the target network, and so does the whole
    state of the optimizer.
    """
    del hparams

    def change(path: list[str], old: jax.Array, new: jax.Array) -> jax.Array:
        return jnp.broadcast_to(new, old.shape) if "head" in path else old

    return _everywhere(change, learner, anew)


def shrink_and_perturb(learner: Learner, anew: Anew, hparams: HParams) -> Learner:
    """``shrink * params + perturb * new ones`` (Ash & Adams 2020, section 5), everywhere.

    In the target network as well, and the optimizer starts again. With shrink 0 and perturb 1 all
    is forgotten, with 1 and 0 nothing but the optimizer's state. BBF (Schwarzer et al. 2023) does
    so to the torso alone, with a half of each, and makes the head anew.
    """

    def change(path: list[str], old: jax.Array, new: jax.Array) -> jax.Array:
        return hparams.shrink * old + hparams.perturb * new

    return _everywhere(change, learner, anew)


def redo(learner: Learner, anew: Anew, hparams: HParams) -> Learner:
    """ReDo (Sokar et al. 2023, algorithm 1): dormant hidden units are recycled.

    A unit, or a whole channel of a convolution, is dormant if its mean activity on a batch, over
    the mean of its layer, is at most ``dormant_threshold``. What leads into it is drawn anew, what
    leads out of it becomes 0, and so does what the optimizer remembers of both. At threshold 0
    outputs stay as they are, as long as no layer is normalised. The target network is left alone.

    Raises:
      ConfigError: the network has no hidden units of which it is known what they lead to.
    """
    drawn, silent = _dormant(learner.params, anew, hparams.dormant_threshold)
    params = jax.tree.map(
        lambda old, new, redraw, silence: jnp.where(silence, 0.0, jnp.where(redraw, new, old)),
        learner.params,
        anew.params,
        drawn,
        silent,
    )
    structure = jax.tree.structure(params)
    is_moment = lambda tree: jax.tree.structure(tree) == structure  # noqa: E731

    def forget(part: PyTree) -> PyTree:
        if not is_moment(part):
            return part
        return jax.tree.map(lambda x, a, b: jnp.where(a | b, 0.0, x), part, drawn, silent)

    opt_state = jax.tree.map(forget, learner.opt_state, is_leaf=is_moment)
    return Learner(params, learner.target_params, opt_state)


def dormant_scores(activity: jax.Array) -> jax.Array:
    """Mean sizes of the units of a layer [N] over their mean (Sokar et al. 2023, equation 1)."""
    return activity / (activity.mean() + 1e-9)


def _dormant(params: PyTree, anew: Anew, threshold: jax.Array) -> tuple[PyTree, PyTree]:
    """Which weights lead into dormant units, and which lead out of them: trees like ``params``."""
    flat = flatten_dict(params)
    into = {path: jnp.zeros(leaf.shape, bool) for path, leaf in flat.items()}
    out_of = dict(into)
    for layer in hidden_layers(anew.network, params, anew.look):
        dormant = dormant_scores(layer.activity) <= threshold
        for path in flat:
            if path[:-1] in layer.modules:
                into[path] |= dormant
            if path[:-1] in layer.readers and flat[path].ndim > 1:
                inputs = flat[path].shape[-2]  # a channel's places lie side by side
                out_of[path] |= jnp.repeat(dormant, inputs // len(dormant))[:, None]
    return unflatten_dict(into), unflatten_dict(out_of)


def _everywhere(change: Callable, learner: Learner, anew: Anew) -> Learner:
    """``change(path, old, new)`` of parameters and target network, and an optimizer that starts."""

    def one(path: tuple, old: jax.Array, new: jax.Array) -> jax.Array:
        names = [entry.key for entry in path]
        return old if "priors" in names or NAME in names else change(names, old, new)

    def changed(params: PyTree) -> PyTree:
        return jax.tree_util.tree_map_with_path(one, params, anew.params)

    params, targets = changed(learner.params), learner.target_params
    targets = None if targets is None else changed(targets)
    return Learner(params, targets, anew.init_optimizer(params))
