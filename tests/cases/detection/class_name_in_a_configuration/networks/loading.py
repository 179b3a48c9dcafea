import importlib


def load_obj(path):
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)
