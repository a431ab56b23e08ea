"""The URL of the storage: what it may say, and what its errors never quote."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from core.settings import Settings
from core.storage_url import FileLocation, S3Location, parse_storage_url


def test_a_folder(tmp_path: Path) -> None:
    assert parse_storage_url("file:///srv/my%20farm") == FileLocation(Path("/srv/my farm"))
    settings = Settings(data_dir=tmp_path, storage_url="file:///srv/farm")
    assert settings.images_dir == Path("/srv/farm/images")
    assert settings.uploads_dir == Path("/srv/farm/uploads")
    assert settings.spool_dir == tmp_path / "spool"


def test_the_default_is_the_data_directory(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    assert settings.storage_location == FileLocation(tmp_path)
    assert settings.images_dir == tmp_path / "images"


def test_a_bucket() -> None:
    found = parse_storage_url("s3://KEY:se%2Fcret@images.farm/a/b?endpoint=https://s3.example:9000/&region=eu-1")
    assert found == S3Location("images.farm", "a/b/", "https://s3.example:9000", "eu-1", True, "KEY", "se/cret")
    assert "se/cret" not in repr(found)
    assert parse_storage_url("s3://farm") == S3Location("farm", path_style=False)


@pytest.mark.parametrize(
    "url",
    [
        *(
            "/srv/farm",
            "file:srv",
            "file://host/srv",
            "file:///",
            "http://x",
            "s3:bucket",
            "s3://",
            "s3://B",
            "s3://KEY@farm",
        ),
        *(
            "s3://:secretpart@farm",
            "s3://KEY:secret/part@farm",
            "s3://farm/../x",
            "s3://farm?colour=red",
            "s3://farm?style=x",
        ),
        *(
            "s3://farm?endpoint=host:9000",
            "s3://farm?endpoint=http://u:secretpart@h",
            "s3://farm?region=a&region=b",
            "s3://farm#x",
        ),
    ],
)
def test_a_url_that_is_wrong_says_what_to_write(url: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Settings(storage_url=url)
    assert "secretpart" not in str(caught.value)
    assert "secret/part" not in str(caught.value)
