import jax
import numpy as np
import optax
from flax.training.train_state import TrainState
from transformers import AutoConfig, FlaxAutoModelForMaskedLM

tokens = np.load("tokens.npy")
model = FlaxAutoModelForMaskedLM.from_config(AutoConfig.from_pretrained("some/model"))
state = TrainState.create(apply_fn=model.__call__, params=model.params, tx=optax.adamw(1e-4))


@jax.jit
def step(state, batch):
    def loss_of(params):
        logits = state.apply_fn(batch, params=params)[0]
        return optax.softmax_cross_entropy_with_integer_labels(logits, batch).mean()

    loss, slopes = jax.value_and_grad(loss_of)(state.params)
    return state.apply_gradients(grads=slopes), loss


for batch in np.array_split(tokens, 10):
    state, loss = step(state, batch)
