import tensorflow as tf
est = tf.estimator.DNNClassifier(hidden_units=[10, 10], feature_columns=cols)
est.train(input_fn)
