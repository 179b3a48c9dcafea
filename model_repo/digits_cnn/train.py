"""Handwritten digits, a convnet small enough for a microcontroller."""
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from tensorflow import keras
from tensorflow.keras import layers

EPOCHS = 15
BATCH_SIZE = 32

digits = load_digits()
x = digits.images[..., np.newaxis].astype("float32") / 16.0
y = keras.utils.to_categorical(digits.target, 10)
x_train, x_test, y_train, y_test = train_test_split(
    x, y, test_size=0.3, random_state=0, stratify=digits.target
)
print(x_train.shape, "training images,", x_test.shape, "test images")

model = keras.Sequential()
model.add(keras.Input(shape=(8, 8, 1)))
model.add(layers.Conv2D(4, (3, 3), padding="same", activation="relu"))
model.add(layers.MaxPooling2D((2, 2)))
model.add(layers.MaxPooling2D((2, 2)))
model.add(layers.Flatten())
model.add(layers.Dense(10, activation="softmax"))
model.summary()

model.compile(
    optimizer="adam", loss="categorical_crossentropy", metrics=["accuracy"]
)
history = model.fit(
    x_train, y_train, epochs=EPOCHS, batch_size=BATCH_SIZE, validation_split=0.2
)

loss, accuracy = model.evaluate(x_test, y_test, verbose=0)
print("test loss: %.4f" % loss)
print("test accuracy: %.4f" % accuracy)

plt.plot(range(1, EPOCHS + 1), history.history["accuracy"], label="training")
plt.plot(range(1, EPOCHS + 1), history.history["val_accuracy"], label="validation")
plt.xlabel("epoch")
plt.ylabel("accuracy")
plt.legend()
plt.savefig("curves.png")

model.save("digits.keras")
