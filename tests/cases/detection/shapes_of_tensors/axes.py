from keras import backend
from keras.layers import Input, Reshape


def pictures(size):
    return Input((3, size, size) if backend.image_data_format() == "channels_first" else (size, size, 3))


def flat(size):
    return Reshape((size * size * 3,))
