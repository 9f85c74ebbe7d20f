#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Tests the verdict of make kvm-selftest, which patches it takes, what it removes if they change,
# and what of checkpatch.pl it accepts.
. "$(dirname "$0")/lib.sh"
SRC=${LAB_DIR%/tools/lab}
shopt -s nullglob
. "$LAB_DIR/lib/in-tree.sh"
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
	mapfile -t patches < <(kvm_patches)
	((${#patches[@]} == 2)) && grep -q '^+++ b/virt/kvm/eventfd.c' "${patches[0]}" &&
		grep -q "^+++ b/tools/testing/selftests/kvm/$KVM_TEST.c" "${patches[1]}"
}
check "the patches are there" has_patches

# argued LINE...: gives the findings to kvm_argued
argued() {
	printf '%s\n' "$@" | kvm_argued "$SCRATCH/exceptions"
}
printf '%s\n' "# comment" "0100 LONG_LINE it is a table" >"$SCRATCH/exceptions"
LONG="0100 -:7: WARNING:LONG_LINE: line length of 103 exceeds 100 columns"
check "an argued finding" argued "$LONG"
check "a finding" says "^0100 -:9: CHECK:SPACING" argued "$LONG" "0100 -:9: CHECK:SPACING: spaces: preferred"
check "the finding of another patch" says "^0101 -:7: WARNING:LONG_LINE" argued "$LONG" "${LONG/0100/0101}"
check "no finding for an exception" says "no finding any more: 0100 LONG_LINE" kvm_argued "$SCRATCH/exceptions" </dev/null
check "a program that does not run" says "^0100 env: " argued "$LONG" "0100 env: 'perl': No such file or directory"

# A source with one file, and two versions of a patch.
BUILD=$SCRATCH/build TREE=
# shellcheck disable=SC2034 # kvm_source reads it
KVM_PATHS=(virt/kvm)
say() { :; }
sha() { sha256sum; }
in_tree() { shift && "${@/#\/build/$BUILD}"; }
mkdir -p "$SCRATCH"/kernel/{virt/kvm,Documentation/virt/kvm} "$SCRATCH/patches" "$BUILD/kvm/1"
echo old >"$SCRATCH/kernel/virt/kvm/eventfd.c"
touch "$SCRATCH/kernel/Documentation/virt/kvm/api.rst"
kvm_patches() { echo "$SCRATCH/patches/"*; }

# kvm_patch LINE: writes a patch that makes LINE the file's only one
kvm_patch() {
	printf '%s\n' "--- a/virt/kvm/eventfd.c" "+++ b/virt/kvm/eventfd.c" "@@ -1 +1 @@" -old "+$1" >"$SCRATCH/patches/0100-KVM"
}

# patched LINE: makes the source, and succeeds if the file has LINE
patched() {
	kvm_source "$BUILD/kvm/1/source" "$SCRATCH/kernel" && grep -qx "$1" "$BUILD/kvm/1/source/virt/kvm/eventfd.c"
}

# built: as after a build
built() {
	mkdir -p "$BUILD"/kvm/1/{modules,selftests,headers}
}

kept() {
	[[ -d $BUILD/kvm/1/modules && -d $BUILD/kvm/1/selftests ]]
}

removed() {
	[[ ! -e $BUILD/kvm/1/modules && ! -e $BUILD/kvm/1/selftests ]]
}
kvm_patch new
check "the source has the patch" patched new
built
check "the source is kept" patched new
check "the objects of the same patch are kept" kept
kvm_patch newer
check "a changed patch is applied to the original" patched newer
check "the objects of the other patch are removed" removed
check "the headers are kept" [ -d "$BUILD/kvm/1/headers" ]
plan
