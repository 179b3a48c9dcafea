import jax
import jax.numpy as jnp
import numpy as np
import optax

synapses = np.load("synapses.npz")


def potential(strength, spikes):
    return jax.ops.segment_sum(strength * spikes[synapses["source"]], synapses["target"])


def loss(strength, spikes, observed):
    return jnp.mean((potential(strength, spikes) - observed) ** 2)


strength = jnp.ones(len(synapses["source"]))
optimizer = optax.adam(1e-2)
state = optimizer.init(strength)
for spikes, observed in zip(synapses["spikes"], synapses["observed"]):
    gradient = jax.grad(loss)(strength, spikes, observed)
    updates, state = optimizer.update(gradient, state)
    strength = optax.apply_updates(strength, updates)
