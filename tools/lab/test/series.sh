#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Tests the checks of "make series" with a checkpatch and a kernel-doc that are not real, and the
# patches themselves as far as that needs no kernel.
. "$(dirname "$0")/lib.sh"
set -u
shopt -s nullglob

REAL=${LAB_DIR%/tools/lab}
# shellcheck disable=SC2034 # the files that follow use them
SRC=$SCRATCH/src LAB=$SCRATCH/lab BUILD=$SCRATCH/build TREE=$SCRATCH/tree
for lib in in-tree series; do
	# shellcheck source=/dev/null
	. "$LAB_DIR/lib/$lib.sh"
done
mkdir -p "$SERIES" "$SRC/tools/in-tree" "$SRC/tools/bench"
PATCH=$SCRATCH/0002-example.patch
: >"$PATCH"

# Prints FINDINGS as checkpatch does.
in_tree() {
	cat >/dev/null
	echo "$FINDINGS"
}

argue() {
	printf '# comment\n%s\n' "$1" >"$SRC/tools/in-tree/series-exceptions"
	: >"$SERIES/used"
}

finding_is_an_error() {
	argue "0001 LONG_LINE The reason is for another patch."
	says LONG_LINE series_checkpatch "$PATCH"
}

needs_a_reason() {
	argue "0002 LONG_LINE"
	says LONG_LINE series_checkpatch "$PATCH"
}

argued_is_none() {
	argue "0002 LONG_LINE It is a table."
	series_checkpatch "$PATCH" && series_exceptions
}

other_type_is_an_error() {
	argue "0002 SPACING It is a table."
	says LONG_LINE series_checkpatch "$PATCH"
}

unused_is_an_error() {
	argue "0002 LONG_LINE It is a table."
	FINDINGS='' series_checkpatch "$PATCH" && says "no finding any more: 0002 LONG_LINE" series_exceptions
}

FINDINGS='-:8: WARNING:LONG_LINE: line length of 104 exceeds 100 columns'
check "a finding of checkpatch is an error" finding_is_an_error
check "an exception needs a reason" needs_a_reason
check "an argued finding is none" argued_is_none
check "an exception is for one type" other_type_is_an_error
check "an exception without a finding is an error" unused_is_an_error

new_warning() {
	echo 'Warning: a.c:10 no description' >"$SERIES/kernel-doc.old"
	sed -E 's/:[0-9]+ /: /' "$SERIES/kernel-doc.old" >"$SERIES/kernel-doc"
	echo 'Warning: a.c:12 no description' | series_new_kernel_doc moved &&
		says 'b.c' series_new_kernel_doc new <<<'Warning: b.c:1 no description'
}
check "only a new warning of kernel-doc is an error" new_warning

compiler_warning() {
	series_warnings <<<'  CC      fs/eventfd.o' &&
		says unused series_warnings <<<'fs/eventfd.c:3:1: warning: unused variable'
}
check "a warning of the compiler is an error" compiler_warning

figures() {
	echo '{ "paths": { "ring-8": { "doorbell": 1231.3, "twin": 1182.6 } } }' >"$SRC/tools/bench/instructions.json"
	echo 'A ring takes @ring-8@, and @ring-8-twin@ in C.' >"$SRC/tools/in-tree/cover-letter.txt"
	[[ $(cover_letter) == 'A ring takes 1,231, and 1,183 in C.' ]] || { cover_letter && return 1; }
	echo '@rung@' >"$SRC/tools/in-tree/cover-letter.txt"
	says rung cover_letter
}
check "the cover letter has the recorded figures" figures

patches() {
	local patch n=0 line
	for patch in "$REAL"/tools/in-tree/patches/*.patch; do
		n=$((n + 1))
		[[ ${patch##*/} == "$(printf %04d $n)"-* ]] || { echo "${patch##*/} is number $n" && return 1; }
		for line in 'From: The doorbell authors <maintainers@doorbell.invalid>' \
			'Signed-off-by: The doorbell authors <maintainers@doorbell.invalid>'; do
			grep -qxF "$line" "$patch" || { echo "${patch##*/} lacks $line" && return 1; }
		done
		# The body of the message is at most 75 columns wide.
		sed '1,/^$/d; /^---$/q' "$patch" | grep -nE '.{76}' && echo "${patch##*/}" && return 1
	done
	((n > 0))
}
check "the patches are numbered, signed, and have messages" patches

letter() {
	SRC=$REAL
	cover_letter >"$SCRATCH/letter" && ! grep -n @ "$SCRATCH/letter" && ! grep -nE '.{76}' "$SCRATCH/letter"
}
check "the cover letter is complete" letter
plan
