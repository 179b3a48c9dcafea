import tensorflow as tf

x = tf.placeholder(tf.float32, [None, 6])
y = tf.placeholder(tf.float32, [None, 1])
w = tf.Variable(tf.zeros([6, 1]))
loss = tf.reduce_mean(tf.square(tf.matmul(x, w) - y))
step = tf.contrib.layers.optimize_loss(loss, tf.train.get_global_step(), 0.1, "SGD")
