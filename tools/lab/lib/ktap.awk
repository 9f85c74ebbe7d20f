# SPDX-License-Identifier: GPL-2.0-only
#
# Counts a program's KTAP: prints "PASSED FAILED". What is nested is not counted: the
# line after it has its verdict. The program's exit status follows in a line
# "# exit status N".
#
# -v all=1: a skipped test has failed; otherwise it counts as neither.
#
# A stream that is not what it says has failed once more: no plan or two, a plan of
# zero tests, results that are not numbered 1, 2, 3, as many as planned, a result after
# a plan that ended the stream, a bail-out, no exit status, or one that is not zero
# although no test failed.

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
