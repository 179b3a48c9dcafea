from keras.layers import Conv2D, MaxPooling2D
from keras.models import Sequential

model = Sequential()
model.add(Conv2D(16, 3, activation="relu", input_shape=(28, 28, 1)))
model.add(MaxPooling2D())
