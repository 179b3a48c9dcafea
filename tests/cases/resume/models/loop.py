import tensorflow as tf
m = dense(layers.Dropout(.1)); m.compile("adam", "binary_crossentropy")
hs = []
tds = tf.data.Dataset.from_tensor_slices((V, T)).shuffle(200).batch(16)
for e in range(5):
    hs.append(m.fit(tds, epochs=1, verbose=0, callbacks=[slow()]))
    with open("loop.txt", "a") as f: f.write(str(m.evaluate(V, T, verbose=0)) + "\n")
h = m.fit(V, T, epochs=3, verbose=0, callbacks=[slow()])
record("loop", m, *hs, h)
