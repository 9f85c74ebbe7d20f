#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Tests what a set-up says: which advice a stage that fails gets, how much space it needs, and the
# progress of lab-clean. No stage installs or downloads anything.
. "$(dirname "$0")/lib.sh"
set -u
shopt -s nullglob

export DOORBELL_LAB=$SCRATCH/lab
SRC=$(realpath "$LAB_DIR/../..") FLAVOUR=amd64 ARCH=amd64 FREE=100000
for lib in common args run enter versions setup arm64 in-tree series build tests kvm; do
	# shellcheck source=/dev/null
	. "$LAB_DIR/lib/$lib.sh"
done
free_mb() { echo "$FREE"; }

# fails_with STAGE LINE...: runs a stage that prints the lines and fails; its report goes to "report"
fails_with() {
	(
		stage_begin "$1" "some stage" sh -c 'printf "%s\n" "$@"; exit 3' sh "${@:2}" 2>/dev/null
		stage_wait
	) 2>"$SCRATCH/report"
	(($? == 1))
}

# advice PATTERN STAGE LINE...: succeeds if such a stage gets this advice and no other
advice() {
	local pattern=$1
	shift
	fails_with "$@" || return
	sed -n '/^lab: some stage: FAILED/,$p' "$SCRATCH/report" | sed 1d | grep -v '^  | ' >"$SCRATCH/advice"
	if [[ $pattern ]]; then
		[[ $(wc -l <"$SCRATCH/advice") == 1 ]] && grep -qE "$pattern" "$SCRATCH/advice"
	else
		[[ ! -s $SCRATCH/advice ]]
	fi || { cat "$SCRATCH/report" && return 1; }
}

nearly_full() {
	local FREE=49
	advice "$1" packages "dpkg: error"
}

# The report of a stage has the end of its log.
log_is_shown() {
	fails_with base first $'second\tcolumn' && grep -qx '  | first' "$SCRATCH/report" &&
		grep -qx $'  | second\tcolumn' "$SCRATCH/report" &&
		grep -q "FAILED after [0-9]* s; the end of $LOGS/base.log:" "$SCRATCH/report"
}

success_is_short() {
	(
		stage_begin base "some stage" echo "No space left on device" 2>/dev/null
		stage_wait
	) 2>"$SCRATCH/report" || return
	grep -qxE 'lab: some stage: done in [0-9]+ s' "$SCRATCH/report" && [[ $(wc -l <"$SCRATCH/report") == 1 ]]
}

# Two runs wait to set up the same part, while others use the lab. The second one of them goes on when
# the part is there.
part_comes() {
	local others waiter
	mkdir -p "$LAB" "$LOGS"
	exec {others}>>"$LAB/lock"
	flock -s "$others"
	there() { [[ -e $SCRATCH/part ]]; }
	(
		exec {others}>&-
		LOCK_FD=
		lock_lab exclusive there
		echo $? >"$SCRATCH/status"
	) 2>"$SCRATCH/report" &
	waiter=$!
	until grep -q "waiting for another run" "$SCRATCH/report"; do
		sleep 0.1
	done
	touch "$SCRATCH/part"
	wait $waiter
	exec {others}>&-
	[[ $(cat "$SCRATCH/status") == 1 ]]
}

FULL="the disk is full: .*DOORBELL_LAB"
NETWORK="the network failed: .*http_proxy.*continues where it stopped"
KEY="apt-get install debian-archive-keyring"
AGAIN="run the same command again; finished stages are kept"

check "a set-up goes on when another run has made the part, without a lock" part_comes
check "the report of a stage that fails has the end of its log" log_is_shown
check "one that succeeds has a line" success_is_short
check "a write to a full disk" advice "$FULL" base "tar: ./usr/bin/x: Cannot write: No space left on device"
check "apt finds too little space" advice "$FULL" packages "E: You don't have enough free space in /var/cache/apt/archives/."
check "a quota" advice "$FULL" source "cp: error writing '/x': Disk quota exceeded"
check "a disk that is nearly full, whatever the log says" nearly_full "$FULL"
check "a download that fails because the disk is full" advice "$FULL" packages \
	"E: Failed to fetch http://x  Write error - write (28: No space left on device)"
