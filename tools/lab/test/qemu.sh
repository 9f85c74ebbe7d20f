#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Tests the set-up of the second QEMU with an archive and a program that are not real: what
# is kept, what is tried again, and that no failure ends the run.
. "$(dirname "$0")/lib.sh"
set -u
shopt -s nullglob

export DOORBELL_LAB=$SCRATCH/lab
SRC=$(realpath "$LAB_DIR/../..")
FLAVOUR=amd64 ARCH=amd64
for lib in common args run enter versions setup qemu tests; do
	# shellcheck source=/dev/null
	. "$LAB_DIR/lib/$lib.sh"
done
mkdir -p "$TREE/var/lib/apt/lists"
KNOWN_VERSIONS=$SCRATCH/known
echo 'QEMU 1:11.1' >"$KNOWN_VERSIONS"

# A stage is a process of this test, and mounts nothing.
setup_stage() { stage_begin "$1" "$2" "stage_$1"; }
mount_tree() { :; }
mount() { :; }
umount() { :; }

# The archive is "offline", or reads no list of trixie-backports ("partial"), or has no
# QEMU ("empty"), or a newer one ("newer") or two ("both"), or fails in the download ("moved"),
# or is "good".
ARCHIVE=good
# The program is "good", or lacks a library or the device, or says nothing.
PROGRAM=good
# The files that the commands of the tree see at /kernel.
in_tree() {
	local new=$QEMU.tmp package
	shift
	case "$*" in
	"apt-get -q update --error-on=any")
		echo "update" >>"$SCRATCH/calls"
		rm -f "$TREE"/var/lib/apt/lists/*
		[[ $ARCHIVE != offline ]] || { echo "Temporary failure resolving" && return 100; }
		touch "$TREE/var/lib/apt/lists/debian_dists_trixie_main_binary-amd64_Packages"
		[[ $ARCHIVE == partial ]] ||
			touch "$TREE/var/lib/apt/lists/debian_dists_trixie-backports_main_binary-amd64_Packages"
		;;
	"apt-cache madison qemu-system-x86")
		echo "qemu-system-x86 | 1:10.0 | debian trixie/main amd64 Packages"
		[[ $ARCHIVE != newer && $ARCHIVE != both ]] ||
			echo "qemu-system-x86 | 1:11.10 | debian trixie-backports/main amd64 Packages"
		[[ $ARCHIVE == empty || $ARCHIVE == newer ]] ||
			echo "qemu-system-x86 | 1:11.1 | debian trixie-backports/main amd64 Packages"
		;;
	"env -C /kernel/deb apt-get -q -t trixie-backports download "*)
		[[ $ARCHIVE != moved ]] || return 100
		sed 's/.* qemu-system-x86=\([^ ]*\).*/\1/' <<<"$*" >"$SCRATCH/downloaded"
		for package in "${QEMU_PACKAGES[@]}"; do
			touch "$new/deb/${package}_1_amd64.deb"
		done
		;;
	"dpkg-deb -x /kernel/deb/"*)
		mkdir -p "$new"/deb/root/usr/{bin,share/{qemu,doc}}
		touch "$new/deb/root/usr/bin/qemu-system-x86_64"
		;;
	"sh -c dpkg-deb -f "*)
		cat "$SCRATCH/downloaded"
		;;
	"/kernel/usr/bin/qemu-system-x86_64 -device vfio-user-pci,help")
		[[ -e $new/usr/bin/qemu-system-x86_64 ]] || return 127
		case $PROGRAM in
		library) printf '%s\n' "libx.so.1: cannot open shared object file" "and more" >&2; return 127 ;;
		silent)	return 1 ;;
		esac
		;;
	*)	echo "not expected: $*" && return 99 ;;
	esac
}

# attempt [again]: a set-up must not end the run. Sets CALLS to its number of updates.
attempt() {
	: >"$SCRATCH/calls"
	setup_qemu "$@" || { echo "the set-up failed" && return 1; }
	CALLS=$(wc -l <"$SCRATCH/calls")
}

anew() {
	rm -rf "$LAB/qemu"
}

# fails_temporarily REASON: nothing is kept but the reason
fails_temporarily() {
	anew
	attempt
	[[ ! -e $QEMU ]] || { echo "there is a directory: $(ls "$QEMU")" && return 1; }
	grep -q -- "$1" "$QEMU.failed" && [[ $(qemu_status) == "none: $(<"$QEMU.failed")" ]]
}

offline() {
	ARCHIVE=offline fails_temporarily "its set-up failed" && ! use_qemu
}

