"""The files of image tasks: what is read, where it is looked for, and every damage that is told."""

import gzip
import hashlib
import io
import os
import pickle
import struct
import sys
import tarfile
import tomllib
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import graphlth.records as record
from graphlth.data import files as _files
from graphlth.data import idx as _idx
from graphlth.data import published
from graphlth.data.images import _moments
from graphlth.experiment.plan import plan
from graphlth.experiment.run import run
from graphlth.registry import find
from graphlth.tasks import cifar10, fashion_mnist, mnist

KNOWN = published.published_files()
RANDOM = np.random.default_rng(0)


class Hostile:
    """Unpickled by the ordinary unpickler, it would make a folder."""

    def __reduce__(self):
        return os.mkdir, ("ran",)


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """An empty folder, out of reach of network and real data; no file is a published one."""

    def refuse(*_, **__):
        raise OSError("no network")

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GRAPHLTH_DATA_ROOT", raising=False)
    monkeypatch.setattr("socket.create_connection", refuse)
    monkeypatch.setattr(published, "published_files", lambda: {})


def one_line(error):
    return "\n" not in str(error.value)


def test_files_of_a_task_of_ones_own_are_found_where_those_of_others_are(tmp_path, monkeypatch):
    names = ("raw/a.csv", "b.csv")
    for place in ("given/Own", "datasets/own"):
        (tmp_path / place / "raw").mkdir(parents=True)
        for name in names:
            (tmp_path / place / name).touch()
    for root in ("given", "given/Own"):
        found = _files.find_files("own", names, root)
        assert found == [Path("given/Own") / name for name in names]
    monkeypatch.setenv("GRAPHLTH_DATA_ROOT", "given")
    assert _files.find_files("own", names) == [Path("given/Own") / name for name in names]
    monkeypatch.delenv("GRAPHLTH_DATA_ROOT")
    assert _files.find_files("own", names) == [Path("datasets/own") / name for name in names]
    (tmp_path / "datasets/own/b.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"^own: .*own lacks b.csv; give the folder that"):
        _files.find_files("own", names)


# --- IDX -----------------------------------------------------------------------------------------


def idx(array, kind=8):
    """The bytes of an IDX file."""
    head = bytes([0, 0, kind, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.astype(np.uint8).tobytes()


SMALL = np.arange(24).reshape(2, 3, 4)
WHOLE = idx(SMALL)


@pytest.mark.parametrize("content", [
    bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, *range(24)]),
    gzip.compress(WHOLE, mtime=0),
])  # fmt: skip
def test_an_idx_file_is_read_packed_or_not(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    assert _idx.read(tmp_path / "file", (2, 3, 4)).tolist() == SMALL.tolist()


DAMAGED = [  # content, what the one line says
    (b"", "does not begin as one of unsigned bytes in 3 dimensions"),
    (b"\x00\x00", "does not begin"),
    (b"\x01" + WHOLE[1:], "does not begin"),
    (idx(SMALL, kind=13), "does not begin"),
    (idx(SMALL.ravel()), "does not begin"),
    (WHOLE[:10], "buffer size must be a multiple"),
    (WHOLE[:8], r"it must hold \[2, 3, 4\], got \[2\]"),
    (idx(SMALL[:1]), r"it must hold \[2, 3, 4\], got \[1, 3, 4\]"),
    (WHOLE[:-1], "it is cut"),
    (WHOLE + b"\0", "it is longer than it says"),
    (gzip.compress(WHOLE, mtime=0)[:-9], "ended before the end-of-stream"),
    (gzip.compress(WHOLE, mtime=0)[:5], "ended before|Compressed"),
    (b"\x1f\x8b" + bytes(40), "compression method"),
    (gzip.compress(WHOLE + bytes(10_000_000), mtime=0), "it is longer than it says"),
]


@pytest.mark.parametrize(("content", "says"), DAMAGED)
def test_a_damaged_idx_file_is_told(tmp_path, content, says):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ValueError, match=f"file: not a readable IDX file .*({says})") as error:
        _idx.read(tmp_path / "file", (2, 3, 4))
    assert one_line(error)


def test_a_packed_file_is_unpacked_no_further_than_it_should_be(tmp_path, monkeypatch):
    asked, read = [], gzip.GzipFile.read

    def counted(self, size=-1):
        asked.append(size)
        return read(self, size)

    monkeypatch.setattr(gzip.GzipFile, "read", counted)
    (tmp_path / "file").write_bytes(gzip.compress(WHOLE + bytes(10_000_000), mtime=0))
    with pytest.raises(ValueError, match="longer"):
        _idx.read(tmp_path / "file", (2, 3, 4))
    assert max(asked) == 25 and min(asked) > 0


# --- MNIST, where files are looked for -----------------------------------------------------------


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Files of MNIST's names, shapes and classes; of the pixels only the first of each is set."""
    folder = tmp_path_factory.mktemp("written")
    for part, count, at in (("train", 60_000, 0), ("test", 10_000, 2)):
        x = np.zeros((count, 28, 28), np.uint8)
        y = np.repeat(np.arange(10), mnist.PER_CLASS[part])
        x[:, 0, 0] = y
        (folder / _idx.FILES[at]).write_bytes(idx(x))
        (folder / _idx.FILES[at + 1]).write_bytes(idx(y))
    return folder


def place(written, folder):
    folder.mkdir(parents=True, exist_ok=True)
    for file in written.iterdir():
        (folder / file.name).symlink_to(file)


@pytest.mark.parametrize("where", [".", "mnist", "MNIST", "MNIST/raw", "deep/mnist"])
def test_files_are_found_in_the_folder_or_below_it(tmp_path, written, where):
    place(written, tmp_path / "root" / where)
    task = find("tasks", "mnist")(data_root=str(tmp_path / "root"))
    assert {part: len(rows) for part, rows in task.rows.items()} == {
        "train": 55_000, "val": 5_000, "test": 10_000}  # fmt: skip
    assert task.shape == (1, 28, 28) and task.num_classes == 10
    assert torch.equal(task.x[:, 0, 0, 0], task.y.byte()) and not task.x[:, 0, 1:].any()
    assert task.rows["test"].min() == 60_000


def test_files_are_found_by_the_environment_and_in_the_cache(tmp_path, written, monkeypatch):
    place(written, tmp_path / "elsewhere/mnist")
    monkeypatch.setenv("GRAPHLTH_DATA_ROOT", str(tmp_path / "elsewhere"))
    assert find("tasks", "mnist")(train_size=1000).rows["train"].numel() == 1000
    monkeypatch.setenv("GRAPHLTH_DATA_ROOT", str(tmp_path))
    (tmp_path / "elsewhere").rename(tmp_path / "datasets")
    assert find("tasks", "mnist")(val_size=100).rows["train"].numel() == 59_900


def test_mnist_is_not_taken_for_fashion_mnist(tmp_path, written):
    place(written, tmp_path / "fashion-mnist")
    with pytest.raises(ValueError, match=r"must hold fashion_mnist's .*got \[5923, ") as error:
        find("tasks", "fashion_mnist")(data_root=str(tmp_path))
    assert one_line(error)


def test_what_is_missing_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(published, "published_files", lambda: KNOWN)
    with pytest.raises(FileNotFoundError) as error:
        find("tasks", "mnist")(data_root=str(tmp_path))
    assert str(error.value) == (
        f"mnist: no train-images-idx3-ubyte.gz in {tmp_path}, datasets; downloading failed (no "
        "network); give the folder that holds mnist with --data_root or GRAPHLTH_DATA_ROOT"
    )
    (tmp_path / "mnist").mkdir()
    for file in _idx.FILES[:3]:
        (tmp_path / "mnist" / file).touch()
    with pytest.raises(FileNotFoundError, match=r"mnist lacks t10k-labels-idx1-ubyte; down"):
        find("tasks", "mnist")(data_root=str(tmp_path))
    assert not (tmp_path / "datasets").exists()
    with pytest.raises(FileNotFoundError, match="`data_root` must be a folder, got 'gone'"):
        find("tasks", "mnist")(data_root="gone")


# --- downloads -----------------------------------------------------------------------------------


class Socket:
    def close(self):
        pass


@pytest.fixture
def network(monkeypatch):
    monkeypatch.setattr("socket.create_connection", lambda *_, **__: Socket())


def digest(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def test_a_download_is_whole_or_not_there(tmp_path, network):
    (tmp_path / "there.gz").write_bytes(b"content")
    url = (tmp_path / "there.gz").as_uri()
    (path,) = _files.download(tmp_path / "here", {url: digest(tmp_path / "there.gz")})
    assert path == tmp_path / "here/there.gz" and path.read_bytes() == b"content"
    with pytest.raises(RuntimeError, match="invalid hash"):
        _files.download(tmp_path / "wrong", {url: "0" * 64})
    assert list((tmp_path / "wrong").iterdir()) == []


def test_mnist_is_downloaded_once_where_it_is_nowhere(tmp_path, written, network, monkeypatch):
    (tmp_path / "web").mkdir()
    for file in written.iterdir():
        (tmp_path / "web" / f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes(), 1))
    files = [tmp_path / "web" / f"{file}.gz" for file in _idx.FILES]
    monkeypatch.setattr(mnist, "URL", (tmp_path / "web").as_uri() + "/")
    digests = {file.name: f"sha256:{digest(file)}" for file in files} | {"other.gz": "sha256:0"}
    monkeypatch.setattr(published, "published_files", lambda: {"mnist": digests})
    first = find("tasks", "mnist")()
    for file in files:
        file.unlink()
    assert find("tasks", "mnist")().fingerprint() == first.fingerprint()
    monkeypatch.setattr(_idx, "FILES", ["other", *_idx.FILES[1:]])
    with pytest.raises(FileNotFoundError, match="No such file") as error:
        find("tasks", "mnist")()
    assert one_line(error)


# --- CIFAR-10 ------------------------------------------------------------------------------------


PIXELS = RANDOM.integers(0, 256, (4, 3, 32, 32), dtype=np.uint8)
LABELS = [3, 0, 9, 3]


def as_binary(path, pixels=PIXELS, labels=LABELS):
    rows = [bytes([label]) + image.tobytes() for image, label in zip(pixels, labels, strict=True)]
    path.write_bytes(b"".join(rows))


def as_pickle(path, **changes):
    """As Python 2 wrote it: its strings are bytes."""
    held = {"batch_label": "training batch 1 of 5", "labels": LABELS,
            "data": PIXELS.reshape(4, -1), "filenames": ["a.png"] * 4} | changes  # fmt: skip
    content = pickle.dumps(held, protocol=2)
    for text in ("data", "labels", "batch_label", "filenames"):
        new, old = text.encode(), b"X" + struct.pack("<I", len(text)) + text.encode()
        content = content.replace(old, b"U" + bytes([len(new)]) + new)
    path.write_bytes(content)


def encoded(image, form="PNG"):
    out = io.BytesIO()
    Image.fromarray(image).save(out, form)
    return out.getvalue()


def as_parquet(path, images=None, labels=LABELS, **columns):
    if images is None:
        images = [encoded(image.transpose(1, 2, 0)) for image in PIXELS]
    column = [{"bytes": image, "path": None} for image in images]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pq.write_table(pa.table({"img": pa.array(column, kind), "label": labels} | columns), path)


@pytest.mark.parametrize(("name", "write"), [
    ("data_batch_1.bin", as_binary), ("data_batch_1", as_pickle), ("train.parquet", as_parquet),
])  # fmt: skip
def test_each_format_holds_the_same_images(tmp_path, name, write):
    write(tmp_path / name)
    images, labels = cifar10.read(tmp_path / name)
    assert np.array_equal(images, PIXELS) and labels.tolist() == LABELS


def test_jpeg_images_are_read_as_colours(tmp_path):
    red = np.zeros((32, 32, 3), np.uint8)
    red[..., 0] = 200
    as_parquet(tmp_path / "a.parquet", [encoded(red, "JPEG")], [1])
    images, _ = cifar10.read(tmp_path / "a.parquet")
    assert abs(int(images[0, 0].mean()) - 200) < 4 and images[0, 1:].max() < 4


def cut(path):
    path.write_bytes(path.read_bytes()[:-20])


def grey(path):
    as_parquet(path, [encoded(PIXELS[0, 0])], [1])


def no_image(path):
    as_parquet(path, [b"no image"], [1])


def torn_image(path):
    as_parquet(path, [encoded(PIXELS[0].transpose(1, 2, 0))[:-300]], [1])


def two_columns(path):
    as_parquet(path, other=pa.array([{"bytes": b""}] * 4))


WRONG = [  # file, how it is written, what the one line says
    ("a.bin", lambda p: (as_binary(p), cut(p)), "must hold 3,073 bytes an image, got 12,272"),
    ("a.bin", lambda p: as_binary(p, labels=[10] * 4), "must hold images of the classes 0 to 9"),
    ("a.bin", lambda p: p.write_bytes(b""), "must hold images of the classes"),
    ("a", lambda p: (as_pickle(p), cut(p)), "not a readable array file"),
    ("a", lambda p: as_pickle(p, data=Hostile()), "not a readable array file .it asks for .*mkdir"),
    ("a", lambda p: as_pickle(p, labels=[Hostile()]), "it asks for .*mkdir"),
    ("a", lambda p: p.write_bytes(pickle.dumps([1])), "must hold `data` .n, 3072. uint8 and `lab"),
    ("a", lambda p: as_pickle(p, data=PIXELS[:3]), "must hold `data` .*cannot reshape"),
    ("a", lambda p: as_pickle(p, data=PIXELS / 2), "must hold `data` .*numbers of another kind"),
    ("a", lambda p: as_pickle(p, labels=[0.5] * 4), "must hold `data` .*numbers of another kind"),
    ("a", lambda p: as_pickle(p, labels=[-1] * 4), "must hold images of the classes 0 to 9"),
    ("a.parquet", lambda p: (as_parquet(p), cut(p)), "must be a Parquet file with images struct"),
    ("a.parquet", lambda p: p.write_bytes(b"no"), "must be a Parquet file with images struct"),
    ("a.parquet", lambda p: as_parquet(p, labels=list("abcd")), "must be a Parquet file"),
    ("a.parquet", lambda p: as_parquet(p, [None] * 4), "a label or an image is missing"),
    ("a.parquet", lambda p: as_parquet(p, labels=[1, 2, 3, None]), "label or an image is missing"),
    ("a.parquet", two_columns, "must be a Parquet file with images struct"),
    ("a.parquet", grey, r"row 0: must be a colour image of 32 × 32 pixels, got \[32, 32, 1\]"),
    ("a.parquet", no_image, "row 0: not a readable image .neither PNG nor JPEG"),
    ("a.parquet", torn_image, "row 0: not a readable image"),
]


@pytest.mark.parametrize(("name", "write", "says"), WRONG)
def test_a_wrong_file_of_cifar10_is_told(tmp_path, name, write, says):
    write(tmp_path / name)
    with pytest.raises(ValueError, match=says) as error:
        cifar10.read(tmp_path / name)
    assert str(error.value).startswith(str(tmp_path / name)) and one_line(error)
    assert not (tmp_path / "ran").exists()


def test_the_hostile_pickle_would_have_run_code(tmp_path):
    as_pickle(tmp_path / "a", data=Hostile())
    pickle.loads((tmp_path / "a").read_bytes(), encoding="latin1")
    assert (tmp_path / "ran").is_dir()


@pytest.mark.parametrize("package", ["pyarrow.parquet", "PIL.Image"])
def test_a_missing_package_is_told(tmp_path, monkeypatch, package):
    as_parquet(tmp_path / "a.parquet")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ValueError, match=f"`{package}` is needed .*pip install 'graphlth.vision.'"):
        cifar10.read(tmp_path / "a.parquet")


