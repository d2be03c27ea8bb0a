"""Pack the run folders of a suite, without tickets, into benchmarks/records/SUITE.tar.xz.

    python benchmarks/pack_records.py ugs_cora_gcn RUN_FOLDER...

Every record then says that its ticket is not kept. Seeds that are not finished are left out.
"""

import argparse
import tarfile
import tempfile
from pathlib import Path

from bench import run_main

import graphlth.records.files as record
from graphlth.experiment.folder import read_plan
from graphlth.settings.lists import planned_rounds
from graphlth.storage import replace_file

RECORDS = Path(__file__).parent / "records"


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("suite")
    parser.add_argument("folders", nargs="+", type=Path, help="run folders")
    parser.add_argument("--out", type=Path, help="the archive")
    args = parser.parse_args()
    out = args.out or RECORDS / f"{args.suite}.tar.xz"
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, replace_file(out) as draft:
        for folder in args.folders:
            copy_records(folder, Path(scratch, folder.name))
        with tarfile.open(draft, "w:xz") as archive:
            for file in sorted(Path(scratch).rglob("*.json*")):
                archive.add(file, file.relative_to(scratch), filter=without_owner)


def copy_records(folder: Path, target: Path) -> None:
    """The settings of a run and the records of its finished seeds."""
    target.mkdir()
    (target / "settings.json").write_bytes((folder / "settings.json").read_bytes())
    rounds = len(planned_rounds(read_plan(folder).settings))
    for file in folder.glob("seed*.jsonl"):
        lines = record.read_file(file)
        if len(lines) == rounds:
            record.extend(target / file.name, [line | {"ticket_kept": False} for line in lines])


def without_owner(file: tarfile.TarInfo) -> tarfile.TarInfo:
    """The entry of an archive without what differs from one machine and day to the next."""
    file.uid = file.gid = file.mtime = 0
    file.uname = file.gname = ""
    return file


if __name__ == "__main__":
    run_main(main)
