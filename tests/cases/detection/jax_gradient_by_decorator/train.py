from functools import partial
import jax, jax.numpy as jnp, optax
@partial(jax.value_and_grad, has_aux=True)
def loss(p, x, y):
    h = jax.nn.relu(x @ p["a"])
    return jnp.mean((h @ p["b"] - y) ** 2), h
opt = optax.adam(1e-3)
(l, aux), g = loss(p, x, y)
u, s = opt.update(g, s); p = optax.apply_updates(p, u)
