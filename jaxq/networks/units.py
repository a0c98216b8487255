"""Hidden units: how active they are, which modules make them and which read them.

Torsos and heads note the activity of their layers where somebody asks for it; otherwise nothing of
it is computed.
"""

from collections.abc import Callable, Container, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxq.errors import ConfigError
from jaxq.types import Inside, Network, PyTree

NOTES = "intermediates"  # the collection that flax leaves out of parameters


class HiddenLayer(NamedTuple):
    """A layer of units behind an activation function."""

    activity: jax.Array  # [N], mean size over a batch, and over the places of a channel
    modules: Sequence[tuple[str, ...]]  # paths of what makes them, its last axis being the units
    readers: Sequence[tuple[str, ...]]  # paths of what they lead into, the second to last axis


def note(
    owner: nn.Module, modules: Sequence[Any], active: jax.Array, units: int, axis: int = -1
) -> None:
    """Note how active the units are that ``modules`` inside ``owner`` have made.

    Args:
      modules: the layer and, if there is one, its normalisation.
      active: what the activation function gives; along ``axis`` one or more places for each unit.
    """
    names = [module.name for module in modules if getattr(module, "name", None)]
    if names and owner.is_mutable_collection(NOTES):
        size = jnp.abs(jnp.moveaxis(active, axis, 0)).reshape(units, -1).mean(axis=1)
        owner.sow(NOTES, "units of " + " ".join(names), size)


def activity_of(module: nn.Module) -> Callable[[PyTree, jax.Array], PyTree]:
    """``activity(params, obs)`` of a module: what its layers note, by path; the mean of a layer
    that is called more than once, as IQN's head is."""

    def activity(params: PyTree, obs: jax.Array) -> PyTree:
        notes = module.apply(params, obs, mutable=[NOTES])[1].get(NOTES, {})
        means = {path: sum(sizes) / len(sizes) for path, sizes in flatten_dict(notes).items()}
        return unflatten_dict(means)  # in the order of the layers, which a tree_map would not keep

    return activity


def inside_of(module: nn.Module) -> Callable[[PyTree, jax.Array], Inside]:
    """``inside(params, obs)`` of a module: what its part called ``head`` is given, and its notes.

    Of features with further axes, as IQN has them for every fraction, it is the mean over those.
    """
    activity = activity_of(module)

    def inside(params: PyTree, obs: jax.Array) -> Inside:
        given: list[jax.Array] = []

        def watch(call: Callable, args: tuple, kwargs: dict, context: Any) -> Any:
            if (context.module.name, context.method_name) == ("head", "__call__"):
                given.extend(x for x in args[:1] if x.ndim > 1 and len(x) == len(obs))
            return call(*args, **kwargs)

        with nn.intercept_methods(watch):
            notes = activity(params, obs)
        features = [x.reshape(len(obs), -1, x.shape[-1]).mean(axis=1) for x in given[:1]]
        return Inside(features[0] if features else None, jax.tree.leaves(notes))

    return inside


def hidden_layers(
    network: Network | None, params: PyTree, look: Callable[[], jax.Array]
) -> list[HiddenLayer]:
    """The hidden layers of a feed-forward network, of a torso and a head in sequence.

    Every layer of the torso is read by the next one and the last by the first layer of each of the
    head's streams; in the head every layer but a stream's last is read by the next.

    Raises:
      ConfigError: there are none, or it is not known.
    """
    notes = network.activity(params, look()) if network and network.activity else {}
    notes = flatten_dict(notes)
    if not notes:
        raise ConfigError(
            "reset=redo has no effect on a network without hidden units that are noted; jaxq's "
            "torsos note theirs, and reset=head or shrink-and-perturb is accepted for any."
        )
    made = {path: [("params", *path[:-1], name) for name in path[-1].split()[2:]] for path in notes}
    torso = [path for path in notes if path[0] != "head"]
    in_head = {made[path][0]: path for path in notes if path[0] == "head"}
    head = sorted(
        {path[:-1] for path in flatten_dict(params) if path[1] == "head" and path[-1] == "kernel"},
        key=lambda path: int(path[-1].rpartition("_")[2]),
    )
    streams = _streams(head, in_head)
    following = [[made[path][0]] for path in torso[1:]] + [[stream[0] for stream in streams]]
    layers = [HiddenLayer(notes[p], made[p], after) for p, after in zip(torso, following)]
    for stream in streams:
        for path, after in pairwise(stream):
            layers.append(HiddenLayer(notes[in_head[path]], made[in_head[path]], [after]))
    return layers


def _streams(head: Sequence[tuple], hidden: Container[tuple]) -> list[list[tuple]]:
    """The layers of a head, stream by stream: each ends with one that is not ``hidden``."""
    streams: list[list[tuple]] = []
    for before, path in zip([None, *head], head):
        if before not in hidden:
            streams.append([])
        streams[-1].append(path)
    return streams
