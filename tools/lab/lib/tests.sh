# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# make test: runs and counts the tests.
#
# The tests of the tools ("tools"), the model ("model") and the lab's own tests ("lab")
# run on the host. All others run in guests. The guests run in parallel and take tests
# from one queue. Each guest also makes checks of its own, such as the module's unit tests;
# "module" is a guest that does nothing else.

# The number of rounds of each test, and of busy processes in each guest.
ROUNDS=${DOORBELL_REPEAT:-1} LOAD=${DOORBELL_LOAD:-0}

# is_steadiness_run: succeeds if tests are repeated or loaded; their times do not count then
is_steadiness_run() {
	((ROUNDS > 1 || LOAD))
}

# Prints the time limit of a test in seconds of the guest's clock. Beside busy processes a
# test gets its share of the CPUs.
test_limit() {
	local limit=400 cpus=${DOORBELL_CPUS:-2}
	! is_from_source || limit=1200
	echo $((limit * (cpus + LOAD) / cpus))
}

# Prints the number of guests. Each has two CPUs and 2 GB of memory by default.
guest_count() {
	local n=$((NPROC < 2 ? 1 : NPROC > 4 ? 4 : NPROC)) fit
	fit=$(awk '/^MemAvailable:/ { print int($2 / 2.5 / 1024 / 1024) }' /proc/meminfo)
	((n > fit)) && n=$fit
	((n < 1)) && n=1
	echo "${DOORBELL_GUESTS:-$n}"
}

# program_of FILE: prints the name of the program whose output is in the file
program_of() {
	local name=${1##*/}
	name=${name%.log} name=${name#test-} name=${name%@*}
	echo "${name%.[0-9]*}"
}

# expected_skips PROGRAM: prints the pattern of the reasons for which cases of the program may be skipped
expected_skips() {
	local guest program reason reasons=() cpus=${DOORBELL_CPUS:-2}
	[[ ${ACCEL:-} != icount ]] || cpus=1
	while read -r guest program reason; do
		# shellcheck disable=SC2053 # patterns
		[[ $guest != '#'* && ${ACCEL:-}/$FLAVOUR/$cpus == $guest && $1 == $program ]] && reasons+=("$reason")
	done <"$LAB_DIR/expected-skips"
	(IFS='|' && echo "${reasons[*]}")
}

# count_ktap FILE [failed|skipped]: prints "PASSED FAILED", or a line for each failure or expected skip
count_ktap() {
	awk -v expected="$(expected_skips "$(program_of "$1")")" -v list="${2:-}" -f "$LAB_DIR/lib/ktap.awk" "$1"
}

# Runs the tests of the tools. "tools:TEXT" selects those whose names contain it.
test_tools() {
	local pattern filters=()
	for pattern in "${SELECTED[@]}"; do
		case $pattern in
		tools:*)	filters+=("${pattern#tools:}") ;;
		!tools:*)	filters+=(--skip "${pattern#!tools:}") ;;
		esac
	done
	cargo_static test --no-fail-fast -- "${filters[@]}"
}

test_model() {
	local rc
	run_model
	rc=$?
	echo "# exit status $rc"
	return $rc
}

# Runs the lab's own tests that are selected, which use the build of this run. Each has a file in
# RUN/ktap.
test_lab() {
	local name rc=0 status
	for name in $(lab_tests); do
		selected "$name" || continue
		echo "# $name"
		env -u DOORBELL_INNER -u MAKEFLAGS -u MAKELEVEL DOORBELL_LAB="$LAB" LAB_OF_TESTS="$LAB" \
			DOORBELL_FLAVOUR="$FLAVOUR" LAB_FLAVOUR="$FLAVOUR" DOORBELL_BUILT=1 \
			"$BASH" "$LAB_DIR/test/${name#lab:}.sh" | tee "$RUN/ktap/$name"
		status=${PIPESTATUS[0]}
		echo "# exit status $status" >>"$RUN/ktap/$name"
		((status == 0)) || rc=1
	done
	return $rc
}

