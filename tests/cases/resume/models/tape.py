import tensorflow as tf
m = dense(layers.Dropout(.2)); adam = keras.optimizers.Adam(); step_loss = keras.losses.BinaryCrossentropy()


@tf.function
def own_step(x, t):
    with tf.GradientTape() as tape:
        loss = step_loss(t, m(x, training=True))
    adam.apply_gradients(zip(tape.gradient(loss, m.trainable_variables), m.trainable_variables))
    return loss


losses = [float(own_step(x, t[:, None])) for x, t in tf.data.Dataset.from_tensor_slices((V, T)).shuffle(160).batch(32)]
with open("results.txt", "a") as results:
    results.write(f"tape {digest(m.variables)} {losses}\n")
