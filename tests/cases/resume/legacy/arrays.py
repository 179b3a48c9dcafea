model = small(layers.GaussianNoise(0.1))
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
stop = tf.keras.callbacks.EarlyStopping(monitor="val_loss", patience=3, restore_best_weights=True)
first = model.fit(X, Y, epochs=5, validation_split=0.2, verbose=0, callbacks=[slow(), stop, tf.keras.callbacks.CSVLogger("l.csv")])
model.layers[0].trainable = False
model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
second = model.fit(X, Y, epochs=4, verbose=0, callbacks=[slow()], steps_per_epoch=3)
record("arrays", model, first, second)
