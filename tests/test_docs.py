"""The documentation: its figures are those of the data files, its code is run by `make docs`."""

import re
import runpy
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(
    page.relative_to(DOCS) for page in DOCS.glob("*/*.md") if page.parent.name != "results"
)


def test_the_table_in_the_readme_is_that_of_the_data_files():
    script = runpy.run_path(str(DOCS / "readme.py"))
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    assert (
        readme.count(" ± ".replace(" ", "\N{NO-BREAK SPACE}")) == 18
    )  # 3 graphs, 2 runs, 3 rounds
    assert script["with_table"](readme) == readme


@pytest.mark.parametrize("page", ["engine/kernel.md", "guides/shipping.md", "guides/lightning.md"])
def test_the_python_of_a_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), flags=re.DOTALL):
        exec(block, names)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_page_is_in_the_table_of_contents(page):
    assert str(page.with_suffix("")) in (DOCS / "index.md").read_text().splitlines()


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_link_of_a_page_leads_to_a_file(page):
    for link in re.findall(r"\]\(([^)#:]+)\)", (DOCS / page).read_text()):
        assert (DOCS / page.parent / link).exists(), link
