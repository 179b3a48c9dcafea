def told(x): return "told %d" % x
