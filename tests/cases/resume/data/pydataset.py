class Seq(keras.utils.PyDataset):
    def __init__(self, **k):
        super().__init__(**k); self.order = np.arange(160)
    def __len__(self): return 10
    def __getitem__(self, i):
        take = self.order[i*16:(i+1)*16]
        return X[take], Y[take]
    def on_epoch_end(self): np.random.shuffle(self.order)
for k in ({}, {"workers": 2}, {"workers": 2, "use_multiprocessing": True}):
    m = small(layers.Dropout(.2)); m.compile("adam", "sparse_categorical_crossentropy")
    s, v = Seq(**k), Seq()
    h = m.fit(s, epochs=3, verbose=0, callbacks=[slow()], validation_data=v)
    h2 = m.fit(s, epochs=3, verbose=0, callbacks=[slow()], validation_data=v)
    record("pydataset" + str(len(k)), m, h, h2)
