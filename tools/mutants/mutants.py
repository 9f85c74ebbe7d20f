#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Reads mutants.txt, the list of single mistakes that the tests must find.

    mutants.py check DIRECTORY          print each entry that no longer applies, and each file of the module without one;
                                        exit with 1 if there is one
    mutants.py list DIRECTORY FLAVOUR   print for each entry of that flavour: the name, a hash of the entry and its file,
                                        "joined N", "alone" or "missed", "leaks" or "-", and the tests
    mutants.py equivalent               print the entries that change nothing that a test could see
    mutants.py join DIRECTORY [NAME...] make all mistakes but the named ones in the sources below DIRECTORY, each behind
                                        the number of the module's parameter "mutant"
    mutants.py blame DIRECTORY LOG      print the entries of the joined sources below DIRECTORY that do not build
    mutants.py apply DIRECTORY NAME     make the mistake in the sources below DIRECTORY
    mutants.py revert DIRECTORY FROM    copy the sources of the module from the directory FROM

A joined mistake is a copy of its function's body. So it must be within a function that is not const, and whose result has
a type with a name. All others need a module of their own.
"""

import hashlib
import pathlib
import re
import shutil
import sys

LIST = pathlib.Path(__file__).with_name("mutants.txt")

HELPERS = "rust/bindings/helpers.c"
ROOT = "rust/doorbell.rs"
# Modules in Rust include these files.
OTHER_CRATES = ("rust/module_api", "rust/kernel_ext/compat/misc_device.rs")
# These have no code that a user of the module runs: the KUnit suites, what only these use, and declarations. The build
# compares those of raw.rs with the header.
NO_CODE = ("rust/kunit/", "rust/kunit.rs", "rust/kernel_ext/kunit_support.rs", "rust/bindings.rs", "rust/bindings/bindings_helper.h", "rust/bindings/trace.c",
           "rust/module_api/raw.rs")

FUNCTION = re.compile(r"(pub(\(\w+\))? )?(?P<const>const )?(unsafe )?(extern \"C\" )?fn \w+")


def indent_of(line):
    """Returns the number of spaces or tabs before a line's text."""
    return len(line) - len(line.lstrip())


class Mutant:
    """A mistake: lines of a file, and the lines that replace them."""

    def __init__(self, name, number):
        self.name, self.number = name, number
        self.file = self.within = self.flavour = self.equivalent = self.missed = ""
        self.leaks = False
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

    def replaced(self, lines):
        """Returns the lines with the mistake."""
        at = self.place(lines)
        indent = re.match(r"\s*", lines[at]).group()
        new = [indent + line for line in self.new]
        return lines[:at] + new + lines[at + len(self.old):]

    def applied(self, text):
        """Returns the text of the file with the mistake."""
        return "\n".join(self.replaced(text.split("\n")))

    def function(self, lines):
        """Returns the indices of the first line of the body that the mistake is in, and of the line after it, and
        false if the function returns nothing. Returns none if the mistake must be alone."""
        if self.file.startswith(OTHER_CRATES):
            return None
        at = self.place(lines)
        if self.file == HELPERS:
            return c_function(lines, at, at + len(self.old))
        return rust_function(lines, at, at + len(self.old)) if self.file.endswith(".rs") else None


def rust_function(lines, at, end):
    """Does what Mutant.function does for a file in Rust, as rustfmt leaves it."""
    inner = indent_of(lines[at])
    for first in range(at, -1, -1):
        indent = indent_of(lines[first])
        found = FUNCTION.match(lines[first].strip())
        if found and indent < inner:
            break
    else:
        return None
    head = first
    while not (lines[head].endswith("{") and indent_of(lines[head]) == indent):
        head += 1
    # Two bodies have two types.
    if "-> impl " in " ".join(lines[first:head + 1]):
        return None
    close = head + 1
    while lines[close] != " " * indent + "}":
        close += 1
        if close == len(lines):
            return None
    if found.group("const") or not head < at <= end <= close:
        return None
    return head + 1, close, True


