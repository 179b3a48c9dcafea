"""Convert requirements to the recipe of an image; nothing is built here."""
