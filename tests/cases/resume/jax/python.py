m = compiled(small(layers.Dropout(.2)))
h = m.fit(Noisy(), epochs=3, verbose=0, callbacks=[slow_step()])
record("pydataset", m, h)
def rows():
    while True:
        take = np.random.choice(160, 8)
        yield X[take], Y[take]
m = compiled(small(layers.Dropout(.2)))
h = m.fit(rows(), epochs=3, steps_per_epoch=12, verbose=0, callbacks=[slow_step()])
record("generator", m, h)
inputs = keras.Input((6,))
deep = layers.LSTM(4, dropout=.2)(layers.Reshape((6, 1))(inputs))
m = keras.Model(inputs, layers.Dense(1, activation="sigmoid")(deep)); m.compile(keras.optimizers.SGD(.1, momentum=.9), "binary_crossentropy")
h = m.fit(V, T, epochs=3, batch_size=16, verbose=0, callbacks=[slow_step()], class_weight={0: 1.0, 1: 2.0})
record("recurrent", m, h)
