import jax, jax.numpy as jnp, optax
from flax import linen as nn
class G(nn.Module):
    @nn.compact
    def __call__(self, z): return nn.Dense(784)(nn.relu(nn.Dense(64)(z)))
class C(nn.Module):
    @nn.compact
    def __call__(self, x): return nn.Dense(1)(nn.relu(nn.Dense(64)(x)))
gen, critic = G(), C()
def critic_loss(cp, gp, x, z):
    fake = gen.apply(gp, z)
    return critic.apply(cp, fake).mean() - critic.apply(cp, x).mean()
def gen_loss(gp, cp, z): return -critic.apply(cp, gen.apply(gp, z)).mean()
@jax.jit
def critic_step(cp, gp, so, x, z):
    g = jax.grad(critic_loss)(cp, gp, x, z); u, so = copt.update(g, so); return optax.apply_updates(cp, u), so
@jax.jit
def gen_step(gp, cp, so, z):
    g = jax.grad(gen_loss)(gp, cp, z); u, so = gopt.update(g, so); return optax.apply_updates(gp, u), so
