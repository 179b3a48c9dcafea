import lightgbm
import xgboost


class Slow(xgboost.callback.TrainingCallback):
    def after_iteration(self, model, epoch, evals_log):
        time.sleep(0.03)
        return False


def slow(environment):
    time.sleep(0.03)


found = {}
train, test = xgboost.DMatrix(X[:1000], Y[:1000]), xgboost.DMatrix(X[1000:], Y[1000:])
booster = xgboost.train(
    {"objective": "binary:logistic", "eta": 0.5}, train, 25, evals=[(train, "train"), (test, "test")], evals_result=found,
    early_stopping_rounds=6, verbose_eval=False, callbacks=[Slow(), xgboost.callback.LearningRateScheduler(lambda i: 0.5 * 0.97**i)],
)
record("xgboost", booster.predict(test)[:50], found, booster.best_iteration, booster.num_boosted_rounds())
model = xgboost.XGBClassifier(n_estimators=20, callbacks=[Slow()])
model.fit(X[:1000], Y[:1000], eval_set=[(X[1000:], Y[1000:])], verbose=False)
record("XGBClassifier", model.predict_proba(X[1000:])[:50], model.evals_result())
sampled = xgboost.XGBClassifier(n_estimators=12, subsample=0.7, colsample_bytree=0.5, callbacks=[Slow()])
sampled.fit(X[:1000], Y[:1000], eval_set=[(X[1000:], Y[1000:])], verbose=False)
record("sampled", sampled.predict_proba(X[1000:])[:50])

evaluations = {}
data = lightgbm.Dataset(X[:1000], Y[:1000])
booster = lightgbm.train(
    {"objective": "binary", "verbose": -1, "learning_rate": 0.3}, data, 25, valid_sets=[data.create_valid(X[1000:], Y[1000:])],
    callbacks=[lightgbm.early_stopping(8, verbose=False), lightgbm.record_evaluation(evaluations), slow],
)
record("lightgbm", booster.predict(X[1000:])[:50], evaluations, booster.best_iteration, dict(booster.best_score["valid_0"]))
model = lightgbm.LGBMClassifier(n_estimators=20, verbose=-1)
model.fit(X[:1000], Y[:1000], eval_set=[(X[1000:], Y[1000:])], callbacks=[slow])
record("LGBMClassifier", model.predict_proba(X[1000:])[:50], model.evals_result_)
