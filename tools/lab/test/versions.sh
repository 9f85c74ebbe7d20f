#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Tests the choice of a kernel from listings of an archive that is not real: known versions
# first, the series of the flavour, and the note about an unknown version.
. "$(dirname "$0")/lib.sh"
set -u
shopt -s nullglob

export DOORBELL_LAB=$SCRATCH/lab
SRC=${LAB_DIR%/tools/lab}
FLAVOUR=amd64 ARCH=amd64
for lib in common run enter versions setup; do
	# shellcheck source=/dev/null
	. "$LAB_DIR/lib/$lib.sh"
done
mkdir -p "$TREE" "$LOGS" "$KERNELS"
cp "$KNOWN_VERSIONS" "$SCRATCH/real"
KNOWN_VERSIONS=$SCRATCH/known
printf '# comment\nkernel 7.2.12+deb13\nkernel 7.3.4+deb13\nkernel 7.3.10+deb13\n' >"$KNOWN_VERSIONS"

# A stage is a process of this test, and mounts nothing.
setup_stage() { stage_begin "$1" "$2" "stage_$1"; }
mount_tree() { :; }
host_files() { :; }

# ARCHIVE has the releases whose headers the archive has, for all flavours.
in_tree() {
	local v suffix
	case "${*:2}" in
	"apt-get -q update") ;;
	"apt-cache search --names-only ^linux-headers-7")
		for v in $ARCHIVE; do
			for suffix in amd64 arm64 arm64-16k cloud-amd64 common rt-amd64; do
				echo "linux-headers-$v+deb13-$suffix - for Linux"
			done
		done
		;;
	*)	echo "not expected: $*" && return 99 ;;
	esac
}

# chooses FLAVOUR VERSION [note]: the set-up takes this version, and prints a note or none
chooses() {
	FLAVOUR=$1
	rm -f "$LAB"/kernel-version-*.new
	setup_resolve 2>"$SCRATCH/messages" || { cat "$SCRATCH/messages" && return 1; }
	[[ $(cat "$(version_file).new") == "$2" ]] || { cat "$(version_file).new" && return 1; }
	[[ $(grep -c "trying the kernel $2" "$SCRATCH/messages") == "${3:+1}" || -z ${3:-} ]] ||
		{ cat "$SCRATCH/messages" && return 1; }
	[[ ${3:-} ]] || ! grep 'trying the' "$SCRATCH/messages"
}

known_first() {
	ARCHIVE="7.2.12 7.3.4 7.3.5 7.4.1" chooses amd64 7.3.4+deb13-amd64
}

newest_known() {
	ARCHIVE="7.3.10 7.2.12 7.3.4" chooses amd64 7.3.10+deb13-amd64
}

# The default lab does not become one of an older series.
untried() {
	ARCHIVE="7.2.12 7.3.5 7.3.11" chooses amd64 7.3.11+deb13-amd64 note &&
		ARCHIVE="7.2.12 7.3.5 7.3.11" chooses rt 7.3.11+deb13-rt-amd64 note
}

# A known kernel of an older series, or an untried one, goes before a series that is not known.
older_series() {
	ARCHIVE="7.1.5 7.2.12 7.2.13 7.20.1 7.4.1" chooses amd64 7.2.12+deb13-amd64 note &&
		ARCHIVE="7.2.13 7.4.1" chooses amd64 7.2.13+deb13-amd64 note
}

new_series() {
	ARCHIVE="7.3.5 7.4.1" chooses amd64 7.3.5+deb13-amd64 note &&
		ARCHIVE="7.4.1 7.5.2" chooses amd64 7.5.2+deb13-amd64 note
}

unknown() {
	ARCHIVE="7.3.9 7.3.11 7.3.5" chooses amd64 7.3.11+deb13-amd64 note
}

# 7.3.4 is no prefix of 7.3.40.
whole() {
	ARCHIVE="7.3.40" chooses amd64 7.3.40+deb13-amd64 note
}

series() {
	ARCHIVE="7.2.6 7.2.12 7.2.13 7.3.4 7.20.1" chooses 7.2 7.2.12+deb13-amd64 &&
		ARCHIVE="7.2.6 7.2.13 7.3.4 7.20.1" chooses 7.2 7.2.13+deb13-amd64 note
}

no_series() {
	FLAVOUR=7.2 ARCHIVE="7.3.4" setup_resolve
}

# Other flavours follow the default one, also if that is not known.
follow() {
	echo 7.3.5+deb13-amd64 >"$LAB/kernel-version-amd64"
	ARCHIVE="7.2.12 7.3.4 7.3.5" chooses rt 7.3.5+deb13-rt-amd64 note &&
		ARCHIVE="7.2.12 7.3.4 7.3.5" chooses debug 7.3.5-debug note &&
		ARCHIVE="7.2.12 7.3.4 7.3.6" chooses rt 7.3.4+deb13-rt-amd64 &&
		ARCHIVE="7.2.12 7.3.4 7.3.6" chooses debug 7.3.4-debug &&
		ARCHIVE="7.2.12 7.3.4 7.3.6" chooses cfi 7.3.4-cfi &&
		ARCHIVE="7.2.12 7.3.4 7.3.6" chooses kcsan 7.3.4-kcsan &&
		ARCH=arm64 ARCHIVE="7.2.12 7.3.4 7.3.5" chooses arm64 7.3.5+deb13-arm64 note &&
		ARCH=arm64 ARCHIVE="7.2.12 7.3.4 7.3.5" chooses 16k 7.3.5+deb13-arm64-16k note &&
		ARCH=arm64 ARCHIVE="7.2.12 7.3.4 7.3.6" chooses 16k 7.3.4+deb13-arm64-16k
}

