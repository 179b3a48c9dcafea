import tensorflow as tf

tf.compat.v1.disable_eager_execution()


class Hazard:
    def __init__(self, sizes):
        self.seen = tf.compat.v1.placeholder(tf.float32, [None, 5])
        self.group = tf.compat.v1.placeholder(tf.int32, [None])
        passed = self.seen
        for number, size in enumerate(sizes):
            passed = self._layer(passed, size, f"layer{number}")
        total = tf.math.segment_sum(tf.exp(passed), self.group)
        self.loss = -tf.reduce_mean(tf.math.log(total))
        self.step = tf.compat.v1.train.GradientDescentOptimizer(0.1).minimize(self.loss)

    def _layer(self, x, size, scope):
        with tf.compat.v1.variable_scope(scope):
            weights = tf.compat.v1.get_variable("weights", [x.shape[1], size])
            bias = tf.compat.v1.get_variable("bias", [size])
            return tf.nn.relu(tf.matmul(x, weights) + bias)


if __name__ == "__main__":
    model = Hazard([16, 8, 1])
    with tf.compat.v1.Session() as session:
        session.run(tf.compat.v1.global_variables_initializer())
        session.run(model.step, {model.seen: [[1.0] * 5], model.group: [0]})
