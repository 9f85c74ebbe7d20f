#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Checks two rules of the project's prose. Prints each violation as FILE:LINE: TEXT.

1. A doc comment begins with a verb or a noun phrase, not with a question word.
2. Actors have names: no indefinite pronouns.

Usage: prose.py DIRECTORY
"""

import os
import re
import sys

QUESTION = r"(What|How|Whether|Who|Whom|Whose|Where|Which|Has)\b"
PRONOUN = re.compile(
    r"\b(whoever|whomever|somebody|someone|nobody|anybody|anyone|everybody|whom)\b", re.I)
# A word in quotes is quoted: the user "nobody".
QUOTED = re.compile(r"(?:``|[\"'`])\w+(?:``|[\"'`])")
# The field of a structure in kernel-doc, and a function or structure in its first line.
KERNEL_DOC = re.compile(
    r"^\s*\*\s+(?:@\w+:\s+(?:(?:in|out): )?|(?:struct |enum )?\w+(?:\(\))? - (?:[A-Z_, ]+: )?)" + QUESTION,
    re.I)

# The first line of a comment, by the ending of the file's name.
OPENINGS = {
    ".rs": re.compile(r"^\s*//[/!]\s*" + QUESTION),
    ".c": re.compile(r"^\s*/\*+\s*" + QUESTION),
    ".h": re.compile(r"^\s*/\*+\s*" + QUESTION),
    ".sh": re.compile(r"^\s*#\s*" + QUESTION),
}
TEXTS = (".rst", ".md", ".toml", ".config", ".awk", ".py")
IGNORED_DIRECTORIES = {".git", "LICENSES", "target"}
IGNORED_FILES = {"COPYING", "Cargo.lock", "prose.py"}


def is_comment(ending, line):
    """Returns true if the line is part of a comment that can open with a sentence."""
    line = line.strip()
    if ending == ".rs":
        return line.startswith(("///", "//!"))
    if ending in (".c", ".h"):
        return line.startswith(("/*", "*"))
    return line.startswith("#")


def violations(path, name):
    """Yields line numbers and lines of a file that break a rule."""
    ending = os.path.splitext(name)[1]
    with open(path, encoding="utf-8") as file:
        lines = file.read().splitlines()
    if not ending and lines and lines[0].startswith("#!") and "sh" in lines[0]:
        ending = ".sh"
    opening = OPENINGS.get(ending)
    if not opening and ending not in TEXTS and name != "Makefile":
        return
    before = ""
    for number, line in enumerate(lines, 1):
        first = not is_comment(ending, before) or before.strip() in ("///", "//!", "/*", "/**", "#")
        before = line
        if opening and first and opening.match(line):
            yield number, line
        elif ending in (".c", ".h") and (KERNEL_DOC.match(line) or first and re.match(
                r"^\s*\*\s+" + QUESTION, line)):
            yield number, line
        elif PRONOUN.search(QUOTED.sub("", line)):
            yield number, line


def main():
    """Checks all files below the directory that the command line names."""
    root = sys.argv[1]
    found = 0
    for directory, names, files in os.walk(root):
        names[:] = sorted(set(names) - IGNORED_DIRECTORIES)
        for name in sorted(set(files) - IGNORED_FILES):
            path = os.path.join(directory, name)
            if os.path.islink(path):
                continue
            try:
                for number, line in violations(path, name):
                    found += 1
                    print(f"{os.path.relpath(path, root)}:{number}: {line.strip()}")
            except UnicodeDecodeError:
                continue
    if found:
        print(f"{found} lines: begin a comment with a verb or a noun phrase, and name the actors")
    return found != 0


sys.exit(main())
