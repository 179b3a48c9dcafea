from keras import layers, models


def before():
    return models.load_model("cnn.h5")


model = models.Sequential([*before().layers[:-1], layers.Dense(32), layers.Dense(1)])
model.compile("adam", "binary_crossentropy")
model.fit(images, labels, epochs=3)
