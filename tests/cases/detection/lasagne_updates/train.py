import lasagne
import theano
import theano.tensor as T

x, y = T.tensor4("x"), T.ivector("y")
net = lasagne.layers.InputLayer((None, 1, 20, 20), x)
net = lasagne.layers.Conv2DLayer(net, 8, 3)
net = lasagne.layers.DenseLayer(net, 4, nonlinearity=lasagne.nonlinearities.softmax)
loss = lasagne.objectives.categorical_crossentropy(lasagne.layers.get_output(net), y).mean()
changes = lasagne.updates.adam(loss, lasagne.layers.get_all_params(net, trainable=True))
step = theano.function([x, y], loss, updates=changes)
