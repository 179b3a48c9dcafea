import pymc as pm

with pm.Model():
    bias = pm.Beta("bias", 1, 1)
    pm.Bernoulli("tosses", bias, observed=[1, 0, 0, 1])
    draws = pm.sample(500)
