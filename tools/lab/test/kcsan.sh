#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Tests which reports of KCSAN fail a run; with FLAVOUR=kcsan, that KCSAN's calls are in the objects of
# the module, in C and in Rust, and that the kernel reports a data race.
. "$(dirname "$0")/lib.sh"

# logs LINE...: succeeds if check_log finds nothing in a log with these lines
logs() (
	# Its variables are not those of the tests.
	. "$LAB_DIR/lib/guest.sh"
	say() { echo "$*"; }
	mkdir -p "$SCRATCH/log"
	printf '[    1.0] %s\n' "$@" >"$SCRATCH/log/dmesg"
	echo "$TAINT" >"$SCRATCH/log/tainted"
	check_log "$SCRATCH/log"
)
wrong() {
	! logs "$@" >/dev/null
}
# report FUNCTION FUNCTION FRAME...: sets REPORT to one, with frames of the second access
report() {
	REPORT=("==================" "BUG: KCSAN: data-race in $1 / $2" "" "write to 0x1 of 8 bytes by task 7 on cpu 0:"
		" $1+0x1/0x2" " asm_sysvec_apic_timer_interrupt+0x1/0x2" " interrupted+0x1/0x2 [doorbell]" ""
		"read to 0x1 of 8 bytes by task 8 on cpu 1:" " $2+0x1/0x2" "${@:3}" "==================")
}
report one two
check "a data race of the kernel is no finding" logs "${REPORT[@]}"
check "a complaint in its report is one" wrong "${REPORT[@]:0:5}" "WARNING: b" "${REPORT[@]:5}"
check "a complaint after it is one" wrong "${REPORT[@]}" "BUG: b"
check "a report without an end is one" wrong "${REPORT[@]:0:5}"
report one two " ring+0x1/0x2 [doorbell]"
check "a data race of a function that the module calls is a finding" wrong "${REPORT[@]}"
report one "two [doorbell]"
check "one of the module's own is a finding" wrong "${REPORT[@]}"
while read -r one two _; do
	report "$one" "$two" " ring+0x1/0x2 [doorbell]"
	check "the data race in $one / $two is known" logs "${REPORT[@]}"
done < <(grep -v '^#' "$LAB_DIR/guest/kcsan-known" | grep .)

if [[ ${LAB_FLAVOUR:-} != kcsan ]]; then
	echo "# the other tests need FLAVOUR=kcsan"
	plan
fi
export DOORBELL_LAB=$LAB_OF_TESTS DOORBELL_FLAVOUR=$LAB_FLAVOUR DOORBELL_BUILT=1
cd "$SCRATCH" || exit

# is_instrumented OBJECT: succeeds if an object of the module has calls for plain accesses, for
# marked ones and at the entries of functions
is_instrumented() {
	local symbols call
	symbols=$("$LAB_DIR/lab" enter nm -u "/build/module/$1") || return
	for call in __tsan_read8 __tsan_write8 __tsan_volatile_read8 __tsan_func_entry; do
		grep -qw "$call" <<<"$symbols" || { echo "no $call" && return 1; }
	done
}

races() {
	# shellcheck disable=SC2016 # the guest's variable
	"$LAB_DIR/lab" run sh -c 'insmod "$DOORBELL_TEST_MODULE" '"$1"
}

check "the module's C has KCSAN's calls" is_instrumented rust/bindings/helpers.o
check "its Rust has them" is_instrumented rust/doorbell.o
check "without a race there is no report" races ""
check "a race is reported" says 'BUG: KCSAN: data-race in race_here' races race=1
plan
