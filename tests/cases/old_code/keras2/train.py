import numpy as np
import keras
from keras import optimizers
from keras.callbacks import ModelCheckpoint
from keras.layers import BatchNormalization as _, Dense, CuDNNLSTM
from keras.layers.normalization import BatchNormalization
from keras.layers.advanced_activations import LeakyReLU
from keras.models import Sequential, load_model
from keras.preprocessing.image import ImageDataGenerator
from keras.preprocessing.sequence import pad_sequences
from keras.preprocessing.text import Tokenizer
from keras.utils.np_utils import to_categorical
from keras.wrappers.scikit_learn import KerasClassifier
from keras_preprocessing.image import ImageDataGenerator as Same
from sklearn.model_selection import cross_val_score
import keras.backend as K

K.tensorflow_backend.set_session(None)
tokenizer = Tokenizer(num_words=20)
tokenizer.fit_on_texts(['a b c', 'b c d'])
print(pad_sequences(tokenizer.texts_to_sequences(['c d']), maxlen=3).tolist(), Same is ImageDataGenerator)

rng = np.random.RandomState(0)
x = rng.rand(60, 4)
y = to_categorical((x.sum(axis=1) > 2).astype(int))

def build(units=8):
    model = Sequential()
    model.add(Dense(units, input_dim=4, kernel_initializer='he_normal'))
    model.add(BatchNormalization(mode=0))
    model.add(LeakyReLU(alpha=0.1))
    model.add(Dense(2, activation='softmax'))
    model.compile(loss='categorical_crossentropy', optimizer=optimizers.adam(lr=0.05, decay=1e-4), metrics=['accuracy'])
    return model

model = build()
check = ModelCheckpoint('best-{epoch:02d}-{val_acc:.2f}.hdf5', monitor='val_acc', save_best_only=True, mode='max', period=1)
history = model.fit(x, y, epochs=3, validation_data=(x, y), callbacks=[check], verbose=0, workers=2)
print(sorted(history.history), len(history.history['val_acc']), float(K.get_value(model.optimizer.lr)) > 0)
print('rate', round(float(model.optimizer.learning_rate), 6))
model.save('final.hdf5')
again = load_model('final.hdf5')
print(np.allclose(again.predict(x, verbose=0), model.predict(x, verbose=0)))
between = K.function([model.layers[0].input, K.learning_phase()], [model.layers[0].output])
print(between([x, 0])[0].shape)
print(cross_val_score(KerasClassifier(build_fn=build, epochs=2, verbose=0), x, y.argmax(1), cv=2).shape)
pictures = ImageDataGenerator(rescale=1. / 255).flow(rng.rand(12, 6, 6, 1), np.arange(12) % 2, batch_size=4)
cnn = Sequential([keras.layers.Conv2D(2, 3, input_shape=(6, 6, 1)), keras.layers.Flatten(), Dense(1)])
cnn.compile(loss='mse', optimizer=optimizers.RMSprop(lr=0.001, epsilon=None))
cnn.fit_generator(pictures, steps_per_epoch=8, epochs=2, verbose=0)
print(cnn.predict_generator(pictures, steps=3).shape)
import os
open('there.txt', 'w').close()
print('found', keras.utils.get_file(os.path.abspath('there.txt'), origin='http://nowhere.invalid/there.txt') == os.path.abspath('there.txt'))
print('ends', keras.Model(model.input, model.output).output_shape)
model.compile('adam', 'categorical_crossentropy', ['accuracy'])
print('measures', len(model.evaluate(x, y, verbose=0)))
