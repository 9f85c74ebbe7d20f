#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Checks that each memory order in the module has a comment that names its partner.

A use of Relaxed, Acquire, Release or Full, or of smp_mb(), needs a comment in the same function, at or before the use:

    // ORDERING: Pairs with `Records::copy`: the record is complete before its sequence number.
    // ORDERING: None: the mutex serialises the writers.

One comment serves all uses that follow in the function. It either begins with "None" and has a reason, or names a
partner in backquotes after "pairs with". The partner must be a function of the module, of its C helpers, of the client
libraries, or one of the kernel's in KERNEL. Prints what is missing as FILE:LINE: TEXT, and exits with 1 if there is
something. Also checks the functions that the litmus tests name.

Usage: orderings.py DIRECTORY
"""

import pathlib
import re
import sys

ORDER = re.compile(r"\b(?:Relaxed|Acquire|Release|Full)\b|\bsmp_mb\(")
FUNCTION = re.compile(r"^\s*(?:pub(?:\([^)]*\))?\s+)?(?:const\s+)?(?:unsafe\s+)?(?:extern\s+\"C\"\s+)?fn\s+(\w+)")
MARK = "// ORDERING:"

# Functions of the kernel that are partners.
KERNEL = {"vhost_task_fn", "irq_work_run", "hrtimer_start_range_ns", "wq_has_sleeper", "poll_wait"}


def functions(root):
    """Returns the names of all functions that can be a partner."""
    names = set(KERNEL)
    for directory in ("rust", "tools/lib/doorbell/src"):
        for path in (root / directory).rglob("*.rs"):
            names.update(re.findall(r"\bfn (\w+)", path.read_text()))
    for directory in ("rust/bindings", "tools/lib/doorbell/c"):
        for path in (root / directory).glob("*.[ch]"):
            names.update(re.findall(r"^\w[\w *]*?\b(\w+)\(", path.read_text(), re.M))
    return names


def problem(text, names):
    """Returns what is wrong with the text of a comment, or None."""
    if text.startswith("None"):
        return None if len(text.split()) > 3 else "no reason"
    partner = re.search(r"[Pp]airs? with (.*)", text)
    if not partner:
        return "neither a partner nor None"
    found = re.findall(r"`(?:\w+::)*(\w+)(?:\(\))?`", partner.group(1))
    if not any(name in names for name in found):
        return "the partner is no function"
    return None


def check(path, names):
    """Yields line number and text of each problem of a file."""
    lines = path.read_text().splitlines()
    covered = in_use = False
    for at, line in enumerate(lines):
        code = line.split("//")[0]
        if FUNCTION.match(line):
            # The comment may stand above the function, among its attributes.
            covered = False
            above = at - 1
            while above >= 0 and re.match(r"\s*(//|#\[)", lines[above]):
                covered |= MARK in lines[above]
                above -= 1
        if MARK in line:
            covered = True
            text = line.split(MARK)[1].strip()
            for more in lines[at + 1:]:
                if not re.match(r"\s*// (?![A-Z]+:)", more):
                    break
                text += " " + more.strip()[3:]
            wrong = problem(text, names)
            if wrong:
                yield at + 1, f"ORDERING: {wrong}"
        if re.match(r"\s*(pub(\([^)]*\))? )?use ", code):
            in_use = True
        if not in_use and ORDER.search(code) and not covered:
            yield at + 1, f"an order without ORDERING: {line.strip()}"
        if in_use and ";" in code:
            in_use = False


def litmus(root, names):
    """Yields file, line number and text of each function that a litmus test names and that does not exist."""
    types = set()
    for directory in ("rust", "tools/lib/doorbell/src"):
        for path in (root / directory).rglob("*.rs"):
            types.update(re.findall(r"\b(?:struct|enum|type|static|trait|const|mod) (\w+)", path.read_text()))
    for path in sorted((root / "tools/model/src/litmus").glob("*.rs")):
        text = path.read_text()
        for found in re.finditer(r'code: "((?:[^"\\]|\\.)*)"', text, re.S):
            for name in re.findall(r"\b(?:\w+::)*(\w+)(?:\(\))?(?=[,;\s\"]|$)", found.group(1)):
                if name in ("and", "of", "the", "client", "library") or name in names or name in types:
                    continue
                yield path, text.count("\n", 0, found.start()) + 1, f"no function {name}"


def main():
    """Checks the module in the directory that the command line names."""
    root = pathlib.Path(sys.argv[1])
    names = functions(root)
    failed = False
    for path in sorted((root / "rust").rglob("*.rs")):
        for number, text in check(path, names):
            failed = True
            print(f"{path.relative_to(root)}:{number}: {text}")
    for path, number, text in litmus(root, names):
        failed = True
        print(f"{path.relative_to(root)}:{number}: {text}")
    return failed


sys.exit(main())