def c_function(lines, at, end):
    """Does what Mutant.function does for a file in C."""
    first = at
    while first >= 0 and lines[first] != "{":
        first -= 1
    close = first + 1
    while close < len(lines) and lines[close] != "}":
        close += 1
    if first < 0 or not first < at <= end <= close or any(re.match(r"\w+:", line) for line in lines[first:close]):
        return None
    head = first
    while lines[head - 1] and lines[head - 1] != "}" and not lines[head - 1].endswith("*/"):
        head -= 1
    returns = not re.search(r"\bvoid \w+\(", lines[head])
    return first + 1, close, returns


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
        elif key == "equivalent":
            mutants[-1].equivalent += f" {value}" if mutants[-1].equivalent else value
        elif key == "missed":
            mutants[-1].missed += f" {value}" if mutants[-1].missed else value
        elif key == "leaks" and not value:
            mutants[-1].leaks = True
        elif key == "tests":
            mutants[-1].tests = value.split()
        else:
            sys.exit(f"{LIST.name}:{number}: unknown key '{key}'")
    return mutants


def source_of(root, test):
    """Returns the file of a test."""
    if test.startswith("sample_"):
        return root / "samples" / test.removeprefix("sample_")
    if test.startswith("cli_"):
        return root / "tools/lab/guest/tests" / test.removeprefix("cli_")
    if test.startswith("kunit_"):
        return root / "rust/kunit" / f"{test.removeprefix('kunit_')}.rs"
    return root / "tools/testing/selftests/doorbell" / f"{test.partition(':')[0].removesuffix('_32')}.c"


def check(root):
    """Prints each entry that does not apply, and each file without an entry. Returns true if there is one."""
    names, failed = set(), False
    for mutant in read():
        try:
            if mutant.name in names or not re.fullmatch(r"[a-z0-9-]+", mutant.name):
                raise ValueError("the name is not unique, or has other characters")
            names.add(mutant.name)
            if not mutant.old or [bool(mutant.tests), bool(mutant.equivalent), bool(mutant.missed)].count(True) != 1:
                raise ValueError("no lines, or not one of tests, equivalent and missed")
            mutant.applied((root / mutant.file).read_text())
            for test in mutant.tests:
                if not source_of(root, test).exists():
                    raise ValueError(f"no test {test}")
                if test.startswith("kunit_") and mutant.flavour != "debug":
                    raise ValueError(f"{test} runs on the debug kernel only")
                for case in test.partition(":")[2].split(","):
                    if case and not re.search(rf"^TEST(_F)?\(.*\b{case}\)", source_of(root, test).read_text(), re.M):
                        raise ValueError(f"no case {case} of {test}")
        except (OSError, ValueError) as error:
            failed = True
            print(f"tools/mutants/{LIST.name}:{mutant.number}: {mutant.name}: {error}")
    files = {mutant.file for mutant in read()}
    for path in sorted((root / "rust").rglob("*.*")):
        name = str(path.relative_to(root))
        # A file of declarations has no function, but its examples may have some.
        has_code = path.suffix in (".sh", ".c") or re.search(r"^[^/\n]*\bfn \w+", path.read_text(), re.M)
        if has_code and name not in files and not name.startswith(NO_CODE):
            failed = True
            print(f"tools/mutants/{LIST.name}: no mistake in {name}")
    return failed


def numbers(root, mutants):
    """Returns the number of each mutant that can be joined, by its name. Numbers begin with 1."""
    joined = {}
    for number, mutant in enumerate(mutants, 1):
        if mutant.function((root / mutant.file).read_text().split("\n")):
            joined[mutant.name] = number
    return joined


