import tensorflow as tf, tensorflow_hub as hub
handle = pick()
m = tf.keras.Sequential([hub.KerasLayer(handle), tf.keras.layers.Dense(1, activation="sigmoid")])
m.compile(); m.fit(x, y)
