import jax
import optax
from process import Guess, spoiled

net = Guess()
pictures = jax.numpy.ones((4, 8, 8, 1))
adam = optax.adam(1e-3)
params = net.init(jax.random.PRNGKey(0), pictures)
state = adam.init(params)


def loss(params, key):
    noise = jax.random.normal(key, pictures.shape)
    return ((net.apply(params, spoiled(0.7, pictures, noise)) - noise) ** 2).mean()


for number in range(10):
    changes, state = adam.update(jax.grad(loss)(params, jax.random.PRNGKey(number)), state)
    params = optax.apply_updates(params, changes)
