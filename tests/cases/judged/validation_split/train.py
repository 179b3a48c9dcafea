from tensorflow.keras.models import Sequential
from tensorflow.keras.layers import Dense
from tensorflow.keras.utils import to_categorical
from sklearn.datasets import load_digits
x, y = load_digits(return_X_y=True); x = x / 16.0
m = Sequential(); m.add(Dense(64, input_shape=(64,), activation="relu")); m.add(Dense(10, activation="softmax"))
m.compile(optimizer="adam", loss="categorical_crossentropy", metrics=["acc"])
h = m.fit(x, to_categorical(y), validation_split=0.2, epochs=15, batch_size=32)
print(h.history["val_acc"][-1])
m.save("model.h5")
