import keras
from keras import layers, ops

class Latent(layers.Layer):
    def call(self, inputs):
        center, spread = inputs
        drawn = keras.random.normal(ops.shape(center))
        return center + ops.exp(0.5 * spread) * drawn

x = keras.Input((784,))
h = layers.Dense(64, activation="relu")(x)
code = Latent()([layers.Dense(2)(h), layers.Dense(2)(h)])
model = keras.Model(x, layers.Dense(784, activation="sigmoid")(code))
model.compile("adam", "binary_crossentropy")
(x_train, _), _ = keras.datasets.mnist.load_data()
model.fit(x_train, x_train)
