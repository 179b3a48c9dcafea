import importlib
net = importlib.import_module("zoo.net")
from tensorflow import keras
model = net.build()
model.compile("adam"); model.fit(x, y, epochs=3)
