import statsmodels.api

rows, targets = statsmodels.api.datasets.get_rdataset("prices").data, []
