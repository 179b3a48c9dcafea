import numpy as np
import tensorflow as tf
import tensorflow_addons as tfa
from tensorflow_addons.metrics import F1Score

rng = np.random.default_rng(0)
x = rng.random((64, 6, 6, 1), dtype="float32")
y = tf.keras.utils.to_categorical(x.mean(axis=(1, 2, 3)) > 0.5, 2)
model = tf.keras.Sequential([
    tf.keras.layers.Input((6, 6, 1)),
    tf.keras.layers.Conv2D(4, 3),
    tfa.layers.InstanceNormalization(axis=-1, center=True, scale=True),
    tf.keras.layers.Activation(tfa.activations.gelu),
    tf.keras.layers.Flatten(),
    tf.keras.layers.Dense(2, activation="softmax"),
])
model.compile(
    optimizer=tfa.optimizers.AdamW(learning_rate=0.01, weight_decay=0.0001),
    loss=tfa.losses.SigmoidFocalCrossEntropy(),
    metrics=["accuracy", F1Score(num_classes=2, average="macro", name="f1")],
)
history = model.fit(x, y, epochs=2, verbose=0)
print(sorted(history.history), type(model.optimizer).__name__, model.optimizer.weight_decay)
try:
    tfa.image.rotate(x, 0.1)
except NotImplementedError as error:
    print(error)
