from setuptools import find_packages, setup

NAME = "keras-tcn"
setup(name=NAME, version="9.9", packages=find_packages(), install_requires=["numpy"])
