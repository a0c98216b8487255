"""Everything that a ``Config`` names, composed: environment, agent, trainer, evaluation."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

import jax

from jaxq.config import Config, HParams
from jaxq.envs import gymnax, libraries
from jaxq.envs import own as own_envs
from jaxq.envs.episodes import RawEnv
from jaxq.envs.probing import Forms, probe_env
from jaxq.envs.trying import warn_of_random_steps
from jaxq.errors import ConfigError, check_call
from jaxq.learning import optimizers
from jaxq.learning.traces import TraceRule
from jaxq.loops import diagnostics, resets
from jaxq.loops.diagnostics import Diagnostics
from jaxq.loops.evaluation import make_evaluator
from jaxq.loops.off_policy import make_trainer
from jaxq.loops.offline import make_offline_trainer
from jaxq.loops.on_policy import make_on_policy_trainer
from jaxq.loops.rollout import Schedules
from jaxq.loops.streaming import make_streaming_trainer
from jaxq.recipes import agents, contracts
from jaxq.recipes.acting import make_exploration_from
from jaxq.recipes.identity import description
from jaxq.recipes.lengths import make_lengths, make_offline_lengths, make_round_lengths
from jaxq.recipes.own import is_own, own_fields, resolve
from jaxq.recipes.parts import find, make_part, window_of
from jaxq.recipes.reading import reads, trained_by
from jaxq.recipes.validation import validate
from jaxq.recipes.watching import WatchedConfig, check_reads, check_structure, check_trace
from jaxq.replay import datasets
from jaxq.types import Agent, Env, PyTree, Regulariser, Target, Trainer


class Experiment(NamedTuple):
    """Everything about one member, as pure functions."""

    config: Config  # from which it was composed
    env: Env
    agent: Agent
    trainer: Trainer
    evaluate: Callable  # (params, key, hparams) -> Evaluation
    made_of: Mapping[str, Mapping[str, str]] = {}  # field -> name and source of one's own part
    diagnostics: Diagnostics | None = None  # with ``config.diagnose``


def make_env_from(config: Config, num_envs: int) -> Env:
    """The environment of ``config``, ``num_envs`` times, as its agent sees it."""
    time_limit = None if config.time_limit == "default" else config.time_limit
    if is_own(config.env):
        thing = resolve("env", config.env)
        env = own_envs.from_object(thing, config.env, num_envs, config.env_kwargs, time_limit)
    else:
        env = libraries.make_env(config.env, num_envs, config.env_kwargs, time_limit)
    return find("memory_inputs", config.memory_inputs).make(env)


def make_raw_env_from(config: Config) -> tuple[Any, PyTree]:
    """The gymnax environment behind that of ``config`` and its parameters, as for drawing it.

    Raises:
      ConfigError: it is of another library, or none.
    """
    if is_own(config.env):
        return own_envs.gymnax_of(resolve("env", config.env), config.env, config.env_kwargs)
    if libraries.library_of(config.env) != "gymnax":
        raise ConfigError(
            f"env={config.env} cannot be drawn; environments of gymnax and of one's own can."
        )
    return gymnax.make_gymnax(config.env, config.env_kwargs)


def make_experiment(
    config: Config,
    *lanes: HParams,
    make_agent: Callable[[Config, Env], Agent] | None = None,
    make_env: Callable[[Config, int], Env] | None = None,
) -> Experiment:
    """Compose what ``config`` names; the numbers of all ``lanes`` are only checked.

    Args:
      make_agent: ``(config, env) -> Agent``, in place of the agent that ``config`` names.
      make_env: ``(config, num_envs) -> Env``, in place of its environment.

    Raises:
      ConfigError: anything that could not run, before anything compiles.
    """
    if make_agent is not None:
        check_call("make_agent", make_agent, ("config", "env"))
    validate(config, *lanes, handed_over=bool(make_agent) and not is_own(config.agent))
    env = _make_env(make_env, config, config.num_envs)
    own = _own_functions(config, agent=make_agent, env=make_env)
    watched = WatchedConfig.of(config) if own else config
    if "agent" in own:
        agent = check_reads(watched, own["agent"], env, find("agent", config.agent).loop)
    else:
        agent = agents.make_agent_from(watched, env)
    trainer = make_trainer_from(watched, env, contracts.checked(agent, config))
    eval_env = _make_env(make_env, config, config.eval_episodes)
    estimates = is_own(config.agent) or "gamma" in reads(config)  # cloning puts out logits
    evaluate = make_evaluator(eval_env, agent, config.eval_max_steps, config.diagnose and estimates)
    inside = make_diagnostics_from(config, env, eval_env, agent) if config.diagnose else None
    registered = {"env": made} if (made := libraries.registered(config.env)) else {}
    parts = {**registered, **own}
    made_of = {field: description(function) for field, function in parts.items()}
    experiment = Experiment(config, env, agent, trainer, evaluate, made_of, inside)
    _check_composed(experiment, lanes)
    if own and lanes:  # a trace has read what parts read late
        check_structure(watched, own)
    return experiment


def _make_env(handed_over: Callable | None, config: Config, num_envs: int) -> Env:
    if handed_over is None:
        return make_env_from(config, num_envs)
    check_call("make_env", handed_over, ("config", "num_envs"))
    env = handed_over(config, num_envs)
    env = probe_env(env, num_envs, getattr(handed_over, "__qualname__", "make_env"))
    return find("memory_inputs", config.memory_inputs).make(env)


def try_env(experiment: Experiment) -> None:
    """Take random steps of somebody's own environment, once, and warn of what is hardly meant."""
    config, made_of = experiment.config, experiment.made_of.get("env")
    if made_of is None or (key := (*made_of.values(), config.env_kwargs)) in _TRIED:
        return
    _TRIED.add(key)
    registered = libraries.registered(config.env)
    named = is_own(config.env) or (registered and made_of == description(registered))
    raw = raw_env_of(config) if named else (None, None)  # else it is handed over
    warn_of_random_steps(experiment.env, *raw)