@pytest.fixture(scope="module")
def batches(tmp_path_factory):
    """Six binary batches of the right counts; the first pixel is the class."""
    folder = tmp_path_factory.mktemp("batches")
    rows = np.zeros((10_000, 3073), np.uint8)
    rows[:, 0] = rows[:, 1] = np.arange(10_000) % 10
    for file in cifar10.LAYOUTS[0]:
        rows.tofile(folder / file)
    return folder


def test_cifar10_is_whole(tmp_path, batches):
    place(batches, tmp_path / "cifar-10-batches-bin")
    task = find("tasks", "cifar10")(data_root=str(tmp_path), train_size=500)
    assert [len(task.rows[part]) for part in ("train", "val", "test")] == [500, 5_000, 10_000]
    assert task.shape == (3, 32, 32) and torch.equal(task.x[:, 0, 0, 0], task.y.byte())
    few = find("tasks", "cifar10")(data_root=str(tmp_path), train_size=500, test_size=70)
    assert torch.equal(few.rows["test"], task.rows["test"][:70])
    assert torch.equal(few.rows["train"], task.rows["train"])
    with pytest.raises(ValueError, match=r"`test_size` must be in \[0, 10000\], got 10001"):
        find("tasks", "cifar10")(data_root=str(tmp_path), test_size=10_001)
    like_mnist = find("tasks", "cifar10")(data_root=str(tmp_path), train_size=500, grey=True)
    assert (like_mnist.shape, like_mnist.x.dtype) == ((1, 28, 28), torch.uint8)
    luma = task.x[:9, :, 2:30, 2:30].double() * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
    assert (like_mnist.x[:9, 0].double() - luma.sum(1)).abs().max() <= 0.5 + 1e-9
    (tmp_path / "cifar-10-batches-bin/data_batch_2.bin").unlink()
    as_binary(tmp_path / "cifar-10-batches-bin/data_batch_2.bin")
    with pytest.raises(ValueError, match="the train files must hold 5,000 images of") as error:
        find("tasks", "cifar10")(data_root=str(tmp_path))
    assert one_line(error)
    (tmp_path / "cifar-10-batches-bin/data_batch_2.bin").unlink()
    with pytest.raises(FileNotFoundError, match=r"bin lacks data_batch_2\.bin; downloading failed"):
        find("tasks", "cifar10")(data_root=str(tmp_path))


