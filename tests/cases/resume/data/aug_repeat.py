import tensorflow as tf
def flip(x, y):
    return tf.image.random_flip_left_right(x), y


# A data set of its own for each use: TensorFlow reads ahead of what is asked, so how often one that is shuffled and repeated
# was shuffled when its fit ends is a matter of time.
m = small(layers.Dropout(0.2))
m.compile("adam", "sparse_categorical_crossentropy")
told = []
for _ in range(2):
    ds, va = (tf.data.Dataset.from_tensor_slices((X, Y)).map(flip).shuffle(200).repeat().batch(16) for _ in range(2))
    told.append(m.fit(ds, epochs=4, steps_per_epoch=7, verbose=0, callbacks=[slow()], validation_data=va.take(2)))
record("aug_repeat", m, *told)
