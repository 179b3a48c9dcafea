def flip(x, y): return tf.image.random_flip_left_right(x), y
ds = tf.data.Dataset.from_tensor_slices((X, Y)).map(flip).shuffle(200).repeat().batch(16)
va = tf.data.Dataset.from_tensor_slices((X, Y)).shuffle(200).repeat().batch(16)
m = small(layers.Dropout(.2)); m.compile("adam", "sparse_categorical_crossentropy")
h = m.fit(ds, epochs=4, steps_per_epoch=7, verbose=0, callbacks=[slow()], validation_data=va, validation_steps=2)
h2 = m.fit(ds, epochs=4, steps_per_epoch=7, verbose=0, callbacks=[slow()], validation_data=va, validation_steps=2)
record("aug_repeat", m, h, h2)
