#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Tests the set-up for arm64 with stages that install nothing: which runs it excludes, and what
# counts as set up.
. "$(dirname "$0")/lib.sh"
set -u
shopt -s nullglob

export DOORBELL_LAB=$SCRATCH/lab
SRC=$(realpath "$LAB_DIR/../..")
FLAVOUR=arm64 ARCH=arm64
FLAVOURS=(arm64) ARCHES=(amd64 arm64)
for lib in common args run enter versions setup arm64 qemu build tests check; do
	# shellcheck source=/dev/null
	. "$LAB_DIR/lib/$lib.sh"
done
mkdir -p "$BASE_TREE"
tree_recipe >"$BASE_TREE/.doorbell-recipe"

# A stage records its name, and whether another run could use the lab meanwhile.
setup_stage() {
	local lock=exclusive
	! flock -s -n "$LAB/lock" true || lock=shared
	echo "$1 $lock" >>"$SCRATCH/stages"
	mkdir -p "$TREE" && arm64_recipe >"$TREE/.doorbell-arm64"
}
setup_kernel() { setup_stage kernel; }
need_space() { :; }

# sets_up STAGE...: succeeds if the set-up has these stages
sets_up() {
	: >"$SCRATCH/stages"
	(setup) || return
	diff <(printf '%s\n' "$@") "$SCRATCH/stages"
}
# shares: succeeds if the lab is shared after the set-up
shares() {
	(setup && flock -s -n "$LAB/lock" true && ! flock -x -n "$LAB/lock" true)
}

check "no other run uses the lab during the first set-up" sets_up "arm64 exclusive" "kernel shared"
check "what is set up is not set up again" sets_up "kernel shared"
echo stale >"$TREE/.doorbell-arm64"
check "no other run uses a copy that is replaced" sets_up "arm64 exclusive" "kernel shared"
check "afterwards the lab is shared" shares

have_kernel() { :; }
kernel_version() { echo 7.3.4+deb13-arm64; }
# shows VERSION: succeeds if make lab-status ARCH=arm64 prints this for the kernel
shows() {
	status | grep -q "^arm64: *$1\$"
}
check "the status has the kernel" shows 7.3.4+deb13-arm64
echo stale >"$TREE/.doorbell-arm64"
check "a kernel without the copy of the tree is not set up" shows "not set up"

mount_lab() { :; }
in_tree() {
	shift
	echo "$*" >>"$SCRATCH/commands"
}
# lints: succeeds if the static checks lint the tools for arm64, and do nothing else
lints() {
	run_checks | diff <(echo "1 passed, 0 failed") - || return
	diff <(echo 1) <(wc -l <"$SCRATCH/commands") &&
		grep -q 'cargo clippy .*--target aarch64-unknown-linux-gnu .*-- -D warnings$' "$SCRATCH/commands"
}
check "the static checks lint the tools for arm64" lints

# repeats FLAVOUR TEST CASE: a test of it that fails is reported with these commands
repeats() {
	local FLAVOUR=$1 RUN=$SCRATCH/run FAILURES=()
	mkdir -p "$RUN/ktap" && printf '%s\n' "not ok 1 mask.exact" 1..1 "# exit status 1" >"$RUN/ktap/mask" && failed_cases "$RUN/ktap/mask" mask mask || return
	diff <(echo "$2") <(alone mask) && diff <(echo "  mask: mask.exact: $3") <(printf '%s\n' "${FAILURES[@]}")
}
check "a failure has the commands that repeat it" repeats arm64 \
	"make test T=mask ARCH=arm64" "DOORBELL_ARCH=arm64 tools/lab/lab run mask -t exact"
check "on the kernel with larger pages, too" repeats 16k \
	"make test T=mask ARCH=arm64 FLAVOUR=16k" "DOORBELL_ARCH=arm64 DOORBELL_FLAVOUR=16k tools/lab/lab run mask -t exact"
plan
