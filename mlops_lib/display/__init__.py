"""How results and progress reach a terminal or a log.

text    names and messages without what a terminal or a log would obey
"""
