"""Writing images: what is written is accepted by every reader there is, and nothing of others is lost."""

from __future__ import annotations

import copy
import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zarr

from chunkflow_liver.errors import GridError, InputError, OutputError
from chunkflow_liver.kernels.images.downsample import mean, mode
from chunkflow_liver.store.create import STATUS, create, finish, new_volume, write_volume
from chunkflow_liver.store.images import inspect, open_volume
from chunkflow_liver.store.ngff import group_attributes

NM = (4.0, 8.0, 16.0)


@pytest.fixture(scope="module", params=["0.4", "0.5"])
def image(request, tmp_path_factory):
    """An image of three levels with a semantic and an instance label image: (url, version)."""
    url = tmp_path_factory.mktemp("create") / "raw.ome.zarr"
    values = np.random.default_rng(0).integers(0, 5, (5, 600, 40), dtype=np.uint8)
    options = {"voxel_nm": NM, "ome_version": request.param}
    write_volume(url, values, **options)
    classes = (("er", 1), ("mito", 2), ("nucleus", 4))
    write_volume(url / "labels/organelles", values, kind="label", classes=classes, **options)
    write_volume(url / "labels/mitos", values.astype(np.uint32), kind="label", **options)
    return str(url), request.param


@pytest.mark.parametrize("part", ["", "/labels/organelles", "/labels/mitos"])
def test_yaozarrs_accepts_it(image, part):
    import yaozarrs

    yaozarrs.validate_zarr_store(image[0] + part)


@pytest.mark.parametrize(
    ("part", "name"),
    [
        ("", "Image"),
        ("/labels/organelles", "ImageLabel"),
        ("/labels/mitos", "ImageLabel"),
        ("/labels", "Labels"),
    ],
)
def test_ome_zarr_models_accepts_it(image, part, name):
    ome_zarr_models = pytest.importorskip("ome_zarr_models")
    found = ome_zarr_models.open_ome_zarr(zarr.open_group(image[0] + part, mode="r"))
    assert type(found).__name__ == name
    assert f"v{image[1].replace('.', '')}" in type(found).__module__


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("part", ["", "/labels/organelles", "/labels/mitos"])
def test_ngff_zarr_accepts_it(image, part):
    ngff_zarr = pytest.importorskip("ngff_zarr")
    found = ngff_zarr.from_ngff_zarr(image[0] + part, validate=True)
    _, volumes, _ = inspect(image[0] + part)
    assert [tuple(i.scale[a] for a in "zyx") for i in found.images] == [v.voxel_nm for v in volumes]
    np.testing.assert_array_equal(np.asarray(found.images[0].data), volumes[0].read())


@pytest.mark.parametrize("version", ["0.4", "0.5", "0.6"])
def test_the_schemas_of_the_specification_accept_it(version, tmp_path):
    """As ngff-zarr ships them; of what they only recommend, colours of ids are left out (see below)."""
    ngff_zarr = pytest.importorskip("ngff_zarr")
    from jsonschema import Draft202012Validator
    from referencing import Registry
    from referencing.jsonschema import DRAFT202012

    folder = Path(ngff_zarr.__file__).parent / "spec" / version / "schemas"
    schemas = {path.stem: json.loads(path.read_text()) for path in folder.glob("*.schema")}
    known = Registry().with_resources((s["$id"], DRAFT202012.create_resource(s)) for s in schemas.values())

    def errors(name, attributes):
        found = Draft202012Validator(schemas[name], registry=known).iter_errors(attributes)
        return [error.message for error in found]

    url, values = tmp_path / "raw.ome.zarr", np.ones((5, 600, 40), np.uint8)
    options = {"voxel_nm": NM, "ome_version": version}
    write_volume(url, values, **options)
    write_volume(url / "labels/organelles", values, kind="label", classes=(("er", 1),), **options)
    write_volume(url / "labels/mitos", values, kind="label", **options)
    for part in ("", "/labels/organelles", "/labels/mitos"):
        attributes, _ = group_attributes(f"{url}{part}")
        assert errors("image", attributes) == errors("strict_image", attributes) == []
        if part:
            assert errors("label", attributes) == []
            wanted = ["'colors' is a required property"] if part.endswith("mitos") else []
            assert errors("strict_label", attributes) == wanted
    broken = copy.deepcopy(attributes)
    (broken if version == "0.4" else broken["ome"])["multiscales"][0].pop("datasets")
    assert "'datasets' is a required property" in errors("image", broken)


