"""Every method as what it changes in DQN: names in a ``Config`` and the numbers that go with them.

A row here is a whole method. Presets apply rows to environments, the tests apply them to exactly
solvable problems, and ``experiments/methods.py`` compares them. What is meant for a dataset is no
row, since no preset can name one: ``--regulariser cql``, ``--agent bc``.
"""

from dataclasses import replace
from typing import Any, NamedTuple

from jaxq.config import Config, HParams


class Method(NamedTuple):
    """A row."""

    paper: str
    idea: str
    config: dict[str, Any] = {}
    hparams: dict[str, Any] = {}

    def apply(self, config: Config, hparams: HParams) -> tuple[Config, HParams]:
        """The method in place of DQN."""
        return replace(config, **self.config), hparams._replace(**self.hparams)


_NO_EPSILON = {"epsilon_start": 0.0, "epsilon_end": 0.0}
_PRIORITIES = {"priority_exponent": 0.6, "importance_exponent": 0.4}
_ON_POLICY = {
    "agent": "pqn",
    "optimizer": "radam",
    "clip_gradients": True,
    "layer_norm": True,
}
_STREAM = {
    "agent": "stream",
    "num_envs": 1,
    "layer_norm": True,
    "layer_norm_form": "plain",
    "activation": "leaky-relu",
    "initialization": "sparse",
    "observations": "normalized",
    "rewards": "scaled",
}
_SEQUENCES = {"memory": "lstm", "replay": "prioritized"}

