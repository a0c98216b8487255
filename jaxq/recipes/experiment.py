"""From a ``Config`` to the functions it names; the only module where a name becomes a function."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from jaxq.config import Config, HParams
from jaxq.envs import gymnax as envs
from jaxq.learning import exploration, optimizers, targets
from jaxq.loops import resets
from jaxq.loops.evaluation import make_evaluator
from jaxq.loops.off_policy import Lengths, make_trainer
from jaxq.loops.on_policy import RoundLengths, make_pqn
from jaxq.loops.rollout import Schedules
from jaxq.recipes import agents
from jaxq.recipes.validation import validate
from jaxq.replay import prioritized
from jaxq.replay import rings as replay
from jaxq.types import Agent, Env, Target, Trainer


class Experiment(NamedTuple):
    """Everything about one member, as pure functions."""

    env: Env
    agent: Agent
    trainer: Trainer
    evaluate: Callable  # (params, key, hparams) -> Evaluation


def make_env_from(config: Config, num_envs: int) -> Env:
    """The environment of ``config``, ``num_envs`` times."""
    time_limit = None if config.time_limit == "default" else config.time_limit
    return envs.make_env(config.env, num_envs, config.env_kwargs, time_limit)


def make_experiment(
    config: Config,
    *lanes: HParams,
    make_agent: Callable[[Config, Env], Agent] = agents.make_agent_from,
    make_env: Callable[[Config, int], Env] = make_env_from,
) -> Experiment:
    """Compose what ``config`` names; the numbers of all ``lanes`` are only checked.

    Args:
      make_agent: ``(config, env) -> Agent``, in place of the agent that ``config`` names.
      make_env: ``(config, num_envs) -> Env``, in place of its environment.

    Raises:
      ConfigError: anything that could not run, before anything compiles.
    """
    for lane in lanes:
        validate(config, lane)
    env = make_env(config, config.num_envs)
    for lane in lanes:
        env.params(lane.env_params)  # refuses unknown names
    agent = make_agent(config, env)
    trainer = make_trainer_from(config, env, agent)
    eval_env = make_env(config, config.eval_episodes)
    return Experiment(env, agent, trainer, make_evaluator(eval_env, agent, config.eval_max_steps))


def make_trainer_from(config: Config, env: Env, agent: Agent) -> Trainer:
    """The trainer of ``config``, for any environment and agent."""
    optimizer, schedules = optimizers.make_optimizer(config), make_schedules(config)
    if config.replay == "none":
        trainer = make_pqn(env, agent, optimizer, schedules, make_round_lengths(config))
    else:
        make_replay, target = make_replay_from(config), make_target_from(config)
        lengths = make_lengths(config)
        trainer = make_trainer(env, agent, make_replay, optimizer, schedules, target, lengths)
    if config.reset_period:
        trainer = resets.with_resets(
            trainer, agent, optimizer, config.reset_period, config.chunk_steps
        )
    return trainer


def make_replay_from(config: Config) -> Callable:
    """``step shapes -> Replay``."""
    if config.replay == "latest":
        rows = config.train_every // config.num_envs
        return partial(replay.latest, rows_per_block=rows, window=config.window)
    if config.replay == "prioritized":
        return partial(
            prioritized.prioritized,
            capacity=config.capacity,
            batch_size=config.batch_size,
            window=config.window,
            period=config.sequence_period,
        )
    return partial(
        replay.uniform,
        capacity=config.capacity,
        batch_size=config.batch_size,
        window=config.window,
    )


def make_target_from(config: Config) -> Target:
    """How the target network follows the online network."""
    return targets.latest(config.ensemble_size) if config.agent == "averaged" else targets.polyak()


def make_schedules(config: Config) -> Schedules:
    """The numbers that change with the clock, by the schedules that ``config`` names.

    For softmax actions the amount of exploration is the temperature.
    """
    schedules = {
        "linear": exploration.linear_schedule,
        "exponential": exploration.exponential_schedule,
    }
    schedule_epsilon = schedules[config.exploration]
    schedule_rate = schedules[config.learning_rate_schedule]

    def epsilon(hparams: HParams, steps):
        if config.action_selection == "softmax":
            return hparams.temperature
        start, end = hparams.epsilon_start, hparams.epsilon_end
        return schedule_epsilon(start, end, hparams.epsilon_steps, steps - hparams.epsilon_delay)

    def learning_rate(hparams: HParams, steps):
        start, end = hparams.learning_rate, hparams.learning_rate_end
        return schedule_rate(start, end, hparams.learning_rate_steps, steps)

    def importance_exponent(hparams: HParams, steps):
        start, end = hparams.importance_exponent, hparams.importance_exponent_end
        return exploration.linear_schedule(start, end, hparams.importance_exponent_steps, steps)

    return Schedules(epsilon, learning_rate, importance_exponent)


def make_lengths(config: Config) -> Lengths:
    """The loop lengths that ``config`` gives in environment steps."""
    return Lengths(
        prefill_blocks=config.prefill // config.train_every,
        rows_per_block=config.train_every // config.num_envs,
        updates_per_iteration=config.updates_per_round,
        iterations_per_period=config.target_period // config.train_every,
        periods_per_chunk=config.chunk_steps // config.target_period,
    )


def make_round_lengths(config: Config) -> RoundLengths:
    """The loop lengths of on-policy learning."""
    minibatches = config.train_every // (config.batch_size * config.window)
    return RoundLengths(
        rows=config.train_every // config.num_envs,
        segment=config.window,
        batch_size=config.batch_size,
        minibatches=minibatches,
        epochs=config.updates_per_round // minibatches,
        rounds_per_chunk=config.chunk_steps // config.train_every,
    )
