#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Reads mutants.txt, the list of single mistakes that the tests must find.

    mutants.py check DIRECTORY          print each entry that no longer applies; exit with 1 if there is one
    mutants.py list DIRECTORY FLAVOUR   print the name of each entry for that flavour, a hash of the entry and its file,
                                        and the tests
    mutants.py apply DIRECTORY NAME     make the mistake in the sources below DIRECTORY
    mutants.py revert DIRECTORY FROM NAME   copy the file of the mistake from the directory FROM
"""

import hashlib
import pathlib
import re
import shutil
import sys

LIST = pathlib.Path(__file__).with_name("mutants.txt")


class Mutant:
    """A mistake: lines of a file, and the lines that replace them."""

    def __init__(self, name, number):
        self.name, self.number = name, number
        self.file = self.within = self.flavour = ""
        self.old, self.new, self.tests = [], [], []

    def place(self, lines):
        """Returns the index of the only place of the old lines, or raises ValueError."""
        start = 0
        if self.within:
            found = [at for at, line in enumerate(lines) if self.within in line]
            if len(found) != 1:
                raise ValueError(f"'{self.within}' is there {len(found)} times")
            start = found[0]
        stripped = [line.strip() for line in lines]
        length = len(self.old)
        places = [at for at in range(start, len(lines) - length + 1) if stripped[at:at + length] == self.old]
        if not places or not self.within and len(places) != 1:
            raise ValueError(f"the lines are there {len(places)} times")
        return places[0]

    def applied(self, text):
        """Returns the text of the file with the mistake."""
        lines = text.split("\n")
        at = self.place(lines)
        indent = re.match(r"\s*", lines[at]).group()
        lines[at:at + len(self.old)] = [indent + line for line in self.new]
        return "\n".join(lines)


def read():
    """Returns all mutants."""
    mutants = []
    for number, line in enumerate(LIST.read_text().splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        key, _, value = line.partition(" ")
        if key == "mutant":
            mutants.append(Mutant(value, number))
        elif key == "file":
            mutants[-1].file = value
        elif key == "in":
            mutants[-1].within = value
        elif key == "-":
            mutants[-1].old.append(value)
        elif key == "+":
            mutants[-1].new.append(value)
        elif key == "flavour":
            mutants[-1].flavour = value
        elif key == "tests":
            mutants[-1].tests = value.split()
        else:
            sys.exit(f"{LIST.name}:{number}: unknown key '{key}'")
    return mutants


def check(root):
    """Prints each entry that does not apply. Returns true if there is one."""
    selftests = root / "tools/testing/selftests/doorbell"
    names, failed = set(), False
    for mutant in read():
        try:
            if mutant.name in names or not re.fullmatch(r"[a-z0-9-]+", mutant.name):
                raise ValueError("the name is not unique, or has other characters")
            names.add(mutant.name)
            if not mutant.old or not mutant.tests:
                raise ValueError("no lines, or no tests")
            mutant.applied((root / mutant.file).read_text())
            for test in mutant.tests:
                if not (selftests / f"{test.removesuffix('_32')}.c").exists():
                    raise ValueError(f"no test {test}")
        except (OSError, ValueError) as error:
            failed = True
            print(f"tools/mutants/{LIST.name}:{mutant.number}: {mutant.name}: {error}")
    return failed


def main():
    """Executes the command line."""
    command, root = sys.argv[1], pathlib.Path(sys.argv[2])
    mutants = read()
    if command == "check":
        return check(root)
    if command == "list":
        for mutant in mutants:
            if mutant.flavour not in ("", sys.argv[3]):
                continue
            text = repr((mutant.file, mutant.within, mutant.old, mutant.new, mutant.tests))
            text += (root / mutant.file).read_text()
            print(mutant.name, hashlib.sha256(text.encode()).hexdigest()[:16], *mutant.tests)
        return 0
    mutant = next(mutant for mutant in mutants if mutant.name == sys.argv[-1])
    path = root / mutant.file
    if command == "apply":
        path.write_text(mutant.applied(path.read_text()))
    else:
        shutil.copyfile(pathlib.Path(sys.argv[3]) / mutant.file, path)
    return 0


sys.exit(main())
