"""The search for Keras models: edits to the architecture, with inherited weights."""
