for k in range(3):
    keras.backend.clear_session()
    keras.utils.set_random_seed(11)
    m = dense(layers.Dropout(.1)); m.compile("adam", "binary_crossentropy")
    h = m.fit(V[k*50:], T[k*50:], epochs=3, verbose=0, callbacks=[slow()])
    record(f"kfold{k}", m, h)