check "debootstrap without a network" advice "$NETWORK" base "I: Retrieving Release " \
	"E: Failed getting release file http://deb.debian.org/debian/dists/trixie/Release"
check "debootstrap that loses the network" advice "$NETWORK" base "E: Couldn't download packages: base-files dpkg"
check "apt without a name server" advice "$NETWORK" packages "  Temporary failure resolving 'deb.debian.org'"
check "apt without a network" advice "$NETWORK" kernel \
	"  Could not connect to 127.0.0.1:1 (127.0.0.1). - connect (111: Connection refused)"
check "apt with a mirror that ends the connection" advice "$NETWORK" clang "E: Failed to fetch http://x  404  Not Found"
check "cargo without a network" advice "$NETWORK" build-tools "warning: spurious network error (3 tries remaining)"
check "an archive whose key the host does not know" advice "$KEY" base "E: Release signed by unknown key (key id 1)"
check "any other failure of the set-up" advice "$AGAIN" kdir "make: *** [Makefile:1] Error 2"
check "a build that fails needs no advice" advice "" build-module "error[E0432]: unresolved import"
check "nor does a check" advice "" check-clippy "error: this is odd"

# The set-up checks the space before it begins. Its stages write their names.
have_tree() { [[ $TREE_IS_THERE ]]; }
have_clang() { :; }
have_foreign() { :; }
have_kernel() { [[ $KERNEL_IS_THERE ]]; }
setup_debootstrap() { echo debootstrap >>"$SCRATCH/stages"; }
setup_tree() { echo tree >>"$SCRATCH/stages"; TREE_IS_THERE=1; }
setup_kernel() { echo kernel >>"$SCRATCH/stages"; KERNEL_IS_THERE=1; }

# sets_up MEGABYTES STAGE...: succeeds if a set-up with this space has these stages
sets_up() {
	local FREE=$1
	: >"$SCRATCH/stages"
	(setup) 2>"$SCRATCH/messages"
	STATUS=$?
	diff <(printf '%s' "${@:2}") <(tr '\n' ' ' <"$SCRATCH/stages")
}

# refuses MEGABYTES TEXT STAGE...: succeeds if it ends after these stages with the text
refuses() {
	sets_up "$1" "${@:3}" && ((STATUS == 1)) && grep -qxF "lab: error: $1 MB are free in $LAB; $2" "$SCRATCH/messages" &&
		grep -q 'set DOORBELL_LAB to another place' "$SCRATCH/messages" || { cat "$SCRATCH/messages" && return 1; }
}

# accepts MEGABYTES STAGE...
accepts() {
	sets_up "$@" && ((STATUS == 0)) || { cat "$SCRATCH/messages" && return 1; }
}

# is_from_source, for a kernel that the lab builds.
built_kernel() {
	local FLAVOUR=debug
	refuses 2999 "a kernel takes 3000" && accepts 3000 "kernel "
}

TREE_IS_THERE='' KERNEL_IS_THERE=''
check "a new lab needs 5000 MB" refuses 4999 "the lab takes 5000"
check "and is set up with as much" accepts 5000 "debootstrap " "tree " "kernel "
TREE_IS_THERE=1
check "a further kernel of Debian needs 1000 MB" refuses 999 "a kernel takes 1000"
check "and is set up with as much" accepts 1000 "kernel "
check "one that the lab builds needs 3000 MB" built_kernel
KERNEL_IS_THERE=1
check "a complete lab needs none" accepts 0

# lab_to_remove: makes a lab with some directories
lab_to_remove() {
	mkdir -p "$LAB"/{log,build/1/out,kernels/7.3.4,tree/usr/{bin,lib},tree/etc,qemu}
	touch "$LAB"/{kernel-version-amd64,build/1/out/file,tree/usr/lib/file}
}

# Each line is printed before its directory is removed.
progress() {
	lab_to_remove
	(
		remove() { echo "removed ${1#"$LAB"/}"; rm -rf "$1"; }
		clean_lab
	) >"$SCRATCH/removed" || return
	diff - "$SCRATCH/removed" <<-LINES || return
	$(for dir in build/1 kernels/7.3.4 tree/usr/bin tree/usr/lib tree/etc tree/usr build kernel-lock kernel-version-amd64 kernels log qemu tree; do
		printf '%s\n' "$dir" "removed $dir"
	done)
	LINES
	[[ $(ls -A "$LAB") == lock ]]
}

