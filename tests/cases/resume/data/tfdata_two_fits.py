import tensorflow as tf
ds = tf.data.Dataset.from_tensor_slices((X, Y)).cache().shuffle(200).batch(16).prefetch(tf.data.AUTOTUNE)
val = tf.data.Dataset.from_tensor_slices((X, Y)).shuffle(200).batch(16).cache()  # keeps the order of its first pass
m = small(layers.Dropout(.2)); m.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
h = m.fit(ds, epochs=3, validation_data=val, verbose=0, callbacks=[slow()])
m.layers[1].trainable = False
m.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
h2 = m.fit(ds, epochs=6, initial_epoch=h.epoch[-1] + 1, validation_data=val, verbose=0, callbacks=[slow()])
record("tfdata_two_fits", m, h, h2)
