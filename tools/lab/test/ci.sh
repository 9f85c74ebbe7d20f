#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Tests .ci/run with a make that runs nothing: its steps, the flavours that it leaves out, and the
# total.
. "$(dirname "$0")/lib.sh"
SRC=${LAB_DIR%/tools/lab}
[[ -e $SRC/.ci/run ]] || { echo "1..0 # SKIP no .ci/run" && exit; }

mkdir -p "$SCRATCH"/{src/.ci,bin}
cp "$SRC/.ci/run" "$SCRATCH/src/.ci/"
# It records its arguments. The step in FAILS has a failure, and the one in BREAKS no count.
cat >"$SCRATCH/bin/make" <<'MAKE'
#!/bin/bash
case "$*" in
"-s lab-status")	printf '%s\n' "rt:     7.3.4" "7.2:    7.2.12" "debug:  7.3.4" && exit ;;
esac
[[ $1 != --no-print-directory ]] || shift
echo "$*" >>"$STEPS"
echo "lab: some stage"
[[ $* != *"${BREAKS:-nothing}" ]] || exit 2
[[ $* != *"${FAILS:-nothing}" ]] || { echo "2 passed, 1 failed" && exit 1; }
[[ $* == lab ]] || echo "3 passed, 0 failed"
MAKE
chmod +x "$SCRATCH/bin/make"

# ci SECONDS: runs it as if so many seconds had passed. Its output goes to "out", its steps to "steps".
ci() {
	: >"$SCRATCH/steps"
	SECONDS=$1 PATH=$SCRATCH/bin:$PATH STEPS=$SCRATCH/steps "$BASH" "$SCRATCH/src/.ci/run" >"$SCRATCH/out" 2>&1
}

# steps LINE...: succeeds if these are its steps
steps() {
	diff <(printf '%s\n' "$@") "$SCRATCH/steps"
}

OTHERS='T=!tools !model !lab'
eval "$(sed -n '/^DEBUG_TESTS=(/,/)$/p' "$SRC/.ci/run")"
DEBUG="T=${DEBUG_TESTS[*]}"

all() {
	ci 0 && steps lab test check "test FLAVOUR=rt $OTHERS" "test FLAVOUR=7.2 $OTHERS" "test FLAVOUR=debug $DEBUG" &&
		diff <(echo "15 passed, 0 failed") <(tail -n 1 "$SCRATCH/out")
}

# late SECONDS FLAVOUR...: succeeds if this late the run has these flavours, leaves the others out, and passes
late() {
	ci "$1" && diff <(printf '%s\n' "${@:2}" | grep .) <(sed -n 's/^test FLAVOUR=\([^ ]*\).*/\1/p' "$SCRATCH/steps") || return
	[[ $(grep -c 'LEFT OUT: it would take' "$SCRATCH/out") == $((4 - $#)) ]] || { cat "$SCRATCH/out" && return 1; }
}

# counts TOTAL: succeeds if the run fails with this total
counts() {
	! ci 0 && diff <(echo "$1") <(tail -n 1 "$SCRATCH/out")
}

# The names of the tests, for a check as that of make test.
exist() (
	die() { printf '%s\n' "$@" && exit 1; }
	# shellcheck source=/dev/null
	. "$LAB_DIR/lib/args.sh"
	check_tests "${DEBUG_TESTS[@]}"
)

check "all tests and checks, then the tests on three more kernels" all
check "the tests on the debug kernel exist" exist
check "the torture takes its time on the debug kernel, however fast the machine is" late 4450 rt 7.2
check "it fits a bit earlier" late 4420 rt 7.2 debug
check "after the latest time no flavour runs" late 4501
FAILS="FLAVOUR=7.2 $OTHERS" check "a failed test fails the run" counts "14 passed, 1 failed"
BREAKS=check check "a command without a count is a failure" counts "12 passed, 1 failed"
plan
