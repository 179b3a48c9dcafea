import portalocker_of_ours


def locked():
    return portalocker_of_ours.Lock("x")