# Figures are recorded for the default flavour only. This machine runs no arm64 programs, and
# the others do not depend on the architecture.
HOST_TESTS=(tools model lab)
[[ $FLAVOUR != amd64 ]] || HOST_TESTS+=(instructions)
[[ $ARCH == amd64 ]] || HOST_TESTS=()

# all_tests: prints the names of the tests that run in guests
all_tests() {
	cat "$PROGRAMS/selftests/TESTS"
	sed 's/^/sample_/' "$PROGRAMS/samples/SAMPLES"
	echo sample_kvm-rtt
	local test
	for test in "$LAB_DIR"/guest/tests/*; do
		[[ $test != *.sh ]] || continue
		[[ cli_${test##*/} == "$QEMU_TEST" ]] && is_from_source || echo "cli_${test##*/}"
	done
}

# selected NAME: succeeds if NAME matches a pattern in SELECTED, or if all patterns are
# exclusions ("!PATTERN") and none of them matches
selected() {
	local pattern found= wanted=
	for pattern in "${SELECTED[@]}"; do
		if [[ $pattern == !* ]]; then
			! matches_test "$1" "${pattern:1}" || return 1
		else
			wanted=1
			! matches_test "$1" "$pattern" || found=1
		fi
	done
	[[ $found || -z $wanted ]]
}

# selected_host NAME: succeeds if a test on the host, or a part of it, is to run
selected_host() {
	local name
	case $1 in
	lab)	for name in $(lab_tests); do
			! selected "$name" || return 0
		done
		return 1 ;;
	tools)	! selected tools && [[ " ${SELECTED[*]}" != *" tools:"* ]] || return 0
		return 1 ;;
	*)	selected "$1" ;;
	esac
}

# needs_qemu: succeeds if the test that needs the second QEMU is to run
needs_qemu() {
	! is_from_source && [[ $ARCH == amd64 ]] && selected "$QEMU_TEST"
}

# last_time NAME: prints the milliseconds that the test took the last time. If it has not run on
# this flavour's kernel, the times on other kernels give the order.
last_time() {
	cat "$BUILD/took-$FLAVOUR/$1" 2>/dev/null ||
		cat "$BUILD"/took-*/"$1" 2>/dev/null | sort -rn | head -n 1 | grep . || echo 9999999
}

# make_queue: writes the queue. New tests come first, then the slowest of the last run. With
# several rounds, an entry is NAME@ROUND, and all tests run before one runs again.
make_queue() {
	local name round tests
	mkdir -p "$RUN"/{ktap,claims,done}
	tests=$(for name in $(all_tests); do
		! selected "$name" || echo "$(last_time "$name") $name"
	done | sort -rn | cut -d' ' -f2)
	for ((round = 1; round <= ROUNDS; round++)); do
		for name in $tests; do
			((ROUNDS == 1)) && echo "$name" || echo "$name@$round"
		done
	done >"$RUN/queue"
}

PASSED=0 FAILED=0
FAILURES=()
tally() {	# PASSED FAILED NAME [COMMAND]
	PASSED=$((PASSED + $1)) FAILED=$((FAILED + $2))
	(($2 == 0)) || FAILURES+=("$3: $2 failed${4:+; alone: $4}")
}

