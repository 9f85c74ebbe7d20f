# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# make mutants: makes one mistake of tools/mutants/mutants.txt at a time in a copy of the
# sources, builds the module, and runs the tests that must find it. A result stays until
# its entry, the file of the mistake or one of its tests changes.
#
#	BUILD/mutants/FLAVOUR/N/src		the copy; runs in parallel have different N
#	BUILD/mutants/FLAVOUR/N/module		the module that is built from it
#	BUILD/mutants/FLAVOUR/results/NAME	"HASH VERDICT"
MUTANTS=mutants/$FLAVOUR
COPY=

# The time limit of a test in seconds of the guest's clock.
MUTANT_LIMIT=120

mutants_py() {
	in_tree "$TREE" python3 /doorbell/tools/mutants/mutants.py "$@"
}

# choose_copy: chooses a copy that no other run uses
choose_copy() {
	local n=0 fd
	mkdir -p "$BUILD/$MUTANTS/results"
	while [[ -z $COPY ]]; do
		n=$((n + 1))
		exec {fd}>>"$BUILD/$MUTANTS/$n.lock" || return
		if flock -n "$fd"; then
			COPY=$MUTANTS/$n
		else
			exec {fd}>&-
		fi
	done
}

# mount_mutants: mounts a fresh copy of the sources over them, and a module directory of
# its own; both are seen by builds and guests
mount_mutants() {
	choose_copy || return
	local dir=$BUILD/$COPY
	mkdir -p "$dir"/{src,original}
	# The first module is built from what the build of the sources has left.
	[[ -e $dir/module/doorbell.ko ]] ||
		{ rm -rf "$dir/module" && cp -a "$BUILD/$(module_dir)" "$dir/module"; } || return
	in_tree "$TREE" rsync -a --delete --exclude=/.git --exclude=/out /doorbell/ "/build/$COPY/src/" &&
	bind_ro "$SRC" "$TREE/build/$COPY/original" &&
	bind_ro "$dir/src" "$TREE/doorbell" &&
	mount --bind "$dir/module" "$TREE/build/module"
}

# mutant_key HASH TEST...: prints the hash of an entry with its tests, and of the version of
# the rules for verdicts
mutant_key() {
	local test hash=$1 files=()
	shift
	for test; do
		files+=("$SRC/tools/testing/selftests/doorbell/${test%_32}.c")
	done
	{ echo "2 $hash" && cat "${files[@]}"; } | sha
}

