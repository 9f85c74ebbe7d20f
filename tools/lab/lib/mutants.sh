# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# make mutants: makes each single mistake of tools/mutants/mutants.txt in a copy of the sources, and runs the tests that
# must find it. Most mistakes are joined in one module, whose parameter "mutant" chooses one of them; so one build and
# one boot serve many. The others have a module of their own. A kill stays until its entry, the file of the mistake, one
# of its tests or a header of the tests changes. If the mutant survived, or a test of races has killed it, the result also
# changes with every other file of the module.
#
#	BUILD/mutants/FLAVOUR/N/src		the copy; runs in parallel have different N
#	BUILD/mutants/FLAVOUR/N/module		the module that is built from it
#	BUILD/mutants/FLAVOUR/N/joined		the modules with the joined mistakes, and "key", "alone"
#	BUILD/mutants/FLAVOUR/N/alone/NAME	the modules with one mistake, and "key"
#	BUILD/mutants/FLAVOUR/tests/TEST	the time in ms that a test took when it passed last
#	BUILD/mutants/FLAVOUR/results/NAME	"HASH VERDICT", or "HASH+HASH-OF-THE-MODULE VERDICT" of one that survived
MUTANTS=mutants/$FLAVOUR
COPY=

# The time in seconds after which no further mutant begins, or 0.
MUTANTS_SECONDS=0

# Messages that an overloaded host causes, too.
STALLS='rcu:.*stall|soft lockup|hard LOCKUP|workqueue lockup|blocked for more than'

mutants_py() {
	in_tree "$TREE" python3 /doorbell/tools/mutants/mutants.py "$@"
}

# choose_copy: chooses a copy that no other run uses
choose_copy() {
	local n=0 fd
	mkdir -p "$BUILD/$MUTANTS"/{results,tests}
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
	# A file whose content is another one is newer than what was built from it. With the times of the sources, what
	# was built from a mistake would stay.
	in_tree "$TREE" rsync -a --checksum --no-times --delete --exclude=/.git --exclude=/out /doorbell/ "/build/$COPY/src/" &&
	bind_ro "$SRC" "$TREE/build/$COPY/original" &&
	bind_ro "$dir/src" "$TREE/doorbell" &&
	mount --bind "$dir/module" "$TREE/build/module"
}

# sources_of TEST: prints the files of a test
sources_of() {
	local name=${1%%:*}
	case $name in
	# Samples share files.
	sample_*)	find "$SRC/samples" -type f | sort ;;
	cli_*)		printf '%s\n' "$SRC/tools/lab/guest/tests/"{"${name#cli_}",lib.sh} ;;
	kunit_*)	echo "$SRC/rust/kunit/${name#kunit_}.rs" ;;
	*)		printf '%s\n' "$SRC/tools/testing/selftests/doorbell/"{"${name%_32}.c",*.h} ;;
	esac
}

# mutant_key HASH TEST...: prints the hash of an entry with its tests, and of the version of
# the rules for verdicts. Races depend on the whole module.
mutant_key() {
	local test hash=$1
	shift
	{
		echo "6 $hash"
		for test; do
			sources_of "$test" | xargs cat
			[[ $test != *race* && $test != *storm* && $test != cli_torture* ]] || module_key
		done
	} | sha
}

# module_key: prints the hash of the sources of the module and of the test module
module_key() {
	(cd "$SRC" && find rust include Kbuild tools/testing/selftests/doorbell/module -type f | sort | xargs cat | sha)
}

# keep_modules DIRECTORY: moves the modules that were built last there
keep_modules() {
	rm -rf "$1" && mkdir -p "$1" &&
	in_tree "$TREE" rsync -a --include='*/' --include='*.ko' --exclude='*' --prune-empty-dirs \
		/build/module/ "/build/${1#"$BUILD/"}/" &&
	# Each load reads all of it.
	in_tree "$TREE" strip --strip-debug "/build/${1#"$BUILD/"}/doorbell.ko"
}

# build_mutant NAME: builds the module from the copy
build_mutant() {
	make_module module CONFIG_SAMPLE_DOORBELL=m CONFIG_TEST_DOORBELL=m >"$RUN/log/mutant-$1.log" 2>&1
}

