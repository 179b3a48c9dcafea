import tensorflow as tf


def weights(shape):
    return tf.get_variable("w", shape, initializer=tf.truncated_normal_initializer(stddev=0.1))


def forward(pixels):
    with tf.variable_scope("first"):
        hidden = tf.tanh(tf.matmul(pixels, weights([64, 20])))
    with tf.variable_scope("second"):
        return tf.matmul(hidden, weights([20, 3]))
