import numpy as np
from keras import backend as K
from keras.layers import Dense, Lambda, Input
from keras.models import Model, Sequential
from keras.optimizers import SGD
from keras.utils import np_utils
from keras.utils.vis_utils import plot_model

y = np_utils.to_categorical([0, 1, 2, 1], nb_classes=3)
x = np.arange(8.0).reshape(4, 2)
model = Sequential([Dense(3, input_dim=2, activation='softmax')])
model.compile(SGD(lr=1.0, clipnorm=50.0, clipvalue=0.001), 'categorical_crossentropy')
before = model.get_weights()
model.fit(x, y, batch_size=4, epochs=1, verbose=0)
print('clipped', max(np.abs(a - b).max() for a, b in zip(before, model.get_weights())) <= 0.0011)
plot_model(model, to_file='model.png')
a, b = Input((5, 3, 4)), Input((3, 4, 2))
product = Lambda(lambda pair: K.batch_dot(pair[0], pair[1]))([Input((5, 3)), Input((3, 2))])
print(product.shape)
left, right = np.ones((2, 3, 4, 5)), np.ones((2, 3, 5, 6))
print(K.int_shape(K.batch_dot(K.constant(left), K.constant(right), axes=[3, 2])))
print(K.int_shape(K.batch_dot(K.constant(np.ones((2, 5))), K.constant(np.ones((2, 5))), axes=1)))
