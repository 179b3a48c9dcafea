from __future__ import print_function
import numpy as np
np.random.seed(1337)
from keras.models import Sequential, Model
from keras.layers.core import Dense, Dropout, Activation, Flatten
from keras.layers.convolutional import Convolution2D, MaxPooling2D
from keras.layers.recurrent import LSTM
from keras.layers import Input, merge
from keras.optimizers import SGD
from keras.utils import np_utils
from keras import backend as K

K.set_image_dim_ordering('th')
X = np.random.rand(64, 1, 8, 8).astype('float32')
X[:32, :, :4] += 1
Y = np_utils.to_categorical(np.repeat([0, 1], 32), 2)

model = Sequential()
model.add(Convolution2D(4, 3, 3, border_mode='valid', input_shape=(1, 8, 8), init='uniform'))
model.add(Activation('relu'))
model.add(MaxPooling2D(pool_size=(2, 2)))
model.add(Dropout(0.1))
model.add(Flatten())
model.add(Dense(output_dim=2, W_regularizer='l2', bias=True))
model.add(Activation('softmax'))
model.compile(loss='categorical_crossentropy', optimizer=SGD(lr=0.1, decay=1e-3, momentum=0.9, nesterov=True),
              metrics=['accuracy'])
history = model.fit(X, Y, nb_epoch=6, batch_size=16, verbose=0, validation_data=(X, Y))
print('kernel', model.layers[0].get_weights()[0].shape, 'output', model.layers[0].output_shape)
print('acc', len(history.history['acc']), history.history['val_acc'][-1] > 0.8)
print('classes', (model.predict_classes(X, verbose=0) == Y.argmax(1)).mean() > 0.8)
print('proba', model.predict_proba(X).shape)
score = model.evaluate(X, Y, verbose=0, show_accuracy=True)
model.save_weights('weights.hdf5')
model.load_weights('weights.hdf5')
model.save('model.h1')

a, b = Input(shape=(3,)), Input(shape=(3,))
both = merge([Dense(4)(a), Dense(4)(b)], mode='concat', concat_axis=-1)
joined = Model(input=[a, b], output=Dense(1)(both))
joined.compile('rmsprop', 'mse')
z = np.ones((8, 3))
joined.fit([z, z], np.ones(8), nb_epoch=1, verbose=0)

def batches():
    while True:
        yield np.ones((4, 5, 3)), np.ones((4, 1))

rnn = Sequential([LSTM(2, input_dim=3, input_length=5, inner_activation='hard_sigmoid'), Dense(1)])
rnn.compile(loss='mse', optimizer='sgd')
rnn.fit_generator(batches(), samples_per_epoch=64, nb_epoch=1, verbose=0)
print('done')
