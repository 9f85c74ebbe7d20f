# SPDX-License-Identifier: GPL-2.0-only
#
# Counts the KTAP of a program and prints "PASSED FAILED". Nested results are not
# counted, as the line after them has their verdict. The last line is the program's
# exit status: "# exit status N".
#
# -v expected=PATTERN: a skipped test whose reason matches counts as neither. So does a skipped
# program, whose plan is "1..0 # SKIP REASON". Any other skip counts as failed.
# -v list=failed: prints a line for each failure instead of the numbers: the case, a tab, and a
# remark unless it is "not ok". The case of a malformed stream is that which had begun, or "-".
# -v list=skipped: prints a line for each expected skip: the case or "all", a tab, and what the
# pattern matches.
#
# A malformed stream is one more failure: no plan, two plans or a plan of zero tests;
# results whose numbers are not 1, 2, 3 up to the plan; a result after a plan at the
# end; a bail-out; no exit status; or a non-zero one although no test failed.

function malformed(why) {
	if (odd == "")
		odd = why
}

# Returns the name of the case in the line of a result.
function name(line) {
	line = $0
	sub(/^(not )?ok *[0-9]* */, "", line)
	sub(/ +# .*/, "", line)
	return line
}

function failure(remark) {
	failed++
	if (list == "failed")
		print name() "\t" remark
}

# Returns the reason in the line of a skip.
function reason(line) {
	line = $0
	sub(/.*# SKIP */, "", line)
	return line
}

# Returns whether the skip in the line is expected.
function is_expected(case_name) {
	if (expected == "" || !match(reason(), expected))
		return 0
	if (list == "skipped")
		print case_name "\t" substr(reason(), RSTART, RLENGTH)
	return 1
}

function result(ok) {
	n++
	if ($(ok ? 2 : 3) != n "")
		malformed("result " n " has another number")
	if (plans && !plan_first)
		malformed("a result after the plan")
	running = ""
	if (!ok)
		failure("")
	else if (!/# SKIP/)
		passed++
	else if (!is_expected(name()))
		failure("skipped: " reason())
}

{ sub(/\r$/, "") }
# The harness of the selftests prints this before each case.
/^#  RUN / { running = $3 }
/^ok( |$)/ { result(1) }
/^not ok( |$)/ { result(0) }
/^1\.\./ {
	if (plans++)
		malformed("two plans")
	planned = substr($1, 4)
	if (planned !~ /^[1-9][0-9]*$/ && (!/^1\.\.0 # SKIP/ || !is_expected("all")))
		malformed("a plan of no tests")
	if (!n)
		plan_first = 1
}
/^Bail out!/ { malformed($0) }
/^# stopped: / { stopped = substr($0, 12) }
/^# exit status/ {
	if (seen++)
		malformed("two exit statuses")
	status = $4
	if (status !~ /^[0-9]+$/)
		malformed("no exit status")
}
END {
	if (!seen)
		malformed("it was cut off after " n + 0 " results")
	if (!plans)
		malformed("no plan")
	if (planned + 0 != n)
		malformed(n + 0 " of " planned " results; exit status " status)
	if (status + 0 && !failed)
		malformed("exit status " status)
	if (odd != "" && stopped != "")
		odd = stopped
	if (!list)
		print passed + 0, failed + (odd != "")
	else if (list == "failed" && odd != "")
		print (running == "" ? "-" : running) "\t" odd
}
