"""One program of the benchmark, as a process of its own that runs when it is told to.

    contenders.py NAME WORKLOAD.json

Started by benchmark.py with the Python in which NAME is installed, which need not be jaxq's; so
every contender imports what it needs. It answers in lines of JSON: once when it is compiled, then
after every line that it reads, when it has run once more.

Peers are driven as their users would: `jit(vmap(train))` over seeds (a single one without `vmap`,
which is faster), on networks of the same shape.
Their code is loaded from where they are; what keeps them from running, or from giving every seed a
run of its own, is repaired on the way.
"""

import contextlib
import json
import os
import platform
import resource
import sys
import time
import types
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

HERE = Path(__file__).resolve().parent


def jaxq(workload: dict) -> Callable[[], tuple[int, float]]:
    """This library: chunks of a population, as train.py runs them."""
    from dataclasses import replace

    from jaxq.cli.main import load_preset
    from jaxq.recipes.experiment import make_experiment
    from jaxq.runs import machine
    from jaxq.runs.measurement import gains_by_one_core
    from jaxq.runs.population import Population

    machine.use_cores()
    _, preset, _ = load_preset(workload["preset"], workload.get("trust", ()))
    config = replace(preset.config, **workload["config"])
    if workload["members"] == 1 and gains_by_one_core(config):
        machine.use_one_core()  # as train.py does
    experiment = make_experiment(config, preset.hparams)
    trainer = experiment.trainer
    if workload.get("part"):
        from ceiling import part_trainer

        trainer = part_trainer(workload["part"], config, experiment)
    members = workload["members"]
    population = Population(
        trainer, experiment.evaluate, [preset.hparams], range(members), workload.get("batch")
    )
    population.prepare(("init", "chunk"))
    states, clock = population.init()

    def run() -> tuple[int, float]:
        nonlocal states, clock
        started = time.perf_counter()
        states, clock, _ = population.chunk(states, clock)
        return members * config.chunk_steps, time.perf_counter() - started

    return run


def purejaxrl(workload: dict) -> Callable[[], tuple[int, float]]:
    """Its dqn.py, with every seed's key in place of the constant one, and our torso."""
    source = (Path(workload["path"]) / "purejaxrl/dqn.py").read_text()
    source = source.replace("jax.tree_map", "jax.tree.map")
    source = source.replace("rng = jax.random.PRNGKey(0)", "rng, _ = jax.random.split(rng)")
    module = _load(source, "wandb")
    if workload["network"] == "minatar":
        from peer_networks import minatar_network

        module["QNetwork"] = minatar_network
    return _whole_runs(module["make_train"], workload, "TOTAL_TIMESTEPS")


def purejaxql(workload: dict) -> Callable[[], tuple[int, float]]:
    """Its PQN, without tests while training."""
    name = "pqn_minatar.py" if workload["network"] == "minatar" else "pqn_gymnax.py"
    source = (Path(workload["path"]) / "purejaxql" / name).read_text()
    module = _load(source, "wandb", "hydra", "omegaconf")
    return _whole_runs(module["make_train"], workload, "TOTAL_TIMESTEPS")


def rejax(workload: dict) -> Callable[[], tuple[int, float]]:
    """Its DQN, without evaluations, on a network like ours."""
    from peer_networks import rejax_network
    from rejax import get_algo
    from rejax.networks import EpsilonGreedyPolicy

    def train(arguments: dict) -> Callable:
        algo = get_algo("dqn").create(**arguments)
        network = rejax_network(workload["network"])
        agent = EpsilonGreedyPolicy(network)(action_dim=algo.action_dim)
        algo = algo.replace(agent=agent, eval_callback=lambda *_: ())
        return lambda key: algo.train(key)[0]

    return _whole_runs(train, workload, "total_timesteps")


