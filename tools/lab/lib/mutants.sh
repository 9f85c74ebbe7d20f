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

# mutant_key HASH TEST...: prints the hash of an entry with its tests
mutant_key() {
	local test hash=$1 files=()
	shift
	for test; do
		files+=("$SRC/tools/testing/selftests/doorbell/${test%_32}.c")
	done
	{ echo "$hash" && cat "${files[@]}"; } | sha
}

# mutant_verdict TEST...: runs the tests in a guest, and prints "killed by ..." or "survived"
mutant_verdict() {
	local test f killers=()
	rm -rf "$RUN"/{ktap,claims,done,queue,1,1.result}
	SELECTED=("$@")
	make_queue
	boot 1 env LIMIT="$MUTANT_LIMIT" LOAD=0 /doorbell/tools/lab/guest/test \
		</dev/null >"$RUN/log/guest-1.log" 2>&1
	for test; do
		f=1
		[[ ! -s $RUN/ktap/$test ]] || read -r _ f < <(count_ktap "$RUN/ktap/$test")
		((f == 0)) || killers+=("$test")
	done
	if [[ $OUTCOME != ended ]]; then
		echo "killed by ${killers[*]:-$*}: the guest $OUTCOME"
	elif ! check_log "$RUN/1" >/dev/null 2>&1; then
		echo "killed by ${killers[*]:-the kernel log}: the kernel complained"
	elif ((${#killers[@]})); then
		echo "killed by ${killers[*]}: $(sed -nE 's/^not ok [0-9]+ ([^ ]*).*/\1/p' "${killers[@]/#/$RUN/ktap/}" |
			sort -u | head -n 3 | tr '\n' ' ')"
	else
		echo "survived"
	fi
}

# test_mutant NAME TEST...: prints the verdict on a mutant
test_mutant() {
	local name=$1
	shift
	mutants_py apply "/build/$COPY/src" "$name" || return
	if make_module module CONFIG_TEST_DOORBELL=m >"$RUN/log/mutant-$name.log" 2>&1; then
		mutant_verdict "$@"
	else
		echo "did not build: $(grep -m 1 '^error' "$RUN/log/mutant-$name.log")"
	fi
	mutants_py revert "/build/$COPY/src" "/build/$COPY/original" "$name"
}

# run_mutants [PATTERN...]: tests the mutants whose names match
run_mutants() {
	local name hash tests key result wanted=("$@") total=0 score
	local -A count=([killed]=0 [survived]=0 [did]=0)
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
			echo "$result" >"$BUILD/$MUTANTS/results/$name"
		fi
		result=${result#* }
		say "$name: $result"
		((++count[${result%% *}], ++total))
	done < <(mutants_py list /doorbell "$FLAVOUR")
	give_back
	((total)) || die "no mutant is called ${wanted[*]}" "see tools/mutants/mutants.txt"
	score=$((100 * count[killed] / total))
	echo "$total mutants: ${count[killed]} killed, ${count[survived]} survived, ${count[did]} did not build; score $score %"
	((count[killed] == total))
}
