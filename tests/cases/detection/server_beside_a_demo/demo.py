import lightgbm as lgb

booster = lgb.train({"objective": "binary"}, lgb.Dataset([[0], [1]], [0, 1]))
