"""Locations: paths and URLs mean the same everywhere, and looking leaves nothing behind."""

from __future__ import annotations

import os
import re

import pytest
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync

from chunkflow_liver.errors import ChunkError, ConfigError, InputError
from chunkflow_liver.store.location import (
    absolute,
    checked_name,
    is_local,
    join,
    open_store,
    read_key,
    refuse_work_inside,
    relative,
    scheme,
    write_key,
)


@pytest.mark.parametrize(
    ("url", "kind"),
    [("a/b", "file"), ("/a", "file"), ("s3://b/k", "s3"), ("memory://x", "memory"), ("https://h/p", "https")],
)
def test_the_scheme_of_a_plain_path_is_file(url, kind):
    assert scheme(url) == kind
    assert is_local(url) == (kind == "file")


def test_an_absolute_location_does_not_depend_on_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert absolute("a/../b/") == str(tmp_path / "b")
    assert absolute(f"file://{tmp_path}/b") == str(tmp_path / "b")
    assert absolute("s3://bucket/key/") == "s3://bucket/key"


def test_parts_are_joined_by_one_slash():
    assert join("s3://b/", "/labels/", "", "mitos") == "s3://b/labels/mitos"


def test_a_relative_location_is_a_path_only_on_one_file_system(tmp_path):
    assert relative(str(tmp_path), str(tmp_path / "labels/mitos")) == "../.."
    assert relative("s3://b/raw", str(tmp_path)) == "s3://b/raw"


@pytest.mark.parametrize("where", ["local", "memory"])
def test_keys_are_written_and_read(where, tmp_path):
    url = str(tmp_path / "s") if where == "local" else f"memory://{tmp_path.name}"
    assert read_key(url, "a/b") is None
    write_key(url, "a/b", b"\x00text")
    assert read_key(url, "a/b") == b"\x00text"
    assert read_key(url, "a") is None


def test_looking_for_a_key_makes_no_folder(tmp_path, unchanged):
    assert read_key(str(tmp_path / "none"), "zarr.json") is None


def test_one_store_is_kept_per_location(tmp_path):
    assert open_store(str(tmp_path)) is open_store(str(tmp_path))
    assert open_store(str(tmp_path), complete=True) is not open_store(str(tmp_path))


@pytest.mark.parametrize("name", ["mitos", "mito-1.2_b", "M" * 64, "0"])
def test_plain_names_are_accepted(name):
    assert checked_name(name) == name


@pytest.mark.parametrize(
    "name", ["", "../x", ".hidden", "a/b", "<script>", "M" * 65, "a b", "ä", "-x", "a\n"]
)
def test_names_that_are_no_folder_names_are_refused(name):
    with pytest.raises(InputError, match=re.escape(f"name {name!r} is not usable as a folder name")):
        checked_name(name)


def test_unknown_schemes_are_refused():
    with pytest.raises(InputError, match="cannot open 'ftp://host/a': no access by 'ftp'; use one of"):
        open_store("ftp://host/a")


def test_a_key_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(InputError, match=r"cannot read .*null byte"):
        read_key(str(tmp_path), "a\0b")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_named(tmp_path):
    (tmp_path / "zarr.json").touch(mode=0)
    with pytest.raises(InputError, match="Permission denied"):
        read_key(str(tmp_path), "zarr.json")


@pytest.mark.network
def test_an_object_store_that_does_not_answer_is_an_input_error(monkeypatch, no_proxy):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "none")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "none")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    with pytest.raises(InputError, match=r"cannot read s3://no-such-bucket/raw/zarr.json"):
        read_key("s3://no-such-bucket/raw", "zarr.json")


def test_what_a_link_leads_to_outside_is_not_read(tmp_path):
    """Nor a pipe, which would be read for ever; links inside are as good as files."""
    image, secret = tmp_path / "a.zarr", tmp_path / "secret"
    (image / "c").mkdir(parents=True)
    secret.mkdir()
    (secret / "key").write_bytes(b"mine")
    (image / "c/0").write_bytes(b"voxels")
    (image / "c/1").symlink_to("0")
    (image / "d").symlink_to("c")
    for key in ("c/0", "c/1", "d/1"):
        assert read_key(str(image), key) == b"voxels"
    (image / "c/2").symlink_to(secret / "key")
    (image / "c/3").symlink_to("/dev/zero")
    (image / "c/4").symlink_to(tmp_path / "nowhere")
    (image / "e").symlink_to(secret)
    os.mkfifo(image / "c/5")
    for key in ("c/2", "c/3", "c/4", "e/key", "c/5"):
        says = "is a pipe, not a file" if key == "c/5" else "is a link that leads out of the image"
        with pytest.raises(InputError, match=says):
            read_key(str(image), key)
        with pytest.raises(ChunkError, match=says):
            sync(open_store(str(image)).get(key, default_buffer_prototype()))


def test_no_work_folder_lies_inside_an_image(tmp_path):
    (tmp_path / "a.zarr/c").mkdir(parents=True)
    (tmp_path / "link").symlink_to("a.zarr")
    for place in ("a.zarr", "a.zarr/c/0", "link/work"):
        with pytest.raises(ConfigError, match=r"lies inside .*a.zarr, which the plan reads: take a folder"):
            refuse_work_inside(tmp_path / place, [str(tmp_path / "a.zarr")])
    for place in (".", "a.zarr-work", "work"):
        refuse_work_inside(tmp_path / place, [str(tmp_path / "a.zarr"), "s3://bucket/a"])
