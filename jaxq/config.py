"""What a run is made of: ``Config`` (static) and ``HParams`` (traced).

If changing it changes a shape, a loop length or which function runs, it is ``Config``. Every
other number is ``HParams``: a traced scalar, so that a sweep over it is one compiled program.
All counts are in environment steps of one member, whatever ``num_envs`` is, so that adding
environments changes the speed of an algorithm and not the algorithm. Learning from a ``dataset``
takes no environment steps: there one update counts as one step, everywhere.
"""

import ast
import dataclasses
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from jaxq.errors import ConfigError, unknown

INFINITY = float("inf")


class HParams(NamedTuple):
    """Numbers; each may differ between the lanes of a population."""

    learning_rate: float = 2.5e-4
    """Step size of the optimizer; for intentional the share of an error that one update removes."""
    learning_rate_end: float = 0.0
    """Step size at the end of its schedule."""
    learning_rate_steps: float = INFINITY
    """Environment steps of the schedule of the step size; inf keeps it constant."""
    optimizer_epsilon: float = 1e-8
    """Added to the denominator of Adam or RMSprop."""
    adam_beta1: float = 0.9
    """Adam: decay of the mean of gradients."""
    adam_beta2: float = 0.999
    """Adam and trace=intentional: decay of the mean of squared gradients."""
    rmsprop_decay: float = 0.95
    """RMSprop: decay of the means of gradients and of squared gradients."""
    weight_decay: float = 0.0
    """AdamW: share of the weights taken off per update, times the step size."""
    l2_init_weight: float = 1e-3
    """l2-init: weight of the squared distance to the first parameters."""
    churn_weight: float = 100.0
    """chain: weight of the squared change of values elsewhere; chain-auto: until it finds one."""
    cql_weight: float = 1.0
    """cql: weight of how far values of all actions exceed those of the actions taken."""
    churn_share: float = 0.01
    """chain-auto: size of that term as a share of the loss."""
    shrink: float = 0.5
    """shrink-and-perturb: what parameters are multiplied by."""
    perturb: float = 0.5
    """shrink-and-perturb: share of new parameters that is added."""
    dormant_threshold: float = 0.1
    """redo: activity, over the mean of the layer, up to which a hidden unit is dormant."""
    max_gradient_norm: float = INFINITY
    """Gradients of a larger global norm are scaled down to it (needs clip_gradients)."""
    gamma: float = 0.99
    """Discount per step."""
    reward_scale: float = 1.0
    """Rewards are multiplied by it before learning; reported returns are not."""
    tau: float = 1.0
    """Share of the online parameters in a target update; 1 copies them."""
    huber_delta: float = INFINITY
    """TD errors beyond it weigh linearly; inf is the squared loss."""
    sigma_ratio: float = 0.75
    """hl-gauss: standard deviation of the Gaussian around a target, in widths of a bin."""
    intrinsic_scale: float = 1.0
    """rnd: bonuses are multiplied by it."""
    intrinsic_gamma: float = 0.99
    """rnd: discount of bonuses."""
    td_lambda: float = 0.65
    """pqn, stream: weight of longer returns; 0 is one step, 1 the whole rollout or episode."""
    kappa: float = 2.0
    """obgd: how much smaller than its bound a step remains; 0 has no bound."""
    error_cap: float = 20.0
    """intentional: TD errors are clipped to so many times their root mean square."""
    error_decay: float = 0.9998
    """intentional: decay of that mean of squared errors."""
    correction_rate: float = 0.1
    """qrc, gq2: step size of the second network, times the step size."""
    correction_decay: float = 1.0
    """qrc, gq2: how strongly the second network is drawn to 0; 0 makes qrc QC."""
    temperature: float = 0.03
    """Entropy temperature of soft and munchausen backups and of softmax actions."""
    munchausen_alpha: float = 0.9
    """munchausen: weight of the log-probability that is added to the reward."""
    munchausen_clip: float = 1.0
    """munchausen: size at which that log-probability, times the temperature, is clipped."""
    epsilon_start: float = 1.0
    """Probability of a random action at the start."""
    epsilon_end: float = 0.05
    """Probability of a random action at the end of the schedule."""
    epsilon_delay: float = 0.0
    """Environment steps before the schedule of epsilon begins."""
    epsilon_steps: float = 250_000.0
    """Environment steps of the schedule of epsilon."""
    duration_exponent: float = 2.0
    """ez-greedy: n steps are drawn by n to minus this power; inf makes it epsilon-greedy."""
    eval_epsilon: float = 0.0
    """Probability of a random action in evaluation; 0 is greedy."""
    priority_exponent: float = 0.0
    """Power of the priorities in a prioritized replay; 0 samples uniformly."""
    importance_exponent: float = 0.0
    """Power of the importance weights of a prioritized replay; 1 undoes the sampling."""
    importance_exponent_end: float = 1.0
    """That power at the end of its schedule."""
    importance_exponent_steps: float = INFINITY
    """Environment steps of the schedule of that power; inf keeps it constant."""
    env_params: dict[str, float] = {}
    """Parameters of the environment that differ from its defaults."""
    extra: dict[str, float] = {}
    """Numbers that parts of one's own read, as ``hparams.extra["name"]``."""


