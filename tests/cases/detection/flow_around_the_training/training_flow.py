from prefect import flow
from fit_trees import main


@flow
def nightly():
    main()


if __name__ == "__main__":
    nightly()
