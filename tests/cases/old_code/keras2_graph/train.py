import numpy as np
from keras import backend as K
from keras import metrics
from keras.layers import Dense, Input, Lambda
from keras.models import Model

x = Input(shape=(16,))
z_mean = Dense(2)(x)
z_log_var = Dense(2)(x)
z = Lambda(lambda both: both[0] + K.exp(both[1] / 2) * K.random_normal(shape=K.shape(both[0])))([z_mean, z_log_var])
decoded = Dense(16, activation='sigmoid')(z)


def vae_loss(y_true, y_pred):
    difference = 16 * metrics.binary_crossentropy(y_true, y_pred)
    return K.mean(difference - 0.5 * K.sum(1 + z_log_var - K.square(z_mean) - K.exp(z_log_var), axis=-1))


vae = Model(x, decoded)
vae.compile(optimizer='rmsprop', loss=vae_loss)
data = np.random.RandomState(0).rand(128, 16)
history = vae.fit(data, data, epochs=3, batch_size=32, verbose=0)
slope = K.function([vae.input], K.gradients(K.mean(z_mean), [vae.input]))([data[:2]])
print(history.history['loss'][-1] < history.history['loss'][0], slope[0].shape)
from keras.utils import plot_model
print('no picture', plot_model(vae, to_file='model.png'))
