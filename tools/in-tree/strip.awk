# SPDX-License-Identifier: GPL-2.0-only
#
# Removes what a file has for the module outside the kernel's tree: the lines from a comment
# "begin out of tree" to a comment "end out of tree". A comment "in tree: TEXT" becomes TEXT.

function fail(what) {
	print FILENAME ":" FNR ": " what >"/dev/stderr"
	failed = 1
	exit 1
}

/^[ \t]*(#|\/\/|\/\*|\.\.) begin out of tree( \*\/)?$/ {
	if (out) fail("begins twice")
	out = cut = 1
	next
}

/^[ \t]*(#|\/\/|\/\*|\.\.) end out of tree( \*\/)?$/ {
	if (!out) fail("ends without a begin")
	out = 0
	next
}

out { next }

# One empty line is enough where lines were cut.
cut && $0 == "" && last == "" { next }

{
	match($0, /^[ \t]*/)
	text = substr($0, RLENGTH + 1)
	if (sub(/^(#|\/\/|\.\.) in tree: /, "", text)) $0 = substr($0, 1, RLENGTH) text
	print
	last = $0
	cut = 0
}

END { if (out && !failed) fail("does not end") }
