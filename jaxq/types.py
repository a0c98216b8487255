"""The data that flows through jaxq, and the contracts between its parts.

Data and contracts are ``NamedTuple``s: data are JAX pytrees, contracts hold pure functions. Axes
are named the same everywhere: ``S`` members, ``E`` environments, ``T`` window length, ``B`` batch,
``A`` actions.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

PyTree = Any


class Step(NamedTuple):
    """What one step of an environment leaves behind."""

    obs: jax.Array  # [*obs]
    action: jax.Array  # [] integer
    reward: jax.Array  # [] float32
    terminated: jax.Array  # [] bool: the task ended here, nothing follows
    done: jax.Array  # [] bool: the episode ended here, by termination or by a time limit
    next_obs: jax.Array  # [*obs], the observation BEFORE the automatic reset
    carry: PyTree = ()  # the network's memory before it acted; () if it has none


class ObservationActionReward(NamedTuple):
    """An observation beside what led to it, for a network with memory; nothing led to the first."""

    obs: jax.Array  # [*obs]
    action: jax.Array  # [A] bool, one-hot; at the beginning of an episode no action at all
    reward: PyTree  # [] float32 as the environment gave it, 0 at the beginning; () if not shown


class ObservationLegalActions(NamedTuple):
    """An observation beside the actions that are legal there: no others are taken or valued, and no
    network sees which they are. Where nothing is legal nothing follows; there all actions count."""

    obs: jax.Array  # [*obs]
    legal: jax.Array  # [A] bool


class Outcome(NamedTuple):
    """What one step of every environment came to, before any automatic reset."""

    reward: jax.Array  # [E] float32
    terminated: jax.Array  # [E] bool: the task ended here, nothing follows
    done: jax.Array  # [E] bool: the episode ended here, by termination or by a time limit
    next_obs: jax.Array  # [E, *obs], what the episode showed last where it ended


class Transition(NamedTuple):
    """A window folded into one step: act, collect ``reward``, bootstrap ``discount * value``."""

    obs: jax.Array  # [*obs]
    action: jax.Array  # []
    reward: jax.Array  # [] discounted sum of the rewards in the window
    discount: jax.Array  # [] gamma**n, or 0 where the task terminated
    next_obs: jax.Array  # [*obs]
    carry: PyTree = ()  # the agent's memory before the window


class Episode(NamedTuple):
    """Statistics of the episodes that ended on this step; meaningful where ``ended``."""

    ended: jax.Array  # [E] bool
    total_reward: jax.Array  # [E] float32, undiscounted return
    length: jax.Array  # [E] int32, steps


class Sample(NamedTuple):
    """A batch of windows from a replay."""

    steps: Step  # leaves [B, T, ...]; of the carry only the window's first, [B, 1, ...]
    indices: jax.Array  # [B], where the windows lie; for ``Replay.update``
    probabilities: jax.Array  # [B], probability with which each window was drawn
    weights: jax.Array  # [B], of their losses; they undo what the replay prefers


class LossOutput(NamedTuple):
    """What a loss returns for a batch."""

    loss: jax.Array  # [B]
    priority: jax.Array  # [B], non-negative, without exponent
    aux: Mapping[str, jax.Array]  # name -> [B], averaged into the training metrics


class Clock(NamedTuple):
    """Time, the same for every member; passed beside the state and never batched.

    As a batched part of the state it would turn in-place writes into scatters.
    """

    steps: jax.Array  # [] int32, environment steps each member has taken
    updates: jax.Array  # [] int32, gradient updates each member has made


class Env(NamedTuple):
    """``E`` copies of an environment, reset automatically when an episode ends.

    ``params(overrides)`` returns the environment's parameters with the named ones replaced.
    ``reset(key, env_params) -> (obs [E, *obs], env_state)``
    ``step(key, env_state, action [E], env_params) -> (obs, env_state, Outcome, Episode)``

    The ``obs`` of a step is the one to act on next: after an episode's end the first of a new one.
    An observation is an array, or an ``ObservationLegalActions`` around one, or an
    ``ObservationActionReward`` around either. So what is legal goes wherever a state goes, into a
    replay as one bit an action.
    """

    name: str
    num_envs: int
    num_actions: int
    obs_spec: PyTree  # shape and dtype of one observation
    protocol: Mapping[str, Any]  # what a reader must know to compare results
    params: Callable[[Mapping[str, Any]], PyTree]
    reset: Callable
    step: Callable


def no_carry(key: jax.Array, rows: int) -> tuple:
    """The carry of a network without memory."""
    del key, rows
    return ()


def unchanged(params: PyTree, *_: Any) -> PyTree:
    """The parameters of what counts no running statistics, the state of what remembers nothing."""
    return params


class Network(NamedTuple):
    """``init(key, obs [B, *obs]) -> params``;
    ``apply(params, obs [B, *obs], key, carry) -> (Output, carry)``;
    ``initial_carry(key, B) -> carry``;
    ``unroll(params, obs [T, B, *obs], key, carry, resets [T, B]) -> (Output, carry)``, T steps in
    turn, leaves [T, B, ...], the carry erased before a step that ``resets``, and AFTER each step.

    Without a key (``None``) the output is deterministic: no noise, the mean of an ensemble. One
    without memory passes the carry through. ``unroll`` may be missing, then ``apply`` is repeated;
    with it, what needs no memory is computed at once. ``draws``: whether ``apply`` draws from its
    key, so that environments which act side by side need draws of their own.

    ``observe(params, obs [..., *obs]) -> params`` with what it counts of observations.
    ``activity(params, obs)``: how active hidden units are, as ``networks.units`` has it; it may be
    missing. So may ``inside(params, obs) -> Inside``, with a leading axis where the network is made
    of several.
    """

    init: Callable
    apply: Callable
    initial_carry: Callable = no_carry
    unroll: Callable | None = None
    draws: bool = False
    observe: Callable = unchanged
    activity: Callable | None = None
    inside: Callable | None = None


class Inside(NamedTuple):
    """What a network makes of a batch of observations before it says anything."""

    features: jax.Array | None  # [B, F], what its head gets; None if there is no head
    activity: list[jax.Array]  # of every hidden layer the mean size of its units, [N]


class Selection(NamedTuple):
    """How actions are selected while training by what remembers, or takes numbers of its own.

    ``init(num_envs) -> state``, leaves [E, ...], as every episode begins; ``()`` for nothing
    ``select(state, key, q_values [E, A], amount[, legal [E, A]]) -> (action [E], state)``
    ``amount(hparams, scheduled) -> amount``: numbers [], the first of which metrics show
    """

    init: Callable
    select: Callable
    amount: Callable = lambda hparams, scheduled: scheduled


class Agent(NamedTuple):
    """How to act and what to minimise.

    ``init(key, obs [E, *obs]) -> params``
    ``initial_carry(key, num_envs) -> carry``, ``()`` for an agent without memory
    ``stored(carry) -> carry``, what of it a step keeps, for losses; all by default
    ``act(params, carry, key, obs [E, *obs], amount) -> (action [E], carry)``, ``amount`` of
    exploration, as its schedule gives it
    ``act_greedy(params, carry, obs) -> (action [E], value [E], carry)``, without exploration
    ``loss``: what the loop calls, and so by ``loop``
    off-policy: ``loss(params, target_params, key, steps [B, T, ...], hparams) -> LossOutput``
    on-policy: ``loss(params, key, steps [B, T, ...], returns [B, T], hparams) -> LossOutput``
    offline: as off-policy
    streaming: ``loss(params_tm1, params_t, step, hparams) -> Prediction``, of one step;
    ``params_t`` has counted what the step showed, and the weights are the same
    ``check(hparams)`` raises ``ConfigError`` for numbers with which it cannot learn
    ``network``: what it acts with, if it is made of one

    Running statistics are part of the parameters, see ``networks.statistics``; without any:
    ``observe(params, obs [..., *obs]) -> params`` with what was observed
    ``observe_rewards(params, reward [T, E], done [T, E], hparams) -> params`` with T steps in turn
    ``scale_rewards(params, reward [...]) -> reward``, in the units that are learned
    ``rescale(returns [...]) -> values``, where returns are learned in other units than rewards
    """

    init: Callable
    initial_carry: Callable
    act: Callable
    act_greedy: Callable
    loss: Callable
    loop: str = "off-policy"
    check: Callable = lambda hparams: None
    network: Network | None = None
    observe: Callable = unchanged
    observe_rewards: Callable = unchanged
    scale_rewards: Callable = lambda params, reward: reward
    stored: Callable = unchanged
    rescale: Callable = unchanged


class Target(NamedTuple):
    """``init(params) -> target_params``;
    ``update(params, target_params, hparams) -> target_params``;
    ``shift(params, target_params, clock, hparams) -> (params, target_params)`` after an update,
    where it is not the target network alone that changes.
    """

    init: Callable
    update: Callable
    shift: Callable = lambda params, target_params, clock, hparams: (params, target_params)


class Look(NamedTuple):
    """What a term beside the loss may see, computed where it is asked for; values without noise.

    ``elsewhere() -> values``, on a batch that is drawn apart from that of the loss, with
    ``values(params) -> q_values [B, A]``
    ``here() -> (values, action [B])``, before the first step of every window of the loss's batch,
    with the actions taken there
    """

    elsewhere: Callable
    here: Callable


class Regulariser(NamedTuple):
    """A term beside the loss, which may remember parameters.

    ``init(params) -> state``, ``()`` for one that remembers nothing
    ``term(params, state, look, hparams) -> (number, metrics by name)``, the number to be added;
    ``look`` is a ``Look``, of which each part is asked once
    ``update(state, params, loss, metrics) -> state`` after a step, with the parameters before it
    ``restart(state, params) -> state`` where parameters were reset
    """

    init: Callable
    term: Callable
    update: Callable
    restart: Callable


class Replay(NamedTuple):
    """``init() -> state``; ``add(state, clock, steps [K, E, ...]) -> state``;
    ``sample(state, clock, key, hparams) -> Sample``;
    ``update(state, indices, priority, hparams) -> state``, with the priorities of a loss;
    ``contents(state, clock) -> records [rows, E, words]``, all that it holds, the oldest row first,
    without carries, as ``replay.records`` packs them; it may be missing.
    """

    init: Callable
    add: Callable
    sample: Callable
    update: Callable
    contents: Callable | None = None


class Trainer(NamedTuple):
    """A whole training run of one member as pure functions.

    The state is a NamedTuple. ``params`` is evaluated and exported; ``opt_state``, and
    ``target_params`` where there are any, are what else has been learned, which members take over
    from each other, with what a ``regulariser`` remembers; ``obs`` [E, *obs] and ``key`` are needed
    to make parameters anew. Whatever else a loop carries is its own.

    ``init(key, hparams) -> (state, clock)``, prefill included
    ``chunk(state, clock, hparams) -> (state, clock, metrics)``
    ``look(state, clock, key, hparams) -> obs [B, *obs]``, a batch of what it learns from; by
    default what its environments show
    ``restart(state) -> state`` where parameters were replaced: what it remembers of them
    ``learn(state, clock, key, hparams, updates) -> state`` after so many updates more, such as a
    chunk makes; to be looked at, not to go on from. It may be missing
    ``data() -> arrays``, a tuple of what is common to all members; ``init``, ``chunk``, ``look``
    and ``learn`` take them as last arguments, so that they are in memory once
    ``contents(state, clock) -> records [rows, E, words]``, as of ``Replay``, if it holds any
    """

    init: Callable
    chunk: Callable
    look: Callable = lambda state, clock, key, hparams, *data: state.obs
    restart: Callable = unchanged
    learn: Callable | None = None
    data: Callable = tuple
    contents: Callable | None = None


def observation_of(obs: PyTree) -> Any:
    """The observation alone, or its spec, without what is beside it."""
    beside = isinstance(obs, ObservationActionReward | ObservationLegalActions)
    return observation_of(obs.obs) if beside else obs


def rows_of(tree: PyTree) -> int:
    """B of leaves [B, ...]."""
    return len(jax.tree.leaves(tree)[0])


def where(condition: jax.Array, new: jax.Array, old: jax.Array) -> jax.Array:
    """``new`` where ``condition`` [B] holds, for leaves [B, ...]."""
    return jnp.where(condition.reshape(-1, *[1] * (new.ndim - 1)), new, old)
