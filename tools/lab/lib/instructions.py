#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Prints, compares and records the figures that tools/bench/instructions.c measures.

FIGURES has a line of JSON for the kernel, and one for each path and device:

    {"kernel": "7.3.4 #1 SMP"}
    {"path": "ring", "text": "ring", "device": "twin", "min": 700.0, "median": 700.0, "p90": 701.2}

The recorded figures are the medians of an earlier run, with the reason for the last change of each. A path
whose work depends on when the next tick is due has a "tolerance" there: its figure may differ by that share.
"""

import argparse
import json
import sys

DEVICES = ("doorbell", "twin", "raw")
# A path is dearer, or cheaper, beyond this change. Figures repeat to a tenth of it.
TOLERANCE = 0.005
# Minimum and 90th percentile of a figure that repeats are this near to each other.
SPREAD = 0.01
# The command that records figures.
RECORD = "make bench-instructions ARGS=\"--update --reason 'TEXT'\""


class Figures:
    """The figures of a run: "paths" maps a name to its text and, per device, its figure."""

    def __init__(self, name, emulator):
        self.paths = {}
        self.emulator = emulator
        with open(name, encoding="utf-8") as file:
            lines = [json.loads(line) for line in file]
        self.kernel = lines[0]["kernel"]
        for line in lines[1:]:
            path = self.paths.setdefault(line["path"], {"text": line["text"]})
            path[line["device"]] = {key: line[key] for key in ("min", "median", "p90")}

    def median(self, path, device):
        """Returns a median, or None if the device has no such path."""
        figure = self.paths[path].get(device)
        return figure and figure["median"]


def repeats(figure):
    """Returns true if nearly all batches took the same number of instructions."""
    return figure["p90"] - figure["min"] <= SPREAD * figure["median"]


def is_minimum(figure, spread):
    """Returns true if half of the batches took as few instructions as the best one."""
    return figure["median"] - figure["min"] <= spread * figure["median"]


def column(figure, width):
    """Returns a figure for the table; a tilde marks one that does not repeat."""
    if not figure:
        return " " * width
    mark = " " if repeats(figure) else "~"
    digits = 1 if figure["median"] < 100 else 0
    return f"{figure['median']:{width - 1}.{digits}f}{mark}"


def ratio(path, other):
    """Returns the ratio of doorbell to another device for the table."""
    if "doorbell" not in path or other not in path:
        return ""
    return f"{path['doorbell']['median'] / path[other]['median']:.2f}"


def table(figures):
    """Prints a table of 80 columns."""
    print(f"{'instructions':32} {'doorbell':>9}{'twin':>9}{'raw':>9}{'/twin':>9}{'/raw':>9}")
    for path in figures.paths.values():
        columns = "".join(column(path.get(device), 9) for device in DEVICES)
        print(f"{path['text']:33}{columns}{ratio(path, 'twin'):>8}{ratio(path, 'raw'):>9}".rstrip())
    if any(not repeats(path[device]) for path in figures.paths.values() for device in DEVICES
           if device in path):
        print("~ batches of this path differ by more than a percent")


def as_json(figures):
    """Prints all figures."""
    json.dump({"kernel": figures.kernel, "emulator": figures.emulator, "paths": figures.paths},
              sys.stdout, indent=2)
    print()


def change(old, new):
    """Returns the relative change from one median to another."""
    return new / old - 1


def read_recorded(name):
    """Returns the recorded figures, or empty ones if there is no file yet."""
    try:
        with open(name, encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError:
        return {"kernel": None, "emulator": None, "paths": {}}


def medians(figures, path):
    """Returns the medians of a path, by device."""
    return {device: figures.median(path, device) for device in DEVICES
            if figures.median(path, device) is not None}


def update(figures, recorded, reason):
    """Prints the recorded figures with those of the run. A figure that stays has its old reason."""
    same = (recorded["kernel"], recorded["emulator"]) == (figures.kernel, figures.emulator)
    if not same and not set(recorded["paths"]) <= set(figures.paths):
        sys.exit("another kernel or emulator: record all paths, without --filter")
    changed = []
    for path in figures.paths:
        old = recorded["paths"].get(path)
        new = medians(figures, path)
        subject = "doorbell" if "doorbell" in new else "raw"
        if old and same and subject in old and abs(change(old[subject], new[subject])) <= TOLERANCE:
            new["reason"] = old["reason"]
        else:
            changed.append(path)
            new["reason"] = reason
        if old and "tolerance" in old:
            new["tolerance"] = old["tolerance"]
        recorded["paths"][path] = new
    if changed and not reason:
        sys.exit("these figures have changed, so a reason is needed: --update --reason 'TEXT': "
                 + ", ".join(changed))
    recorded.update(kernel=figures.kernel, emulator=figures.emulator)
    json.dump(recorded, sys.stdout, indent=1)
    print()


def judge(name, old, new, tolerance):
    """Returns a verdict on doorbell's figure of a path, and a comment or None."""
    if old is None:
        return False, f"{name} is not recorded yet: {RECORD}"
    if new is None:
        return False, f"{name} is recorded, but was not measured: remove it from the file"
    by = change(old, new)
    text = f"{name}: {new:.1f} instructions, recorded {old:.1f}, {by:+.1%}"
    if by > tolerance:
        return False, f"{text}: make it cheaper again, or record it: {RECORD}"
    if by < -tolerance:
        return True, f"{text}: cheaper; record it: {RECORD}"
    return True, None


def tolerance(recorded, name, least):
    """Returns by how much a figure of a path may differ: at least by the given share."""
    return max(least, recorded["paths"].get(name, {}).get("tolerance", 0))


def check(figures, recorded):
    """Prints KTAP: a test for each path, which fails if the path has become dearer."""
    names = [name for name in figures.paths if "doorbell" in figures.paths[name]]
    names += [name for name, path in recorded["paths"].items()
              if "doorbell" in path and name not in figures.paths]
    print("TAP version 13")
    print(f"1..{len(names) + 1}")
    # An allocator's refill in a tenth of the batches does not move the median.
    spread = [name for name in names if name in figures.paths
              and not is_minimum(figures.paths[name]["doorbell"], tolerance(recorded, name, SPREAD))]
    if spread:
        print("# the median is more than a percent above the minimum: " + ", ".join(spread))
    print(f"{'not ok' if spread else 'ok'} 1 medians are near the minimum")
    skip = ""
    for what in ("kernel", "emulator"):
        was, now = recorded[what], getattr(figures, what)
        if was != now:
            skip = f" # SKIP recorded with {what} {was}, this is {now}"
    for number, name in enumerate(names, 2):
        old = recorded["paths"].get(name, {}).get("doorbell")
        new = figures.median(name, "doorbell") if name in figures.paths else None
        good, comment = judge(name, old, new, tolerance(recorded, name, TOLERANCE))
        if comment and not skip:
            print(f"# {comment}")
        print(f"{'ok' if good or skip else 'not ok'} {number} {name}{skip}")


def main():
    """Carries out the command line."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("table", "json", "update", "check"))
    parser.add_argument("figures", help="the figures of a run")
    parser.add_argument("--emulator", default="", help="version of the emulator of the run")
    parser.add_argument("--recorded", help="the recorded figures")
    parser.add_argument("--reason", default="", help="reason for the figures that have changed")
    args = parser.parse_args()
    figures = Figures(args.figures, args.emulator)
    if args.command == "table":
        table(figures)
    elif args.command == "json":
        as_json(figures)
    elif args.command == "update":
        update(figures, read_recorded(args.recorded), args.reason)
    else:
        check(figures, read_recorded(args.recorded))


if __name__ == "__main__":
    main()
