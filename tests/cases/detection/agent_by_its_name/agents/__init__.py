from . import walker
