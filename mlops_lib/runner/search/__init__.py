"""The search, where the training is: in the script's own process, when the judged fit returns.

`keras` improves a Keras model; `request` holds what goes in and comes out. Nothing here is imported
by a run without a search.
"""
