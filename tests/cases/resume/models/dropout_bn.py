m = small(layers.GaussianNoise(0.1), layers.RandomFlip(), layers.RandomRotation(0.1)); m.add(layers.BatchNormalization()); m.add(layers.Dropout(0.3)); m.add(layers.Dense(2, activation="softmax"))
m.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
h = m.fit(X, Y, epochs=4, verbose=0, callbacks=[slow()], validation_split=0.2)
record("dropout_bn", m, h)
