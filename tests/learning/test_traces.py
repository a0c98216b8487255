"""Trace rules: closed forms, traces by hand, reductions."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxq.config import HParams
from jaxq.learning import optimizers, traces
from jaxq.learning.traces import Online

pytestmark = pytest.mark.usefixtures("compiled_quickly")

RULES = {
    "accumulating": traces.accumulating(optimizers.make_optimizer(optimizers.sgd)),
    "obgd": traces.obgd(),
    "intentional": traces.intentional(),
    "qrc": traces.qrc(),
    "gq2": traces.gq2(),
}
CUTS = {
    "after": traces.cut_after,
    "watkins": traces.cut_watkins,
    "episodes": traces.cut_episodes,
}
HPARAMS = HParams(gamma=0.9, td_lambda=0.8, correction_rate=0.5, correction_decay=0.3)
CUT = 0.0
WHOLE = 0.9 * 0.8


def linear(x_tm1, x_t, reward, discount):
    """A step with one action, whose values are linear in given features."""
    value = lambda w: w["w"] @ x_tm1  # noqa: E731
    return Online(value, lambda w: reward + discount * (w["w"] @ x_t) - value(w))


def start(rule, weights, hparams=HPARAMS):
    return rule.init(jax.random.key(0), weights, lambda key: {"w": jnp.ones(3) / 4}, hparams)


def states(seed: int = 0, count: int = 6):
    """Random steps of linear values: features, reward, discount, decay."""
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(count + 1, 3)).astype(np.float32)
    rewards = draw.normal(size=count).astype(np.float32)
    discounts = [0.9, 0.9, 0.0, 0.9, 0.9, 0.9]
    decays = [CUT, WHOLE, WHOLE, CUT, WHOLE, WHOLE]
    return list(zip(x[:-1], x[1:], rewards, discounts, decays))[:count]


def learn(name: str, steps, rate: float, hparams=HPARAMS):
    """The weights after each step, and the last state."""
    rule, weights, found = RULES[name], {"w": jnp.array([0.5, -0.25, 0.1])}, []
    state = start(rule, weights, hparams)
    for x_tm1, x_t, reward, discount, decay in steps:
        online = linear(x_tm1, x_t, reward, discount)
        weights, state = rule.update(state, weights, online, decay, hparams, rate)
        found.append(np.asarray(weights["w"]))
    return np.stack(found), state


# Second step (done, exploratory) and cut -> z before the second and before the third update.
BY_HAND = {
    ("greedy", "any"): ((0.5, 1, 0), (0.25, 0.5, 1)),
    ("terminated", "any"): ((0.5, 1, 0), (0, 0, 1)),
    ("cut by a limit", "any"): ((0.5, 1, 0), (0, 0, 1)),
    ("exploratory", "after"): ((0.5, 1, 0), (0, 0, 1)),
    ("exploratory", "watkins"): ((0, 1, 0), (0, 0.5, 1)),
    ("exploratory", "episodes"): ((0.5, 1, 0), (0.25, 0.5, 1)),
}


@pytest.mark.parametrize(("second", "which"), BY_HAND)
def test_three_steps_by_hand(second, which):
    """The table of the module's docstring; without learning, so that only traces change."""
    done = [False, second in ("terminated", "cut by a limit"), False]
    exploratory = [False, second == "exploratory", False]
    for name in CUTS if which == "any" else [which]:
        weights, seen = {"w": jnp.zeros(3)}, []
        state = start(RULES["obgd"], weights)
        done_tm1, exploratory_tm1 = jnp.bool_(True), jnp.bool_(False)
        for entry in range(3):
            is_cut = CUTS[name](done_tm1, exploratory_tm1, jnp.bool_(exploratory[entry]))
            online = linear(jnp.eye(3)[entry], jnp.zeros(3), 1.0, 0.0)
            decay = jnp.where(is_cut, 0.0, 0.5)
            weights, state = RULES["obgd"].update(state, weights, online, decay, HPARAMS, 0.0)
            seen.append(tuple(state["w"].tolist()))
            done_tm1, exploratory_tm1 = jnp.bool_(done[entry]), jnp.bool_(exploratory[entry])
        assert seen == [(1, 0, 0), *BY_HAND[second, which]], name


@pytest.mark.parametrize("error", [0.1, -0.7, 3.0, -1e4])
def test_obgd_takes_off_half_of_a_small_error_and_half_of_one_of_a_large(error):
    """In a table, lambda 0, the authors' kappa 2 and step size 1: ``d / (2 max(|d|, 1))``."""
    online = linear(jnp.eye(3)[1], jnp.zeros(3), error, 0.0)
    weights = {"w": jnp.zeros(3)}
    weights, _ = RULES["obgd"].update(start(RULES["obgd"], weights), weights, online, 0, HPARAMS, 1)
    np.testing.assert_allclose(weights["w"], [0, error / (2 * max(abs(error), 1)), 0], rtol=1e-6)


