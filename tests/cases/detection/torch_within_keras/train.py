import keras, torchvision
base = torchvision.models.resnet18()
inp = keras.Input((3,224,224))
out = keras.layers.Dense(10)(keras.layers.TorchModuleWrapper(base)(inp))
m = keras.Model(inp, out); m.compile(); m.fit(x, y)
