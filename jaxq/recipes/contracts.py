"""What a part of somebody's own is called with and what it gives, checked before anything compiles.

Each contract stands in ``parts``. What breaks it would train something else than was asked for, or
end in an error from deep inside; here it is one sentence that names the part. Errors of somebody's
own code stay as they are.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxq.config import Config, HParams
from jaxq.errors import ConfigError, missing_number, wrong_object
from jaxq.learning.streaming import Prediction
from jaxq.recipes.acting import make_selection_from
from jaxq.recipes.own import is_own
from jaxq.recipes.parts import find, window_of
from jaxq.types import Agent, Env, LossOutput, Network, Replay, Step

_ROWS = 2  # of a batch that is only looked at


def check_parts(config: Config, env: Env, lane: HParams) -> None:
    """Refuse own functions that activate, select actions, schedule, cut or optimize in another way
    than agreed.

    Raises:
      ConfigError: names the part.
    """
    if is_own(config.action_selection):
        _check_selection(config, env, lane)
    if is_own(config.activation):
        _check_activation(config)
    number, switch = (jax.ShapeDtypeStruct((), dtype) for dtype in (jnp.float32, jnp.bool_))
    for field, arguments, kind, accepted in (
        ("exploration", [number] * 4, jnp.floating, "a single number"),
        ("learning_rate_schedule", [number] * 4, jnp.floating, "a single number"),
        ("trace_cut", [switch] * 3, jnp.bool_, "bool"),
    ):
        name = getattr(config, field)
        if is_own(name):
            result = jax.eval_shape(find(field, name).make, *arguments)
            _check_array(result, (), kind, f"{field}={name} gives", accepted)
    if is_own(config.optimizer):
        _check_optimizer(config, lane)


def check_network(network: Network | None, env: Env, what: str) -> None:
    """Refuse a network without a value for every action.

    Args:
      what: whose network it is, in words.

    Raises:
      ConfigError: says what it gives.
    """
    if network is None:  # an agent that was put together without one
        return
    obs = jax.tree.map(
        lambda spec: jax.ShapeDtypeStruct((_ROWS, *spec.shape), spec.dtype), env.obs_spec
    )

    def values(key: jax.Array, obs: Any) -> tuple:
        before = network.initial_carry(key, _ROWS)
        output, after = network.apply(network.init(key, obs), obs, None, before)
        if not hasattr(output, "q_values"):
            raise wrong_object(what, output, "a jaxq QOutput, or another tuple with q_values,")
        return output.q_values, before, after

    q_values, before, after = jax.eval_shape(values, jax.random.key(0), obs)
    if _described(before) != _described(after):
        raise ConfigError(
            f"{what} has a memory of {_described(after)} after a step, and of {_described(before)} "
            f"before it; the same is accepted."
        )
    if q_values.shape != (_ROWS, env.num_actions):
        raise ConfigError(
            f"{what} gives values of shape {list(q_values.shape)} for {_ROWS} observations; "
            f"[{_ROWS}, {env.num_actions}] is accepted, one for every action of {env.name}."
        )


def _described(tree: Any) -> str:
    """Types and shapes of what a tree holds."""
    leaves = [f"{np.dtype(leaf.dtype)}{list(leaf.shape)}" for leaf in jax.tree.leaves(tree)]
    return ", ".join(leaves) or "nothing"


def checked(agent: Agent, config: Config) -> Agent:
    """The agent with a loss that says, while it is traced, what does not fit: the windows that a
    replay gives, and what the loss returns."""
    if agent.loop == "streaming":
        return agent._replace(loss=_checked_prediction(agent, config))
    window = window_of(config)

    def loss(*arguments: Any) -> LossOutput:
        (steps,) = [value for value in arguments if isinstance(value, Step)]
        batch, length = steps.reward.shape[:2]
        if agent.loop != "on-policy" and length != window:
            raise ConfigError(
                f"replay={config.replay} gives windows of {length} steps; {window} are accepted, "
                f"the larger of n_step and sequence_length."
            )
        output = agent.loss(*arguments)
        what = f"the loss of agent={config.agent}"
        if not isinstance(output, LossOutput):
            raise wrong_object(what, output, "a jaxq LossOutput")
        parts = {"loss": output.loss, "priority": output.priority, **output.aux}
        for name, value in parts.items():
            _check_array(value, (batch,), jnp.number, f"{what} gives {name}", "one number a window")
        return output

    return agent._replace(loss=loss)


def _checked_prediction(agent: Agent, config: Config) -> Callable:
    """The loss of a streaming agent, which is called with one step."""
    what = f"the loss of agent={config.agent}"

    def loss(*arguments: Any) -> Prediction:
        found = agent.loss(*arguments)
        if not isinstance(found, Prediction):
            raise wrong_object(what, found, "a jaxq Prediction")
        for name in ("value", "error"):
            part = getattr(found, name)
            _check_array(part, (), jnp.floating, f"{what} gives {name}", "a single number")
        _check_array(found.exploratory, (), jnp.bool_, f"{what} gives exploratory", "bool")
        return found

    return loss


def check_replay(replay: Any, config: Config) -> Replay:
    """The replay that a function of somebody's own made, if it is one."""
    if not isinstance(replay, Replay):
        raise wrong_object(f"replay={config.replay}", replay, "a jaxq Replay")
    return replay


