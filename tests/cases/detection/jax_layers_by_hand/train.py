import jax, jax.numpy as jnp
def init(key):
    k1, k2 = jax.random.split(key)
    return {"w1": jax.random.normal(k1, (4, 8)), "w2": jax.random.normal(k2, (8, 1))}
def forward(p, x):
    h = jnp.maximum(x @ p["w1"], 0)
    return h @ p["w2"]
def loss(p, x, y): return jnp.mean((forward(p, x) - y) ** 2)
g = jax.jit(jax.grad(loss))
p = init(jax.random.PRNGKey(0))
for i in range(100):
    d = g(p, x, y)
    p = jax.tree.map(lambda a, b: a - 0.1 * b, p, d)
