"""Named experiments on MinAtar, under the protocols of several publications.

Scores of different protocols are not comparable; ``scores.json`` says which one it was.
"""

from dataclasses import replace

from jaxq.config import Config, HParams, Preset
from jaxq.recipes.methods import METHODS

# MinAtar, examples/dqn.py. Two differences: batches are drawn with replacement (of 100,000), and
# layers start from flax's default initialisation instead of PyTorch's.
_YOUNG_TIAN = Config(
    network="minatar",
    widths=(128,),
    optimizer="rmsprop",
    capacity=100_000,
    batch_size=32,
    prefill=5_000,
    train_every=1,
    target_period=1_000,
    chunk_steps=20_000,
)
# The best step size of their sensitivity study.
_RATES = {
    "Asterix": 2.0**-13,
    "Breakout": 2.0**-9,
    "Freeway": 2.0**-11,
    "Seaquest": 2.0**-13,
    "SpaceInvaders": 2.0**-12,
}
GAMES = tuple(_RATES)
_YOUNG_TIAN_HPARAMS = HParams(
    optimizer_epsilon=0.01,
    huber_delta=1.0,
    epsilon_end=0.1,
    epsilon_delay=5_000.0,
    epsilon_steps=100_000.0,
)

# Revisiting Rainbow (Obando-Ceron & Castro 2021), Configs/*.gin: Adam, an update every 4 steps,
# epsilon to 0.01 over 250,000 after the first 1,000. Differences: the network is that of Young &
# Tian (2019), with a hidden layer, and has flax's initialisation; noisy layers begin with sigma 0.5
# as their authors say, not 0.1; policies are evaluated greedily, not with epsilon 0.001; Rainbow
# explores by noise alone, as Hessel et al. (2018), and theirs at epsilon 0.01 beside it. Streams of
# a dueling head have no hidden layer, as theirs.
_REVISITED = replace(_YOUNG_TIAN, optimizer="adam", train_every=4, prefill=1_000)
_REVISITED_HPARAMS = HParams(
    learning_rate=1e-4,
    optimizer_epsilon=3.125e-4,
    huber_delta=1.0,
    epsilon_end=0.01,
    epsilon_delay=1_000.0,
    epsilon_steps=250_000.0,
)
_REVISITED_METHODS = ("c51", "qr-dqn", "iqn", "munchausen-dqn", "rainbow")
# purejaxql, pqn_minatar.yaml: 128 environments x 32 steps, 32 minibatches x 2 epochs.
_PQN_MINATAR = {
    "network": "minatar",
    "widths": (128,),
    "num_envs": 128,
    "rollout_steps": 4_096,
    "minibatches": 32,
    "epochs": 2,
    "chunk_steps": 40_960,
}
_PQN_MINATAR_HPARAMS = {
    "learning_rate": 5e-4,
    "learning_rate_steps": 10_000_000.0,
    "max_gradient_norm": 10.0,
    "td_lambda": 0.65,
    "epsilon_steps": 1_000_000.0,
}


# streaming-drl, stream_q_minatar.py and gtd_algos, minatar_qrclambda.yaml: one convolution and 128
# units, epsilon to 0.01 over 20 % of the steps. They use Young & Tian's games; a limit, which those
# do not have, would bootstrap, as in gtd_algos.
STREAMING_METHODS = ("online-q-adam", "stream-q", "qrc", "intentional-q")
_STREAMING_HPARAMS = {"epsilon_end": 0.01, "epsilon_steps": 1_000_000.0}


def _young_tian(game: str, learning_rate: float) -> Preset:
    summary = (
        f"DQN on {game}, protocol and hyperparameters of Young & Tian (2019), with the best step "
        f"size of their sensitivity study."
    )
    config = replace(_YOUNG_TIAN, env=f"{game}-MinAtar-original")
    hparams = _YOUNG_TIAN_HPARAMS._replace(learning_rate=learning_rate)
    return Preset(summary, config, hparams, steps=5_000_000, seeds=2)


def _on_minatar(name: str, game: str) -> Preset:
    method = METHODS[name]
    config, hparams = method.apply(
        replace(_REVISITED, env=f"{game}-MinAtar-original"), _REVISITED_HPARAMS
    )
    if config.agent == "c51":  # whose loss is no function of a TD error
        hparams = hparams._replace(huber_delta=HParams().huber_delta)
    if name == "iqn":
        config = replace(config, num_atoms=32)
    if name in ("dqn", "munchausen-dqn"):  # the second is a variant of the first
        hparams = hparams._replace(learning_rate=2.5e-4)
        if game != "Asterix":  # their only game with a Huber loss
            hparams = hparams._replace(huber_delta=HParams().huber_delta)
    if name == "rainbow":  # weights of 1 / sqrt(P) throughout
        hparams = hparams._replace(importance_exponent=0.5)
    summary = f"{method.paper}: {method.idea}; {game}, as Obando-Ceron & Castro (2021)."
    return Preset(summary, config, hparams, steps=10_000_000, seeds=2)


def _pqn_minatar(game: str) -> Preset:
    """On gymnax's own protocol, as its authors use it."""
    method = METHODS["pqn"]
    config, hparams = method.apply(Config(env=f"{game}-MinAtar"), HParams())
    config = replace(config, **_PQN_MINATAR)
    summary = f"{method.paper}: {method.idea}; {game} under gymnax's protocol, as its authors."
    return Preset(summary, config, hparams._replace(**_PQN_MINATAR_HPARAMS), 10_000_000, seeds=2)


def _streaming(name: str, game: str, env: str) -> Preset:
    method = METHODS[name]
    base = Config(env=env, network="minatar", widths=(128,), chunk_steps=20_000)
    config, hparams = method.apply(base, HParams())
    protocol = "Young & Tian's" if env.endswith("-original") else "gymnax's"
    summary = f"{method.paper}: {method.idea}; {game} under {protocol} protocol."
    return Preset(summary, config, hparams._replace(**_STREAMING_HPARAMS), 5_000_000, seeds=2)


MINATAR = {
    **{f"dqn-{game.lower()}": _young_tian(game, rate) for game, rate in _RATES.items()},
    **{
        f"{name}-{game.lower()}": _on_minatar(name, game)
        for name in _REVISITED_METHODS
        for game in _RATES
    },
    **{f"revisited-dqn-{game.lower()}": _on_minatar("dqn", game) for game in _RATES},
    **{f"pqn-{game.lower()}": _pqn_minatar(game) for game in _RATES},
    **{
        f"{prefix}{name}-{game.lower()}": _streaming(name, game, f"{game}-MinAtar{suffix}")
        for name in STREAMING_METHODS
        for prefix, suffix in (("", ""), ("original-", "-original"))
        for game in _RATES
    },
}
