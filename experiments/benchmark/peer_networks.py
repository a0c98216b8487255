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