def test_obgd_never_moves_further_than_its_bound():
    for rate in (0.01, 1.0, 1e6):
        after, _ = learn("obgd", states(count=6), rate)
        moved = np.abs(np.diff(after, axis=0)).sum(axis=1)
        assert moved.max() <= 1 / HPARAMS.kappa + 1e-6


def test_obgd_never_jumps_over_an_error():
    """Where no feature is larger than 1, whatever the step size: the error keeps its sign."""
    draw = np.random.default_rng(1)
    for _ in range(20):
        x, error = jnp.array(draw.uniform(-1, 1, 3)), draw.normal() * 10.0 ** draw.integers(-2, 4)
        online, weights = linear(x, jnp.zeros(3), error, 0.0), {"w": jnp.zeros(3)}
        state = start(RULES["obgd"], weights)
        weights, _ = RULES["obgd"].update(state, weights, online, 0.0, HPARAMS, 1e3)
        assert np.sign(online.error(weights)) == np.sign(error)


def test_without_a_bound_obgd_is_q_lambda_and_without_traces_the_online_rule():
    free = HPARAMS._replace(kappa=0.0)
    plain, _ = learn("accumulating", states(), 0.1)
    np.testing.assert_allclose(learn("obgd", states(), 0.1, free)[0], plain, rtol=1e-5)
    w, z = np.array([0.5, -0.25, 0.1]), np.zeros(3)
    for found, (x_tm1, x_t, reward, discount, decay) in zip(plain, states()):
        z = decay * z + x_tm1
        w = w + 0.1 * (reward + discount * w @ x_t - w @ x_tm1) * z
        np.testing.assert_allclose(found, w, rtol=1e-4)
    online_only = [(*step[:4], 0.0) for step in states()]
    w = np.array([0.5, -0.25, 0.1])
    for found, (x_tm1, x_t, reward, discount, _) in zip(
        learn("obgd", online_only, 0.1, free)[0], online_only
    ):
        w = w + 0.1 * (reward + discount * w @ x_t - w @ x_tm1) * x_tm1
        np.testing.assert_allclose(found, w, rtol=1e-4)


def test_adam_receives_the_gradient_of_the_squared_error():
    """Without traces: what the off-policy loop would hand to it."""
    rule = traces.accumulating(optimizers.make_optimizer(optimizers.adam))
    weights = {"w": jnp.array([0.5, -0.25, 0.1])}
    theirs, state = weights, start(rule, weights)
    adam = optax.adam(1e-2)
    opt_state = adam.init(theirs)
    for x_tm1, x_t, reward, discount, _ in states():
        online = linear(x_tm1, x_t, reward, discount)
        weights, state = rule.update(state, weights, online, 0.0, HPARAMS, 1e-2)

        def loss(w, x_tm1=x_tm1, x_t=x_t, reward=reward, discount=discount):
            target = jax.lax.stop_gradient(reward + discount * w["w"] @ x_t)
            return 0.5 * (target - w["w"] @ x_tm1) ** 2

        updates, opt_state = adam.update(jax.grad(loss)(theirs), opt_state)
        theirs = optax.apply_updates(theirs, updates)
    np.testing.assert_allclose(weights["w"], theirs["w"], rtol=1e-5)


def test_intentional_updates_take_their_share_off_the_error():
    """Linear values without a next one, no traces: ``1 - eta`` of the error is left at each step,
    but of an outlier only ``C`` times the size of the others is taken for true."""
    hparams = HPARAMS._replace(td_lambda=0.0, error_decay=0.5, error_cap=1.2)
    rule, weights = RULES["intentional"], {"w": jnp.zeros(3)}
    state = start(rule, weights, hparams)
    square = 1.0
    for count, (x, _, reward, _, _) in enumerate(states(), start=1):
        reward = 1e4 if count == 6 else reward
        online = linear(x, jnp.zeros(3), reward, 0.0)
        before = online.error(weights)
        weights, state = rule.update(state, weights, online, 0.0, hparams, 0.25)
        square = 0.5 * square + 0.5 * before**2
        cap = 1.2 * np.sqrt(square / (1 - 0.5**count))
        assert (abs(before) > cap) == (count == 6)
        expected = before - 0.25 * np.clip(before, -cap, cap)
        np.testing.assert_allclose(online.error(weights), expected, rtol=1e-4, atol=1e-5)


