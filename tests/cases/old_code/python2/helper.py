def half(n):
    print "helping"
    return n / 2