revert_mutants() {
	mutants_py revert "/build/$COPY/src" "/build/$COPY/original"
}

# build_joined KEY: builds the module with all mistakes that can be joined. Those that do not build there are left
# out, for modules of their own.
build_joined() {
	local dir=$BUILD/$COPY/joined log=$RUN/log/mutant-joined.log more alone=()
	[[ $(cat "$dir/key" 2>/dev/null) != "$1" ]] || return 0
	say "building the module with the joined mistakes ..."
	for _ in 1 2 3 4 5 6; do
		mutants_py join "/build/$COPY/src" "${alone[@]}" || return
		if build_mutant joined; then
			revert_mutants
			keep_modules "$dir" && printf '%s\n' "${alone[@]}" >"$dir/alone" && echo "$1" >"$dir/key"
			return
		fi
		cp "$log" "$BUILD/$COPY/log"
		mapfile -t more < <(mutants_py blame "/build/$COPY/src" "/build/$COPY/log")
		revert_mutants
		[[ ${more[0]:-} ]] || break
		say "alone, as they cannot be joined: ${more[*]}"
		alone+=("${more[@]}")
	done
	say "the joined module does not build; the end of $log:"
	tail -n 25 "$log" >&2
	return 1
}

# build_alone NAME KEY: builds the module with one mistake. Prints the error if that fails.
build_alone() {
	local name=$1 dir=$BUILD/$COPY/alone/$1 rc=0
	[[ $(cat "$dir/key" 2>/dev/null) != "$2" ]] || return 0
	say "$name: building a module of its own ..."
	mutants_py apply "/build/$COPY/src" "$name" || return
	if build_mutant "$name"; then
		keep_modules "$dir" && echo "$2" >"$dir/key"
	else
		grep -m 1 -E '^error|: error: |^ERROR: modpost: ' "$RUN/log/mutant-$name.log"
		rc=1
	fi
	revert_mutants
	return $rc
}

# mutant_guests: runs the entries of the queue in guests
mutant_guests() {
	local n guests pids=()
	guests=$(guest_count)
	# The order matters in a fresh guest.
	! grep -q '^none-' "$RUN/queue" || guests=1
	n=$(wc -l <"$RUN/queue")
	((n >= guests)) || guests=$n
	rm -rf "$RUN"/{claims,results}
	mkdir -p "$RUN"/{claims,results}
	for ((n = 1; n <= guests; n++)); do
		mutant_guest "$n" </dev/null >"$RUN/log/guest-$n.log" 2>&1 &
		pids+=($!)
	done
	while kill -0 "${pids[@]}" 2>/dev/null; do
		sleep 1
		keep_done
	done
	wait "${pids[@]}"
}

# is_over: succeeds if no further mutant may begin
is_over() {
	((MUTANTS_SECONDS && SECONDS - MUTANTS_START >= MUTANTS_SECONDS))
}

# mutant_guest N: boots guest N until no entry of the queue is left
mutant_guest() {
	local left name
	while is_queue_left && ! is_over; do
		left=$((MUTANTS_SECONDS ? MUTANTS_SECONDS - (SECONDS - MUTANTS_START) : 0))
		boot "$1" env CONTROL="/build/$COPY/joined" BAD="$BAD" SECONDS_LEFT="$left" \
			${DOORBELL_ROUNDS_CPU_MS:+DOORBELL_ROUNDS_CPU_MS="$DOORBELL_ROUNDS_CPU_MS"} \
			/doorbell/tools/lab/guest/mutants
		if [[ ! -s $RUN/$1/current ]]; then
			[[ $OUTCOME != ended ]] || continue
			break
		fi
		name=$(<"$RUN/$1/current")
		mkdir -p "$RUN/results/$name"
		cp "$RUN/$1/console.log" "$RUN/results/$name/console.log"
		echo "$OUTCOME" >"$RUN/results/$name/outcome"
	done
}

