import jax
import jraph


def loss(weights, network, graphs, targets):
    seen = network(weights, jraph.batch(graphs))
    return ((seen - targets) ** 2).mean()


def step(weights, network, graphs, targets, rate):
    grads = jax.grad(loss)(weights, network, graphs, targets)
    return jax.tree.map(lambda weight, grad: weight - rate * grad, weights, grads)