def jaxnasium(workload: dict) -> Callable[[], tuple[int, float]]:
    """Its DQN or PQN on gymnax's environment, without logging, on a network like ours."""
    import jaxnasium
    from jaxnasium import algorithms
    from peer_networks import jaxnasium_network

    def train(arguments: dict) -> Callable:
        arguments = dict(arguments)
        name, env = arguments.pop("algorithm"), jaxnasium.make(arguments.pop("env"))
        network = jaxnasium_network(workload["network"], layer_norm=name == "PQN")
        algorithm = getattr(algorithms, name)(critic_kwargs=network, log_function=None, **arguments)
        return lambda key: algorithm.train(key, env)[0].critic

    return _whole_runs(train, workload, "total_timesteps")


def stable_baselines3(workload: dict) -> Callable[[], tuple[int, float]]:
    """Its DQN in torch, one seed."""
    import gymnasium
    from stable_baselines3 import DQN
    from stable_baselines3.common.env_util import make_vec_env

    arguments = dict(workload["arguments"])
    steps, num_envs = arguments.pop("steps"), arguments.pop("num_envs")
    env = make_vec_env(lambda: gymnasium.make("CartPole-v1"), num_envs)
    model = DQN("MlpPolicy", env, **arguments)

    def run() -> tuple[int, float]:
        started = time.perf_counter()
        model.learn(steps, reset_num_timesteps=False)
        return steps, time.perf_counter() - started

    return run


def gtd_algos(workload: dict) -> Callable[[], tuple[int, float]]:
    """Its Stream Q in JAX, as its streamq_main.py runs it: a step at a time, one seed."""
    sys.path.insert(0, workload["path"])
    import jax
    import yaml

    _stand_in("wandb")
    from gtd_algos.src.algorithms.streamq import StreamQAgent
    from gtd_algos.src.configs.ExpConfig import ExpConfig
    from gtd_algos.src.envs.make_gym_envs import make_streaming_drl_env

    _register_minatar()
    path = Path(workload["path"]) / "gtd_algos/exp_configs/minatar_streamq_jax.yaml"
    document = yaml.safe_load(path.read_text())
    document["env_config"]["env_name"] = workload["arguments"]["env"]
    config = ExpConfig.from_dict(document)
    env = make_streaming_drl_env(config.env_config, config.agent_config.gamma)
    obs, _ = env.reset(seed=0)
    num_actions = int(env.action_space.n)
    state, key = StreamQAgent.init_state(
        config.agent_config, num_actions, env.observation_space.shape, jax.random.PRNGKey(0)
    )

    def step() -> None:
        nonlocal obs, state, key
        action, is_exploratory, key = StreamQAgent.step(state, obs, num_actions, 0.1, key)
        action = action.item()
        next_obs, reward, terminated, truncated, _ = env.step(action)
        transition = (obs, action, next_obs, reward)
        state = StreamQAgent.update(state, transition, terminated, truncated, is_exploratory.item())
        obs = env.reset()[0] if terminated or truncated else next_obs

    return _stepwise(step, workload["arguments"]["steps"])


def streaming_drl(workload: dict) -> Callable[[], tuple[int, float]]:
    """The authors' Stream Q in torch, as their stream_q_minatar.py runs it, one seed."""
    sys.path.insert(0, workload["path"])
    import gymnasium
    import stream_q_minatar as theirs
    import torch

    _register_minatar()
    torch.set_num_threads(workload["cores"])
    env = gymnasium.wrappers.RecordEpisodeStatistics(gymnasium.make(workload["arguments"]["env"]))
    env = theirs.ScaleReward(theirs.NormalizeObservation(env), gamma=0.99)
    channels, num_actions = env.observation_space.shape[-1], env.action_space.n
    agent = theirs.StreamQ(n_channels=channels, n_actions=num_actions, epsilon_start=0.1)
    obs, _ = env.reset(seed=0)

    def step() -> None:
        nonlocal obs
        action, is_exploratory = agent.sample_action(obs)
        next_obs, reward, terminated, truncated, _ = env.step(action)
        done = terminated or truncated
        agent.update_params(obs, action, reward, next_obs, done, is_exploratory)
        obs = env.reset()[0] if done else next_obs

    return _stepwise(step, workload["arguments"]["steps"])


