#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Tests that the kernel with CFI traps a call by the module of a function of another type, and
# that the module's code has a type for each function that is called by a pointer. Only with
# FLAVOUR=cfi.
. "$(dirname "$0")/lib.sh"

if [[ ${LAB_FLAVOUR:-} != cfi ]]; then
	echo "1..0 # SKIP needs FLAVOUR=cfi"
	exit
fi
export DOORBELL_LAB=$LAB_OF_TESTS DOORBELL_FLAVOUR=$LAB_FLAVOUR DOORBELL_BUILT=1
cd "$SCRATCH" || exit

# calls VALUE: runs a test whose callbacks have the right type, or another one
calls() {
	# shellcheck disable=SC2016 # the guest's variable
	"$LAB_DIR/lab" run sh -c 'insmod "$DOORBELL_TEST_MODULE" wrong_type='"$1"' &&
		timeout 600 capi_callback -t trigger_is_called'
}

check "a callback of the right type is called" calls 0
check "one of another type is an oops at the module's call" \
	says 'CFI failure at doorbell_call.*target: called_with_pointer' calls 1
plan