# The debug kernel is built from the default kernel's source, even if the archive has moved on.
debug_source() {
	mkdir "$KERNELS"/source-{7.2.12,7.3.3,7.3.9}
	echo 7.3.3+deb13-amd64 >"$LAB/kernel-version-amd64"
	ARCHIVE="7.2.12 7.3.4" chooses debug 7.3.3-debug || return
	rmdir "$KERNELS"/source-7.3.*
	ARCHIVE="7.2.12 7.3.4" chooses debug 7.3.4-debug || return
	rm "$LAB/kernel-version-amd64"
	ARCHIVE="7.2.12 7.3.4" chooses debug 7.3.4-debug && rmdir "$KERNELS"/source-*
}

named() {
	local DOORBELL_KERNEL
	export DOORBELL_KERNEL=7.3.5+deb13-amd64
	ARCHIVE="7.3.4" chooses amd64 7.3.5+deb13-amd64 && ARCHIVE="7.3.4" chooses rt 7.3.5+deb13-rt-amd64 &&
		ARCH=arm64 ARCHIVE="7.3.4" chooses 16k 7.3.5+deb13-arm64-16k || return
	DOORBELL_KERNEL=7.3.5+deb13-arm64-16k
	ARCH=arm64 ARCHIVE="7.3.4" chooses 16k 7.3.5+deb13-arm64-16k && ARCH=arm64 ARCHIVE="7.3.4" chooses arm64 7.3.5+deb13-arm64
}

# A run with DOORBELL_KERNEL leaves the version of other runs alone.
named_once() {
	have_kernel() { return 1; }
	setup_fetch() { :; }
	stage_kdir() { :; }
	FLAVOUR=7.2
	echo 7.2.9+deb13-amd64 >"$LAB/kernel-version-7.2"
	DOORBELL_KERNEL=7.2.6+deb13-amd64 setup_kernel
	[[ $(kernel_version) == 7.2.9+deb13-amd64 && ! -e $LAB/kernel-version-7.2.new ]] || return
	ARCHIVE=7.2.12 setup_kernel
	[[ $(kernel_version) == 7.2.12+deb13-amd64 ]]
}

# sets_up: runs the set-up of the kernel, whose stages build nothing, in a process of its own
sets_up() (
	have_kernel() { return 1; }
	setup_fetch() {
		local v
		v=$(cat "$(version_file).new")
		mkdir -p "$KERNELS/$v.tmp" && kernel_recipe >"$KERNELS/$v.tmp/fetched"
	}
	stage_kdir() { ! grep -qx "$BROKEN" "$(version_file).new"; }
	FLAVOUR=amd64 ARCHIVE=7.3.4
	setup_kernel
)

# Nor does it if it fails.
named_fails() {
	local BROKEN=7.3.9+deb13-amd64
	rm -f "$LAB"/kernel-version-*
	! DOORBELL_KERNEL=$BROKEN sets_up || return
	sets_up && [[ $(cat "$LAB/kernel-version-amd64") == 7.3.4+deb13-amd64 ]]
}

# Without DOORBELL_KERNEL, the next run continues with the version of the one that failed.
continues() {
	rm -f "$LAB"/kernel-version-*
	! BROKEN=7.3.4+deb13-amd64 sets_up && grep -qx 7.3.4+deb13-amd64 "$LAB/kernel-version-amd64.new" &&
		BROKEN=none sets_up && [[ $(ls "$LAB"/kernel-version-*) == "$LAB/kernel-version-amd64" ]]
}

# Each line names a release of Debian, or a version of its QEMU.
real() {
	! grep -vE '^(#.*|kernel 7(\.[0-9]+)+\+deb13|QEMU [0-9]+:[0-9.]+[^ ]*~bpo13\+[0-9]+)$' "$SCRATCH/real" &&
		grep -q '^kernel 7\.2\.' "$SCRATCH/real" && grep -q '^kernel 7\.3\.' "$SCRATCH/real" && grep -q '^QEMU' "$SCRATCH/real"
}

check "a known kernel goes before a newer one" known_first
check "of several known ones, the newest is taken" newest_known
check "an untried one goes before a known one of an older series" untried
check "an older series is taken if the newest known one is gone, and that is printed" older_series
check "a series that is not known is the last choice" new_series
check "without a known one the newest is tried, and that is printed" unknown
check "a version is compared as a whole" whole
check "FLAVOUR=7.2 has a kernel 7.2" series
check "an archive without a kernel 7.2 is an error" says "no 7\.2\.x kernel in trixie-backports" no_series
check "other flavours have the version of the default one, if there is one" follow
check "the debug kernel is of the default one's source, not of another that is there" debug_source
check "DOORBELL_KERNEL goes before all" named
check "DOORBELL_KERNEL is for one run" named_once
check "also if it cannot be set up" named_fails
check "a set-up that fails leaves its version to the next run only" continues
check "the list in the tree can be read" real
plan