# reason_of FILE: prints the first failed cases of a test, or how it ended
reason_of() {
	if grep -q '^not ok ' "$1"; then
		sed -nE 's/^not ok [0-9]+ ([^ ]*).*/\1/p' "$1" | head -n 3 | tr '\n' ' ' | sed 's/ $//'
	elif grep -q '^# stopped: ' "$1"; then
		echo "it hangs"
	else
		tail -n 1 "$1" | sed 's/^# //'
	fi
}

# verdict NAME FRESH TEST...: prints the verdict on a mutant whose results are there: "killed by ...", "survived ...", or
# "again" if it must run again. A test kills only if its failure is confirmed. All else kills only with FRESH: the
# mutant ran in a fresh guest, in which the same has not happened without the mistake. A stall never kills.
verdict() {
	local dir=$RUN/results/$1 fresh=$2 test status log stalled=
	shift 2
	if [[ -e $dir/stuck ]]; then
		[[ $fresh ]] && echo "killed by $(<"$dir/stuck"): it hangs in the kernel" || echo again
		return
	fi
	log=$(kernel_log "$dir")
	! grep -qsE "$STALLS" "$log" || stalled=1
	if [[ -z $stalled ]] && [[ -e $log ]] && "$LAB_DIR/guest/without-known" "$log" | grep -E "$BAD" >/dev/null; then
		[[ $fresh ]] || { echo again && return; }
		echo "killed by the kernel log: $("$LAB_DIR/guest/without-known" "$log" | grep -oE "($BAD).*" | head -n 1 | tr -d '\r' | cut -c 1-80)"
		return
	fi
	if [[ ! -e $dir/done ]]; then
		[[ $fresh ]] && echo "killed by a guest that $(<"$dir/outcome")" || echo again
		return
	fi
	if [[ -e $dir/not-loaded ]]; then
		[[ $fresh ]] && echo "killed by insmod: $(tail -n 1 "$dir/insmod")" || echo again
		return
	fi
	for test; do
		[[ -s $dir/$test ]] || break
		status=$(sed -n 's/^# exit status //p' "$dir/$test")
		[[ ${status:-1} != 0 ]] || ! grep -q '^# stopped: ' "$dir/$test" || status=1
		[[ ${status:-1} != 0 ]] || continue
		if [[ -e $dir/confirmed ]]; then
			echo "killed by $test: $(reason_of "$dir/$test")"
		elif [[ $fresh && -s $dir/$test.repeat ]]; then
			echo "survived: $test fails only now and then: $(reason_of "$dir/$test")"
		else
			echo again
		fi
		return
	done
	if [[ -s $dir/leaks ]]; then
		[[ $fresh ]] && echo "killed by kmemleak: $(grep -c '^unreferenced' "$dir/leaks") objects" || echo again
	elif [[ -e $dir/in-use ]]; then
		[[ $fresh ]] && echo "killed by rmmod: the module is in use" || echo again
	elif (($(cat "$dir/tainted") & ~TAINT)); then
		[[ $fresh ]] && echo "killed by the kernel's taint: $(<"$dir/tainted")" || echo again
	elif [[ $stalled || ! -s $dir/${!#} ]]; then
		echo again
	else
		echo survived
	fi
}

# test_limits TEST...: prints TEST=LIMIT for each: three times the time that it takes when it passes, and 10 s
test_limits() {
	local test ms
	for test; do
		ms=$(cat "$BUILD/$MUTANTS/tests/$test" 2>/dev/null ||
			cat "$BUILD/took-$FLAVOUR/${test%%:*}" 2>/dev/null || echo 10000)
		echo "$test=$((10#${ms##* } * 3 / 1000 + 10))"
	done
}

# keep_times NAME TEST...: stores the times of the tests that have passed
keep_times() {
	local dir=$RUN/results/$1 test
	shift
	for test; do
		! grep -qsx '# exit status 0' "$dir/$test" || cp "$dir/$test.ms" "$BUILD/$MUTANTS/tests/$test"
	done
}

# keep_result NAME: stores the result, unless it is unknown
keep_result() {
	case ${RESULT[$1]} in
	unknown:*)	return ;;
	survived*)	echo "${KEY[$1]}+$MODULE_KEY ${RESULT[$1]}" ;;
	*)		echo "${KEY[$1]} ${RESULT[$1]}" ;;
	esac >"$BUILD/$MUTANTS/results/$1.new" && mv "$BUILD/$MUTANTS/results/$1"{.new,}
}

