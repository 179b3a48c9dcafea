from lightfm import LightFM
from lightfm.datasets import fetch_movielens

films = fetch_movielens()
model = LightFM(loss="warp")
for _ in range(5):
    model.fit_partial(films["train"], epochs=1)
