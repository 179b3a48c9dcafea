import numpy as np, keras
from keras import layers
from sklearn.model_selection import StratifiedKFold
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import StandardScaler
x, y = load_breast_cancer(return_X_y=True); x = StandardScaler().fit_transform(x)
scores = []
for tr, te in StratifiedKFold(3, shuffle=True, random_state=1).split(x, y):
    m = keras.Sequential([layers.Dense(16, activation="relu"), layers.Dense(1, activation="sigmoid")])
    m.compile(loss="binary_crossentropy", optimizer="adam", metrics=["accuracy"])
    m.fit(x[tr], y[tr], epochs=10, verbose=0)
    s = m.evaluate(x[te], y[te], verbose=0)
    scores.append(s[1])
print(np.mean(scores))