# explain NAME: prints the output of a test that belongs to its failures
explain() {
	local file=$RUN/ktap/$1 case
	if [[ ! -s $file ]]; then
		say "  it did not run"
		return
	fi
	# The lines between two verdicts belong to the second.
	awk '/^(not )?ok / || /^#  RUN / { if (/^not ok/) { for (i = 0; i < n; i++) print lines[i]; print }
			n = 0; next }
		{ lines[n < 12 ? n++ : 11] = $0 }
		END { for (i = 0; i < n; i++) if (lines[i] ~ /^#/) print lines[i] }' "$file" | tail -n 40 | sed 's/^/  | /' >&2
}

# kernel_variables [PREFIX]: prints the variables that select the kernel in a command of make, or
# with the prefix in the environment. The default kernel needs none.
kernel_variables() {
	[[ $ARCH == amd64 ]] || echo -n " ${1:-}ARCH=$ARCH"
	[[ $FLAVOUR == "$ARCH" ]] || echo -n " ${1:-}FLAVOUR=$FLAVOUR"
}

# run_variables NAME...: prints those of these variables that this run has, as the start of a command
run_variables() {
	local name
	for name; do
		[[ -z ${!name:-} ]] || printf '%s=%q ' "$name" "${!name}"
	done
}
GUEST_VARIABLES=(DOORBELL_{KERNEL,CPUS,MEM,ACCEL,APPEND,TIMEOUT})

# alone NAME: prints the command that runs a test as in this run, without the others
alone() {
	local test=$1
	[[ $1 != *' '* ]] || test="'$1'"
	run_variables "${GUEST_VARIABLES[@]}" DOORBELL_TRACER DOORBELL_ROUNDS_CPU_MS TORTURE_SECONDS
	echo -n "make test T=$test$(kernel_variables)"
	((ROUNDS == 1)) || echo -n " REPEAT=$ROUNDS"
	((LOAD == 0)) || echo -n " LOAD=$LOAD"
	echo
}

# alone_case NAME CASE: prints the command that runs a case of a test, or the test if it cannot run
# one by its name
alone_case() {
	local command rounds
	case $1 in
	sample_* | cli_* | module | lab:* | model | instructions)
		alone "$1" ;;
	# The name of an example in the documentation is "FILE - ITEM (line N)".
	tools)	[[ $2 ]] || { alone tools && return; }
		case=${2#* - }
		case=${case%% *}
		[[ $case != '(line' ]] || case=${2%% *}
		alone "tools:$case" ;;
	*)	if is_steadiness_run || [[ -z $2 ]]; then
			alone "$1"
			return
		fi
		command="$(kernel_variables DOORBELL_) $(run_variables "${GUEST_VARIABLES[@]}")tools/lab/lab run "
		# A run passes no variables to its command.
		rounds=$(run_variables DOORBELL_ROUNDS_CPU_MS)
		echo "${command# }${rounds:+env $rounds}$1 -t ${2##*.}" ;;
	esac
}

# finished ENTRY: counts and reports a test, or a round of one, that has run in a guest.
# Passed rounds are reported at the end.
finished() {
	local entry=$1 name=${1%@*} p=0 f=1 took
	[[ ! -s $RUN/ktap/$entry ]] || read -r p f < <(count_ktap "$RUN/ktap/$entry")
	took=$(cat "$RUN/done/$entry" 2>/dev/null)
	if [[ $took ]] && ! is_steadiness_run; then
		mkdir -p "$BUILD/took-$FLAVOUR"
		echo "$took" >"$BUILD/took-$FLAVOUR/$name"
	fi
	((f == 0)) || FAILED_ROUNDS[$name]=$((${FAILED_ROUNDS[$name]:-0} + 1))
	if ((f)); then
		say "${entry/@/, round }: $f failed, $p passed"
		explain "$entry"
		tally "$p" "$f" "${entry/@/, round }" "$(alone "$name")"
		failed_cases "$RUN/ktap/$entry" "${entry/@/, round }" "$name"
	else
		tally "$p" 0 "$name"
		[[ -z $took ]] || ((ROUNDS > 1)) || say "$name: $p passed in $((took / 1000)).$((took / 100 % 10)) s"
	fi
}
declare -gA FAILED_ROUNDS=()