def _stepwise(step: Callable[[], None], steps: int) -> Callable[[], tuple[int, float]]:
    """So many steps, one after the other; a few before, which compile."""
    for _ in range(300):
        step()

    def run() -> tuple[int, float]:
        started = time.perf_counter()
        for _ in range(steps):
            step()
        return steps, time.perf_counter() - started

    return run


def _register_minatar() -> None:
    """MinAtar's games for gymnasium, whose plug-ins may have failed to do so."""
    import minatar.gym

    with contextlib.suppress(Exception):
        minatar.gym.register_envs()


def _whole_runs(
    make_train: Callable, workload: dict, steps_argument: str
) -> Callable[[], tuple[int, float]]:
    """`jit(vmap(train))` of whole runs, every call with seeds of its own.

    A long run less a short one is what training alone takes: making the replay is left out.
    """
    import jax
    import numpy as np

    members, count = workload["members"], 0

    def compiled(steps: int) -> Callable:
        train = make_train({**workload["arguments"], steps_argument: steps})
        one = lambda seed: train(jax.random.PRNGKey(seed))  # noqa: E731
        program = jax.jit(jax.vmap(one) if members > 1 else lambda seeds: one(seeds[0]))
        return program.lower(np.arange(members, dtype=np.uint32)).compile()

    def timed(program: Callable) -> float:
        nonlocal count
        seeds = np.arange(count, count + members, dtype=np.uint32)
        count += members
        started = time.perf_counter()
        jax.block_until_ready(program(seeds))
        return time.perf_counter() - started

    long, short = workload["steps"], workload["short_steps"]
    programs = [compiled(long)]

    def run() -> tuple[int, float]:
        if short and len(programs) == 1:
            programs.append(compiled(short))  # here: it is not part of preparing
        seconds = [timed(program) for program in programs]
        return members * (long - short), seconds[0] - sum(seconds[1:])

    return run


def _load(source: str, *unneeded: str) -> dict:
    """A script's names; modules that it imports only to report are stand-ins."""
    for name in unneeded:
        _stand_in(name)
    module = types.ModuleType("contender")
    sys.modules["contender"] = module
    exec(compile(source, "contender", "exec"), module.__dict__)
    return module.__dict__


def _stand_in(name: str) -> None:
    """An empty module in place of one that only reports."""
    stand_in = types.ModuleType(name)
    stand_in.main = lambda **_: lambda function: function
    stand_in.OmegaConf = None
    sys.modules.setdefault(name, stand_in)


def _versions(name: str) -> dict[str, str]:
    """Of what is installed here."""
    versions = {"python": platform.python_version()}
    for package in (name, "jax", "gymnax", "torch"):
        with contextlib.suppress(PackageNotFoundError):
            versions[package] = version(package)
    return versions


CONTENDERS = {
    function.__name__: function
    for function in (
        *(jaxq, purejaxrl, purejaxql, rejax, jaxnasium),
        *(stable_baselines3, gtd_algos, streaming_drl),
    )
}


def main() -> None:
    name, workload = sys.argv[1], json.loads(Path(sys.argv[2]).read_text())
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print is not an answer
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))[: workload["cores"]]
        os.sched_setaffinity(0, cores)
    sys.path.insert(0, str(HERE.parents[1]))
    started = time.perf_counter()
    run = CONTENDERS[name](workload)
    prepared = time.perf_counter() - started
    print(json.dumps({"prepared_seconds": prepared, "versions": _versions(name)}), file=answers)
    for _ in sys.stdin:
        steps, seconds = run()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"steps": steps, "seconds": seconds, "peak_mb": peak}), file=answers)


if __name__ == "__main__":
    main()
