"""One studio for all: its models open once."""

import pytest

from frdiff.app.studio import Studio


@pytest.fixture(scope="session")
def studio():
    return Studio("digits", "cpu")
