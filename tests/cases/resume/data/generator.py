def batches():
    while True:
        order = np.random.permutation(160)
        for i in range(0, 160, 16): yield X[order[i:i+16]], Y[order[i:i+16]]
m = small(layers.Dropout(.2)); m.compile("adam", "sparse_categorical_crossentropy")
h = m.fit(batches(), epochs=4, steps_per_epoch=10, verbose=0, callbacks=[slow()])
record("generator", m, h)
def batches2():
    rng = np.random.default_rng(7)
    while True:
        order = rng.permutation(160)
        for i in range(0, 160, 16): yield X[order[i:i+16]], Y[order[i:i+16]]
m = small(layers.Dropout(.2)); m.compile("adam", "sparse_categorical_crossentropy")
h = m.fit(batches2(), epochs=4, steps_per_epoch=7, verbose=0, callbacks=[slow()], validation_data=(X, Y))
record("generator2", m, h)
