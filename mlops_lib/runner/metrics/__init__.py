"""How a number is made from a model and its examples, how two models compare, and how a stored model is measured."""
