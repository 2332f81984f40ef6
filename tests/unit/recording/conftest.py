import pytest
from sqlalchemy import text

from trainyard.recording.database import migrate, open_database


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request, tmp_path):
    """The URL of an empty database, of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/recording.sqlite"
    url = request.getfixturevalue("postgresql_url")
    engine = open_database(url)
    with engine.begin() as connection:
        connection.execute(text("drop schema public cascade"))
        connection.execute(text("create schema public"))
    engine.dispose()
    return url


@pytest.fixture
def engine(database_url):
    engine = open_database(database_url)
    migrate(engine)
    yield engine
    engine.dispose()