def raw_env_of(config: Config) -> tuple[RawEnv | None, Forms | None]:
    """The environment of ``config`` without resets, unless it is ready-made, and its forms."""
    time_limit = None if config.time_limit == "default" else config.time_limit
    what = config.env, config.env_kwargs, time_limit
    if not is_own(config.env):
        return libraries.raw_of(*what)
    with suppress(ConfigError):
        return own_envs.raw_of(resolve("env", config.env), *what)
    return None, None


_TRIED: set[tuple] = set()  # in this process


def check_lanes(experiment: Experiment, lanes: Sequence[HParams]) -> None:
    """Refuse numbers with which an experiment cannot run, or which it would not read.

    Raises:
      ConfigError: names the number.
    """
    config = experiment.config
    handed_over = "agent" in experiment.made_of and not is_own(config.agent)
    validate(config, *lanes, handed_over=handed_over)
    _check_composed(experiment, lanes)


def _check_composed(experiment: Experiment, lanes: Sequence[HParams]) -> None:
    """What only the environment, the agent and a trace can say of numbers."""
    config, made_of = experiment.config, experiment.made_of
    for lane in lanes:
        experiment.env.params(lane.env_params)  # refuses unknown names
        experiment.agent.check(lane)
    if config.dataset and lanes:
        numbers = (lane.env_params for lane in lanes)
        datasets.check_env_params(config.dataset, experiment.env, numbers)
    if lanes and made_of:
        contracts.check_parts(config, experiment.env, lanes[0])
    if made_of:
        contracts.check_network(experiment.agent.network, experiment.env, _whose(config, made_of))
    if lanes and (made_of or lanes[0].extra):
        check_trace(config, experiment.trainer, lanes[0], made_of)


def _whose(config: Config, made_of: Mapping[str, Any]) -> str:
    """Whose network an agent acts with, in words."""
    part = "network" if "network" in made_of and "agent" not in made_of else "agent"
    return f"the network of {part}={getattr(config, part)}"


def _own_functions(config: Config, **handed_over: Callable | None) -> dict[str, Callable]:
    """Field -> the function of somebody's own: the one handed over, or that which is named."""
    found = {field: resolve(field, name) for field, name in own_fields(config).items()}
    return found | {field: function for field, function in handed_over.items() if function}


