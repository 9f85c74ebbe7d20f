# SPDX-License-Identifier: GPL-2.0-only
#
# Counts the KTAP of a program and prints "PASSED FAILED". Nested results are not
# counted, as the line after them has their verdict. The last line is the program's
# exit status: "# exit status N".
#
# -v all=1: a skipped test counts as failed. Without it, as neither.
#
# A malformed stream is one more failure: no plan, two plans or a plan of zero tests;
# results whose numbers are not 1, 2, 3 up to the plan; a result after a plan at the
# end; a bail-out; no exit status; or a non-zero one although no test failed.

function result(ok) {
	n++
	if ($(ok ? 2 : 3) != n "")
		odd = 1
	if (plans && !plan_first)
		odd = 1
	if (!ok)
		failed++
	else if (!/# SKIP/)
		passed++
	else if (all)
		failed++
}

{ sub(/\r$/, "") }
/^ok( |$)/ { result(1) }
/^not ok( |$)/ { result(0) }
/^1\.\./ {
	if (plans++)
		odd = 1
	planned = substr($1, 4)
	if (planned !~ /^[1-9][0-9]*$/)
		odd = 1
	if (!n)
		plan_first = 1
}
/^Bail out!/ { odd = 1 }
/^# exit status/ {
	if (seen++)
		odd = 1
	status = $4
	if (status !~ /^[0-9]+$/)
		odd = 1
}
END {
	if (plans != 1 || planned + 0 != n || seen != 1 || (status + 0 && !failed))
		odd = 1
	print passed + 0, failed + odd + 0
}
