base = keras.Sequential([layers.Input((8, 8, 1)), layers.Conv2D(3, 3), layers.BatchNormalization(), layers.Flatten()]); base.trainable = False
i = keras.Input((8, 8, 1)); m = keras.Model(i, layers.Dense(2, activation="softmax")(layers.Dropout(.3)(base(i, training=False))))
m.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
h = m.fit(X, Y, epochs=3, verbose=0, validation_split=.2, callbacks=[slow()])
base.trainable = True
m.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
h2 = m.fit(X, Y, epochs=6, initial_epoch=3, verbose=0, validation_split=.2, callbacks=[slow()], steps_per_epoch=5)
record("transfer", m, h, h2)
