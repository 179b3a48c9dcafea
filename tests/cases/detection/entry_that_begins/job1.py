from keras import layers, models

model = models.Sequential([layers.Input((64, 64, 3)), layers.Conv2D(8, 3), layers.Flatten(), layers.Dense(1)])
model.compile("adam", "binary_crossentropy")
model.fit(images, labels, epochs=3)
model.save("cnn.h5")