@dataclasses.dataclass(frozen=True)
class Config:
    """Structure; one compiled program each.

    A field that names a part (``env``, ``agent``, ``backup``, ``network``, ``activation``,
    ``memory``, ``replay``, ``target``, ``optimizer``, ``learning_rate_schedule``, ``regulariser``,
    ``reset``, ``trace``, ``trace_cut``, ``action_selection``, ``exploration``) takes a name of
    ``recipes.parts`` or ``module:function``, a function of one's own.
    """

    env: str = "CartPole-v1"
    """Environment: a gymnax id, or LIBRARY/NAME; MinAtar ids with -original follow Young & Tian."""
    env_kwargs: tuple[str, ...] = ()
    """Arguments of the environment's class, such as size=10."""
    time_limit: Literal["default", "bootstrap", "terminal"] = "default"
    """Whether values bootstrap through a time limit; default is the environment's own policy."""
    num_envs: int = 1
    """Environments per member."""
    agent: str = "dqn"
    """Method: what is learned and by which loss."""
    backup: str = "greedy"
    """How the state after a step is valued."""
    network: str = "mlp"
    """Torso of the network; linear on one-hot observations is a table."""
    widths: tuple[int, ...] = (120, 84)
    """Widths of the dense layers."""
    observations: Literal["raw", "normalized"] = "raw"
    """Observations as they are, or normalised by the mean and deviation of all seen so far."""
    rewards: Literal["raw", "scaled"] = "raw"
    """Rewards as they are, or over the standard deviation of their discounted sums so far."""
    layer_norm: bool = False
    """Normalise every hidden layer."""
    layer_norm_form: Literal["affine", "plain"] = "affine"
    """Affine scales and shifts what it has normalised, after a convolution each pixel; plain has no
    parameters and takes the whole feature map."""
    activation: str = "relu"
    """What follows every hidden layer; crelu has both signs of each unit, twice the features."""
    initialization: Literal["lecun", "sparse"] = "lecun"
    """Weights at first: normal with variance 1 / inputs, or uniform and mostly 0."""
    sparsity: float = 0.9
    """sparse: share of the weights of every unit that are 0 at first."""
    dense: Literal["plain", "noisy", "spectral"] = "plain"
    """Dense layers: noisy ones explore by themselves; spectral has norm 1 before the head."""
    noise_sigma: float = 0.5
    """Initial noise of noisy layers, times 1 / sqrt(inputs)."""
    dueling: bool = False
    """Split the head into state value and advantages."""
    stream_widths: tuple[int, ...] = ()
    """Widths of the hidden layers of each stream of a dueling head; none is a linear head."""
    num_atoms: int = 51
    """Atoms (c51), bins (hl-gauss), quantiles (qr-dqn) or sampled fractions (iqn) per action."""
    support: tuple[float, float] = (-100.0, 100.0)
    """c51: the returns at the first and the last atom; hl-gauss: at the outer edges of its bins."""
    ensemble_size: int = 10
    """Members of an ensemble; for averaged, the target networks that are averaged; for is-dqn and
    i-dqn, the Bellman iterations that are learned at once."""
    prior_scale: float = 0.0
    """Weight of the random prior that is added to every member of an ensemble; 0 has none."""
    mask_probability: float = 1.0
    """bootstrapped: probability of a member to learn from a step."""
    memory: str = "none"
    """Memory between torso and head, for drqn, r2d2 and pqn."""
    memory_width: int = 64
    """Width of the memory; of lru complex numbers."""
    memory_inputs: Literal["observation", "action", "action-reward"] = "observation"
    """What a memory sees beside the features of an observation: the action before it, one-hot, and
    the reward; both are 0 where an episode begins."""
    trace: str = "obgd"
    """stream: what moves the weights along eligibility traces."""
    trace_cut: str = "after"
    """stream: traces are cut after an exploratory action as published, before it as Watkins has it,
    or only where an episode ends, as always."""
    optimizer: str = "adam"
    """Optimizer; rmsprop is centred."""
    clip_gradients: bool = False
    """Apply max_gradient_norm."""
    learning_rate_schedule: str = "linear"
    """Shape of the step size; exponential takes learning_rate_steps as its time constant."""
    action_selection: str = "epsilon-greedy"
    """How actions are chosen while training; softmax uses the temperature."""
    max_duration: int = 100
    """ez-greedy: steps for which a random action is taken at most."""
    exploration: str = "linear"
    """Schedule of epsilon."""
    break_ties: bool = False
    """While training, choose at random among equal best actions instead of the first."""
    n_step: int = 1
    """n of n-step targets."""
    sequence_length: int = 1
    """Steps that are unrolled together by a network with memory, burn_in included."""
    burn_in: int = 0
    """drqn, r2d2: steps of a sequence that only bring the memory up to date."""
    replay: str = "uniform"
    """What is kept of the past; latest holds only the newest steps."""
    capacity: int = 10_000
    """Steps a replay holds."""
    batch_size: int = 128
    """Windows per update; a replay of the latest steps uses all it holds."""
    sequence_period: int = 1
    """Vector steps between the beginnings of windows in a prioritized replay."""
    prefill: int = 10_000
    """Environment steps before the first update."""
    train_every: int = 10
    """Environment steps of an iteration: acting, then updates."""
    updates_per_iteration: int = 1
    """Updates per iteration of the loop."""
    target: str = "polyak"
    """What is kept as target network, and how it follows."""
    target_period: int = 500
    """Environment steps between target updates; train_every is "no target network" with tau 1."""
    shift_period: int = 5_000
    """shift-networks: environment steps between shifts, a multiple of target_period."""
    rollout_steps: int = 2_048
    """On-policy: environment steps of a rollout, over all environments."""
    minibatches: int = 16
    """On-policy: updates per epoch, each on its own part of the rollout."""
    epochs: int = 4
    """On-policy: passes over a rollout."""
    dataset: str = ""
    """Run directory whose replay, kept by keep_replay, is learned from without acting; one update
    then counts as one environment step."""
    regulariser: str = "none"
    """What is added to the loss."""
    reset: str = "head"
    """What starts anew from time to time."""
    reset_period: int = 0
    """Environment steps between resets, a multiple of chunk_steps; 0 never resets."""
    chunk_steps: int = 10_000
    """Environment steps of a chunk, after which signals are heeded and checkpoints saved; a
    multiple of target_period or rollout_steps."""
    eval_period: int = 0
    """Environment steps between evaluations, a multiple of chunk_steps; 0: after every chunk."""
    eval_episodes: int = 10
    """Whole episodes per member and evaluation."""
    eval_max_steps: int = 5_000
    """Evaluation episodes longer than this are cut, and counted as cut."""
    diagnose: bool = False
    """Measure churn, ranks, dormant units and more at every evaluation; training stays the same."""
    extra: tuple[str, ...] = ()
    """Structure that parts of one's own read, each name=value: a number, a word, True, (1, 2)."""

    def __post_init__(self):
        for field in dataclasses.fields(self):
            is_whole = int in (field.type, *get_args(field.type))
            value = _plain(getattr(self, field.name), is_whole)
            object.__setattr__(self, field.name, value)


