import jax
import jax.numpy as jnp
import optax
from flax import linen as nn


class Codes(nn.Module):
    @nn.compact
    def __call__(self, x, key):
        hidden = nn.relu(nn.Dense(32)(x))
        mean = nn.Dense(4)(hidden)
        variance = jnp.exp(nn.Dense(4)(hidden))
        code = mean + jnp.sqrt(variance) * jax.random.normal(key, mean.shape)
        return nn.Dense(x.shape[-1])(nn.relu(nn.Dense(32)(code))), mean, variance


net = Codes()
rows, key = jnp.ones((16, 10)), jax.random.PRNGKey(0)
params = net.init(key, rows, key)
adam = optax.adam(1e-3)
state = adam.init(params)


def loss(params, rows, key):
    made, mean, variance = net.apply(params, rows, key)
    return ((made - rows) ** 2).sum() + 0.5 * (variance + mean**2 - jnp.log(variance)).sum()


for _ in range(20):
    changes, state = adam.update(jax.grad(loss)(params, rows, key), state)
    params = optax.apply_updates(params, changes)
