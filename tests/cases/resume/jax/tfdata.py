import tensorflow as tf
ds = tf.data.Dataset.from_tensor_slices((X, Y)).shuffle(200).batch(8).prefetch(2)
m = compiled(small(layers.Dropout(.2)))
h = m.fit(ds, epochs=3, verbose=0, callbacks=[slow_step()], validation_data=(X, Y))
record("tfdata", m, h)
h = m.fit(ds.repeat(), epochs=3, steps_per_epoch=15, verbose=0, callbacks=[slow_step()])
record("tfdata_repeat", m, h)
