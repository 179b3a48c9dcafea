# %%
import numpy as np
import matplotlib.pyplot as plt
%matplotlib inline

# %%
class Batch:
    def cuda(self, non_blocking=False):
        return non_blocking

print("moved", Batch().cuda(async=True))
!echo from the shell
