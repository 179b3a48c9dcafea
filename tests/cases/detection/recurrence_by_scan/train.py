import tensorflow as tf
Wx = tf.Variable(tf.random.normal((4, 8))); Wh = tf.Variable(tf.random.normal((8, 8)))
def step(h, x): return tf.tanh(tf.matmul(x, Wx) + tf.matmul(h, Wh))
opt = tf.optimizers.Adam()
with tf.GradientTape() as t:
    hs = tf.scan(step, xs, initializer=h0); loss = tf.reduce_mean((hs[-1] - y) ** 2)
opt.apply_gradients(zip(t.gradient(loss, [Wx, Wh]), [Wx, Wh]))