def _check_selection(config: Config, env: Env, lane: HParams) -> None:
    selection, number = make_selection_from(config), jax.ShapeDtypeStruct((), jnp.float32)
    what = f"action_selection={config.action_selection} gives"
    try:
        amount = jax.eval_shape(lambda scheduled: selection.amount(lane, scheduled), number)
    except KeyError as error:
        who = f"which action_selection={config.action_selection} reads"
        raise missing_number(error.args[0], who) from error
    for leaf in jax.tree.leaves(amount) or [None]:
        _check_array(leaf, (), jnp.number, what, "an amount of single numbers")
    shapes = (
        jax.eval_shape(lambda: selection.init(_ROWS)),
        jax.eval_shape(lambda: jax.random.key(0)),
        jax.ShapeDtypeStruct((_ROWS, env.num_actions), jnp.float32),
        amount,
    )
    action, state = jax.eval_shape(selection.select, *shapes)
    _check_array(action, (_ROWS,), jnp.integer, what, "an integer for every environment")
    if _form(state) != _form(shapes[0]) or any(s[:1] != (_ROWS,) for s, _ in _form(state)[1]):
        raise ConfigError(
            f"{what} a state of another form than it began with; one of the same form is accepted, "
            f"leaves [{_ROWS}, ...] for {_ROWS} environments."
        )


def _form(tree: Any) -> tuple:
    leaves, structure = jax.tree.flatten(tree)
    return structure, [(leaf.shape, leaf.dtype) for leaf in leaves]


def _check_activation(config: Config) -> None:
    """Every number by itself, since the axis of units is the last of vectors, not of images."""
    what = f"activation={config.activation} gives"
    activation, x = find("activation", config.activation).make, jnp.array([[-1.0, 0.5], [2.0, 3.0]])
    together = activation(x)
    _check_array(together, x.shape, jnp.floating, what, "what it is given, number by number,")
    alone = [activation(number.reshape(1, 1)).item() for number in x.ravel()]
    if not np.allclose(together.ravel(), alone, equal_nan=True):
        raise ConfigError(
            f"{what} something else for a number beside others than alone; a function of each "
            f"number by itself is accepted."
        )


def _check_optimizer(config: Config, lane: HParams) -> None:
    """One step along a gradient must go along it: jaxq multiplies by minus the step size."""
    scale = find("optimizer", config.optimizer).make(lane)
    if not isinstance(scale, optax.GradientTransformation):
        accepted = "an optax.GradientTransformation"
        raise wrong_object(f"optimizer={config.optimizer}", scale, accepted)
    params, gradient = {"w": jnp.ones(2)}, {"w": jnp.array([1.0, -2.0])}
    update, _ = scale.update(gradient, scale.init(params), params)
    if float(jnp.vdot(update["w"], gradient["w"])) < 0.0:
        raise ConfigError(
            f"optimizer={config.optimizer} goes against the gradient, and jaxq multiplies by minus "
            f"the step size; a transformation such as optax.scale_by_adam is accepted."
        )


def _check_array(value: Any, shape: tuple, kind: Any, what: str, accepted: str) -> None:
    fits = hasattr(value, "dtype") and value.shape == shape and jnp.issubdtype(value.dtype, kind)
    if not fits:
        is_array = hasattr(value, "dtype")
        found = f"{np.dtype(value.dtype)}{list(value.shape)}" if is_array else type(value).__name__
        raise ConfigError(f"{what} {found}; {accepted} is accepted, of shape {list(shape)}.")
