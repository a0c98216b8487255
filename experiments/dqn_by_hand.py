"""DQN on CartPole, put together by hand: dqn_by_hand.py [STEPS].

Deep Q-learning with experience replay (Mnih et al. 2015, algorithm 1) from its parts, on one page.
What `train.py dqn-cartpole` does by names is done here by functions, with the same numbers, and a
test holds that it gives the same bits. Exchange any of them, and it is another method.
"""

import sys

import jax
import jax.numpy as jnp

from jaxq import HParams, LossOutput, losses, make_agent, make_env, schedules, td
from jaxq.learning import exploration, optimizers, targets
from jaxq.loops.evaluation import make_evaluator
from jaxq.loops.off_policy import Lengths, make_trainer
from jaxq.loops.rollout import Schedules
from jaxq.networks import MLP, LinearHead, ValueNetwork, from_flax
from jaxq.replay import rings

# The numbers, which could also differ between many agents that are trained side by side.
NUMBERS = HParams(
    learning_rate=2.5e-4,
    gamma=0.99,
    epsilon_start=1.0,
    epsilon_end=0.05,
    epsilon_steps=250_000.0,
)
PREFILL, CHUNK, TARGET_PERIOD, TRAIN_EVERY = 10_000, 10_000, 500, 10  # environment steps
NUM_ENVS = 10


def make_network(num_actions):
    """Q(s, a) of all actions at once: two hidden layers, and a number for every action."""
    return from_flax(ValueNetwork(MLP(widths=(120, 84)), LinearHead(num_actions)))


def loss(network, params, target_params, key, steps, hparams):
    """``(r + gamma max_a Q(s', a; target) - Q(s, a; params))^2 / 2`` of a batch of steps.

    An episode that was cut by its time limit would have gone on, so its value counts; only where
    the task terminated there is none.
    """
    batch = losses.fold(steps, hparams)  # steps; the discount is gamma, or 0 where the task ended
    q_tm1 = network.apply(params, batch.obs, None, ())[0].q_values  # [B, A]; there is no noise
    q_t = network.apply(target_params, batch.next_obs, None, ())[0].q_values
    errors = jax.vmap(td.q_learning)(q_tm1, batch.action, batch.reward, batch.discount, q_t)
    return LossOutput(
        loss=td.huber_loss(errors, hparams.huber_delta),  # the square, at infinity
        priority=jnp.abs(errors),  # for a replay that asks for it; this one does not
        aux={"q_value": q_tm1.mean(axis=1), "td_error": jnp.abs(errors)},
    )


def epsilon(hparams, steps):
    """Probability of a random action after so many environment steps."""
    start, end = hparams.epsilon_start, hparams.epsilon_end
    return schedules.linear(start, end, hparams.epsilon_steps, steps)


def learning_rate(hparams, steps):
    """Constant."""
    return hparams.learning_rate


def replay(step):
    """The last 10,000 steps, of which 128 are drawn for an update."""
    return rings.uniform(step, capacity=10_000, batch_size=128)


def make_dqn():
    """The trainer of one agent, and its evaluation on ten whole episodes."""
    env = make_env("CartPole-v1", NUM_ENVS)
    agent = make_agent(make_network(env.num_actions), loss, exploration.epsilon_greedy)
    trainer = make_trainer(
        env,
        agent,
        replay,
        optimizers.make_optimizer(optimizers.adam),
        Schedules(epsilon, learning_rate),
        targets.polyak(),  # with tau 1: every C steps the target is a copy
        Lengths(
            prefill_blocks=PREFILL // TRAIN_EVERY,
            rows_per_block=TRAIN_EVERY // NUM_ENVS,
            updates_per_iteration=1,
            iterations_per_period=TARGET_PERIOD // TRAIN_EVERY,
            periods_per_chunk=CHUNK // TARGET_PERIOD,
        ),
    )
    return trainer, make_evaluator(make_env("CartPole-v1", 10), agent, max_steps=5_000)


def main(total_steps: int = 500_000, seed: int = 0) -> None:
    trainer, evaluate = make_dqn()
    init, chunk, play = jax.jit(trainer.init), jax.jit(trainer.chunk), jax.jit(evaluate)
    numbers = jax.tree.map(jnp.float32, NUMBERS)
    key_train, key_play = jax.random.split(jax.random.key(seed))
    state, clock = init(key_train, numbers)  # fills the replay at random
    while clock.steps < total_steps:
        state, clock, metrics = chunk(state, clock, numbers)
        returns = play(state.params, jax.random.fold_in(key_play, clock.steps), numbers).returns
        print(f"{clock.steps:>9,} steps  return {returns.mean():5.1f}  loss {metrics['loss']:.3g}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
