import blackjax
import jax

tosses = jax.numpy.array([1.0, 0.0, 0.0, 1.0])


def log_density(state):
    return (tosses * jax.nn.log_sigmoid(state) + (1 - tosses) * jax.nn.log_sigmoid(-state)).sum()


warmup = blackjax.window_adaptation(blackjax.nuts, log_density)
(state, settings), _ = warmup.run(jax.random.PRNGKey(1), 0.0, num_steps=200)
