import numpy as np
import pandas as pd
import scipy
from scipy import interp
from scipy.misc import imread, imsave, imresize
import matplotlib
matplotlib.use("TkAgg")
import matplotlib.pyplot as plt
from pandas.tools.plotting import scatter_matrix
from sklearn.externals import joblib
from sklearn.preprocessing import Imputer, OneHotEncoder
from sklearn.svm import SVC

plt.style.use('seaborn-whitegrid')
plt.hist([1, 2, 2], normed=True)
plt.show()
print(np.array2string(0.5))
print(np.int(3.7), np.float('0.5'), np.bool(1), np.asscalar(np.array([2])), np.NaN is np.nan, interp(1.5, [1, 2], [10, 20]))
frame = pd.DataFrame({'a': [3, 1], 'b': [1.0, np.nan]}, index=['x', 'y'])
frame = frame.append(pd.DataFrame({'a': [2], 'b': [5.0]}, index=['z']))
print(frame.ix[0, 'a'], frame.ix['y', 'a'], frame.as_matrix().shape, frame.sort('a').index.tolist())
filled = Imputer(strategy='mean').fit_transform(frame)
print(filled[1, 1], OneHotEncoder(sparse=False).fit_transform([[1], [2]]).tolist())
imsave('picture.png', (np.arange(64).reshape(8, 8) * 4).astype(np.uint8))
print(imread('picture.png').shape, imresize(imread('picture.png'), (4, 2)).shape)
model = SVC().fit([[0.0], [1.0]], [0, 1])
joblib.dump(model, 'model.pkl')
print(joblib.load('model.pkl').score([[0.0], [1.0]], [0, 1]))
print(float(np.array([[0.5]])), int(np.array([3])), "%d of %.1f" % (2, np.array([4.0])), "%s" % np.array([1]))
print(np.fromstring(np.array([1, 2], np.uint8).tostring(), dtype=np.uint8).tolist())
