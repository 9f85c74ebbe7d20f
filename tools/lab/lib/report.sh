# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# make test: what is run, and what is counted.

# count_ktap FILE: "PASSED FAILED" of a program's KTAP. A skipped test counts as
# neither, but the debug kernel has all that a test may want: there it has
# failed. A program without any test, that died, or whose plan is not what it
# did has failed once more.
count_ktap() {
	awk -v all="$([[ $FLAVOUR != debug ]] || echo 1)" '
		/^ok [0-9]+/ { if (!/# SKIP/) passed++; else if (all) failed++; else skipped++ }
		/^not ok [0-9]+/ { failed++ }
		/^1\.\.[0-9]+/ { split($1, plan, /\.\./); planned = plan[2] }
		/^# exit status/ { status = $4; seen = 1 }
		END {
			if (planned == "" || planned != passed + failed + skipped ||
			    planned == 0 || !seen || (status != 0 && !failed))
				failed++
			print passed + 0, failed + 0
		}' "$1"
}

test_model() {
	local rc
	run_model
	rc=$?
	echo "# exit status $rc"
	return $rc
}

run_tests() {
	local passed=0 failed=0 program programs p f rc
	setup && build || return
	tally() {	# PASSED FAILED NAME
		passed=$((passed + $1)) failed=$((failed + $2))
		(($2 == 0)) || say "$3: $2 failed"
	}

	stage_begin build-cargo-test "tests of the tools" cargo_static test
	KEEP_GOING=1 stage_wait
	rc=$?
	stage_begin build-model "every interleaving of the model" test_model
	KEEP_GOING=1 stage_wait
	read -r p f < <(awk '/^test result:/ { p += $4; f += $6 } END { print p + 0, f + 0 }' \
		"$LOGS/build-cargo-test.log")
	((p == 0 || (rc != 0 && f == 0))) && f=$((f + 1))
	tally "$p" "$f" "tools/doorbell"
	read -r p f < <(count_ktap "$LOGS/build-model.log")
	tally "$p" "$f" "tools/model"

	find_image
	say "booting $(kernel_version) ($(accelerator)) ..."
	rm -rf "$BUILD/out/ktap"
	boot /doorbell/tools/lab/guest/test
	rc=$?
	# The guest's script succeeds however its tests end.
	tally "$((rc == 0))" "$((rc != 0))" "the guest"
	if ((rc < 124)) && check_log; then
		tally 1 0
	else
		tally 0 1 "the kernel log"
	fi
	programs=(module sample_kvm-rtt)
	[[ $FLAVOUR != debug ]] || programs+=(debug)
	for program in "$BUILD"/out/ktap/kunit_*; do
		programs+=("${program##*/}")
	done
	# shellcheck disable=SC2207
	programs+=($(cat "$BUILD/selftests/TESTS"))
	# shellcheck disable=SC2207
	programs+=($(sed 's/^/sample_/' "$BUILD/samples/SAMPLES"))
	for program in "${programs[@]}"; do
		if [[ -s $BUILD/out/ktap/$program ]]; then
			read -r p f < <(count_ktap "$BUILD/out/ktap/$program")
		else
			p=0 f=1
		fi
		tally "$p" "$f" "$program"
	done
	give_back
	echo "$passed passed, $failed failed"
	((failed == 0))
}