def test_cifar10_is_downloaded_as_an_archive(tmp_path, network, monkeypatch):
    with tarfile.open(tmp_path / "archive.tar.gz", "w:gz") as tar:
        for file in cifar10.LAYOUTS[0]:
            as_binary(tmp_path / file)
            tar.add(tmp_path / file, f"cifar-10-batches-bin/{file}")
    monkeypatch.setattr(cifar10, "URL", (tmp_path / "archive.tar.gz").as_uri())
    listed = {cifar10.ARCHIVE: f"sha256:{digest(tmp_path / 'archive.tar.gz')}"}
    monkeypatch.setattr(published, "published_files", lambda: {"cifar10": listed})
    cifar10.fetch(tmp_path / "datasets/cifar10")
    found = sorted((tmp_path / "datasets/cifar10").iterdir())
    assert [path.name for path in found] == sorted(cifar10.LAYOUTS[0])
    assert np.array_equal(cifar10.read(found[0])[0], PIXELS)


# --- a folder of images --------------------------------------------------------------------------


folder = find("tasks", "image_folder")
GREY, COLOUR = (5, 4), (5, 4, 3)


def fill(root, classes=("cat", "dog"), count=6, shape=COLOUR, form="PNG", start=0):
    """Images whose every pixel is their number."""
    for c, name in enumerate(classes):
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            image = np.full(shape, start + c * count + i, np.uint8)
            (root / name / f"{i}.{form.lower()}").write_bytes(encoded(image, form))
    return root


