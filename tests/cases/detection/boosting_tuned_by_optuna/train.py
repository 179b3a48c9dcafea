import optuna.integration.lightgbm as lgb
b = lgb.train(params, lgb.Dataset(X, y))
