"""Write every page of benchmarks/results again from its data, with the notes of the suites.

python benchmarks/pages.py
"""

import json

from bench import RESULTS

from graphlth.reproduction.result import save
from graphlth.reproduction.suite import read_suite, suite_names


def main() -> None:
    known = suite_names()
    for file in sorted(RESULTS.glob("*/data.json")):
        data = json.loads(file.read_text())
        if data["name"] in known:
            data["notes"] = read_suite(data["name"])["notes"].strip()
        save(file.parent, data)


if __name__ == "__main__":
    main()