def first_pixels(task, split):
    return task.x[task.rows[split], 0, 0, 0].tolist()


def test_classes_are_folders_and_splits_are_drawn(tmp_path):
    task = folder(path=str(fill(tmp_path / "pets")), val_size=3, test_size=2)
    held = {part: first_pixels(task, part) for part in ("train", "val", "test")}
    assert {part: len(rows) for part, rows in held.items()} == {"train": 7, "val": 3, "test": 2}
    assert sorted(n for part in held.values() for n in part) == list(range(12))
    assert task.y.tolist() == [int(n >= 6) for n in task.x[:, 0, 0, 0]]
    assert (task.name, task.shape) == ("pets", (3, 5, 4))
    less = folder(path=str(tmp_path / "pets"), val_size=3, test_size=2, train_size=4)
    assert first_pixels(less, "train") == held["train"][:4]
    assert [first_pixels(less, part) for part in ("val", "test")] == [held["val"], held["test"]]
    other = folder(path=str(tmp_path / "pets"), val_size=3, test_size=2, data_seed=1)
    assert first_pixels(other, "test") != held["test"]
    tenth = folder(path=str(tmp_path / "pets"))
    assert [len(tenth.rows[part]) for part in ("train", "val", "test")] == [9, 1, 2]


@pytest.mark.parametrize(
    ("where", "path", "name"),
    [("pets", ".", "pets"), ("pets/cat", "..", "pets"), (".", "pets/cat/..", "pets"),
     (".", "pets/.", "pets"), (".", "link", "link"), (".", "link/", "link")],
)  # fmt: skip
def test_a_folder_has_one_name_however_its_path_is_spelt(tmp_path, monkeypatch, where, path, name):
    fill(tmp_path / "pets")
    (tmp_path / "link").symlink_to("pets")
    monkeypatch.chdir(tmp_path / where)
    assert folder(path=path).name == name
    assert plan("imp", "image_folder", "mlp", {"path": path}).name.startswith(f"imp-{name}-mlp-")


