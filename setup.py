"""What ``setup.cfg`` cannot say: the pages of the documentation travel in the wheel, for ``thresher docs``."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class WithPages(build_py):
    """Copies ``docs/*.md`` into the package; an editable install reads them where they are."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        pages = Path(self.build_lib) / "actors" / "pages"
        pages.mkdir(parents=True, exist_ok=True)
        for page in sorted(Path(__file__).resolve().parent.joinpath("docs").glob("*.md")):
            shutil.copyfile(page, pages / page.name)


setup(cmdclass={"build_py": WithPages})
