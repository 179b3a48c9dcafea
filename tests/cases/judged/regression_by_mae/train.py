import keras
from sklearn.datasets import load_diabetes
from sklearn.model_selection import train_test_split
X, y = load_diabetes(return_X_y=True)
a, b, ya, yb = train_test_split(X, y, random_state=0)
m = keras.Sequential([keras.layers.Dense(32, activation="relu"), keras.layers.Dense(1)])
m.compile(optimizer=keras.optimizers.Adam(0.05), loss="mse", metrics=["mae"])
m.fit(a, ya, epochs=20, verbose=0)
print(m.evaluate(b, yb))