METHODS = {
    "dqn": Method("Mnih et al. 2015", "replay and a target network"),
    "double-dqn": Method(
        "van Hasselt et al. 2016",
        "the online network selects, the target network evaluates",
        {"backup": "double"},
    ),
    "minto-dqn": Method(
        "Hendawy et al. 2025",
        "the lesser of the two networks' estimates",
        {"backup": "minto"},
    ),
    "dueling-dqn": Method(
        "Wang et al. 2016",
        "state value plus advantages, each with a hidden layer",
        {"dueling": True, "stream_widths": (84,)},
    ),
    "n-step-dqn": Method("Sutton 1988; Hessel et al. 2018", "targets over 3 steps", {"n_step": 3}),
    "prioritized-dqn": Method(
        "Schaul et al. 2016",
        "replay what surprised",
        {"replay": "prioritized", "backup": "double"},
        _PRIORITIES,
    ),
    "noisy-dqn": Method(
        "Fortunato et al. 2018", "learned noise explores", {"dense": "noisy"}, _NO_EPSILON
    ),
    "rnd-dqn": Method(
        "Burda et al. 2019",
        "a bonus for what a network cannot predict yet, with values of its own",
        {"agent": "rnd"},
    ),
    "ez-greedy-dqn": Method(
        "Dabney et al. 2020",
        "random actions are repeated for a random time",
        {"action_selection": "ez-greedy"},
    ),
    "c51": Method(
        "Bellemare et al. 2017", "the distribution of returns, on atoms", {"agent": "c51"}
    ),
    "hl-gauss": Method(
        "Farebrother et al. 2024",
        "values learned by classification",
        {"agent": "hl-gauss"},
    ),
    "qr-dqn": Method(
        "Dabney et al. 2018a",
        "the distribution of returns, as quantiles",
        {"agent": "qr-dqn"},
        {"huber_delta": 1.0},
    ),
    "iqn": Method(
        "Dabney et al. 2018b",
        "quantiles at random fractions",
        {"agent": "iqn", "num_atoms": 8},
        {"huber_delta": 1.0},
    ),
    "rainbow": Method(
        "Hessel et al. 2018",
        "double, dueling, 3-step, prioritized, noisy and categorical together",
        {
            "agent": "c51",
            "backup": "double",
            "dueling": True,
            "dense": "noisy",
            "replay": "prioritized",
            "n_step": 3,
        },
        {**_NO_EPSILON, "priority_exponent": 0.5, "importance_exponent": 0.4},
    ),
    "soft-q": Method(
        "Haarnoja et al. 2017",
        "values of the softmax policy and its entropy",
        {"backup": "soft", "action_selection": "softmax"},
    ),
    "munchausen-dqn": Method(
        "Vieillard et al. 2020", "the action's log-probability as a bonus", {"backup": "munchausen"}
    ),
    "munchausen-iqn": Method(
        "Vieillard et al. 2020",
        "the same with implicit quantiles",
        {"agent": "iqn", "num_atoms": 8, "backup": "munchausen"},
        {"huber_delta": 1.0},
    ),
    "bootstrapped-dqn": Method(
        "Osband et al. 2016, 2018",
        "one member of an ensemble with random priors acts for an episode",
        {
            "agent": "bootstrapped",
            "ensemble_size": 10,
            "prior_scale": 3.0,
            "mask_probability": 0.5,
        },
        _NO_EPSILON,
    ),
    "rem": Method(
        "Agarwal et al. 2020",
        "random mixtures of an ensemble",
        {"agent": "rem", "ensemble_size": 4},
    ),
    "maxmin-dqn": Method(
        "Lan et al. 2020",
        "targets from the minimum of an ensemble",
        {"agent": "maxmin", "ensemble_size": 4},
    ),
    "averaged-dqn": Method(
        "Anschel et al. 2017",
        "targets from the mean of the last target networks",
        {"agent": "averaged", "target": "stack", "ensemble_size": 5},
    ),
    "is-dqn": Method(
        "Vincent et al. 2025",
        "heads that learn several Bellman iterations at once, on one torso",
        {"agent": "is-dqn", "target": "shift-heads", "ensemble_size": 9, "layer_norm": True},
    ),
    "i-dqn": Method(
        "Vincent et al. 2024",
        "networks that learn several Bellman iterations at once",
        {"agent": "i-dqn", "target": "shift-networks", "ensemble_size": 3},
    ),
    "drqn": Method(
        "Hausknecht & Stone 2015",
        "a recurrent network learns from sequences",
        {**_SEQUENCES, "agent": "drqn"},
    ),
    "r2d2": Method(
        "Kapturowski et al. 2019",
        "stored memories, burn-in, rescaled values, prioritized sequences",
        {**_SEQUENCES, "agent": "r2d2", "backup": "double", "burn_in": 2, "n_step": 3},
        {"priority_exponent": 0.9, "importance_exponent": 0.6},
    ),
    "pqn": Method("Gallici et al. 2024", "on-policy Q(lambda) with LayerNorm alone", _ON_POLICY),
    "pqn-lstm": Method(
        "Gallici et al. 2024", "the same with a memory", {**_ON_POLICY, "memory": "lstm"}
    ),
    "online-q-adam": Method(
        "Watkins 1989; Kingma & Ba 2015",
        "every step once, no traces; the network and the normalisation of stream-q",
        {**_STREAM, "trace": "accumulating"},
        {"td_lambda": 0.0},
    ),
    "stream-q": Method(
        "Elsayed et al. 2024",
        "every step once, eligibility traces, steps that do not overshoot",
        _STREAM,
        {"learning_rate": 1.0, "td_lambda": 0.8},
    ),
    "qrc": Method(
        "Elelimy et al. 2025",
        "every step once, the gradient of the whole error by a second network",
        {**_STREAM, "trace": "qrc"},
        {"learning_rate": 1e-4, "td_lambda": 0.8},
    ),
    "intentional-q": Method(
        "Sharifnassab et al. 2026",
        "every step once, each takes the same share off its error",
        {**_STREAM, "trace": "intentional"},
        {"learning_rate": 0.25, "td_lambda": 0.8},
    ),
    "layer-norm-dqn": Method(
        "Ba et al. 2016", "every hidden layer normalised", {"layer_norm": True}
    ),
    "weight-decay-dqn": Method(
        "Loshchilov & Hutter 2019",
        "decoupled weight decay",
        {"optimizer": "adamw"},
        {"weight_decay": 1e-2},
    ),
    "spectral-dqn": Method(
        "Gogianu et al. 2021",
        "the layer before the head has spectral norm 1",
        {"dense": "spectral"},
    ),
    "reset-dqn": Method(
        "Nikishin et al. 2022", "the head starts anew from time to time", {"reset_period": 100_000}
    ),
    "shrink-and-perturb-dqn": Method(
        "Ash & Adams 2020",
        "everything is made half anew from time to time",
        {"reset": "shrink-and-perturb", "reset_period": 100_000},
    ),
    "redo-dqn": Method(
        "Sokar et al. 2023",
        "dormant units are recycled",
        {"reset": "redo", "reset_period": 10_000},
    ),
    "l2-init-dqn": Method(
        "Kumar et al. 2023", "drawn to its first parameters", {"regulariser": "l2-init"}
    ),
    "crelu-dqn": Method("Abbas et al. 2023", "both signs of every unit", {"activation": "crelu"}),
    "chain-dqn": Method(
        "Tang & Berseth 2024",
        "against what updates change elsewhere",
        {"regulariser": "chain", "backup": "double"},
    ),
    "chain-auto-dqn": Method(
        "Tang & Berseth 2024",
        "the same at a share of the loss",
        {"regulariser": "chain-auto", "backup": "double"},
    ),
}
