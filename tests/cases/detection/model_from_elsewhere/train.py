from keras.preprocessing.image import ImageDataGenerator

from recipes.networks import small_convnet

images = ImageDataGenerator(rescale=1 / 255).flow_from_directory("photos", target_size=(48, 48))
model = small_convnet(classes=3)
model.compile(optimizer="adam", loss="categorical_crossentropy")
model.fit(images, epochs=4)
