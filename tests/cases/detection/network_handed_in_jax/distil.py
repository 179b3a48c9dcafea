import jax
import jax.numpy as jnp
import optax
from flax import nnx


def difference(student, teacher, seen):
    return jnp.mean((student(seen) - jax.lax.stop_gradient(teacher(seen))) ** 2)


def distil(teacher: nnx.Module, student: nnx.Module, batches):
    steps = nnx.Optimizer(student, optax.adam(1e-3), wrt=nnx.Param)
    for seen in batches:
        steps.update(student, nnx.grad(difference)(student, teacher, seen))
    return student
