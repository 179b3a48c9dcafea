"""How a number is made from a model and its examples, how two models compare, how a stored model is
measured, what leaks.
"""