# keep_done: stores the verdicts of the entries of the array QUEUE that have ended and need no confirmation, so that
# an interrupted run loses none of them
keep_done() {
	local line name
	! grep -q '^none-' "$RUN/queue" || return 0
	for line in "${QUEUE[@]}"; do
		name=${line%% *}
		[[ -e $RUN/results/$name/done && -z ${SEEN[$name]:-} ]] || continue
		SEEN[$name]=1
		# shellcheck disable=SC2086
		RESULT[$name]=$(verdict "$name" '' ${TESTS[$name]})
		[[ ${RESULT[$name]} == again ]] || keep_result "$name"
	done
}

# run_queue FRESH: runs the entries of the array QUEUE, and sets RESULT[NAME] of those that have a verdict. AGAIN has
# those that must run in a fresh guest.
run_queue() {
	local fresh=$1 line name
	local -A SEEN=()
	AGAIN=()
	printf '%s\n' "${QUEUE[@]}" >"$RUN/queue"
	mutant_guests
	for line in "${QUEUE[@]}"; do
		name=${line%% *}
		[[ -e $RUN/claims/$name ]] || continue
		[[ $name != none-* ]] || continue
		# shellcheck disable=SC2086
		RESULT[$name]=$(verdict "$name" "$fresh" ${TESTS[$name]})
		# shellcheck disable=SC2086
		keep_times "$name" ${TESTS[$name]}
		# shellcheck disable=SC2086
		if [[ $fresh && $(verdict "none-$name" '' ${TESTS[$name]}) != survived ]]; then
			RESULT[$name]="unknown: its tests fail without the mistake"
		elif [[ ${RESULT[$name]} == again ]]; then
			AGAIN+=("$line")
			RESULT[$name]="unknown: its failure is not confirmed, and the time was over"
			[[ -z $fresh ]] || RESULT[$name]="unknown: no verdict of its tests"
		else
			keep_result "$name"
			say "$name: ${RESULT[$name]}"
		fi
	done
}

