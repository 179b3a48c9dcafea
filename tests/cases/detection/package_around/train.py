from sklearn.cluster import KMeans

from datasets.made import rows

KMeans(3).fit(rows().reshape(-1, 1))
