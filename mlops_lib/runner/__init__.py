"""What runs around the script, inside its container.

An island: it imports the standard library, the framework the script itself uses and, when
searching, the tuner; nothing else of mlops_lib, which in turn imports `protocol` only. Written in
Python 3.8's grammar.
"""
