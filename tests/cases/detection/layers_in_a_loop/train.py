import jax
import jax.numpy as jnp

sizes = [8, 16, 3]
keys = jax.random.split(jax.random.PRNGKey(3), 2)
layers = [(jax.random.normal(key, (a, b)), jnp.zeros(b)) for key, a, b in zip(keys, sizes, sizes[1:])]


def forward(layers, x):
    for weights, bias in layers:
        x = jnp.tanh(jnp.dot(x, weights) + bias)
    return x


def loss(layers, x, y):
    return ((forward(layers, x) - y) ** 2).mean()


x, y = jnp.ones((5, 8)), jnp.zeros((5, 3))
for _ in range(30):
    slopes = jax.grad(loss)(layers, x, y)
    layers = jax.tree_util.tree_map(lambda value, slope: value - 0.1 * slope, layers, slopes)
