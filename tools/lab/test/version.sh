#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Tests that each place that has the version has that of the workspace in Cargo.toml, and
# that the places that name the oldest kernel agree. It needs no lab. Prints KTAP.
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

# The client library is the only crate for a registry.
published() {
	local file found=
	for file in "$SRC"/tools/*/Cargo.toml "$SRC"/tools/lib/*/Cargo.toml; do
		grep -qx 'publish = false' "$file" || found+=" ${file#"$SRC"/}"
	done
	[[ $found == " tools/lib/doorbell/Cargo.toml" ]] || { echo "published:$found" && return 1; }
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
check "the client library is the only crate that is published" published
check "the module has it" has 'doorbell-version := \(.*\)' Kbuild
check "dkms.conf has it" has 'PACKAGE_VERSION="\(.*\)"' dkms.conf
check "doorbell.pc has it" has 'VERSION := \(.*\)' tools/lib/doorbell/c/Makefile
check "the newest entry of debian/changelog has it" has 'doorbell (\(.*\)) .*; urgency=.*' debian/changelog
check "the changelog has it" has '.*The tools are \([0-9.]*[0-9]\), the ABI is version.*' CHANGELOG.md

# The oldest kernel. Its name is in code, in packages and in prose.
OLDEST=$(sed -n 's/^MIN_VERSION=//p' "$SRC/tools/check-kdir.sh")

# oldest PATTERN FILE...: succeeds if each file has a line in which \(...\) is the version,
# and none in which it is another one
oldest() {
	local pattern=$1 file found
	shift
	for file; do
		found=$(sed -n "s/.*$pattern.*/\\1/p" "$SRC/$file" | sort -u | paste -sd' ')
		[[ $found == "$OLDEST" ]] ||
			{ echo "$file has '$found', and tools/check-kdir.sh has '$OLDEST'" && return 1; }
	done
}

check "tools/check-kdir.sh has the oldest kernel" grep -qE '^[0-9]+\.[0-9]+$' <<<"$OLDEST"
check "dkms.conf has it" oldest 'BUILD_EXCLUSIVE_KERNEL_MIN="\(.*\)"' dkms.conf
check "debian/control has it" oldest 'linux-headers-amd64 (>= \([0-9.]*\))' debian/control
check "the description of doorbell-dkms has it" oldest 'each kernel from \([0-9.]*\) on' debian/control
check "doorbell doctor has it" oldest ' \([0-9]\.[0-9]\) or newer' tools/doorbell/src/doctor/build.rs
check "doorbell doctor compares with it" grep -qF "OLDEST: (u32, u32) = (${OLDEST/./, });" "$SRC/tools/doorbell/src/doctor/build.rs"
check "the documentation has it" oldest ' \([0-9]\.[0-9]\) or newer' README.md Documentation/{install,lab,harness,limitations}.rst \
	tools/lib/doorbell/README.md
plan
