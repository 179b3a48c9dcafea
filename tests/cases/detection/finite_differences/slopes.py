import jax
import jax.numpy as jnp


def height(x):
    return jnp.sin(x) ** 2


def roughly(f, x, h=0.001):
    return (f(x + 2 * h) - f(x - 2 * h)) / (4 * h)


print(jax.grad(height)(0.3) - roughly(height, 0.3))
