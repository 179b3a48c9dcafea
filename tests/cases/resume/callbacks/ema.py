m = dense(); m.compile(keras.optimizers.Adam(use_ema=True), "binary_crossentropy")
h = m.fit(V, T, epochs=4, verbose=0, validation_split=.2, callbacks=[slow(), keras.callbacks.SwapEMAWeights(swap_on_epoch=True)])
record("ema", m, h)