def test_what_is_trained_on_the_folder_here_is_recorded_under_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(fill(tmp_path / "pets"))
    how = {"iterations": 1, "evaluate_every": 1, "rounds": 0, "hidden": 2}
    runs = {run("imp", "image_folder", "mlp", {"path": path, **how}, out=tmp_path / "runs")
            for path in (".", "cat/..", str(tmp_path / "pets"))}  # fmt: skip
    (line,) = record.read(*runs)
    assert line["task"] == "pets" and len(runs) == 1


@pytest.mark.parametrize("val", [True, False])
def test_folders_of_splits_are_kept(tmp_path, val):
    for part, start in (("train", 0), ("test", 50), ("val", 100))[: 2 + val]:
        fill(tmp_path / part, start=start)
    task = folder(path=str(tmp_path), val_size=4)
    assert sorted(first_pixels(task, "test")) == list(range(50, 62))
    held = sorted(first_pixels(task, "val"))
    assert held == list(range(100, 112)) if val else len(held) == 4 and max(held) < 12
    assert len(task.rows["train"]) == (12 if val else 8)


def test_grey_and_jpeg_images_and_other_files(tmp_path):
    root = fill(tmp_path / "grey", shape=GREY)
    (root / "cat/notes.txt").write_text("no image")
    task = folder(path=str(root))
    assert task.shape == (1, 5, 4) and sorted(task.x[:, 0, 0, 0].tolist()) == list(range(12))
    task = folder(path=str(fill(tmp_path / "jpeg", form="JPEG")))
    assert task.shape == (3, 5, 4) and len(task.x) == 12


