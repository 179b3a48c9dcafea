from zoo.nets import make
make().fit([], [])
