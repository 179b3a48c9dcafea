model = small()
model.compile(tf.keras.optimizers.RMSprop(tf.keras.optimizers.schedules.ExponentialDecay(0.01, 5, 0.9)),
              "sparse_categorical_crossentropy", metrics=["accuracy"])
dataset = tf.data.Dataset.from_tensor_slices((X, Y)).shuffle(160).batch(16)
first = model.fit(dataset, epochs=4, validation_data=dataset.take(2), verbose=0, callbacks=[slow()])
again = tf.data.Dataset.from_tensor_slices((X, Y)).shuffle(160).batch(16)
second = model.fit(again, epochs=4, verbose=0, callbacks=[slow()])
for_ever = tf.data.Dataset.from_tensor_slices((X, Y)).shuffle(160).cache().repeat().shuffle(40).batch(16).prefetch(2)
validation = tf.data.Dataset.from_tensor_slices((X, Y)).shuffle(160).repeat().batch(16)
third = model.fit(for_ever, epochs=5, steps_per_epoch=7, validation_data=validation, validation_steps=2, verbose=0,
                  callbacks=[slow()])
record("data", model, first, second, third)


class Batches(tf.keras.utils.Sequence):
    def __init__(self):
        self.order = np.arange(160)

    def __len__(self):
        return 10

    def __getitem__(self, i):
        taken = self.order[i * 16 : i * 16 + 16]
        return X[taken], Y[taken]

    def on_epoch_end(self):
        np.random.shuffle(self.order)


def batches():
    rng = np.random.default_rng(3)
    while True:
        taken = rng.integers(0, 160, 16)
        yield X[taken], Y[taken]


model = small()
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
first = model.fit(Batches(), epochs=4, verbose=0, callbacks=[slow()])
second = model.fit(batches(), epochs=4, steps_per_epoch=6, verbose=0, callbacks=[slow()])
generator = tf.keras.preprocessing.image.ImageDataGenerator(rotation_range=20, horizontal_flip=True)
third = model.fit(generator.flow(X, Y, batch_size=16), epochs=4, verbose=0, callbacks=[slow()])
record("python", model, first, second, third)