def test_size_makes_one_shape_of_many(tmp_path):
    fill(tmp_path, classes=("cat",))
    fill(tmp_path, classes=("dog",), shape=(9, 7, 3))
    task = folder(path=str(tmp_path), size=8)
    assert task.shape == (3, 8, 8)
    flat = task.x.flatten(1)
    assert torch.equal(flat.min(1).values, flat.max(1).values)  # a flat image stays one


def add(path, image):
    path.write_bytes(encoded(image))


REFUSED = [  # what is done to 12 images, settings, what the one line says
    (lambda r: add(r / "dog/5.png", np.zeros((5, 5, 3), np.uint8)), {},
     r"dog/5\.png: must have the height, width and channels of .*, \[5, 4, 3\], got \[5, 5, 3\]"),
    (lambda r: add(r / "dog/5.png", np.zeros(GREY, np.uint8)), {"size": 8},
     r"dog/5\.png: must have .*, \[8, 8, 3\], got \[8, 8, 1\]"),
    (lambda r: add(r / "dog/5.png", np.zeros(GREY, np.uint16)), {},
     r"dog/5\.png: not a readable image .it has more than 8 bits"),
    (lambda r: (r / "cat/0.png").write_bytes(b""), {},
     r"cat/0\.png: not a readable image .neither PNG nor JPEG"),
    (lambda r: (r / "cat/0.png").write_bytes((r / "cat/1.png").read_bytes()[:45]), {},
     r"cat/0\.png: not a readable image .*truncated"),
    (lambda r: (r / "train").mkdir(), {},
     "train: must hold CLASS/.*png or CLASS/.*jpg, got none"),
    (lambda r: (fill(r / "train"), fill(r / "test", classes=("cow",))), {},
     "test/cow: must be one of the classes cat, dog"),
    (lambda r: None, {"size": -1}, "`size` must be at least 0, got -1"),
    (lambda r: None, {"test_size": 12}, r"`test_size` must be in \[0, 12\), got 12"),
    (lambda r: None, {"val_size": -1}, r"`val_size` must be in \[0, 10\), got -1"),
    (lambda r: None, {"train_size": 10}, r"`train_size` must be in \[0, 9\], got 10"),
    (lambda r: None, {"path": "gone"}, "`path` must be a folder, got 'gone'"),
    (lambda r: (r / "new").mkdir(), {"path": "new"}, "new: must hold CLASS/.*png or CLASS"),
]  # fmt: skip


