import flask, tensorflow as tf
model = tf.keras.models.load_model("m.keras")
