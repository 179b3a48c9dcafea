import tensorflow as tf
RNN = tf.keras.layers.GRU
def make():
    net = tf.keras.Sequential()
    net.add(RNN(8))
    return net