class Preset(NamedTuple):
    """A complete experiment; everything in it can be overridden."""

    summary: str  # what it is and where its numbers come from
    config: Config
    hparams: HParams
    steps: int  # environment steps per member
    seeds: int


def _plain(value: Any, is_whole: bool) -> Any:
    """A value as Python has it: no list, no number of NumPy's, and ``1e6`` where a whole number
    is meant."""
    if isinstance(value, list | tuple):
        return tuple(_plain(item, is_whole) for item in value)
    if isinstance(value, np.generic | np.ndarray) and not value.shape:
        value = value.item()
    return int(value) if is_whole and isinstance(value, float) and value.is_integer() else value


def replace_checked(target, changes: dict):
    """``target`` (a ``Config`` or ``HParams``) with the named fields replaced.

    Raises:
      ConfigError: a field that does not exist, with the nearest ones that do.
    """
    fields = field_names(target)
    for name in changes:
        if name not in fields:
            raise unknown(f"field of {type(target).__name__}", name, fields)
    if isinstance(target, HParams):
        return target._replace(**changes)
    return dataclasses.replace(target, **changes)


def field_names(target) -> tuple[str, ...]:
    """The names of the fields of a ``Config`` or of ``HParams``."""
    if isinstance(target, HParams) or target is HParams:
        return HParams._fields
    return tuple(field.name for field in dataclasses.fields(target))


def words_as_values(assignments: Sequence[str], field: str = "extra") -> dict[str, Any]:
    """``("size=10", "mode=fast")`` as ``{"size": 10, "mode": "fast"}``.

    Raises:
      ConfigError: one is not of the form name=value, or a name comes twice; it names ``field``.
    """
    values = {}
    for assignment in assignments:
        name, separator, text = assignment.partition("=")
        if not (separator and name.isidentifier()) or name in values:
            raise ConfigError(f"{field}={assignment} must be name=value, every name once.")
        try:
            values[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            values[name] = text
    return assignments.noting(values) if hasattr(assignments, "noting") else values
