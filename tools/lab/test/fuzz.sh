#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Tests what the lab does with the results of the fuzzer: its corpus, and its guest's kernel log.
. "$(dirname "$0")/lib.sh"
. "$LAB_DIR/lib/fuzz.sh"
cd "$SCRATCH" || exit

# keeps FILES: succeeds if these programs of out/fuzz/corpus, with a.txt and b.txt, are left after a run whose output
# is in "run"
keeps() {
	local left
	mkdir -p out/fuzz/corpus
	touch out/fuzz/corpus/{a,b}.txt
	old_programs run
	left=$(cd out/fuzz/corpus && echo *)
	[[ $left == "$1" ]] || { echo "'$left' are left, not '$1'" && return 1; }
}

mkdir -p run/corpus
touch run/corpus/a.txt
check "a run that has not run all programs keeps them" keeps "a.txt b.txt"
touch run/complete
check "another removes those that it does not need" keeps "a.txt"

# logs LINE...: succeeds if check_log finds nothing in a log in which the OOM killer has written these lines
logs() (
	# Its variables are not those of the tests.
	. "$LAB_DIR/lib/guest.sh"
	say() { echo "$*"; }
	mkdir -p log
	printf '[    1.0] %s\n' "a invoked oom-killer: gfp_mask=0xcc0" "$@" >log/dmesg
	echo "$TAINT" >log/tainted
	check_log log
)
wrong() {
	! logs "$@" >/dev/null
}
MEMCG="oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),oom_memcg=/doorbell-fuzz-1,task_memcg=/doorbell-fuzz-1"
check "the OOM killer may end a limited child" logs "Call Trace:" " <TASK>" "$MEMCG" "b"
check "not another process" wrong "Call Trace:" " <TASK>" "${MEMCG//doorbell-fuzz/other}"
check "a report in between counts" wrong "Call Trace:" "BUG: b" "$MEMCG"
check "a call trace after it counts" wrong "Call Trace:" "$MEMCG" "Call Trace:"
check "a message without an end counts" wrong "Call Trace:" "b"
plan
