#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Compares the descriptions for syzkaller with the UAPI header. Prints each difference.

Every ioctl of the header must occur, every flag, and every structure that is not only mapped,
with the same fields at the same offsets. DESCRIPTIONS.const must have each constant that is used,
with the header's value on each architecture. The header has no values of system calls and of AT_FDCWD.

Usage: syzlang.py HEADER DESCRIPTIONS
"""

import re
import sys

SIZES = {"__u8": 1, "__u16": 2, "__u32": 4, "__s32": 4, "__u64": 8}
INTEGERS = {"int8": 1, "int16": 2, "int32": 4, "int64": 8}
# Where _IOC_NONE, _IOC_READ and _IOC_WRITE are 1, 2 and 4, and the size has 13 bits.
OTHER_IOC = {"mips64le", "ppc64le"}
# Structures that programs find in mappings, and pass to no call.
MAPPED = {"doorbell_line_status", "doorbell_record_ring", "doorbell_value", "doorbell_summary_map"}


def without_comments(text):
    """Returns C without its comments."""
    return re.sub(r"/\*.*?\*/", "", text, flags=re.S)


def header_structs(text):
    """Returns the fields of each structure: name, offset, size."""
    structs = {}
    for name, body in re.findall(r"struct (\w+) \{(.*?)\n\};", text, re.S):
        fields, at = [], 0
        for kind, field, count in re.findall(r"(\w+) (\w+)(?:\[(\d+)\])?;", body):
            size = SIZES[kind]
            # The header's structures have no padding, so that 32-bit callers use them, too.
            if at % size:
                raise ValueError(f"{name}.{field} is not aligned")
            fields.append((field, at, size * int(count or 1)))
            at += size * int(count or 1)
        structs[name] = fields
    return structs


def ioctl_number(direction, magic, number, size, arch):
    """Returns the number of an ioctl on an architecture."""
    if arch in OTHER_IOC:
        bits = {"": 1, "R": 2, "W": 4, "WR": 6}[direction] << 29
    else:
        bits = {"": 0, "W": 1, "R": 2, "WR": 3}[direction] << 30
    return bits | size << 16 | magic << 8 | number


def header_values(text, structs, arch):
    """Returns the value of each constant on an architecture."""
    values = {}
    for name, inverted, value, shift in re.findall(
            r"^#define (DOORBELL_\w+)\s+\(?(~?)(0x\w+?|\d+)U?L*(?: << (\d+))?\)?\s*$", text, re.M):
        values[name] = int(value, 0) << int(shift or 0) ^ (2**64 - 1 if inverted else 0)
    for name, direction, number, struct in re.findall(
            r"^#define (DOORBELL_\w+)\s+_IO(\w*)\(DOORBELL_IOC_MAGIC, (\w+)(?:, struct (\w+))?\)", text, re.M):
        size = sum(field[2] for field in structs[struct]) if struct else 0
        values[name] = ioctl_number(direction, values["DOORBELL_IOC_MAGIC"], int(number, 0), size, arch)
    return values


def extracted_values(text):
    """Returns the values of a .const file: architecture, name, value."""
    lines = dict(line.split(" = ", 1) for line in text.splitlines() if not line.startswith("#"))
    values = {arch: {} for arch in lines.pop("arches").split(", ")}
    for name, line in lines.items():
        for part in line.split(", "):
            # Without an architecture it is the value of all but those that follow.
            *arches, value = part.split(":")
            for arch in arches or values:
                values[arch][name] = None if value == "???" else int(value)
    return values


def arguments(text):
    """Splits the arguments of a type."""
    parts, depth, part = [], 0, ""
    for char in text:
        depth += (char == "[") - (char == "]")
        if char == "," and not depth:
            parts.append(part.strip())
            part = ""
        else:
            part += char
    return parts + [part.strip()]


def size_of(kind, named):
    """Returns the size of a field's type."""
    name, _, rest = kind.partition("[")
    args = arguments(rest[:-1]) if rest else []
    if name in INTEGERS:
        return INTEGERS[name]
    if name in named:
        return named[name]
    if name == "ptr64":
        return 8
    if name in ("const", "flags", "len"):
        return INTEGERS[args[1]]
    if name == "array":
        return size_of(args[0], named) * int(args[1])
    raise ValueError(f"the type {kind} is not known")


def described_structs(text):
    """Returns the fields of each described structure: name, offset, size."""
    # A descriptor has 32 bits.
    named = {name: 4 for name in re.findall(r"^resource (\w+)\[", text, re.M)} | {"fd_event": 4}
    for name, body in re.findall(r"^(\w+) \[\n(.*?)\n\]", text, re.S | re.M):
        named[name] = max(size_of(line.split(None, 1)[1], named) for line in body.splitlines())
    structs = {}
    for name, body in re.findall(r"^(\w+) \{\n(.*?)\n\}", text, re.S | re.M):
        fields, at = [], 0
        for line in body.splitlines():
            field, kind = line.split(None, 1)
            size = size_of(kind, named)
            fields.append((field, at, size))
            at += size
        structs[name] = fields
    return structs


def differences(header, text):
    """Yields each difference."""
    for name in re.findall(r"#define (DOORBELL_\w+)\s+_IO", header):
        if f"ioctl${name}(" not in text or f"const[{name}]" not in text:
            yield f"the ioctl {name} is missing"
    for name in re.findall(r"#define (DOORBELL_\w*_FLAG_\w+)", header):
        if not re.search(rf"\b{name}\b", text):
            yield f"the flag {name} is missing"
    expected, found = header_structs(header), described_structs(text)
    for name, fields in expected.items():
        if name in MAPPED:
            continue
        if name not in found:
            yield f"struct {name} is missing"
        elif fields != found[name]:
            for pair in zip(fields, found[name]):
                if pair[0] != pair[1]:
                    yield f"struct {name}: {pair[0]} in the header, {pair[1]} described"
            if len(fields) != len(found[name]):
                yield f"struct {name}: {len(fields)} fields in the header, {len(found[name])} described"
    for name in found.keys() - expected.keys():
        yield f"struct {name} is not in the header"
    for name in set(re.findall(r"\bDOORBELL_\w+", text)):
        if not re.search(rf"\b{name}\b", header):
            yield f"{name} is not in the header"


def const_differences(header, text, consts):
    """Yields each difference of the .const file."""
    structs = header_structs(header)
    used = set(re.findall(r"\b(?:DOORBELL|__NR|AT)_\w+", text))
    used |= {f"__NR_{call}" for call in re.findall(r"^(\w+)\$", text, re.M)}
    for arch, values in extracted_values(consts).items():
        expected = header_values(header, structs, arch)
        for name in sorted(used | values.keys()):
            if name not in used:
                yield f"{name} has a value on {arch}, and is not used"
            elif name.startswith("DOORBELL_") and values.get(name) != expected.get(name):
                yield f"{name} on {arch}: {expected.get(name)} in the header, {values.get(name)} in the .const file"
            elif name not in values:
                yield f"{name} has no value on {arch}"


def main():
    """Compares the files that the command line names."""
    with open(sys.argv[1], encoding="utf-8") as file:
        header = without_comments(file.read())
    with open(sys.argv[2], encoding="utf-8") as file:
        text = "\n".join(line for line in file.read().splitlines() if not line.startswith("#"))
    with open(sys.argv[2] + ".const", encoding="utf-8") as file:
        consts = file.read()
    found = list(differences(header, text)) + list(const_differences(header, text, consts))
    for difference in found:
        print(difference)
    return bool(found)


sys.exit(main())
