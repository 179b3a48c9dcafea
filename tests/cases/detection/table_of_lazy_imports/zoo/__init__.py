def plain():
    from zoo.plain import Plain

    return Plain()


def pictures():
    from zoo.pictures import Pictures

    return Pictures()


ZOO = {"plain": plain, "pictures": pictures}
