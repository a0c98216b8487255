"""Fixed points of every method by dynamic programming, in NumPy and apart from jaxq's code.

An MDP is ``Tables``: what ``tabular`` gives the environment, cut to the real states and actions.
"""

import math
from itertools import product
from typing import NamedTuple

import numpy as np
import tabular

from jaxq.types import ObservationLegalActions, Step


class Tables(NamedTuple):
    transition: np.ndarray  # [S, A, S]
    reward: np.ndarray  # [S, A, S]
    ends: np.ndarray  # [S], 1 where entering ends the task
    legal: np.ndarray | bool = True  # [S, A], or all


def of_legal(mdp: Tables, q: np.ndarray) -> np.ndarray:
    """Values [S, A] with -inf for the others."""
    return np.where(mdp.legal, q, -np.inf)


def tables(params: dict, num_states: int, num_actions: int) -> Tables:
    cut = (slice(num_states), slice(num_actions), slice(num_states))
    return Tables(
        params["transition"][cut].astype(float),
        params["reward"][cut].astype(float),
        params["terminal"][:num_states].astype(float),
    )


def lake() -> Tables:
    return tables(tabular.frozen_lake(), 16, 4)


def sparse_mdp(seed: int = 1) -> Tables:
    """10 states, 3 actions, each with 3 possible successors; the last state ends the task."""
    random = np.random.default_rng(seed)
    transition = np.zeros((10, 3, 10))
    for state, action in np.ndindex(10, 3):
        successors = random.choice(10, 3, replace=False)
        transition[state, action, successors] = random.dirichlet(np.ones(3))
    reward = np.broadcast_to(random.normal(size=(10, 3, 1)), transition.shape)
    return Tables(transition, reward, np.eye(10)[9])


def masked_mdp() -> Tables:
    """The same, and in most states one action or two are illegal: half of all."""
    mdp = sparse_mdp()
    random = np.random.default_rng(3)
    legal = random.random(mdp.transition.shape[:2]) < 0.4
    legal[np.arange(len(legal)), random.integers(legal.shape[1], size=len(legal))] = True
    return mdp._replace(legal=legal)


def iterate(backup, num_states: int, num_actions: int, *shape: int) -> np.ndarray:
    """The fixed point of ``backup`` of values [S, A, ...]."""
    values = np.zeros((num_states, num_actions, *shape))
    for _ in range(100_000):
        new = backup(values)
        if np.abs(new - values).max() < 1e-9:
            return new
        values = new
    raise RuntimeError("no fixed point")


def expect(mdp: Tables, values: np.ndarray, gamma: float) -> np.ndarray:
    """E[r + gamma V(s')] for V [S]: [S, A]."""
    return np.einsum("sat,sat->sa", mdp.transition, mdp.reward + gamma * (1 - mdp.ends) * values)


def optimal(mdp: Tables, gamma: float) -> np.ndarray:
    return iterate(
        lambda q: expect(mdp, of_legal(mdp, q).max(axis=1), gamma), *mdp.transition.shape[:2]
    )


