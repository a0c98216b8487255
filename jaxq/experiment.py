"""From a ``Config`` to the functions it names; the only module where a name becomes a function."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from jaxq import agents, envs, exploration, replay
from jaxq.config import Config, HParams, validate
from jaxq.evaluation import make_evaluator
from jaxq.train import Lengths, Schedules, make_trainer
from jaxq.types import Agent, Env, Trainer


class Experiment(NamedTuple):
    """Everything about one member, as pure functions."""

    env: Env
    agent: Agent
    trainer: Trainer
    evaluate: Callable  # (params, key, hparams) -> Evaluation


def make_experiment(config: Config, hparams: HParams) -> Experiment:
    """Compose what ``config`` names; ``hparams`` are only checked.

    Raises:
      ConfigError: anything that could not run, before anything compiles.
    """
    validate(config, hparams)
    env = make_env_from(config, config.num_envs)
    env.params(hparams.env_params)  # refuses unknown names
    agent = agents.make_agent_from(config, env)
    trainer = make_trainer_from(config, env, agent)
    eval_env = make_env_from(config, config.eval_episodes)
    return Experiment(env, agent, trainer, make_evaluator(eval_env, agent, config.eval_max_steps))


def make_env_from(config: Config, num_envs: int) -> Env:
    """The environment of ``config``, ``num_envs`` times."""
    time_limit = None if config.time_limit == "default" else config.time_limit
    return envs.make_env(config.env, num_envs, config.env_kwargs, time_limit)


def make_trainer_from(config: Config, env: Env, agent: Agent) -> Trainer:
    """The trainer of ``config``, for any environment and agent."""
    return make_trainer(
        env,
        agent,
        make_replay_from(config),
        agents.make_optimizer(config),
        make_schedules(config),
        make_lengths(config),
    )


def make_replay_from(config: Config) -> Callable:
    """``step shapes -> Replay``."""
    if config.replay == "latest":
        rows = config.train_every // config.num_envs
        return partial(replay.latest, rows_per_block=rows, window=config.window)
    return partial(
        replay.uniform,
        capacity=config.capacity,
        batch_size=config.batch_size,
        window=config.window,
    )


def make_schedules(config: Config) -> Schedules:
    """Epsilon and the learning rate, by the schedules that ``config`` names."""
    schedules = {
        "linear": exploration.linear_schedule,
        "exponential": exploration.exponential_schedule,
    }
    schedule_epsilon = schedules[config.exploration]
    schedule_rate = schedules[config.learning_rate_schedule]

    def epsilon(hparams: HParams, steps):
        start, end = hparams.epsilon_start, hparams.epsilon_end
        return schedule_epsilon(start, end, hparams.epsilon_steps, steps - hparams.epsilon_delay)

    def learning_rate(hparams: HParams, steps):
        start, end = hparams.learning_rate, hparams.learning_rate_end
        return schedule_rate(start, end, hparams.learning_rate_steps, steps)

    return Schedules(epsilon, learning_rate)


def make_lengths(config: Config) -> Lengths:
    """The loop lengths that ``config`` gives in environment steps."""
    return Lengths(
        prefill_blocks=config.prefill // config.train_every,
        rows_per_block=config.train_every // config.num_envs,
        updates_per_iteration=config.updates_per_round,
        iterations_per_period=config.target_period // config.train_every,
        periods_per_chunk=config.chunk_steps // config.target_period,
    )
