from setuptools import find_packages, setup

CORE = ["numpy>=1.22"]
setup(
    name="churn",
    packages=find_packages("src"),
    python_requires=">=3.8, <3.11",
    install_requires=CORE + ["scikit-learn"],
    extras_require={"train": ["pyyaml==6.0.1"], "dev": ["pytest"]},
)
