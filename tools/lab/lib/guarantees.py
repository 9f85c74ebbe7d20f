#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Checks that each proof that Documentation/guarantees.rst names exists in the sources.

Prints each name that does not exist as FILE:LINE: TEXT, and exits with 1 if there is one. The page has a field list
for each rule. In each field, names are inline literals, except where noted:

  Selftests        program.case, or program
  Fault injection  program, or cli_NAME, a script in tools/lab/guest/tests
  Endurance        the same
  KUnit            suite, followed by the names of its cases without markup
  Model            a variant of the model's enum Rule, or a file
  Mutants          a mutant's name, in double quotes without markup
  Torture          a variant of the torture's enum Rule
  Debug kernel     options of tools/lab/{small,debug}.config, without markup and without CONFIG_

Usage: guarantees.py DIRECTORY
"""

import pathlib
import re
import sys

PAGE = "Documentation/guarantees.rst"
SELFTESTS = "tools/testing/selftests/doorbell"
LITERAL = re.compile(r"``([^`]+)``")


class Sources:
    """The names that the sources define."""

    def __init__(self, root):
        self.root = root
        self.model = self.enum_rule(self.text("tools/model/src", "*.rs"))
        self.torture = self.enum_rule(self.text("tools/doorbell/src", "torture*.rs") +
                                      self.text("tools/doorbell/src/torture", "*.rs"))
        self.mutants = self.text("tools/model/src", "*.rs")
        self.suites = self.kunit_suites()
        self.options = set(re.findall(r"^CONFIG_(\w+)=", self.text("tools/lab", "*.config"), re.M))

    def text(self, directory, pattern):
        """Returns the content of all files of a directory that match a pattern."""
        return "\n".join(path.read_text() for path in sorted((self.root / directory).rglob(pattern)))

    @staticmethod
    def enum_rule(text):
        """Returns the variants of the enum Rule in a text."""
        found = re.search(r"\benum Rule \{(.*?)^\}", text, re.S | re.M)
        return set(re.findall(r"^\s+(\w+),", found.group(1), re.M)) if found else set()

    def kunit_suites(self):
        """Returns the cases of each KUnit suite."""
        suites = {}
        for block in re.split(r"#\[kunit_tests\(", self.text("rust", "*.rs"))[1:]:
            suite, body = block.split(")", 1)
            cases = re.findall(r"#\[test\]\s+(?:#\[[^\]]*\]\s+)*fn (\w+)", body)
            suites.setdefault(suite, set()).update(cases)
        return suites

    def cases(self, program):
        """Returns the cases of a selftest, or None if there is no such program."""
        directory = self.root / SELFTESTS
        path = directory / f"{program}.c"
        if not path.exists():
            return None
        text = path.read_text()
        for header in re.findall(r'^#include "(\w+\.h)"', text, re.M):
            if (directory / header).exists():
                text += (directory / header).read_text()
        return set(re.findall(r"^TEST(?:_F(?:_TIMEOUT|_SIGNAL)?|_SIGNAL)?\((?:\w+, *)?(\w+)", text, re.M))

    def missing(self, field, text):
        """Yields the names in a field that do not exist."""
        literals = LITERAL.findall(text)
        if field in ("Selftests", "Fault injection", "Endurance"):
            for name in literals:
                program, _, case = name.partition(".")
                if program.startswith("cli_"):
                    if case or not (self.root / "tools/lab/guest/tests" / program[4:]).is_file():
                        yield f"no test {name}"
                    continue
                cases = self.cases(program)
                if not cases or case and case not in cases:
                    yield f"no selftest {name}"
        elif field == "KUnit":
            for suite, names in re.findall(r"``(\w+)``:?([^`;]*)", text):
                if suite not in self.suites:
                    yield f"no KUnit suite {suite}"
                for name in re.findall(r"\w+", names):
                    if name not in self.suites.get(suite, ()):
                        yield f"no KUnit case {name} of {suite}"
        elif field == "Model":
            for name in literals:
                exists = (self.root / name).exists() if "/" in name else name in self.model
                if not exists:
                    yield f"no model property {name}"
        elif field == "Mutants":
            for name in re.findall(r'"([^"]+)"', text):
                if f'"{name}"' not in self.mutants:
                    yield f"no mutant \"{name}\""
        elif field == "Torture":
            for name in literals:
                if name not in self.torture:
                    yield f"no torture rule {name}"
        elif field == "Debug kernel":
            for name in re.findall(r"\b[A-Z0-9]+_[A-Z0-9_]+\b", text):
                if name not in self.options:
                    yield f"no option {name} in tools/lab/*.config"
        else:
            yield f"unknown field {field}"


def fields(lines):
    """Yields line number, name and text of each field of the page."""
    number, name, text = 0, None, ""
    for at, line in enumerate(lines + [""], 1):
        start = re.match(r":([A-Z][\w ]*):\s+(.*)", line)
        if name and (start or not line.startswith(" ")):
            yield number, name, text
            name = None
        if start:
            number, name, text = at, start.group(1), start.group(2)
        elif name:
            text += " " + line.strip()


def main():
    """Checks the page of the directory that the command line names."""
    root = pathlib.Path(sys.argv[1])
    sources = Sources(root)
    lines = (root / PAGE).read_text().splitlines()
    found = checked = 0
    for number, field, text in fields(lines):
        checked += 1
        for message in sources.missing(field, text):
            found += 1
            print(f"{PAGE}:{number}: {message}")
    if not checked:
        print(f"{PAGE}: no field lists")
    return found != 0 or not checked


sys.exit(main())
