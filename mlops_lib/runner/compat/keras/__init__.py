"""Names, arguments and methods of Keras 1 and 2, answered by Keras 3."""
