import numpy as np
import tensorflow as tf
from keras import backend as K
from keras.callbacks import Callback
from keras.layers import Dense, Dropout, Input, Lambda, add
from keras.models import Model, Sequential
from keras.optimizers import SGD, adam_v2
from keras.preprocessing.image import ImageDataGenerator
from keras.utils.np_utils import to_categorical
from tensorflow.python.keras.layers import Dense as TheSameDense


class Look(Callback):
    def __init__(self, watched=None):
        self.model = watched

    def on_epoch_end(self, epoch, logs={}):
        print([part.shape for part in self.validation_data])


x = np.arange(60.0).reshape(20, 3) / 60
y = to_categorical(np.arange(20) % 2)
model = Sequential()
model.add(Dense(len(x) / 5, input_dim=3, weights=[np.ones((3, 4)), np.zeros(4)], name='features'))
model.add(Dropout(1 / 2))
model.add(Lambda(lambda t: K.in_train_phase(t * 2, t)))
model.add(Lambda(lambda t: t / tf.reduce_sum(tf.nn.softmax(t, dim=1), 1, keep_dims=True)))
model.add(Dense(2, activation='softmax'))
print(model.layers[0].get_weights()[0].sum(), TheSameDense is Dense)
model.compile(adam_v2.Adam(lr=0.01), 'logcosh', metrics=['accuracy'])
model.fit(x[:16], y[:16], batch_size=16 / 2, epochs=2, verbose=0, validation_data=(x[16:], y[16:]), callbacks=[Look(model)])
features = Model(model.input, model.get_layer('features').output)
print(features.predict(x, verbose=0).shape, model.layers[0].get_output_at(0).get_shape().as_list())
print(ImageDataGenerator().flow(np.ones((4, 2, 2, 1)), batch_size=3).next().shape, SGD(lr=1).lr.numpy())


def pairs():
    while True:
        yield [[x[:4], x[4:8]], y[:4]]


first, second = Input((3,)), Input((3,))
both = Model(inputs=[first, second], outputs=Dense(2, activation='softmax')(add([first, second])))
both.compile('sgd', 'categorical_crossentropy')
print(len(both.fit_generator(pairs(), steps_per_epoch=4 / 2, epochs=2, verbose=0).history['loss']))
print(features.predict_generator((x[:5] for _ in range(2)), steps=2).shape)
print(sorted(model.fit(x, y, validation_split=1 / 5, verbose=0).history)[-1])
from keras_tuner.tuners.randomsearch import RandomSearch
print(RandomSearch.__name__)


def stretched(true, predicted):
    return K.mean(K.square(true - predicted)) * 3


plain = Sequential([Dense(3, input_dim=3), Dense(2, activation='softmax')])
plain.compile('adam', loss=stretched, metrics=['accuracy'])
plain.fit(x, y, epochs=2, verbose=0)
plain.save('stage.h5')
from keras.models import load_model
again = load_model('stage.h5', custom_objects={'stretched': stretched})
print('steps before', int(again.optimizer.iterations))
again.fit(x, y, epochs=1, verbose=0)
print('steps after', int(again.optimizer.iterations))