def test_intentional_updates_with_traces_equal_their_formulas():
    w, z, v, sigma, m = np.array([0.5, -0.25, 0.1]), np.zeros(3), np.zeros(3), 0.0, 1.0
    found, _ = learn("intentional", states(), 0.25)
    for t, (x_tm1, x_t, reward, discount, decay) in enumerate(states(), start=1):
        v = 0.999 * v + 0.001 * x_tm1**2
        v_hat = np.sqrt(v / (1 - 0.999**t)) + 1e-8
        z = decay * z + x_tm1
        sigma += (1 - WHOLE) * (np.sum(x_tm1**2 / v_hat) - sigma)
        error = reward + discount * w @ x_t - w @ x_tm1
        m = 0.9998 * m + 0.0002 * error**2
        cap = 20 * np.sqrt(m / (1 - 0.9998**t))
        alpha = 0.25 / np.sqrt(sigma / (1 - WHOLE**t) * np.sum(z**2 / v_hat))
        w = w + np.clip(error, -cap, cap) * alpha * z / v_hat
        np.testing.assert_allclose(found[t - 1], w, rtol=2e-3)


@pytest.mark.parametrize("name", ["qrc", "gq2"])
def test_gradient_methods_equal_their_formulas(name):
    """Elelimy et al. (2025), equations 26 to 28, in a NumPy loop."""
    found, state = learn(name, states(), 0.1)
    w, theta = np.array([0.5, -0.25, 0.1]), np.full(3, 0.25)
    z_h, z_theta, z_w = 0.0, np.zeros(3), np.zeros(3)
    for after, (x_tm1, x_t, reward, discount, decay) in zip(found, states()):
        error, slope = reward + discount * w @ x_t - w @ x_tm1, discount * x_t - x_tm1
        h = theta @ x_tm1
        z_h, z_theta, z_w = decay * z_h + h, decay * z_theta + x_tm1, decay * z_w + x_tm1
        correction = error * z_w - h * x_tm1 if name == "qrc" else 0.0
        w = w + 0.1 * (correction - z_h * slope)
        theta = theta + 0.1 * 0.5 * (error * z_theta - h * x_tm1 - 0.3 * theta)
        np.testing.assert_allclose(after, w, rtol=1e-4)
    np.testing.assert_allclose(state.weights["w"], theta, rtol=1e-4)


def test_qrc_without_a_second_network_is_q_lambda_and_without_traces_tdc():
    """h = 0 leaves ``d z``; with lambda 0 the step is ``d g - gamma h g'`` (Sutton et al. 2009)."""
    rule, weights = RULES["qrc"], {"w": jnp.array([0.5, -0.25, 0.1])}
    x_tm1, x_t, reward, discount, _ = states()[0]
    online = linear(x_tm1, x_t, reward, discount)
    without = rule.init(jax.random.key(0), weights, lambda key: {"w": jnp.zeros(3)}, HPARAMS)
    ours, _ = rule.update(without, weights, online, WHOLE, HPARAMS, 0.1)
    theirs = learn("accumulating", states(), 0.1)[0][0]
    np.testing.assert_allclose(ours["w"], theirs, rtol=1e-5)
    error, h = online.error(weights), 0.25 * x_tm1.sum()
    tdc = weights["w"] + 0.1 * (error * x_tm1 - discount * h * x_t)
    np.testing.assert_allclose(learn("qrc", states(), 0.1)[0][0], tdc, rtol=1e-5)


@pytest.mark.parametrize(("name", "converges"), [("accumulating", False), ("qrc", True)])
def test_where_semi_gradients_diverge_gradients_converge(name, converges):
    """One weight, values w and 2 w, no reward (Tsitsiklis & Van Roy 1997)."""
    online = Online(lambda w: w["w"][0], lambda w: 0.99 * 2.0 * w["w"][0] - w["w"][0])
    hparams = HPARAMS._replace(correction_rate=3.0, correction_decay=0.1)
    rule, weights = RULES[name], {"w": jnp.array([1.0])}
    state = rule.init(jax.random.key(0), weights, lambda key: {"w": jnp.zeros(1)}, hparams)

    def step(loop, _):
        weights, state = loop
        weights, state = rule.update(state, weights, online, 0.0, hparams, 0.05)
        return (weights, state), None

    (weights, _), _ = jax.lax.scan(step, (weights, state), length=500)
    assert abs(float(weights["w"][0])) < 0.1 if converges else float(weights["w"][0]) > 1e3


@pytest.mark.parametrize("name", RULES)
def test_no_error_is_a_fixed_point(name):
    """Also where traces are long; h is 0 there."""
    rule, weights = RULES[name], {"w": jnp.array([0.5, -0.25, 0.1])}
    state = rule.init(jax.random.key(0), weights, lambda key: {"w": jnp.zeros(3)}, HPARAMS)
    after = weights
    for x_tm1, x_t, _, discount, decay in states():
        reward = np.float32(weights["w"] @ x_tm1 - discount * (weights["w"] @ x_t))
        online = linear(x_tm1, x_t, reward, discount)
        after, state = rule.update(state, after, online, decay, HPARAMS, 0.1)
    np.testing.assert_allclose(after["w"], weights["w"], atol=1e-6)
