import pytest

from tests.training.runs_of_processes import Training, build_data


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    return build_data(tmp_path_factory.mktemp("tiny") / "data")


@pytest.fixture(scope="session")
def undisturbed(data, tmp_path_factory):
    """A training from beginning to end."""
    training = Training(tmp_path_factory.mktemp("undisturbed"), data)
    assert training.run() == 0, training.log
    return training
