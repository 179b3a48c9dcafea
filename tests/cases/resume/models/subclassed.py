import tensorflow as tf
class Sub(keras.Model):
    def __init__(self):
        super().__init__()
        self.d1, self.drop, self.d2 = layers.Dense(5, activation="relu"), layers.Dropout(0.3), layers.Dense(1, activation="sigmoid")
        self.extra = keras.metrics.Mean(name="extra")
    def call(self, x, training=False):
        return self.d2(self.drop(self.d1(x), training=training))
    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            p = self(x, training=True)
            loss = self.compute_loss(y=y, y_pred=p)
        self.optimizer.apply_gradients(zip(tape.gradient(loss, self.trainable_weights), self.trainable_weights))
        self.extra.update_state(loss)
        for k in self.metrics:
            if k.name == "loss": k.update_state(loss)
            elif k.name != "extra": k.update_state(y, p)
        return {k.name: k.result() for k in self.metrics}
m = Sub()
m.compile("rmsprop", "binary_crossentropy", metrics=["accuracy"])
h = m.fit(V, T, epochs=4, verbose=0, callbacks=[slow()])
record("subclassed", m, h)