@pytest.mark.filterwarnings("ignore")
def test_ome_zarr_py_shows_the_image_and_its_labels(image):
    pytest.importorskip("ome_zarr")
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    logging.disable(logging.WARNING)
    nodes = list(Reader(parse_url(image[0]))())
    logging.disable(logging.NOTSET)
    kinds = [[type(spec).__name__ for spec in node.specs] for node in nodes]
    assert kinds == [["Multiscales"], ["Labels"], *[["Label", "Multiscales"]] * 2]
    np.testing.assert_array_equal(np.asarray(nodes[0].data[0]), open_volume(image[0]).read())
    assert [Path(node.zarr.path).name for node in nodes[2:]] == ["mitos", "organelles"]
    assert set(nodes[3].metadata["color"]) >= {1, 2, 4}


def test_label_metadata_name_classes_colours_and_source(image):
    url, version = image
    attributes, _ = group_attributes(f"{url}/labels/organelles")
    ome = attributes["ome"] if version == "0.5" else attributes
    entry = ome["image-label"]
    assert entry["properties"] == [
        {"label-value": 1, "class": "er"},
        {"label-value": 2, "class": "mito"},
        {"label-value": 4, "class": "nucleus"},
    ]
    assert [c["label-value"] for c in entry["colors"]] == [1, 2, 4]
    assert all(len(c["rgba"]) == 4 for c in entry["colors"])
    labels, _ = group_attributes(f"{url}/labels")
    assert (labels["ome"] if version == "0.5" else labels)["labels"] == ["mitos", "organelles"]
    assert open_volume(f"{url}/labels/organelles").classes == (("er", 1), ("mito", 2), ("nucleus", 4))


def test_ids_have_no_list_of_colours_because_viewers_hide_what_it_leaves_out(image):
    """napari 0.9.2 with napari-ome-zarr 0.10 drew 0 of 9,543 voxels with a list of 0 alone, all without."""
    url, version = image
    attributes, _ = group_attributes(f"{url}/labels/mitos")
    entry = (attributes["ome"] if version == "0.5" else attributes)["image-label"]
    assert "colors" not in entry
    assert entry["properties"] == [{"label-value": 0, "class": "background"}]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("part", ["organelles", "mitos"])
def test_napari_draws_every_label(image, part):
    """By the rules of its own reader, where napari-ome-zarr is installed."""
    reader = pytest.importorskip("napari_ome_zarr")
    from napari.layers import Labels

    layers = reader.napari_get_reader(image[0])(image[0])
    [layer] = [found for found in layers if part in found[1].get("name", "")]
    (data, *_), options, kind = layer
    assert kind == "labels"
    shown = Labels(np.asarray(data), colormap=options["colormap"]) if "colormap" in options else None
    shown = shown or Labels(np.asarray(data))
    for number in (1, 2, 4):
        assert shown.get_color(number)[3] > 0
    assert shown.get_color(0) is None or shown.get_color(0)[3] == 0


def test_a_label_image_names_the_image_it_was_made_from_by_a_relative_path(tmp_path, store):
    inside = store.like(f"{store.url}/labels/mitos", dtype="uint32", kind="label")
    beside = store.like(str(tmp_path / "results.ome.zarr/labels/mitos"), dtype="uint32", kind="label")
    for volume, wanted in ((inside, "../.."), (beside, "../../../raw.ome.zarr")):
        create(volume)
        entry = group_attributes(volume.url)[0]["ome"]["image-label"]
        assert entry["source"] == {"image": wanted}
        assert (Path(volume.url) / wanted).resolve() == Path(store.url)
    # What is made of labels goes back to the labels' own image.
    assert replace(inside).like("/x/labels/y", dtype="uint8", kind="label").source == store.url
    np.testing.assert_array_equal(open_volume(store.url).voxel_nm, NM)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_levels_are_those_of_the_kernels(tmp_path, version):
    rng = np.random.default_rng(0)
    for kind, reduce, dtype in (
        ("image", mean, "int16"),
        ("image", mean, "float32"),
        ("label", mode, "uint64"),
        ("image", mode, "bool"),
    ):
        url = tmp_path / f"{kind}-{dtype}.ome.zarr"
        values = rng.integers(0, 2 if dtype == "bool" else 5, (3, 530, 6)).astype(dtype)
        write_volume(url, values, voxel_nm=(16, 8, 8), kind=kind, ome_version=version)
        _, volumes, problems = inspect(url)
        assert problems == []
        assert [v.reduction for v in volumes] == [(1, 1, 1), (1, 2, 2), (2, 4, 4)]
        once = reduce(values, (1, 2, 2))
        np.testing.assert_array_equal(volumes[1].read(), once)
        np.testing.assert_array_equal(volumes[2].read(), reduce(once, (2, 2, 2)))