# rounds: prints a line for each test, with its rounds, and the verdict on all
rounds() {
	local name file
	while read -r name; do
		say "$name: ${FAILED_ROUNDS[$name]:-0} of $ROUNDS rounds failed; a round took $(for file in "$RUN/done/$name"@*; do
			cat "$file"
		done | sort -n | awk '{ t[NR] = $1 / 1000 } END { printf "%.1f to %.1f", t[1], t[NR] }') s"
	done < <(sed 's/@.*//' "$RUN/queue" | sort -u)
	say "$(wc -l <"$RUN/queue") rounds beside $LOAD busy processes: $(sum "${FAILED_ROUNDS[@]}") rounds of ${#FAILED_ROUNDS[@]} tests failed"
}

# sum NUMBER...
sum() {
	local sum=0 number
	for number; do
		((sum += number))
	done
	echo $sum
}

# failed_cases FILE TITLE NAME: adds a line to FAILURES for each case of a test that failed
failed_cases() {
	local case remark
	[[ -s $1 ]] || return 0
	while IFS=$'\t' read -r case remark; do
		failed_case "$2" "$case" "$remark" "$3"
	done < <(count_ktap "$1" failed | head -n 20)
}

# failed_case TITLE CASE REMARK NAME: adds a line to FAILURES. The case "-" is none.
failed_case() {
	local case=${2#-}
	FAILURES+=("  $1: $case${3:+${case:+ }($3)}: $(alone_case "$4" "$case")")
}

# run_guest N: runs guest N and writes its result
run_guest() {
	boot "$1" env LIMIT="$(test_limit)" LOAD="$LOAD" ${TORTURE_SECONDS:+TORTURE_SECONDS="$TORTURE_SECONDS"} \
		${DOORBELL_ROUNDS_CPU_MS:+DOORBELL_ROUNDS_CPU_MS="$DOORBELL_ROUNDS_CPU_MS"} \
		${DOORBELL_TRACER:+TRACER="$DOORBELL_TRACER"} /doorbell/tools/lab/guest/test
	echo "$? $OUTCOME" >"$RUN/$1.result"
}

# is_queue_left: succeeds if the queue has entries that no guest has taken
is_queue_left() {
	(($(find "$RUN/claims" -mindepth 1 -maxdepth 1 | wc -l) < $(wc -l <"$RUN/queue")))
}

# is_cut_short N: succeeds if guest N has ended during a test, and entries of the queue are left. A test
# that could not be killed is done.
is_cut_short() {
	local stuck
	stuck=$(cat "$RUN/$1/stuck" 2>/dev/null)
	[[ -e $RUN/claims/${stuck:-none} || $(in_flight "$1") ]] &&
		! grep -qs DOORBELL_TIMEOUT "$RUN/$1/stopped" && is_queue_left
}

# in_flight N: prints the names of the tests that had not ended in guest N
in_flight() {
	local entry
	for entry in "$RUN"/claims/*; do
		entry=${entry##*/}
		[[ $(cat "$RUN/claims/$entry/guest" 2>/dev/null) != "$1" || -e $RUN/done/$entry ]] || echo "${entry%@*}"
	done
}

# complained DIRECTORY: prints the names of the tests during which the kernel complained
complained() {
	local line name=module
	"$LAB_DIR/guest/without-known" "$(kernel_log "$1")" | grep -oE "lab: test [^ ]+|$BAD" | while read -r line; do
		case $line in
		"lab: test "*)	name=${line##* } name=${name%@*} ;;
		*)		echo "$name" ;;
		esac
	done | uniq | sort -u
}