def join(root, excluded):
    """Makes all mistakes that can be joined in the sources below `root`."""
    mutants = [mutant for mutant in read() if mutant.tests]
    joined = numbers(root, mutants)
    by_file = {}
    for mutant in mutants:
        if mutant.name in joined and mutant.name not in excluded:
            by_file.setdefault(mutant.file, []).append(mutant)
    for file, several in by_file.items():
        lines = (root / file).read_text().split("\n")
        copies = {}
        for mutant in several:
            first, close, returns = mutant.function(lines)
            changed = mutant.replaced(lines)
            body = changed[first:close + len(changed) - len(lines)]
            copies.setdefault(first, []).extend(copy_of(mutant, joined[mutant.name], body, returns))
        for first in sorted(copies, reverse=True):
            lines[first:first] = copies[first]
        (root / file).write_text("\n".join(lines))
    helpers, crate = root / HELPERS, root / ROOT
    helpers.write_text("#include <linux/moduleparam.h>\nint doorbell_mutant;\n"
                       "module_param_named(mutant, doorbell_mutant, int, 0444);\n" + helpers.read_text())
    crate.write_text("#![allow(warnings)]\n" + crate.read_text() + """
#[inline(always)]
pub(crate) fn mutant(number: i32) -> bool {
    extern "C" {
        static doorbell_mutant: i32;
    }
    // SAFETY: It is set before the module runs.
    unsafe { doorbell_mutant == number }
}
""")


def copy_of(mutant, number, body, returns):
    """Returns the lines of a copy of a function's body that runs if the number is that of the mutant."""
    if mutant.file == HELPERS:
        last = [] if returns else ["return;"]
        copied = [f"if (doorbell_mutant == {number}) {{", *body, *last, "}"]
    else:
        copied = [f"if crate::mutant({number}) {{ return {{", *body, "} }"]
    return [f"// mutant {mutant.name}", *copied, f"// end of {mutant.name}"]


def blame(root, log):
    """Prints the names of the mutants whose lines the compiler complains about."""
    blamed = set()
    for file, number in re.findall(r"/doorbell/(rust/[\w/]+\.(?:rs|c)):(\d+)", log.read_text()):
        lines = (root / file).read_text().split("\n")[:int(number)]
        for line in reversed(lines):
            if line.startswith("// end of "):
                break
            if line.startswith("// mutant "):
                blamed.add(line.removeprefix("// mutant "))
                break
    print("\n".join(sorted(blamed)))


def main():
    """Executes the command line."""
    command = sys.argv[1]
    root = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else None
    mutants = read()
    if command == "check":
        return check(root)
    if command == "list":
        joined = numbers(root, [mutant for mutant in mutants if mutant.tests])
        for mutant in mutants:
            if mutant.equivalent:
                continue
            if (mutant.flavour or sys.argv[3]) != sys.argv[3]:
                continue
            text = repr((mutant.file, mutant.within, mutant.old, mutant.new, mutant.tests, mutant.leaks))
            text += (root / mutant.file).read_text()
            how = f"joined {joined[mutant.name]}" if mutant.name in joined else "alone -" if mutant.tests else "missed -"
            print(mutant.name, hashlib.sha256(text.encode()).hexdigest()[:16], how, "leaks" if mutant.leaks else "-",
                  *mutant.tests)
    elif command == "equivalent":
        for mutant in mutants:
            if mutant.equivalent:
                print(f"{mutant.name}: {mutant.equivalent}")
    elif command == "join":
        join(root, sys.argv[3:])
    elif command == "blame":
        blame(root, pathlib.Path(sys.argv[3]))
    elif command == "apply":
        mutant = next(mutant for mutant in mutants if mutant.name == sys.argv[3])
        path = root / mutant.file
        path.write_text(mutant.applied(path.read_text()))
    else:
        original = pathlib.Path(sys.argv[3])
        for path in (root / "rust").rglob("*.*"):
            other = original / path.relative_to(root)
            if path.read_bytes() != other.read_bytes():
                shutil.copyfile(other, path)
    return 0


sys.exit(main())
