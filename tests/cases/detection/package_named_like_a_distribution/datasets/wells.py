class Wells:
    depths = [[1.0], [2.0], [3.0]]
    flows = [0.5, 0.9, 1.6]
