#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Tests that a build and the runs that use it exclude each other, and which files of a run come back. A function
# replaces the compilers.
. "$(dirname "$0")/lib.sh"

say() { echo "$*" >&2; }
die() { say "$@"; exit 1; }
SRC=$SCRATCH/src BUILD=$SCRATCH/build FLAVOUR=amd64 ARCH=amd64
mkdir -p "$SRC" "$BUILD"
. "$LAB_DIR/lib/run.sh"
. "$LAB_DIR/lib/build.sh"
sha() { sha256sum | cut -c1-16; }
kernel_version() { echo 7.3; }
kernel_recipe() { echo recipe; }
build_dirs() { :; }
mount_lab() { :; }
RESULT=0
build_tools() {
	echo built >>"$SCRATCH/builds"
	return $RESULT
}

# begin_share: starts share_tools in another process, as a stage of make check
begin_share() {
	rm -f "$SCRATCH"/{builds,messages,shared}
	(exec {RUN_FD}>&-; share_tools 2>"$SCRATCH/messages"; echo $? >"$SCRATCH/shared") &
}

# Another run, which shares the lock: a descriptor of its own, which lock_file does not know.
hold_run() { exec {RUN_FD}>>"$BUILD/lock" && flock -s "$RUN_FD"; }
end_run() { exec {RUN_FD}>&-; }

it_waits_or_ends() {
	until [[ -s $SCRATCH/shared ]] || grep -q 'waiting for another run' "$SCRATCH/messages" 2>/dev/null; do
		sleep 0.05
	done
}

waits_for_a_run() {
	hold_run
	begin_share
	it_waits_or_ends
	[[ ! -e $SCRATCH/builds ]] || { echo "it built beside a run" && return 1; }
	end_run
	wait
	[[ $(cat "$SCRATCH/builds" "$SCRATCH/shared") == $'built\n0' ]]
}

shares_a_build() {
	build_key >"$BUILD/built-$FLAVOUR"
	hold_run
	begin_share
	it_waits_or_ends
	[[ $(cat "$SCRATCH/shared" 2>/dev/null) == 0 && ! -e $SCRATCH/builds ]] ||
		{ echo "it waited or built" && end_run && return 1; }
	end_run
}

keeps_the_lock() {
	rm "$BUILD/built-$FLAVOUR"
	(
		share_tools
		flock -n "$BUILD/lock" true
		echo $? >"$SCRATCH/exclusive"
		flock -s -n "$BUILD/lock" true
		echo $? >>"$SCRATCH/exclusive"
	)
	[[ $(<"$SCRATCH/exclusive") == $'1\n0' ]]
}

fails_with_the_build() {
	! RESULT=1 share_tools
}

# brought NAME...: succeeds if a run that wrote these files brings back exactly these
brought() {
	local from=$SCRATCH/files to=$SCRATCH/caller
	rm -rf "$from" "$to"
	mkdir "$from" "$to"
	(($# == 0)) || (cd "$from" && touch "$@") || return
	(shopt -s nullglob && cd "$to" && bring_files "$from") 2>"$SCRATCH/messages" || { cat "$SCRATCH/messages" && return 1; }
	diff <(printf '%s\n' "$@" | grep . | sort) <(ls -A "$to" | sort) &&
		[[ $(grep -c "the command wrote $to/" "$SCRATCH/messages") == $# ]]
}

check "the files of a run come back" brought a.txt "b c"
check "so do hidden ones" brought .config a.txt
check "and hidden ones alone" brought .b
check "without a file nothing does" brought
check "a check that has to build waits until a run has ended" waits_for_a_run
check "a check beside a run uses what is built" shares_a_build
check "after its build, other runs can share it, and none can build" keeps_the_lock
check "a failed build fails the check" fails_with_the_build
plan
