import tensorflow as tf


def weights(rows, columns):
    return tf.Variable(tf.random_normal([rows, columns], stddev=0.1))


def layer(values, rows, columns, bend):
    return bend(tf.matmul(values, weights(rows, columns)))


x = tf.placeholder(tf.float32, [None, 30])
y = tf.placeholder(tf.float32, [None, 4])
hidden = layer(x, 30, 12, tf.tanh)
out = layer(hidden, 12, 4, tf.identity)
step = tf.train.AdamOptimizer(0.01).minimize(tf.reduce_mean(tf.square(out - y)))
