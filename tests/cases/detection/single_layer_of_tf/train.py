import tensorflow as tf

x = tf.placeholder(tf.float32, [None, 2])
y = tf.placeholder(tf.float32, [None, 1])
line = tf.layers.dense(x, units=1)
step = tf.train.AdamOptimizer(0.05).minimize(tf.losses.mean_squared_error(y, line))
