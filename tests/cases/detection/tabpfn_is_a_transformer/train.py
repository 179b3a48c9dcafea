from tabpfn import TabPFNClassifier
c = TabPFNClassifier(); c.fit(X, y)
