from river import linear_model, preprocessing, datasets, metrics
model = preprocessing.StandardScaler() | linear_model.LogisticRegression()
for x, y in datasets.Phishing():
    model.predict_one(x); model.learn_one(x, y)
