#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Tests that each place that has the version has that of the workspace in Cargo.toml. It
# needs no lab. Prints KTAP.
#
#	version.sh [DIRECTORY]

. "$(dirname "$0")/lib.sh"
SRC=${1:-${LAB_DIR%/tools/lab}}
VERSION=$(sed -n '/^\[workspace.package\]$/,/^$/s/^version = "\(.*\)"$/\1/p' "$SRC/Cargo.toml")

# has PATTERN FILE: succeeds if the part of the file in \(...\) is the version
has() {
	local found
	found=$(sed -n "s/^$1\$/\\1/p" "$SRC/$2" | head -n 1)
	[[ $found == "$VERSION" ]] || { echo "$2 has '$found', and Cargo.toml has '$VERSION'" && return 1; }
}

members() {
	local file
	for file in $(sed -n 's/^members = \[\(.*\)\]$/\1/p' "$SRC/Cargo.toml" | tr -d '",'); do
		grep -qx 'version.workspace = true' "$SRC/$file/Cargo.toml" || { echo "$file" && return 1; }
	done
}

# Each crate of the workspace has no source in the lock file.
lock() {
	local others
	others=$(awk -v v="$VERSION" '/^\[\[package\]\]/ { name = version = ""; source = 0 } /^name = / { name = $3 }
		/^version = / { version = $3 } /^source = / { source = 1 }
		/^$/ && name && !source && version != "\"" v "\"" { print name, version }' "$SRC/Cargo.lock")
	[[ -z $others ]] || { echo "$others" && return 1; }
}

check "Cargo.toml has a version" test -n "$VERSION"
check "the crates of the workspace have it" members
check "Cargo.lock has it" lock
check "the module has it" has 'doorbell-version := \(.*\)' Kbuild
check "dkms.conf has it" has 'PACKAGE_VERSION="\(.*\)"' dkms.conf
check "doorbell.pc has it" has 'VERSION := \(.*\)' tools/lib/doorbell/c/Makefile
check "the newest entry of debian/changelog has it" has 'doorbell (\(.*\)) .*; urgency=.*' debian/changelog
check "the changelog has it" has '.*The tools are \([0-9.]*[0-9]\), the ABI is version.*' CHANGELOG.md
plan
