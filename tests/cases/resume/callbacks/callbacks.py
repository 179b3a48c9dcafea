losses, best = [], [9e9]
counter = 0
class Mine(keras.callbacks.Callback):
    def __init__(self, out): super().__init__(); self.out = out; self.seen = {}; self.n = 0
    def on_epoch_end(self, epoch, logs=None):
        global counter
        counter += 1; self.n += 1
        self.out.append(float(logs["loss"])); self.seen[epoch] = self.n
        best[0] = min(best[0], logs["loss"])
        with open("mine.txt", "a") as f: f.write(f"{epoch} {self.n} {counter}\n")
def closure():
    n = 0
    def f(epoch, logs):
        nonlocal n
        n += 1
        print("closure", n, file=log, flush=True)
    return f
log = open("open.log", "w")
log2 = open("buffered.log", "w"); log2.write("header\n")
cbs = [slow(), keras.callbacks.EarlyStopping(monitor="val_loss", patience=3, restore_best_weights=True), keras.callbacks.ReduceLROnPlateau(monitor="val_loss", patience=1, factor=.5),
       keras.callbacks.ModelCheckpoint("best.keras", save_best_only=True, monitor="val_loss"), keras.callbacks.ModelCheckpoint("ck-{epoch:02d}.weights.h5", save_weights_only=True), keras.callbacks.CSVLogger("log.csv"), keras.callbacks.CSVLogger("log2.csv", append=True),
       keras.callbacks.LearningRateScheduler(lambda e, lr: lr * 0.95), keras.callbacks.TerminateOnNaN(), Mine(losses), keras.callbacks.LambdaCallback(on_epoch_end=closure()),
       keras.callbacks.LambdaCallback(on_epoch_end=lambda e, logs: log2.write(f"{e}\n")), keras.callbacks.TensorBoard("tb"), keras.callbacks.BackupAndRestore("backup")]
given = list(cbs)
m = dense(layers.Dropout(.1)); m.compile("adam", "binary_crossentropy", metrics=["accuracy"])
h = m.fit(V, T, epochs=6, verbose=0, validation_split=.2, callbacks=cbs)
assert cbs == given
h2 = m.fit(V, T, epochs=3, verbose=0, validation_split=.2, callbacks=cbs)
log.close(); log2.close()
record("callbacks", m, h, h2)
with open("results.txt", "a") as f: f.write(f"callbackstate {losses} {best} {counter} {cbs[9].seen} {cbs[9].n} {cbs[1].best} {cbs[1].wait}\n")
saved = keras.models.load_model("best.keras")
with open("results.txt", "a") as f: f.write(f"saved {digest(saved.variables)}\n")
