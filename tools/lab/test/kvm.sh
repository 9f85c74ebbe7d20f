#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Tests the verdict of make kvm-selftest, and which patches it takes.
. "$(dirname "$0")/lib.sh"
SRC=${LAB_DIR%/tools/lab}
shopt -s nullglob
. "$LAB_DIR/lib/kvm.sh"

# results FILE PASSED FAILED [END]: writes what a selftest prints
results() {
	local n
	{
		for ((n = 0; n < $2; n++)); do echo "ok $n a"; done
		for ((n = 0; n < $3; n++)); do echo "not ok $n b"; done
		[[ ${4:-} == killed ]] || echo "# Totals: pass:$2 fail:$3 xfail:0 xpass:0 skip:0 error:0"
	} >"$SCRATCH/$1"
}

# verdict: reads the files "without" and "with"
verdict() {
	kvm_verdict "$SCRATCH/without" "$SCRATCH/with"
}

results without 5 3
results with 8 0
check "fails without and passes with" verdict
check "both numbers are printed" [ "$(verdict)" = "fails without the patch (3 of 8), passes with it (8)" ]
results without 8 0
check "passes without the patch" says "without the patch 0 fail" verdict
results without 5 3
results with 7 1
check "fails with the patch" says "with it 1 fail" verdict
results with 0 0
check "no result with the patch" says "0 pass" verdict
results with 8 0 killed
check "does not end with the patch" says "without the patch 3 fail" verdict
results with 8 0
results without 5 3 killed
check "does not end without the patch" says "without the patch 3 fail" verdict

# has_patches: succeeds if there is the change, and the selftest
has_patches() {
	local patches
	read -ra patches < <(kvm_patches)
	((${#patches[@]} == 2)) && grep -q '^+++ b/virt/kvm/eventfd.c' "${patches[0]}" &&
		grep -q "^+++ b/tools/testing/selftests/kvm/$KVM_TEST.c" "${patches[1]}"
}
check "the patches are there" has_patches
plan