def test_a_plane_becomes_a_volume_of_one_slice(tmp_path):
    values = np.arange(12, dtype=np.uint8).reshape(3, 4)
    volume = write_volume(tmp_path / "a", values, voxel_nm=(40, 6, 6))
    assert volume.shape == (1, 3, 4)
    np.testing.assert_array_equal(open_volume(volume.url).read()[0], values)


@pytest.mark.parametrize(
    "dtype", ["bool", "uint8", "uint16", "int8", "int16", "uint32", "int32", "float16", "float32", "float64"]
)
@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_every_dtype_comes_back(tmp_path, dtype, version):
    values = (np.arange(60).reshape(3, 4, 5) % 7).astype(dtype)
    volume = write_volume(tmp_path / "a", values, voxel_nm=NM, ome_version=version)
    got = open_volume(volume.url).read()
    assert got.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(got, values)


def test_an_image_states_whether_all_its_voxels_are_there(tmp_path):
    for version in ("0.4", "0.5"):
        volume = new_volume(
            str(tmp_path / f"{version}.ome.zarr"), (4, 5, 6), "uint8", NM, ome_version=version
        )
        create(volume)
        assert group_attributes(volume.url)[0][STATUS] == {"status": "in-progress"}
        finish(volume)
        assert group_attributes(volume.url)[0][STATUS] == {"status": "complete"}
        finish(volume)
        assert inspect(volume.url)[2] == []


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"array": np.zeros((2, 3, 4), "c8")}, InputError, "complex64 voxels cannot be stored as image"),
        ({"array": np.zeros((2, 3, 4), "i8")}, InputError, "int64 voxels cannot be stored as image"),
        (
            {"array": np.zeros((2, 3, 4), "f4"), "kind": "label"},
            InputError,
            "float32 voxels cannot be stored as label",
        ),
        (
            {"array": np.zeros((2, 3, 4, 5), "u1")},
            InputError,
            r"needs 2 or 3 axes .* got shape \(2, 3, 4, 5\)",
        ),
        ({"array": np.zeros((0, 3, 4), "u1")}, InputError, r"at least one voxel each, got shape \(0, 3, 4\)"),
        ({"voxel_nm": (4, 0, 16)}, InputError, r"voxel_nm must be three sizes above 0 .* got \(4, 0, 16\)"),
        ({"voxel_nm": (4, 8)}, InputError, "voxel_nm must be three sizes"),
        ({"voxel_nm": (4, 8, float("inf"))}, InputError, "voxel_nm must be three sizes"),
        (
            {"ome_version": "0.3"},
            InputError,
            r"OME-Zarr '0.3' cannot be written; choose one of \['0.4', '0.5', '0.6'\]",
        ),
        ({"chunks": (16, 16)}, GridError, "expected three integers in z, y, x order"),
        ({"chunks": (16, 0, 16)}, InputError, r"chunks need at least one voxel per axis, got \(16, 0, 16\)"),
    ],
)
def test_what_cannot_be_stored_is_refused_and_nothing_is_made(tmp_path, listing, options, error, says):
    given = {"array": np.zeros((2, 3, 4), np.uint8), "voxel_nm": NM} | options
    with pytest.raises(error, match=says):
        write_volume(tmp_path / "a.ome.zarr", given.pop("array"), **given)
    assert listing() == []


def test_an_existing_path_is_never_overwritten_by_write_volume(tmp_path, store):
    with pytest.raises(OutputError, match=r"raw.ome.zarr exists already; choose another name or remove it"):
        write_volume(store.url, np.zeros((2, 3, 4), np.uint8), voxel_nm=NM)