# limits_of LINE: prints the sum of the limits in a line of the queue
limits_of() {
	local field fields sum=0
	read -ra fields <<<"$1"
	for field in "${fields[@]:4}"; do
		((sum += ${field##*=}))
	done
	echo $sum
}

# run_passes: runs the entries of the array QUEUE, first those with the shortest tests. Those without a verdict run once
# more, and then alone in fresh guests.
run_passes() {
	local line name AGAIN=()
	mapfile -t QUEUE < <(for line in "${QUEUE[@]}"; do
		echo "$(limits_of "$line") $line"
	done | sort -sn -k1,1 | cut -d' ' -f2-)
	say "running ${#QUEUE[@]} mutants ..."
	run_queue ''
	if ((${#AGAIN[@]} > 1)) && ! is_over; then
		QUEUE=("${AGAIN[@]}")
		run_queue ''
	fi
	for line in "${AGAIN[@]}"; do
		! is_over || break
		name=${line%% *}
		say "$name: once more, in a fresh guest"
		# Without the mistake first.
		QUEUE=("none-$name /build/$COPY/joined 0 $(cut -d' ' -f4- <<<"$line")" "$line")
		run_queue fresh
	done
}

# run_mutants [--duration SECONDS] [PATTERN...]: tests the mutants whose names match. After that time, no further one
# begins; the next run continues.
run_mutants() {
	local name hash how number leaks tests line wanted key joined_key error QUEUE=() NAMES=()
	local -A HOW=() TESTS=() KEY=() RESULT=() HASH=() LEAKS=()
	MODULE_KEY=$(module_key)
	if [[ ${1:-} == --duration ]]; then
		MUTANTS_SECONDS=$2
		shift 2
	fi
	wanted=("$@")
	setup && build || return
	mount_mutants || die "cannot mount the copy of the sources"
	prepare_guest
	mutants_py list /doorbell "$FLAVOUR" >"$RUN/list" || die "tools/mutants/mutants.txt does not fit the sources" "see 'make check'"
	while read -r name hash how number leaks tests; do
		# shellcheck disable=SC2034 # selected uses it
		SELECTED=("${wanted[@]}")
		selected "$name" || continue
		NAMES+=("$name")
		HOW[$name]=$how TESTS[$name]=$tests HASH[$name]=$hash LEAKS[$name]=$leaks
		if [[ $how == missed ]]; then
			RESULT[$name]="missed: its entry says why"
			continue
		fi
		[[ $how == alone ]] || HOW[$name]=$number
		# shellcheck disable=SC2086
		KEY[$name]=$(mutant_key "$hash" $tests)
		line=$(cat "$BUILD/$MUTANTS/results/$name" 2>/dev/null)
		[[ ${line%% *} != "${KEY[$name]}" && ${line%% *} != "${KEY[$name]}+$MODULE_KEY" ]] || RESULT[$name]=${line#* }
	done <"$RUN/list"
	((${#NAMES[@]})) || die "no mutant is called ${wanted[*]}" "see tools/mutants/mutants.txt"
	if ((${#RESULT[@]} < ${#NAMES[@]})); then
		joined_key=$({ module_key && cat "$SRC/tools/mutants"/mutants.*; } | sha)
		build_joined "$joined_key" || return
	fi
	# The builds above have no results to continue with, so the time begins here.
	MUTANTS_START=$SECONDS
	for name in "${NAMES[@]}"; do
		[[ -z ${RESULT[$name]:-} ]] || continue
		! is_over || break
		if [[ ${HOW[$name]} == alone ]] || grep -qx "$name" "$BUILD/$COPY/joined/alone"; then
			HOW[$name]=-
			if ! error=$(build_alone "$name" "$(echo "$(module_key) ${HASH[$name]}" | sha)"); then
				RESULT[$name]="did not build: $error"
				continue
			fi
			key=/build/$COPY/alone/$name
		else
			key=/build/$COPY/joined
		fi
		# shellcheck disable=SC2086
		QUEUE+=("$name $key ${HOW[$name]} ${LEAKS[$name]} $(test_limits ${TESTS[$name]} | tr '\n' ' ')")
	done
	((${#QUEUE[@]} == 0)) || run_passes
	give_back
	report_mutants
}

# is_unnamed VERDICT: succeeds if no failed case of a test has killed
is_unnamed() {
	[[ $1 =~ ^killed\ by\ (kmemleak|insmod|rmmod|a\ guest|the\ kernel|[^\ ]*:\ (it\ hangs|exit\ status)) ]]
}

# report_mutants: prints the verdicts that are no kill, and the score. Succeeds if all are killed but those that the list
# calls missed, which the score counts as survivors.
report_mutants() {
	local name verdict total=${#NAMES[@]} left=0 unnamed=0
	local -A count=([killed]=0 [survived]=0 [missed]=0 [did]=0 [unknown]=0)
	for name in "${NAMES[@]}"; do
		if [[ -z ${RESULT[$name]:-} ]]; then
			((++left))
			continue
		fi
		verdict=${RESULT[$name]%% *}
		verdict=${verdict%:}
		((++count[$verdict]))
		[[ $verdict == killed ]] || echo "$name: ${RESULT[$name]}"
		! is_unnamed "${RESULT[$name]}" || ((++unnamed))
	done
	echo "$(mutants_py equivalent | wc -l) entries are equivalent, and did not run"
	((unnamed == 0)) || echo "$unnamed were killed by a hang, a crash or the kernel, and not by a case of a test"
	((left == 0)) || echo "$left of $total mutants have not run yet; the same command continues"
	total=$((total - left))
	echo "$total mutants: ${count[killed]} killed, ${count[survived]} survived, ${count[missed]} missed, ${count[did]} did not build, ${count[unknown]} unknown; score $((total ? 100 * count[killed] / total : 0)) %"
	((left == 0 && count[killed] + count[missed] == total))
}
