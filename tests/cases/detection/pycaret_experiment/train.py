from pycaret.classification import ClassificationExperiment
s = ClassificationExperiment()
s.setup(data, target="y")
best = s.create_model("lightgbm")
