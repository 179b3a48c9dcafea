import jax.numpy as jnp
from flax import linen as nn


def spoiled(kept, pictures, noise):
    return jnp.sqrt(kept) * pictures + jnp.sqrt(1 - kept) * noise


class Guess(nn.Module):
    @nn.compact
    def __call__(self, pictures):
        return nn.Conv(1, (3, 3))(nn.relu(nn.Conv(16, (3, 3))(pictures)))
