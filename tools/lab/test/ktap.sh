#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Tests the counter of KTAP: counts, and malformed streams that must fail; and the reason that a
# test of the command prints.
. "$(dirname "$0")/lib.sh"

# counts "PASSED FAILED" LINE...: succeeds if the stream of these lines has these
# counts; with EXPECTED, the pattern of the reasons of expected skips
counts() {
	local want=$1 got
	shift
	got=$(printf '%s\n' "$@" | awk -v expected="${EXPECTED:-}" -f "$LAB_DIR/lib/ktap.awk")
	[[ $got == "$want" ]] || { echo "counted as '$got', not '$want'" && return 1; }
}
END="# exit status 0"

check "a good stream" counts "2 0" "TAP version 13" 1..2 "ok 1 a" "ok 2 b" "$END"
check "the plan at the end" counts "2 0" "ok 1 a" "ok 2 b" 1..2 "$END"
check "nested results are not counted" counts "1 0" 1..1 "    ok 1 x" "    not ok 2 y" "    1..2" "ok 1 a" "$END"
check "a failed test, once, whatever the exit status" counts "1 1" 1..2 "ok 1 a" "not ok 2 b" "# exit status 1"
check "a skipped test has failed" counts "1 1" 1..2 "ok 1 a" "ok 2 b # SKIP no KVM" "$END"
check "so has a skipped program" counts "0 1" "1..0 # SKIP no KVM" "$END"
EXPECTED='no (KVM|CPU)'
check "but an expected skip is neither" counts "1 0" 1..2 "ok 1 a" "ok 2 b # SKIP no KVM" "$END"
check "nor is a program" counts "0 0" "1..0 # SKIP no KVM" "$END"
check "one for another reason has failed" counts "1 1" 1..3 "ok 1 a" "ok 2 b # SKIP no CPU" "ok 3 c # SKIP no disk" "$END"
EXPECTED=
check "lines that end in CR LF" counts "1 0" $'1..1\r' $'ok 1 a\r' $'# exit status 0\r'
check "numbers without a name" counts "1 0" 1..1 "ok 1" "$END"
check "nothing at all" counts "0 1" ""
check "no plan" counts "1 1" "ok 1 a" "$END"
check "two plans" counts "1 1" 1..1 "ok 1 a" 1..1 "$END"
check "two plans that differ" counts "2 1" 1..1 "ok 1 a" 1..2 "ok 2 b" "$END"
check "a plan of nothing" counts "0 1" 1..0 "$END"
check "a plan that is no number" counts "1 1" 1..x "ok 1 a" "$END"
check "fewer results than planned" counts "1 1" 1..2 "ok 1 a" "$END"
check "more results than planned" counts "2 1" 1..1 "ok 1 a" "ok 2 b" "$END"
check "a number twice, another one missing" counts "3 1" 1..3 "ok 1 a" "ok 1 b" "ok 3 c" "$END"
check "numbers out of order" counts "2 1" 1..2 "ok 2 a" "ok 1 b" "$END"
check "a result without a number" counts "1 1" 1..1 "ok a" "$END"
check "a result after a plan that ends the stream" counts "2 1" "ok 1 a" 1..2 "ok 2 b" "$END"
check "a bail-out" counts "1 1" 1..1 "ok 1 a" "Bail out! no device" "$END"
check "no exit status: it was cut off" counts "1 1" 1..1 "ok 1 a"
check "an exit status that says failure" counts "1 1" 1..1 "ok 1 a" "# exit status 139"
check "two exit statuses" counts "1 1" 1..1 "ok 1 a" "$END" "$END"
check "zero bytes in between" counts "1 1" 1..2 "ok 1 a" $'\001ok 2 b' "$END"

# The functions of the tests of the command, without the report that they begin.
eval "$(sed -n '/^\(try\|same\|exits\)() {/,/^}/p' "$LAB_DIR/guest/tests/lib.sh")"
# reason PATTERN COMMAND...: succeeds if "try exits 0" of the command fails with this reason
reason() {
	local pattern=$1
	shift
	cd "$SCRATCH" && WRONG='' || return
	try exits 0 "$@" >output
	# shellcheck disable=SC2053 # a pattern
	[[ $WRONG == $pattern ]] || { echo "the reason is '$WRONG'" && return 1; }
}
check "an exit status as expected" reason "" true
check "another exit status, with the end of what the command says" \
	reason "exits 0 *: '3' is not '0' second third " sh -c 'printf "%s\n" first second third >&2; exit 3'
plan
