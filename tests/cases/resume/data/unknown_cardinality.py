import tensorflow as tf
ds = tf.data.Dataset.from_tensor_slices((X, Y)).filter(lambda x, y: tf.reduce_mean(x) > 0.4).shuffle(200).batch(16)
m = small(layers.Dropout(.2)); m.compile("adam", "sparse_categorical_crossentropy")
h = m.fit(ds, epochs=4, verbose=0, callbacks=[slow()])
h2 = m.fit(ds, epochs=4, verbose=0, callbacks=[slow()])
record("unknown_cardinality", m, h, h2)
