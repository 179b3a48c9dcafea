def compiled(model):
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


slow_step = lambda: keras.callbacks.LambdaCallback(on_train_batch_begin=lambda batch, logs: time.sleep(0.02))
m = compiled(small(layers.RandomFlip(), layers.Dropout(.2), layers.BatchNormalization()))
h1 = m.fit(X, Y, epochs=3, batch_size=8, verbose=0, callbacks=[slow_step(), keras.callbacks.CSVLogger("arrays.csv")], validation_split=.2)
m.optimizer.learning_rate = 0.01
h2 = m.fit(X, Y, epochs=5, batch_size=16, shuffle="batch", verbose=0, callbacks=[slow_step(), keras.callbacks.ReduceLROnPlateau(patience=0)], validation_data=(X, Y))
record("arrays", m, h1, h2)
m = compiled(keras.Sequential([layers.Conv2D(3, 3), layers.Flatten(), layers.Dropout(.3), layers.Dense(2, activation="softmax")]))
h = m.fit(X, Y, epochs=6, steps_per_epoch=7, batch_size=8, verbose=0, callbacks=[slow_step(), keras.callbacks.EarlyStopping("loss", patience=4)])
record("unbuilt_and_steps", m, h)
