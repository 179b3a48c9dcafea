import io

import matplotlib
matplotlib.use('Agg', warn=False)
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.mlab import normpdf

matplotlib.rcParams['axes.color_cycle'] = ['r', 'g']
figure = plt.figure()
axes = figure.add_subplot(111, axisbg='white')
plt.bar(left=[1, 2], height=[3, 4])
plt.grid(b=True)
plt.scatter([1], [2], c=[3], cmap='spectral')
figure.gca(projection='3d')
figure.canvas.set_window_title('digits')
plt.subplot('211')
plt.savefig('figure.png', frameon=True)
print(round(float(normpdf(0, 0, 1)), 4), np.histogram([1, 2], normed=True)[0].sum() > 0)
np.set_printoptions(threshold=np.nan)
frame = pd.read_csv(io.StringIO('name;a;b\nx;1;2\ny;3;4\nz;5;7\n'), ';', error_bad_lines=False)
print(frame.mean().tolist(), frame.corr().shape, frame.groupby('name').mean().shape)
print(frame.drop('name', 1).columns.tolist(), frame.sort_index(by='a', ascending=False).name.tolist())
print(frame.lookup([0, 1], ['a', 'b']).tolist(), frame.irow(0)['a'], frame.icol(1).tolist())
print(frame.set_value(0, 'a', 9).a.tolist(), frame.reindex_axis(['b', 'a'], axis=1).shape)
