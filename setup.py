"""The package's folders; the metadata is in pyproject.toml.

The catalog lies beside the package in a checkout and within it in an installation (docs/decisions/0012). That is said
here because pyproject.toml has either a search for packages or a list of them, not both.
"""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["mlops_lib*"]), "mlops_lib.containers"],
    package_dir={"mlops_lib.containers": "containers"},
)
