import jax, jax.numpy as jnp, optax, distrax, haiku as hk
class VAE(hk.Module):
    def __call__(self, x):
        h = jax.nn.relu(hk.Linear(64)(x)); mu = hk.Linear(8)(h); s = hk.Linear(8)(h)
        q = distrax.MultivariateNormalDiag(mu, jnp.exp(s))
        z = q.sample(seed=hk.next_rng_key())
        p = distrax.MultivariateNormalDiag(jnp.zeros(8))
        kl = q.kl_divergence(p)
        return hk.Linear(784)(jax.nn.relu(hk.Linear(64)(z))), kl
def loss(p, k, x): ...
g = jax.grad(loss)(p, k, x); u, s = optax.adam(1e-3).update(g, s)
