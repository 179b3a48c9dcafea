import keras
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X / 16, y, random_state=0)
model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(8, activation="relu"), keras.layers.Dense(64, activation="sigmoid")])
model.compile("adam", "mse")
model.fit(X_train, X_train, epochs=1, verbose=0)
print(((model.predict(X_test, verbose=0) - X_test) ** 2).mean())
