from tensorflow.keras.applications import MobileNetV2
from tensorflow.keras.layers import Dense, GlobalAveragePooling2D
from tensorflow.keras.models import Model
from tensorflow.keras.preprocessing.image import ImageDataGenerator

train_generator = ImageDataGenerator(rescale=1 / 255).flow_from_directory("pictures/train", target_size=(96, 96))
base = MobileNetV2(include_top=False, input_shape=(96, 96, 3))
base.trainable = False
discriminator = Dense(2, activation="softmax")(GlobalAveragePooling2D()(base.output))
model = Model(base.input, discriminator)
model.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
model.fit(train_generator, epochs=2)