def softmax(q: np.ndarray, temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """The policy and its logarithm, which is 0 for what is illegal."""
    scaled = (q - q.max(axis=1, keepdims=True)) / temperature
    log_policy = scaled - np.log(np.exp(scaled).sum(axis=1, keepdims=True))
    return np.exp(log_policy), np.where(np.isfinite(q), log_policy, 0.0)


def soft(mdp: Tables, gamma: float, temperature: float, alpha=0.0, clip=1.0) -> np.ndarray:
    """Soft Q-learning, or Munchausen with ``alpha``."""

    def backup(q):
        policy, log_policy = softmax(of_legal(mdp, q), temperature)
        value = (policy * (q - temperature * log_policy)).sum(axis=1)
        bonus = alpha * np.clip(temperature * log_policy, -clip, 0.0)
        return expect(mdp, value, gamma) + bonus

    return iterate(backup, *mdp.transition.shape[:2])


def lambda_values(mdp: Tables, gamma: float, td_lambda: float, length: int) -> np.ndarray:
    """Peng's Q(lambda) over ``length`` steps of a uniform policy; lambda 1 is n-step."""

    def backup(q):
        best = of_legal(mdp, q).max(axis=1)
        total = expect(mdp, best, gamma)
        for _ in range(length - 1):
            mean = total.mean(axis=1, where=mdp.legal)
            future = (1 - td_lambda) * best + td_lambda * mean
            total = expect(mdp, future, gamma)
        return total

    return iterate(backup, *mdp.transition.shape[:2])


def rescaled(mdp: Tables, gamma: float) -> np.ndarray:
    """What R2D2 learns: the mean of h(r + gamma h^-1(max u)), u itself."""
    grid = np.linspace(-400.0, 400.0, 8_000_001)
    scaled = h(grid)

    def backup(u):
        value = np.interp(of_legal(mdp, u).max(axis=1), scaled, grid)
        targets = h(mdp.reward + gamma * (1 - mdp.ends) * value)
        return np.einsum("sat,sat->sa", mdp.transition, targets)

    return iterate(backup, *mdp.transition.shape[:2])


def h(x):
    return np.sign(x) * (np.sqrt(np.abs(x) + 1) - 1) + 1e-3 * x


def quantiles(
    mdp: Tables, gamma: float, count: int, kappa: float = 1.0, temperature=0.0, alpha=0.0
) -> np.ndarray:
    """QR-DQN: [S, A, K], each a minimiser of the quantile Huber loss, by bisection.

    With a temperature soft, quantiles averaged over the policy; with ``alpha`` Munchausen.
    """
    fractions = (np.arange(count) + 0.5) / count
    num_states, num_actions, _ = mdp.transition.shape

    def backup(theta):
        means = of_legal(mdp, theta.mean(axis=2))
        policy, bonus = np.eye(num_actions)[means.argmax(axis=1)], 0.0
        entropy = np.zeros((num_states, 1))
        if temperature:
            policy, log_policy = softmax(means, temperature)
            entropy = -temperature * (policy * log_policy).sum(axis=1, keepdims=True)
            bonus = alpha * np.clip(temperature * log_policy, -1.0, 0.0)[..., None, None]
        value = np.einsum("sa,sak->sk", policy, theta) + entropy
        future = gamma * (1 - mdp.ends)[:, None] * value
        targets = mdp.reward[..., None] + bonus + future  # [S, A, S', K]
        weights = np.broadcast_to(mdp.transition[..., None] / count, targets.shape)
        targets = targets.reshape(num_states, num_actions, 1, -1)
        weights = weights.reshape(num_states, num_actions, 1, -1)
        low = np.broadcast_to(targets.min(axis=-1) - 1.0, theta.shape).copy()
        high = np.broadcast_to(targets.max(axis=-1) + 1.0, theta.shape).copy()
        for _ in range(45):
            middle = (low + high) / 2
            errors = targets - middle[..., None]
            slope = np.abs(fractions[:, None] - (errors < 0)) * np.clip(errors, -kappa, kappa)
            up = (weights * slope).sum(axis=-1) > 0
            low, high = np.where(up, middle, low), np.where(up, high, middle)
        return low

    return iterate(backup, num_states, num_actions, count)


def categorical(mdp: Tables, gamma: float, atoms: np.ndarray) -> np.ndarray:
    """C51: probabilities [S, A, K] under the projected Bellman operator.

    Until the means converge: where two actions are equally good the distributions need not.
    """
    num_states, num_actions, _ = mdp.transition.shape
    targets = mdp.reward[..., None] + gamma * (1 - mdp.ends)[:, None] * atoms  # [S, A, S', K]
    position = (np.clip(targets, atoms[0], atoms[-1]) - atoms[0]) / (atoms[1] - atoms[0])
    below = np.minimum(np.floor(position).astype(int), len(atoms) - 2)
    above = position - below
    eye = np.eye(len(atoms))
    spread = (1 - above)[..., None] * eye[below] + above[..., None] * eye[below + 1]
    operator = mdp.transition[..., None, None] * spread  # [S, A, S', K, K]

    def backup(probs):
        means = of_legal(mdp, probs @ atoms)
        best = probs[np.arange(num_states), means.argmax(axis=1)]  # [S', K]
        return np.einsum("tk,satkj->saj", best, operator)

    start = np.full((num_states, num_actions, len(atoms)), 1.0 / len(atoms))
    for _ in range(100_000):
        new = backup(start)
        if np.abs((new - start) @ atoms).max() < 1e-7:
            return new
        start = new
    raise RuntimeError("no fixed point")


def histogram(mdp: Tables, gamma: float, edges: np.ndarray, sigma: float) -> np.ndarray:
    """HL-Gauss: means [S, A] of the mean histogram of all targets."""
    centers = (edges[1:] + edges[:-1]) / 2
    erf = np.vectorize(math.erf)

    def backup(q):
        values = of_legal(mdp, q).max(axis=1)
        targets = mdp.reward + gamma * (1 - mdp.ends) * values  # [S, A, S']
        below = erf((edges - targets[..., None]) / (math.sqrt(2.0) * sigma))
        probs = np.diff(below) / (below[..., -1:] - below[..., :1])
        return np.einsum("sat,satk,k->sa", mdp.transition, probs, centers)

    return iterate(backup, *mdp.transition.shape[:2])


def enumerate_windows(mdp: Tables, length: int) -> tuple[Step, np.ndarray]:
    """All windows of a uniform policy, leaves [N, T, ...], and their probabilities [N].

    Every (state, action) begins a window with total probability 1. What follows an end is rubbish
    that nothing may look at. The policy takes no illegal action, and observations say which are.
    """
    num_states, num_actions, _ = mdp.transition.shape
    legal = np.broadcast_to(mdp.legal, (num_states, num_actions))
    rows: list[tuple[list, float]] = []
    for state, action in product(range(num_states), range(num_actions)):
        if not mdp.ends[state] and legal[state, action]:
            rows.append(([(state, action)], 1.0))
    windows = [([], start[0], 1.0) for start, _ in rows]
    for depth in range(length):
        longer = []
        for steps, (state, action), weight in windows:
            if state is None:
                longer.append(([*steps, (0, 0, 1e3, True, True, 0)], (None, 0), weight))
                continue
            for following in np.flatnonzero(mdp.transition[state, action]):
                ends = bool(mdp.ends[following])
                step = (state, action, mdp.reward[state, action, following], ends, ends, following)
                probability = weight * mdp.transition[state, action, following]
                if depth + 1 == length or ends:
                    nexts = [(None, 0)]
                else:
                    nexts = [(following, a) for a in np.flatnonzero(legal[following])]
                longer += [([*steps, step], n, probability / len(nexts)) for n in nexts]
        windows = longer
    columns = np.array([[list(step) for step in steps] for steps, _, _ in windows], float)
    obs, action, reward, terminated, done, next_obs = np.moveaxis(columns, -1, 0)
    eye = np.eye(num_states, dtype=np.float32)

    def shown(states: np.ndarray):
        states = states.astype(int)
        return (
            eye[states]
            if mdp.legal is True
            else ObservationLegalActions(eye[states], legal[states])
        )

    steps = Step(
        obs=shown(obs),
        action=action.astype(np.uint8),
        reward=reward.astype(np.float32),
        terminated=terminated > 0,
        done=done > 0,
        next_obs=shown(next_obs),
    )
    return steps, np.array([weight for _, _, weight in windows], np.float32)
