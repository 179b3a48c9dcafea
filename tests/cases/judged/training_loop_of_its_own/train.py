import tensorflow as tf
from sklearn.datasets import load_digits
x, y = load_digits(return_X_y=True); x = (x / 16.0).astype("float32")
m = tf.keras.Sequential([tf.keras.layers.Dense(64, activation="relu"), tf.keras.layers.Dense(10)])
opt = tf.keras.optimizers.Adam(); loss_fn = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
acc = tf.keras.metrics.SparseCategoricalAccuracy()
ds = tf.data.Dataset.from_tensor_slices((x[:1400], y[:1400])).shuffle(1400).batch(64)
@tf.function
def step(a, b):
    with tf.GradientTape() as t:
        l = loss_fn(b, m(a, training=True))
    opt.apply_gradients(zip(t.gradient(l, m.trainable_variables), m.trainable_variables))
for e in range(8):
    for a, b in ds: step(a, b)
acc.update_state(y[1400:], m(x[1400:]))
print("Test accuracy: %.4f" % acc.result().numpy())
m.save("model.keras")
