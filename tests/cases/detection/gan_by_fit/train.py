import numpy as np, keras
from keras import layers
discriminator = keras.Sequential([layers.Dense(64), layers.LeakyReLU(), layers.Dense(1, activation="sigmoid")])
discriminator.compile("adam", "binary_crossentropy")
generator = keras.Sequential([layers.Dense(64), layers.Dense(784)])
discriminator.trainable = False
gan = keras.Sequential([generator, discriminator])
gan.compile("adam", "binary_crossentropy")
for e in range(10):
    noise = np.random.normal(size=(32, 100))
    discriminator.fit(x, y, epochs=1)
    gan.fit(noise, np.ones(32), epochs=1)
