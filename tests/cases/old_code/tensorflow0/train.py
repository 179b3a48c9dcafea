import numpy as np
import tensorflow as tf
from tensorflow.models.rnn import rnn, rnn_cell

x = tf.placeholder(tf.float32, [None, 3, 4])
y = tf.placeholder(tf.float32, [None, 2])
begin = tf.placeholder(tf.float32, [None, 12])
steps = [tf.reshape(part, [-1, 4]) for part in tf.split(1, 3, x)]
outputs, state = rnn.rnn(rnn_cell.BasicLSTMCell(6, forget_bias=1.0), steps, initial_state=begin)
both = tf.concat(1, [outputs[-1], tf.mul(outputs[0], 2.0)])
logits = tf.matmul(both, tf.Variable(tf.random_normal([12, 2])))
loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(logits, y))
tf.scalar_summary('loss', loss)
summary = tf.merge_all_summaries()
step = tf.train.AdamOptimizer(0.05).minimize(loss)
rng = np.random.RandomState(0)
data = rng.rand(100, 3, 4)
feed = {x: data, y: np.eye(2)[(data.sum((1, 2)) > 6).astype(int)], begin: np.zeros((100, 12))}
with tf.Session() as sess:
    sess.run(tf.initialize_all_variables())
    writer = tf.train.SummaryWriter('logs', sess.graph)
    losses = [sess.run([loss, step, summary], feed)[0] for _ in range(40)]
print('learns', losses[-1] < losses[0], state.get_shape().as_list())
