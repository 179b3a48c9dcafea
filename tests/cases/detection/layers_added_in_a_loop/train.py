from tensorflow import keras
m = keras.Sequential()
for n in (64, 32):
    m.add(keras.layers.Dense(n))
m.compile(); m.fit(x, y)
