import tensorflow as tf
slow_step = lambda: keras.callbacks.LambdaCallback(on_train_batch_begin=lambda b, logs: time.sleep(0.02))
m = small(layers.RandomFlip(), layers.Dropout(.2)); m.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
h = m.fit(X, Y, epochs=2, batch_size=8, verbose=0, callbacks=[slow_step(), keras.callbacks.CSVLogger("mid.csv")], validation_split=.2)
record("mid_arrays", m, h)
aug = keras.Sequential([layers.RandomFlip(), layers.RandomZoom(.2)])
ds = tf.data.Dataset.from_tensor_slices((X, Y)).shuffle(200).batch(8).map(lambda x, y: (aug(x, training=True), y)).prefetch(2)
m = keras.Sequential([layers.Conv2D(3, 3), layers.Flatten(), layers.Dropout(.3), layers.Dense(2, activation="softmax")]); m.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
h = m.fit(ds, epochs=2, verbose=0, callbacks=[slow_step()], validation_data=(X, Y))
record("mid_tfdata", m, h)
m = small(layers.Dropout(.2)); m.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
h = m.fit(Noisy(), epochs=2, verbose=0, callbacks=[slow_step()])
record("mid_pydataset", m, h)
class Vae(keras.Model):
    def __init__(self):
        super().__init__(); self.e, self.d = layers.Dense(4), layers.Dense(6); self.extra = keras.metrics.Mean(name="kl")
    def call(self, x):
        z = self.e(x); return self.d(z + tf.random.normal(tf.shape(z)) * .3 + keras.random.normal((1, 4)))
    def train_step(self, data):
        with tf.GradientTape() as tape:
            p = self(data[0], training=True); loss = tf.reduce_mean((p - data[1]) ** 2)
        self.optimizer.apply_gradients(zip(tape.gradient(loss, self.trainable_weights), self.trainable_weights))
        self.extra.update_state(loss)
        return {"kl": self.extra.result()}
m = Vae(); m.compile("adam")
h = m.fit(V, V, epochs=2, batch_size=8, verbose=0, callbacks=[slow_step()])
record("mid_vae", m, h)
