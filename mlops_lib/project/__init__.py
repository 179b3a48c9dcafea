"""The pushed folder as the host sees it: read, never obeyed.

files       opens its files: inside the project, regular, bounded
repository  its git repository, read without running git
places      writes into it, never through a link
"""