once_a_day() {
	ARCHIVE=offline
	anew
	attempt && ((CALLS == 1)) || return
	attempt && ((CALLS == 0)) || { echo "tried again at once" && return 1; }
	attempt again && ((CALLS == 1)) || { echo "not tried again" && return 1; }
	touch -d '25 hours ago' "$QEMU.failed"
	ARCHIVE=good
	attempt && ((CALLS == 1)) && [[ -e $QEMU/usr && ! -e $QEMU.failed ]]
}

partial() {
	ARCHIVE=partial fails_temporarily "its set-up failed" && grep -q 'no list of trixie-backports' "$LOGS/qemu.log"
}

moved() {
	ARCHIVE=moved fails_temporarily "its set-up failed"
}

full() (
	free_mb() { echo 10; }
	fails_temporarily "10 MB are free" && ((CALLS == 0))
)

# has_none REASON: the reason is kept, and the archive is not asked again
has_none() {
	anew
	attempt
	[[ $(cat "$QEMU/missing") == "$1" && ! -e $QEMU/usr && $(qemu_status) == "none: $1" ]] ||
		{ ls -R "$QEMU" && cat "$QEMU/missing" && return 1; }
	attempt && ((CALLS == 0))
}

empty() {
	ARCHIVE=empty has_none "trixie-backports has no QEMU"
}

library() {
	PROGRAM=library has_none "QEMU 1:11.1: libx.so.1: cannot open shared object file"
}

silent() {
	PROGRAM=silent has_none "QEMU 1:11.1: -device vfio-user-pci,help fails"
}

good() {
	anew
	attempt
	[[ -e $QEMU/usr/bin/qemu-system-x86_64 && -d $QEMU/usr/share/qemu && ! -e $QEMU/usr/share/doc &&
	   ! -e $QEMU/missing && ! -e $QEMU/deb && $(qemu_status) == 1:11.1 ]] || { ls -R "$QEMU" && return 1; }
	attempt && ((CALLS == 0)) && use_qemu
}

# chooses VERSION NOTE: sets up this version, and prints a note or none
chooses() {
	anew
	attempt 2>"$SCRATCH/messages"
	[[ $(qemu_status) == "$1" && $(grep -c 'trying the QEMU' "$SCRATCH/messages") == "$2" ]] ||
		{ qemu_status && cat "$SCRATCH/messages" && return 1; }
}

both() {
	ARCHIVE=both chooses 1:11.1 0
}

newer() {
	ARCHIVE=newer chooses 1:11.10 1
}

# Another tree has other packages. What it sets up must leave alone what a guest uses.
two_trees() (
	local ours=$QEMU unused=$LAB/qemu/unused kept=$LAB/qemu/kept
	anew
	attempt && use_qemu || return
	mkdir "$unused" "$kept"
	touch "$kept.lock"
	touch -d '40 days ago' "$unused.lock" "$ours.lock"
	PACKAGES+=(another)
	QEMU=$LAB/qemu/$(qemu_recipe)
	[[ $QEMU != "$ours" ]] || { echo "the recipe lacks the tree" && return 1; }
	attempt && ((CALLS == 1)) && [[ -e $QEMU/usr ]] || return
	[[ -e $ours/usr ]] || { echo "one in use was removed" && return 1; }
	[[ -e $kept && ! -e $unused ]] || { ls "$LAB/qemu" && return 1; }
)

needed() {
	local flavour
	SELECTED=()
	needs_qemu || return
	SELECTED=('!tools')
	needs_qemu || return
	SELECTED=(cli_kvm)
	! needs_qemu || return
	SELECTED=("!$QEMU_TEST")
	! needs_qemu || return
	SELECTED=("$QEMU_TEST")
	needs_qemu || return
	for flavour in debug cfi kcsan; do
		! FLAVOUR=$flavour needs_qemu || return 1
	done
	[[ -e $LAB_DIR/guest/tests/${QEMU_TEST#cli_} ]]
}

check "offline: no program, and the run goes on" offline
check "a failure is tried again after a day, or by make lab" once_a_day
check "a list of trixie-backports that was not read is no answer" partial
check "a download that fails is tried again" moved
check "a full disk does not end the run" full
check "an archive without QEMU is asked once" empty
check "a program without a library of its own is not kept" library
check "a program that fails in silence is not kept" silent
check "a program that works is kept, with its firmware and version" good
check "a known version goes before a newer one" both
check "without a known version the newest is tried, and that is printed" newer
check "trees with other recipes do not remove each other's" two_trees
check "only the runs of $QEMU_TEST set it up" needed
plan