# A terminal shows the directory that is being removed.
painted() {
	LOGS=$SCRATCH
	printf '%s\n' build/1 kernels/7.3.4 >"$SCRATCH/clean.log"
	STAGE_PID=([clean]=1) STAGE_TITLE=([clean]="removing $LAB") STAGE_T0=([clean]=$SECONDS)
	stage_paint 2>"$SCRATCH/painted"
	grep -qE "removing .* [0-9] s: kernels/7.3.4\$" "$SCRATCH/painted" || { cat "$SCRATCH/painted" && return 1; }
}

removes_all() {
	lab_to_remove
	(TMPDIR=$SCRATCH/tmp clean) 2>"$SCRATCH/messages" || return
	[[ ! -e $LAB && -z $(ls -A "$SCRATCH/tmp") ]] && tail -n 1 "$SCRATCH/messages" | grep -qxF "lab: removed $LAB"
}

# A directory in which something is mounted stays, and so does the lock.
mounted() {
	lab_to_remove
	(
		remove() { [[ $1 != */tree/usr/lib ]] || die "something is mounted in $1"; rm -rf "$1"; }
		TMPDIR=$SCRATCH/tmp clean
	) 2>"$SCRATCH/messages" && return 1
	[[ -e $LAB/tree/usr/lib/file && -e $LAB/lock && ! -e $LAB/build/1 ]] &&
		grep -q "something is mounted in $LAB/tree/usr/lib" "$SCRATCH/messages" && rm -rf "$SCRATCH"/tmp/*
}

nothing_there() {
	rm -rf "$LAB"
	(clean) 2>"$SCRATCH/messages" && [[ ! -s $SCRATCH/messages && ! -e $LAB ]]
}

mkdir "$SCRATCH/tmp"
check "lab-clean prints each directory, and keeps the lock" progress
check "a terminal shows it" painted
check "afterwards nothing is left, not even the log" removes_all
check "what is in use stays, and is named" mounted
check "without a lab there is nothing to do" nothing_there

# The commands that build a kernel of their own, or KVM, check the space when the lab is set up. These are their next
# steps.
have_all() { :; }
setup_sparse() { exit 99; }
stage_begin() { exit 99; }
kvm_source() { exit 99; }
lock_file() { :; }
mount_lab() { :; }

# goes_on MEGABYTES COMMAND...: succeeds if the command goes on with this space
goes_on() {
	local FREE=$1
	("${@:2}") 2>"$SCRATCH/messages"
	STATUS=$?
	((STATUS == 99))
}

# needs MEGABYTES PURPOSE COMMAND...: succeeds if the command needs this space for PURPOSE
needs() {
	! goes_on $(($1 - 1)) "${@:3}" && ((STATUS == 1)) &&
		grep -qxF "lab: error: $(($1 - 1)) MB are free in $LAB; $2 takes $1" "$SCRATCH/messages" &&
		goes_on "$1" "${@:3}" || { cat "$SCRATCH/messages" && return 1; }
}

# after FILE COMMAND...: succeeds if the command needs no space when an earlier run has made the file
after() {
	mkdir -p "$BUILD/${1%/*}" && echo built >"$BUILD/$1"
	goes_on 0 "${@:2}" || { cat "$SCRATCH/messages" && return 1; }
}

# shellcheck disable=SC2034 # build_all reads it
flavour() {
	local FLAVOUR=$1
	"${@:2}"
}

DRIVER="the driver in a kernel tree"
check "a kernel with the driver in its tree needs space" flavour in-tree-lto needs 2300 "$DRIVER" build_all
check "that is built needs none" flavour in-tree-lto after in-tree-lto/built build_all
check "nor does Debian's" goes_on 0 build_all
check "make in-tree needs that of each kernel that is not built" needs 4600 "$DRIVER" run_in_tree
check "that is to be built" needs 2300 "$DRIVER" run_in_tree '!built_in'
check "which some of its checks do not" goes_on 0 run_in_tree places docs
check "make series needs space" needs 600 "a kernel with the patches" run_series
check "but not again" after series/booted run_series
check "make kvm-selftest needs space" needs 200 "KVM with the patch" kvm_selftest
check "but not again, too" after "kvm/selftests/$KVM_TEST" kvm_selftest
plan