# run_once TEST...: runs the tests in a guest, and prints "passed TEST=MS ...", "killed by ...",
# or "unknown: ..." if the guest or a test gave no verdict. BASE has the times of a run
# without a mistake, TEST=MS.
run_once() {
	local test p f took base log killers=() silent=() times=()
	rm -rf "$RUN"/{ktap,claims,done,queue,1,1.result}
	SELECTED=("$@")
	make_queue
	boot 1 env LIMIT="$MUTANT_LIMIT" LOAD=0 /doorbell/tools/lab/guest/test \
		</dev/null >"$RUN/log/guest-1.log" 2>&1
	for test; do
		took=$(cat "$RUN/done/$test" 2>/dev/null)
		times+=("$test=${took:-0}")
		p=0 f=1
		[[ ! -s $RUN/ktap/$test ]] || read -r p f < <(count_ktap "$RUN/ktap/$test")
		if grep -qs '^not ok ' "$RUN/ktap/$test"; then
			killers+=("$test")
		elif ((f || p == 0)); then
			# A test that has ended much sooner without the mistake hangs.
			base=$(tr ' ' '\n' <<<"${BASE:-}" | sed -n "s/^$test=//p")
			if [[ $OUTCOME == ended && $base ]] && ((base < MUTANT_LIMIT * 1000 / 4)) &&
				grep -qs '^# stopped: ' "$RUN/ktap/$test"; then
				killers+=("$test")
			else
				silent+=("$test")
			fi
		fi
	done
	log=$RUN/1/dmesg
	[[ -s $log ]] || log=$RUN/1/console.log
	if grep -qsE "$BAD" "$log"; then
		echo "killed by ${killers[*]:-the kernel log}: the kernel complained"
	elif ((${#killers[@]})); then
		echo "killed by ${killers[*]}: $(sed -nE 's/^not ok [0-9]+ ([^ ]*).*/\1/p' "${killers[@]/#/$RUN/ktap/}" |
			sort -u | head -n 3 | tr '\n' ' ')"
	elif [[ $OUTCOME != ended ]]; then
		echo "unknown: the guest $OUTCOME"
	elif ((${#silent[@]})); then
		echo "unknown: no verdict of ${silent[*]}"
	elif ! check_log "$RUN/1" >/dev/null 2>&1; then
		echo "killed by the kernel log: the kernel is tainted"
	else
		echo "passed ${times[*]}"
	fi
}

# run_twice TEST...: as run_once, but tries a second time if the first one gives no verdict
run_twice() {
	local result
	result=$(run_once "$@")
	[[ $result != unknown* ]] || result=$(run_once "$@")
	echo "$result"
}

# baseline_key TEST...: prints the hash of the module's sources with the tests
baseline_key() {
	mutant_key "$(cd "$SRC" && find rust include Kbuild -type f | sort | xargs cat | sha)" "$@"
}

# baseline TEST...: sets BASE to the times of the tests without a mistake. Fails, with the
# reason in BASE, unless they pass. A pass stays until the sources or the tests change.
baseline() {
	local key file
	key=$(baseline_key "$@")
	file=$BUILD/$MUTANTS/baseline/$(echo "$*" | sha)
	BASE=$(cat "$file" 2>/dev/null)
	if [[ ${BASE%% *} == "$key" ]]; then
		BASE=${BASE#* }
		return
	fi
	BASE=
	if ! make_module module CONFIG_TEST_DOORBELL=m >"$RUN/log/mutant-none.log" 2>&1; then
		BASE="the module does not build"
		return 1
	fi
	BASE=$(run_twice "$@")
	[[ $BASE == passed* ]] || return
	mkdir -p "${file%/*}"
	echo "$key $BASE" >"$file"
}

# mutant_verdict TEST...: runs the tests in a guest, and prints "killed by ...", "survived"
# or "unknown: ..."
mutant_verdict() {
	local result
	result=$(run_twice "$@")
	[[ $result != passed* ]] || result=survived
	echo "$result"
}

# test_mutant NAME TEST...: prints the verdict on a mutant
test_mutant() {
	local name=$1 BASE=
	shift
	baseline "$@" || { echo "unknown: without the mistake: $BASE" && return; }
	mutants_py apply "/build/$COPY/src" "$name" || return
	if make_module module CONFIG_TEST_DOORBELL=m >"$RUN/log/mutant-$name.log" 2>&1; then
		mutant_verdict "$@"
	else
		echo "did not build: $(grep -m 1 '^error' "$RUN/log/mutant-$name.log")"
	fi
	mutants_py revert "/build/$COPY/src" "/build/$COPY/original" "$name"
}

# keep_result NAME RESULT: stores the result, "HASH VERDICT", unless it is unknown
keep_result() {
	[[ $2 == *" unknown:"* ]] || echo "$2" >"$BUILD/$MUTANTS/results/$1"
}

# run_mutants [PATTERN...]: tests the mutants whose names match
run_mutants() {
	local name hash tests key result wanted=("$@") total=0 score
	local -A count=([killed]=0 [survived]=0 [did]=0 [unknown]=0)
	setup && build || return
	mount_mutants || die "cannot mount the copy of the sources"
	prepare_guest
	while read -r name hash tests; do
		# shellcheck disable=SC2034 # selected uses it
		SELECTED=("${wanted[@]}")
		selected "$name" || continue
		# shellcheck disable=SC2086
		key=$(mutant_key "$hash" $tests)
		result=$(cat "$BUILD/$MUTANTS/results/$name" 2>/dev/null)
		if [[ ${result%% *} != "$key" ]]; then
			# shellcheck disable=SC2086
			result=$(test_mutant "$name" $tests)
			[[ -n $result ]] || die "$name was interrupted" "make mutants continues with it"
			result="$key $result"
			keep_result "$name" "$result"
		fi
		result=${result#* }
		say "$name: $result"
		result=${result%% *}
		((++count[${result%:}], ++total))
	done < <(mutants_py list /doorbell "$FLAVOUR")
	give_back
	((total)) || die "no mutant is called ${wanted[*]}" "see tools/mutants/mutants.txt"
	score=$((100 * count[killed] / total))
	echo "$total mutants: ${count[killed]} killed, ${count[survived]} survived, ${count[did]} did not build, ${count[unknown]} unknown; score $score %"
	((count[killed] == total))
}
