#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Tests that a function which may call die is in a command substitution only if the caller ends, too:
# "name=$(function) || exit". There die ends no more than a subshell.
. "$(dirname "$0")/lib.sh"

# unguarded FILE...: prints the substitutions without a guard, and "N functions may die"
unguarded() {
	awk '
	# Returns the code of a line: without comments and texts in single quotes, which have programs of
	# other languages.
	function code(line) {
		gsub(/\047[^\047]*\047/, "", line)
		sub(/(^|[ \t])#.*/, "", line)
		return line
	}

	# Succeeds if a command of the line calls the function.
	function calls(line, name) {
		return match(line, "(^|[;&|({!]|then|else|do|if|while|until)[ \t]*" name "([^-A-Za-z0-9_=]|$)")
	}

	FNR == 1 { current = "" }
	{
		line = code($0)
		where[NR] = FILENAME ":" FNR
		lines[NR] = line
		if (match(line, /^[a-z_0-9]+\(\) [{(]/)) {
			current = substr(line, 1, index(line, "(") - 1)
			line = substr(line, RLENGTH + 1)
			body[current] = ""
		}
		if (current != "")
			body[current] = body[current] "\n" line
		if (line ~ /^[})]/ || (line ~ /[})]$/ && $0 ~ /^[a-z_0-9]+\(\) /))
			current = ""
	}

	END {
		dies["die"] = 1
		do {
			more = 0
			for (name in body) {
				if (name in dies)
					continue
				n = split(body[name], part, "\n")
				for (other in dies)
					for (i = 1; i <= n; i++)
						if (calls(part[i], other))
							more = dies[name] = 1
			}
		} while (more)
		for (i = 1; i <= NR; i++)
			for (name in dies) {
				call = "[$<>]\\([ \t]*" name "([^-A-Za-z0-9_=]|$)"
				guard = "^[ \t]*(if ! )?[A-Za-z_0-9]+=\"?[$]\\(" name "[^|;&]*\\)\"?"
				guard = guard "( \\|\\| ([{]|exit|return|die)|; then)"
				if (lines[i] ~ call && lines[i] !~ guard)
					print where[i] ": " name " may die:" lines[i]
			}
		for (name in dies)
			number++
		print number - 1 " functions may die"
	}' "$@"
}

none_is_unguarded() {
	unguarded "$LAB_DIR"/lab "$LAB_DIR"/lib/*.sh >"$SCRATCH/found"
	! grep 'may die:' "$SCRATCH/found"
}

# The check sees functions that die, and one that does so by another one.
finds_functions() {
	(($(sed -n 's/ functions may die$//p' "$SCRATCH/found") > 40)) || { cat "$SCRATCH/found" && return 1; }
}

# finds NUMBER LINE: succeeds if so many functions in the line are unguarded
finds() {
	cat >"$SCRATCH/lib.sh" <<-LIB
	deepest() {
		[[ \$1 ]] || die "nothing"
	}
	short() { deepest; }
	harmless() {
		echo 'die' "do not die" # deepest
		declare -f deepest
	}
	uses() {
		$2
	}
	LIB
	unguarded "$SCRATCH/lib.sh" >"$SCRATCH/found"
	[[ $(grep -c 'may die:' "$SCRATCH/found") == "$1" ]] || { cat "$SCRATCH/found" && return 1; }
}

check "each substitution with a function that may die is guarded" none_is_unguarded
check "the functions are found" finds_functions
# shellcheck disable=SC2016 # code
{
	check "one without a guard" finds 1 'x=$(deepest)'
	check "one that calls another one" finds 1 'x=$(short a)'
	check "an argument cannot be guarded" finds 1 'echo "$(deepest)" || exit'
	check "nor can a local variable" finds 1 'local x=$(deepest) || exit'
	check "nor a process substitution" finds 1 'read -r x < <(deepest) || exit'
	check "the guard of another command is none" finds 1 'x=$(deepest); true || exit'
	check "a guard that exits" finds 0 'x=$(deepest "$1") || exit'
	check "a guard that returns" finds 0 'x="$(short "$1")" || return 1'
	check "a condition" finds 0 'if ! x=$(short "$1"); then'
	check "a function that does not die" finds 0 'x=$(harmless)'
	check "and none at all" finds 0 'x=$(die_hard; echo deepest)'
}
plan
