from tensorflow.keras import Model, layers


class Small(Model):
    def __init__(self):
        super().__init__()
        self.first = layers.Conv2D(8, 3)
        self.pool = layers.GlobalAveragePooling2D()
        self.last = layers.Dense(10)

    def call(self, x):
        return self.last(self.pool(self.first(x)))


def small():
    return Small()
