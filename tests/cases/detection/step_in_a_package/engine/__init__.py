from .turning import one_epoch
