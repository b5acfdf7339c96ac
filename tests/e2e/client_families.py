"""Client families: packages that cannot live in one environment, or not in the one of the others.
requirements-FAMILY.txt pins a family's packages; the tests test_FAMILY*.py run in their interpreter
alone."""

import pathlib
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent
FAMILIES = sorted(path.stem.removeprefix("requirements-") for path in HERE.glob("requirements-*.txt"))


def family_of_test(path):
    """"" for tests of no family. The longest name wins: a_b's tests are not a's."""
    fits = [f for f in FAMILIES if re.fullmatch(rf"test_{f}(_.*)?", pathlib.Path(path).stem)]
    return max(fits, key=len, default="")


def family_of_interpreter():
    """The family whose environment venv.sh made, "" when this interpreter is none of them."""
    name = pathlib.Path(sys.prefix).name.removeprefix("venv-")
    return name if name in FAMILIES else ""
