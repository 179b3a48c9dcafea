"""The program that runs around the script, inside its container.

It is an island: it imports the standard library, the framework that the script itself uses and,
when searching, the tuner. It imports nothing else of mlops_lib, which in turn imports `protocol`
only. Written in Python 3.8's grammar.
"""