def foreign_v3(folder: Path) -> None:
    zarr.open_group(folder, mode="w", attributes={"mine": 1})


def foreign_v2(folder: Path) -> None:
    zarr.open_group(folder, mode="w", zarr_format=2)


def foreign_array(folder: Path) -> None:
    zarr.create_array(folder, shape=(2, 2), chunks=(2, 2), dtype="u1")


def plain_folder(folder: Path) -> None:
    folder.mkdir()
    (folder / "thesis.txt").write_text("text")


def plain_file(folder: Path) -> None:
    folder.write_text("text")


def broken_json(folder: Path) -> None:
    folder.mkdir()
    (folder / "zarr.json").write_text("{")


@pytest.mark.parametrize(
    "make", [foreign_v3, foreign_v2, foreign_array, plain_folder, plain_file, broken_json]
)
def test_what_was_not_written_by_us_is_never_overwritten(tmp_path, listing, store, make):
    make(tmp_path / "out.ome.zarr")
    before = listing()
    with pytest.raises(
        OutputError, match="exists and was not written by chunkflow_liver; choose another name"
    ):
        create(store.like(str(tmp_path / "out.ome.zarr"), dtype="uint8", kind="image"))
    assert listing() == before


def test_labels_do_not_join_an_image_of_the_other_zarr_format(tmp_path, listing):
    """A zarr.json beside .zgroup would hide the raw image from its readers."""
    raw = write_volume(
        tmp_path / "raw.ome.zarr", np.zeros((2, 3, 4), np.uint8), voxel_nm=NM, ome_version="0.4"
    )
    before = listing()
    with pytest.raises(OutputError, match=r"raw.ome.zarr is zarr v2 and 'mitos' would be zarr v3"):
        create(raw.like(f"{raw.url}/labels/mitos", dtype="uint8", kind="label"))
    assert listing() == before
    create(raw.like(f"{raw.url}/labels/mitos", dtype="uint8", kind="label", ome_version="0.4"))
    assert open_volume(raw.url).shape == (2, 3, 4)


def test_an_unfinished_image_of_ours_is_made_anew(tmp_path, store):
    volume = store.like(str(tmp_path / "out.ome.zarr"), dtype="uint16", kind="image")
    create(volume)
    volume.write(volume.box, store.read())
    create(volume)
    assert volume.missing() == sorted(volume.keys(volume.box))


def test_labels_of_other_programs_stay_listed(tmp_path, store):
    zarr.open_group(
        f"{store.url}/labels", mode="w", attributes={"ome": {"version": "0.5", "labels": ["theirs"]}}
    )
    create(store.like(f"{store.url}/labels/ours", dtype="uint8", kind="label"))
    create(store.like(f"{store.url}/labels/ours", dtype="uint8", kind="label"))
    assert group_attributes(f"{store.url}/labels")[0]["ome"]["labels"] == ["ours", "theirs"]


def test_classes_may_be_a_dict(tmp_path):
    values = np.ones((2, 3, 4), np.uint8)
    classes = {"er": 1, "mito": 2}
    volume = write_volume(tmp_path / "a", values, voxel_nm=NM, kind="label", classes=classes)
    assert volume.classes == open_volume(volume.url).classes == (("er", 1), ("mito", 2))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"kind": "labels"}, "'image'.*'label'.*got 'labels'"),
        ({"kind": "image", "classes": [("er", 1)]}, "classes"),
        ({"kind": "image", "classes": {"er": 1}}, "classes"),
        ({"voxel_nm": 5}, r"voxel_nm must be three sizes above 0 \(z, y, x\), got 5"),
        ({"voxel_nm": (0.05, 8, 8)}, "not credible"),
        ({"voxel_nm": (4e-9, 8e-9, 8e-9)}, "not credible"),
    ],
    ids=lambda v: next(iter(v.items())) if isinstance(v, dict) else None,
)
def test_what_a_person_mistypes_is_refused_and_nothing_is_made(tmp_path, listing, options, says):
    with pytest.raises(InputError, match=says):
        write_volume(tmp_path / "a.ome.zarr", np.ones((2, 3, 4), np.uint8), **{"voxel_nm": NM} | options)
    assert listing() == []
