# SPDX-License-Identifier: GPL-2.0-only
#
# Wraps comments of a Rust source at 100 columns, as the kernel has them. This repository has
# longer ones. A word that does not fit goes to the next line, if that continues the
# paragraph, or to a new one. Nothing but comments changes.

# comment(LINE): sets prefix and text if the line is a comment without code before it
function comment(line) {
	if (!match(line, /^ *\/\/[\/!]? ?/)) return 0
	prefix = substr(line, 1, RLENGTH)
	text = substr(line, RLENGTH + 1)
	return 1
}

# follows(LINE): succeeds if the line continues the paragraph of the text that is carried over
function follows(line) {
	if (!comment(line) || prefix != carry_prefix || substr(text, 1, length(list)) != list) return 0
	return substr(text, length(list) + 1) !~ /^($|[-*#|> ]|```|[0-9]+\.|SAFETY:|INVARIANT:)/
}

# Prints a line; sets carry to what does not fit, and list to the indentation of its text.
function emit(line,   at) {
	if (length(line) <= 100 || !comment(line) || code) {
		print line
		return
	}
	match(text, /^ *([-*] |[0-9]+\. )?/)
	list = substr("        ", 1, RLENGTH)
	at = 100
	while (at > length(prefix) + RLENGTH && substr(line, at + 1, 1) != " ") at--
	# A word that is longer than a line
	if (at <= length(prefix) + RLENGTH) {
		print line
		return
	}
	print substr(line, 1, at)
	carry = substr(line, at + 2)
	carry_prefix = prefix
}

{
	if (comment($0) && text ~ /^```/) fence = !fence
	if (!comment($0)) fence = 0
	line = $0
	if (carry != "") {
		code = 0
		if (!fence && text !~ /^```/ && follows(line)) {
			line = carry_prefix list carry " " substr(text, length(list) + 1)
			carry = ""
			emit(line)
			next
		}
		while (carry != "") {
			rest = carry
			carry = ""
			emit(carry_prefix list rest)
		}
		line = $0
	}
	code = fence
	emit(line)
}

END {
	while (carry != "") {
		rest = carry
		carry = ""
		emit(carry_prefix list rest)
	}
}
