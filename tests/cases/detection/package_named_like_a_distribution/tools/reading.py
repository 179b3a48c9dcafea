from datasets.wells import Wells


def read():
    return Wells().depths, Wells().flows
