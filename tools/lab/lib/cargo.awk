# SPDX-License-Identifier: GPL-2.0-only
#
# Counts the output of "cargo test --no-fail-fast" and prints "PASSED FAILED". A program that
# ends without a result is one more failure.
#
# -v list=1: prints a line for each failure instead of the numbers: the program, a tab, the
# case, a tab, and a remark for a program without a result, whose case is "-".

function program_ends() {
	if (program != "" && !ended) {
		failed++
		if (list)
			print program "\t-\tit ended without a result"
	}
	program = ""
}

# "Running unittests src/main.rs (/build/target/release/deps/doorbell-0123456789abcdef)"
/^ *Running .*\(.*\)$/ {
	program_ends()
	program = $NF
	gsub(/.*\/|-[0-9a-f]*\)$|\)$/, "", program)
	ended = 0
}
/^ *Doc-tests / {
	program_ends()
	program = $2 " (documentation)"
	ended = 0
}
# The last list of failures is that of the cases. An earlier one has their output.
listing && /^    [^ ]/ {
	cases[n++] = substr($0, 5)
	next
}
{ listing = /^failures:$/ }
listing { n = 0 }
/^test result:/ {
	for (i = 0; list && i < n; i++)
		print program "\t" cases[i] "\t"
	n = 0
	passed += $4
	failed += $6
	ended = 1
}
END {
	program_ends()
	if (!list)
		print passed + 0, failed + 0
}