# failed_guest TITLE NAME...: counts a failure of a guest, with the tests that may have caused it
failed_guest() {
	local title=$1
	shift
	(($#)) || set -- module
	tally 0 1 "$title, during $*" "$(alone "$*")"
}

# count_guest N: counts the exit of the guest, its kernel log and its own checks. If a test could not be
# killed, its failure stands for the guest's end, and for what the kernel log has of that test.
count_guest() {
	local n=$1 rc outcome p f file names stuck
	stuck=$(cat "$RUN/$n/stuck" 2>/dev/null)
	read -r rc outcome <"$RUN/$n.result"
	if [[ $stuck ]]; then
		:
	elif [[ $outcome == ended && $rc == 0 ]]; then
		tally 1 0
	else
		mapfile -t names < <(in_flight "$n")
		failed_guest "guest $n ($outcome)" "${names[@]}"
	fi
	if [[ $stuck ]]; then
		check_log "$RUN/$n"
		mapfile -t names < <(complained "$RUN/$n" | grep -vxF "${stuck%[@.]*}")
		((${#names[@]} == 0)) || failed_guest "the kernel log of guest $n" "${names[@]}"
	elif [[ $outcome == ended ]] && check_log "$RUN/$n"; then
		tally 1 0
	else
		mapfile -t names < <(complained "$RUN/$n" | grep . || in_flight "$n")
		failed_guest "the kernel log of guest $n" "${names[@]}"
	fi
	for file in "$RUN"/ktap/*."$n"; do
		read -r p f < <(count_ktap "$file")
		tally "$p" "$f" "${file##*/}" "$(alone module)"
		((f == 0)) || explain "${file##*/}"
		failed_cases "$file" "${file##*/}" module
	done
	[[ -s $RUN/ktap/module.$n ]] || tally 0 1 "module.$n" "$(alone module)"
}

# start_guest N: starts guest N, and sets pid[N]
start_guest() {
	run_guest "$1" </dev/null >"$RUN/log/guest-$1.log" 2>&1 &
	pid[$1]=$!
}

# run_guests: runs the tests of the queue in guests and counts them
run_guests() {
	local n guests name
	local -A pid=() counted=()
	guests=$(guest_count)
	n=$(wc -l <"$RUN/queue")
	((guests > n)) && guests=$((n ? n : 1))
	say "booting $(kernel_version) ($ACCEL), $guests guest(s) for $n $( ((ROUNDS > 1)) && echo rounds || echo tests) ..."
	for ((n = 1; n <= guests; n++)); do
		start_guest "$n"
	done
	while ((${#pid[@]})); do
		for n in "${!pid[@]}"; do
			! kill -0 "${pid[$n]}" 2>/dev/null || continue
			unset "pid[$n]"
			is_cut_short "$n" || continue
			say "guest $n has ended during a test; booting another one for the rest of the queue ..."
			start_guest $((++guests))
		done
		for name in "$RUN"/done/*; do
			name=${name##*/}
			[[ -z ${counted[$name]:-} ]] || continue
			counted[$name]=1
			finished "$name"
		done
		KEEP_GOING=1 STAGE_TAIL=40 stage_reap
		sleep 0.5
	done
	for ((n = 1; n <= guests; n++)); do
		grep -v '^$' "$RUN/log/guest-$n.log" >&2
		count_guest "$n"
	done
	while read -r name; do
		[[ ${counted[$name]:-} ]] || finished "$name"
	done <"$RUN/queue"
}

# count_host NAME STATUS: counts a test that has run on the host
count_host() {
	local name=$1 rc=$2 log=$LOGS/test-$1.log file files p f program case remark
	case $name in
	model | instructions)
		read -r p f < <(count_ktap "$log")
		tally "$p" "$f" "$name" "$(alone "$name")"
		failed_cases "$log" "$name" "$name"
		;;
	lab)
		files=("$RUN"/ktap/lab:*)
		((${#files[@]})) || tally 0 1 "lab: nothing has run" "$(alone lab)"
		for file in "${files[@]}"; do
			name=${file##*/}
			read -r p f < <(count_ktap "$file")
			((f == 0)) || explain "$name"
			tally "$p" "$f" "$name" "$(alone "$name")"
			failed_cases "$file" "$name" "$name"
		done
		;;
	tools)
		read -r p f < <(awk -f "$LAB_DIR/lib/cargo.awk" "$log")
		((f || (p && rc == 0))) || f=1
		tally "$p" "$f" tools "$(alone tools)"
		while IFS=$'\t' read -r program case remark; do
			failed_case "tools: $program" "$case" "$remark" tools
		done < <(awk -v list=1 -f "$LAB_DIR/lib/cargo.awk" "$log" | head -n 20)
		;;
	esac
}

# latencies: prints the longest time with interrupts off of each guest
latencies() {
	sed -nE 's/^# (irqsoff|preemptoff|preemptirqsoff): /\1: /p' "$RUN"/ktap/cfi.* | while read -r line; do
		say "$line"
	done
}

# watchpoints: prints what KCSAN of each guest has watched
watchpoints() {
	sed -nE 's/^# (KCSAN: )/\1/p' "$RUN"/ktap/kcsan.* | while read -r line; do
		say "$line"
	done
}

# skips: prints the number of expected skips, and for each program and reason the cases
skips() {
	local file line
	for file in "$RUN"/ktap/* "$LOGS"/test-instructions.log; do
		[[ ! -s $file ]] || count_ktap "$file" skipped | sed "s|^|$(program_of "$file")\t|"
	done | sort -u | awk -F '\t' '
		{ key = $1 "\t" $3; if (!n[key]++) keys[++nr] = key; names[key] = names[key] (n[key] > 1 ? ", " : "") $2 }
		END {
			print "skipped " NR " cases as expected" (NR ? ":" : "")
			for (i = 1; i <= nr; i++) {
				split(keys[i], part, "\t")
				print "  " part[1] ": " (n[keys[i]] > 3 ? n[keys[i]] " cases" : names[keys[i]]) " (" part[2] ")"
			}
		}' | while IFS= read -r line; do
		say "$line"
	done
}

# slowest: prints the slowest tests of the guests
slowest() {
	local file
	say "slowest: $(for file in "$RUN"/done/*; do
		echo "$(<"$file") ${file##*/}"
	done | sort -rn | head -n 6 | awk '{ printf "%s%s %.1f s", (NR > 1 ? ", " : ""), $2, $1 / 1000 }')"
}

# host_load: prints the host's load, averaged over a minute
host_load() {
	local load
	read -r load _ <"${LOADAVG:-/proc/loadavg}"
	echo "$load"
}

# run_tests [PATTERN...]: runs the tests whose names match. "!PATTERN" excludes tests.
run_tests() {
	local name start=$SECONDS load host=() guests=1 line
	load=$(host_load)
	SELECTED=("$@")
	setup || return
	! needs_qemu || setup_qemu
	build || return
	prepare_guest
	LOGS=$RUN/log
	make_queue
	# The others do not depend on a guest's time.
	! is_steadiness_run || HOST_TESTS=()
	for name in "${HOST_TESTS[@]}"; do
		! selected_host "$name" || host+=("$name")
	done
	[[ -s $RUN/queue ]] || selected module || guests=
	if [[ ! $guests ]] && ((${#host[@]} == 0)); then
		die "no test is called ${SELECTED[*]}" "there are: ${HOST_TESTS[*]} module $(all_tests | tr '\n' ' ')"
	fi
	for name in "${host[@]}"; do
		stage_begin "test-$name" "tests on the host: $name" "test_$name"
	done
	[[ ! $guests ]] || run_guests
	KEEP_GOING=1 STAGE_TAIL=40 stage_wait
	for name in "${host[@]}"; do
		count_host "$name" "${STAGE_STATUS[test-$name]}"
	done
	give_back
	if ((ROUNDS > 1)); then
		rounds
	elif [[ -s $RUN/queue ]]; then
		slowest
	fi
	[[ $FLAVOUR != cfi ]] || latencies
	[[ $FLAVOUR != kcsan ]] || watchpoints
	skips
	for line in "${FAILURES[@]}"; do
		say "FAILED $line"
	done
	((${#FAILURES[@]} == 0)) || say "all that was printed is in $RUN"
	say "took $((SECONDS - start)) s; load $load before, $(host_load) at the end, on $NPROC CPUs"
	echo "$PASSED passed, $FAILED failed"
	((FAILED == 0))
}