def make_trainer_from(config: Config, env: Env, agent: Agent) -> Trainer:
    """The trainer of ``config``, for any environment and agent."""
    trainer = _TRAINERS[trained_by(agent.loop, config)](config, env, agent)
    reset = find("reset", config.reset).make
    if config.reset_period:
        trainer = resets.with_resets(
            trainer,
            agent,
            make_optimizer_from(config),
            reset,
            config.reset_period,
            config.chunk_steps,
        )
    return trainer


def make_diagnostics_from(config: Config, env: Env, eval_env: Env, agent: Agent) -> Diagnostics:
    """Diagnostics of the member that ``config`` trains in ``env``; churn is that of no reset."""
    note = diagnostics.note_rule if agent.loop == "streaming" else diagnostics.note_optimizer
    noting = _TRAINERS[trained_by(agent.loop, config)](config, env, agent, note)
    return diagnostics.make_diagnostics(eval_env, agent, noting)


def _same(mover: Any) -> Any:
    return mover


def _off_policy(config: Config, env: Env, agent: Agent, note: Callable = _same) -> Trainer:
    """``note`` makes another one of what moves the weights; so below."""
    return make_trainer(
        env,
        agent,
        make_replay_from(config),
        note(make_optimizer_from(config)),
        make_schedules(config),
        make_target_from(config),
        make_lengths(config),
        make_regulariser_from(config),
    )


def _on_policy(config: Config, env: Env, agent: Agent, note: Callable = _same) -> Trainer:
    optimizer, schedules = note(make_optimizer_from(config)), make_schedules(config)
    return make_on_policy_trainer(env, agent, optimizer, schedules, make_round_lengths(config))


def _streaming(config: Config, env: Env, agent: Agent, note: Callable = _same) -> Trainer:
    rule, cut = note(make_trace_from(config)), find("trace_cut", config.trace_cut).make
    return make_streaming_trainer(env, agent, rule, cut, make_schedules(config), config.chunk_steps)


def _offline(config: Config, env: Env, agent: Agent, note: Callable = _same) -> Trainer:
    window = window_of(config)
    run, env_kwargs = config.dataset, config.env_kwargs
    return make_offline_trainer(
        env,
        agent,
        partial(datasets.uniform_windows, batch_size=config.batch_size, window=window),
        lambda: (datasets.read_records(run, env, env_kwargs, window),),
        note(make_optimizer_from(config)),
        make_schedules(config),
        make_target_from(config),
        make_offline_lengths(config),
        make_regulariser_from(config),
    )


_TRAINERS = {
    "off-policy": _off_policy,
    "on-policy": _on_policy,
    "streaming": _streaming,
    "offline": _offline,
}


def make_trace_from(config: Config) -> TraceRule:
    """How weights follow eligibility traces."""
    return make_part("trace", config, TraceRule)


def make_regulariser_from(config: Config) -> Regulariser:
    """What is added to the loss."""
    return make_part("regulariser", config, Regulariser)


def make_replay_from(config: Config) -> Callable:
    """``step shapes -> Replay``."""
    make = partial(find("replay", config.replay).make, config)
    return lambda step: contracts.check_replay(make(step), config)


def make_target_from(config: Config) -> Target:
    """How the target network follows the online network."""
    return make_part("target", config, Target)


def make_optimizer_from(config: Config) -> Callable:
    """``optimizer(hparams, learning_rate)``."""
    scale = find("optimizer", config.optimizer).make
    return optimizers.make_optimizer(scale, config.clip_gradients)


def make_schedules(config: Config) -> Schedules:
    """The numbers that change with the clock, by the schedules that ``config`` names."""
    schedule = find("learning_rate_schedule", config.learning_rate_schedule).make

    def learning_rate(hparams: HParams, steps: jax.Array) -> jax.Array:
        start, end = hparams.learning_rate, hparams.learning_rate_end
        return schedule(start, end, hparams.learning_rate_steps, steps)

    exploration, name = make_exploration_from(config)
    return Schedules(exploration, learning_rate, name)
