"""Our networks in the words of peers, whose own have other shapes; imported where these run."""


def minatar_network(action_dim: int):
    """Young & Tian's network on flattened observations [..., 400]."""
    import flax.linen as nn

    class Network(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = x.reshape(*x.shape[:-1], 10, 10, -1).astype("float32")
            x = nn.relu(nn.Conv(16, (3, 3), padding="VALID")(x))
            x = nn.relu(nn.Dense(128)(x.reshape(*x.shape[:-3], -1)))
            return nn.Dense(action_dim)(x)

    return Network()


def rejax_network(name: str) -> type:
    import flax.linen as nn
    import jax.numpy as jnp

    class Network(nn.Module):
        action_dim: int

        @nn.compact
        def __call__(self, x):
            x = x.astype("float32")
            if name == "minatar":
                x = nn.relu(nn.Conv(16, (3, 3), padding="VALID")(x)).reshape(len(x), -1)
                x = nn.relu(nn.Dense(128)(x))
            else:
                x = nn.relu(nn.Dense(84)(nn.relu(nn.Dense(120)(x))))
            return nn.Dense(self.action_dim)(x)

        def take(self, x, action):
            return jnp.take_along_axis(self(x), action[:, None], axis=1)[:, 0]

    return Network


def jaxnasium_network(name: str, layer_norm: bool) -> dict:
    """Arguments of its Q-network: our torso, its dense layers normalised if ``layer_norm``."""
    import equinox as eqx
    import jax
    from jaxnasium.algorithms.architectures import CNN

    class Body(eqx.Module):
        layers: list
        norms: list
        out_features: int = eqx.field(static=True)

        def __init__(self, in_features: int, *, key, widths: tuple):
            sizes = zip((in_features, *widths), widths, jax.random.split(key, len(widths)))
            self.layers = [eqx.nn.Linear(rows, columns, key=k) for rows, columns, k in sizes]
            self.norms = [eqx.nn.LayerNorm(width) for width in widths] if layer_norm else []
            self.out_features = widths[-1]

        def __call__(self, x, *, key=None):
            for layer, norm in zip(self.layers, self.norms or [lambda x: x] * len(self.layers)):
                x = jax.nn.relu(norm(layer(x)))
            return x

    convolution = dict(out_channels=(16,), kernel_sizes=(3,), strides=(1,), padding=(0,))
    widths = (128,) if name == "minatar" else (256, 256) if layer_norm else (120, 84)
    return {
        "body": eqx.Partial(Body, widths=widths),
        "obs_architecture_2d": CNN.with_params(**convolution, channels_axis="last"),
    }