@pytest.mark.parametrize(("harm", "settings", "says"), REFUSED)
def test_what_is_no_folder_of_images_is_told(tmp_path, harm, settings, says):
    harm(fill(tmp_path))
    with pytest.raises((ValueError, FileNotFoundError), match=says) as error:
        folder(**{"path": str(tmp_path)} | settings)
    assert one_line(error)


@pytest.mark.parametrize("hidden", [".ipynb_checkpoints", "__MACOSX", ".thumbnails"])
@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("full", [False, True])
def test_a_hidden_folder_is_no_class(tmp_path, hidden, split, full):
    for part in ("train", "test") if split else (".",):
        root = fill(tmp_path / part)
        (root / ".DS_Store").write_bytes(b"Mac")
        (root / "cat/._0.png").write_bytes(b"Mac")
        (root / "cat/.hidden.png").write_bytes(b"no image")
        fill(root, classes=(hidden,), count=6 * full)
    task = folder(path=str(tmp_path))
    assert task.num_classes == 2 and len(task.x) == 12 * (1 + split)


def test_a_class_without_an_image_to_train_on_is_named(tmp_path):
    (fill(tmp_path) / "cow").mkdir()
    with pytest.raises(ValueError, match=r"/cow: must hold \*\.png or \*\.jpg, as a class does"):
        folder(path=str(tmp_path))


def test_an_image_that_claims_too_many_pixels_is_not_unpacked(tmp_path):
    head = b"\x89PNG\r\n\x1a\n"
    body = b"IHDR" + struct.pack(">IIBBBBB", 9000, 9000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    fill(tmp_path)
    (tmp_path / "cat/0.png").write_bytes(head + chunk + b"\0\0\0\0IDAT" + struct.pack(">I", 0))
    with pytest.raises(ValueError, match=r"it has 9000 × 9000 pixels, and at most 67,108,864 are"):
        folder(path=str(tmp_path))


def test_a_parquet_file_that_claims_more_rows_than_cifar10_has_is_not_read(tmp_path, monkeypatch):
    as_parquet(tmp_path / "a.parquet")
    monkeypatch.setattr(cifar10, "TRAIN", 3)
    with pytest.raises(ValueError, match="it claims 4 rows of"):
        cifar10.read(tmp_path / "a.parquet")


def test_an_image_is_read_by_its_content_whatever_its_ending(tmp_path):
    for file in fill(tmp_path, shape=GREY).glob("*/*.png"):
        file.rename(file.with_suffix(".JPG"))
    assert sorted(folder(path=str(tmp_path)).x[:, 0, 0, 0].tolist()) == list(range(12))


# --- the real data -------------------------------------------------------------------------------


MANIFEST = tomllib.loads((Path(__file__).parents[1] / "datasets/manifest.toml").read_text())


@pytest.mark.parametrize("task", [mnist, fashion_mnist])
def test_the_manifest_and_the_loader_agree(task):
    listed = MANIFEST[task.__name__.split(".")[-1]]
    assert listed["source"] == task.URL
    assert listed["per_class"] == {part: [*counts] for part, counts in task.PER_CLASS.items()}


def test_the_manifest_and_the_loader_agree_on_cifar10():
    listed = MANIFEST["cifar10"]
    assert listed["source"] == cifar10.URL


REAL = [  # task, files to train on, mean and standard deviation of a pixel in [0, 1], tolerance
    ("mnist", 60_000, [0.1307], [0.3081], 5e-5),
    ("cifar10", 50_000, [0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616], 2e-3),
]


@pytest.mark.parametrize(("name", "count", "mean", "std", "within"), REAL)
def test_the_real_data_is_what_it_is_known_for(data_root, name, count, mean, std, within):
    if not any((data_root / name).glob("*")):
        pytest.skip(f"there is no {data_root / name}")
    task = find("tasks", name)(data_root=str(data_root))
    about = {"images": len(task.x), "features": task.num_features, "classes": task.num_classes}
    held = {part: len(rows) for part, rows in task.rows.items()}
    assert about | held == MANIFEST[name]["counts"]
    found = [each.flatten() / 255 for each in _moments(task.x, torch.arange(count))]
    torch.testing.assert_close(found[0], torch.tensor(mean), atol=within, rtol=0)
    torch.testing.assert_close(found[1], torch.tensor(std), atol=within, rtol=0)
    assert task.y[count:].bincount().min() > 0
