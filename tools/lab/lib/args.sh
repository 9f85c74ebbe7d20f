# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Checks arguments and variables before anything is downloaded or built.

# is_one_of VALUE NAME...: succeeds if VALUE is one of the names
is_one_of() {
	[[ $1 != *' '* && " ${*:2} " == *" $1 "* ]]
}

# need_number NAME VALUE MAXIMUM [UNIT]: dies unless VALUE is empty or an integer from 1 to MAXIMUM
need_number() {
	[[ -z $2 ]] || { [[ $2 =~ ^[1-9][0-9]{0,6}$ ]] && (($2 <= $3)); } ||
		die "$1 is '$2'" "it is a number${4:+ of $4} from 1 to $3: $1=4"
}

# need_memory VALUE: dies unless VALUE is memory for a guest
need_memory() {
	local mb=0
	if [[ $1 =~ ^[1-9][0-9]{0,5}[MG]$ ]]; then
		mb=${1%?}
		[[ $1 == *M ]] || ((mb *= 1024))
	fi
	((mb >= 256 && mb <= 512 * 1024)) ||
		die "DOORBELL_MEM is '$1'" "it is a number of megabytes or gigabytes, from 256M to 512G: 512M, 2G"
}

# check_variables COMMAND [ARGUMENT...]
check_variables() {
	check_arch "$@"
	is_one_of "${ASKED_FLAVOUR:-$FLAVOUR}" "${FLAVOURS[@]}" ||
		die "there is no flavour '${ASKED_FLAVOUR:-$FLAVOUR}'" "FLAVOUR is one of: ${FLAVOURS[*]}"
	case ${DOORBELL_ACCEL:-} in
	'' | kvm | tcg | icount) ;;
	*) die "DOORBELL_ACCEL is '$DOORBELL_ACCEL'" "it is one of: kvm tcg icount" ;;
	esac
	case ${DOORBELL_TRACER:-} in
	'' | irqsoff | preemptoff | preemptirqsoff) ;;
	*) die "DOORBELL_TRACER is '$DOORBELL_TRACER'" "it is one of: irqsoff preemptoff preemptirqsoff" ;;
	esac
	need_number DOORBELL_CPUS "${DOORBELL_CPUS:-}" 255
	need_number DOORBELL_GUESTS "${DOORBELL_GUESTS:-}" 64
	need_number DOORBELL_REPEAT "${DOORBELL_REPEAT:-}" 9999999
	need_number DOORBELL_LOAD "${DOORBELL_LOAD:-}" 1000
	need_number DOORBELL_ROUNDS_CPU_MS "${DOORBELL_ROUNDS_CPU_MS:-}" 9999999 milliseconds
	need_number DOORBELL_TIMEOUT "${DOORBELL_TIMEOUT:-}" 9999999 seconds
	need_memory "${DOORBELL_MEM:-2G}"
	[[ ${DOORBELL_KERNEL:-} =~ ^([0-9]+\.[0-9]+[-+.~0-9a-z]*)?$ ]] ||
		die "DOORBELL_KERNEL is '$DOORBELL_KERNEL'" "it is a version: 7.3.4+deb13-amd64"
	[[ $FLAVOUR != 7.2 || ${DOORBELL_KERNEL:-7.2.} == 7.2.* ]] ||
		die "DOORBELL_KERNEL is '$DOORBELL_KERNEL'" "FLAVOUR=7.2 needs a kernel 7.2, or leave one of the two out"
	# debootstrap and apt do not quote the path of the tree.
	[[ $LAB =~ ^[-+./_@~A-Za-z0-9]+$ ]] ||
		die "DOORBELL_LAB is '$LAB'" \
		    "debootstrap cannot work in a path with spaces or special characters" \
		    "set DOORBELL_LAB to another one"
}

# check_instructions [ARGUMENT...]: checks the arguments of bench-instructions
check_instructions() {
	local update= reason= json=
	[[ $FLAVOUR != rt ]] || die "the twin does not run on PREEMPT_RT" "measure another flavour"
	while (($#)); do
		case $1 in
		--json)		json=1 ;;
		--update)	update=1 ;;
		--filter)	[[ ${2:-} ]] || die "--filter wants a text" "for example: --filter ring" ;;
		--reason)	[[ ${2:-} ]] || die "--reason wants a text" "it says why figures have changed"
				reason=1 ;;
		*)		die "there is no argument '$1'" "bench-instructions has --filter, --json, --update, --reason" ;;
		esac
		[[ $1 == --json || $1 == --update ]] || shift
		shift
	done
	[[ -z $update || -z $json ]] || die "--update and --json exclude each other"
	[[ -z $reason || $update ]] || die "--reason belongs to --update"
}

# matches_test NAME PATTERN: succeeds if the pattern is one of the test. A pattern with a colon is one of
# a part of a test: "lab:guest".
matches_test() {
	local name=$1
	[[ $2 == *:* ]] || name=${1%%:*}
	# shellcheck disable=SC2053 # a pattern
	[[ $name == $2 ]]
}

# lab_tests: prints the names of the lab's own tests, as parts of the test "lab"
lab_tests() {
	local name
	for name in "$LAB_DIR"/test/*.sh; do
		name=${name##*/}
		[[ $name == lib.sh ]] || echo "lab:${name%.sh}"
	done
}

# source_tests: prints the names of all tests that the sources have, of any flavour and architecture
source_tests() {
	local name word
	printf '%s\n' tools model lab instructions module sample_kvm-rtt
	lab_tests
	while read -r name _ word; do
		for word in $word; do
			case $name in
			PROGS)		echo "$word" ;;
			COMPAT_PROGS)	echo "${word}_32" ;;
			esac
		done
	done <"$SRC/tools/testing/selftests/doorbell/progs.mk"
	sed -n 's/^SAMPLES += /sample_/p' "$SRC/samples/Makefile"
	for name in "$LAB_DIR"/guest/tests/*; do
		[[ $name == *.sh ]] || echo "cli_${name##*/}"
	done
}

# check_names KIND HINT PATTERN...: dies if a pattern matches none of the array NAMES
check_names() {
	local pattern name
	for pattern in "${@:3}"; do
		[[ $pattern != !* ]] || continue
		for name in "${NAMES[@]}"; do
			! matches_test "$name" "$pattern" || continue 2
		done
		die "no $1 is called $pattern" "$2"
	done
}

# check_tests [PATTERN...]: dies if a test is asked for that the sources do not have
check_tests() {
	local pattern patterns=() NAMES
	(($#)) || return 0
	mapfile -t NAMES < <(source_tests)
	for pattern; do
		# cargo knows the cases of the tools.
		[[ $pattern == tools:?* ]] || patterns+=("$pattern")
	done
	check_names test "there are: ${NAMES[*]}" "${patterns[@]}"
}

# check_mutant_names [PATTERN...]: dies if a mutant is asked for that does not run with this flavour
check_mutant_names() {
	local NAMES
	(($#)) || return 0
	mapfile -t NAMES < <(awk -v flavour="$FLAVOUR" '
		function print_last() { if (name && runs) print name }
		$1 == "mutant"		{ print_last(); name = $2; runs = 1 }
		$1 == "flavour" && $2 != flavour || $1 == "equivalent"	{ runs = 0 }
		END			{ print_last() }' "$SRC/tools/mutants/mutants.txt")
	check_names mutant "see tools/mutants/mutants.txt: some entries are for another FLAVOUR, and equivalent ones do not run" "$@"
}

# check_kernel_patterns [PATTERN...]: dies if a pattern is neither one of suites nor one of versions,
# which are known after the set-up only
check_kernel_patterns() {
	local pattern NAMES
	read -ra NAMES <<<"${SUITE_TREES[*]#*:}"
	for pattern; do
		[[ $pattern == [0-9*?[]* ]] ||
			check_names suite "there are: ${NAMES[*]}; a version begins with a digit: '7.3*'" "$pattern"
	done
}

# check_arguments COMMAND [ARGUMENT...]
check_arguments() {
	local cmd=$1
	shift
	case $cmd in
	run)
		(($#)) || die "no command to run" "for example: tools/lab/lab run doorbell info"
		;;
	shell)
		[[ -t 0 ]] || die "a shell needs a terminal" "tools/lab/lab run COMMAND runs a command"
		(($# == 0)) || die "shell takes no arguments, not '$*'"
		;;
	test)
		check_tests "$@"
		;;
	torture)
		[[ ${1:-} =~ ^[0-9]+([.][0-9]+)?$ ]] ||
			die "the duration is '${1:-}'" "it is a number of seconds: make torture DURATION=60"
		;;
	mutants)
		[[ ${1:-} != --duration || ${2:-} =~ ^[1-9][0-9]*$ ]] ||
			die "the duration is '${2:-}'" "it is a number of seconds: make mutants DURATION=200"
		[[ ${1:-} != --duration ]] || shift 2
		check_mutant_names "$@"
		;;
	in-tree)
		local NAMES=("${IN_TREE_CHECKS[@]}")
		check_names check "there are: ${NAMES[*]}" "$@"
		;;
	check-kernels)
		check_kernel_patterns "$@"
		;;
	endurance)
		[[ ${1:-} =~ ^([1-9][0-9]*|[0-9]+([.][0-9]+)?h)$ && ! ${1:-} =~ ^[0.]+h$ ]] ||
			die "the length is '${1:-}'" "it is a number of rings, or of hours: make endurance RINGS=100000000" \
			    "make endurance HOURS=0.5"
		;;
	fuzz)
		[[ ${1:-} =~ ^[0-9]+([.][0-9]+)?$ ]] ||
			die "the duration is '${1:-}'" "it is a number of seconds: make fuzz DURATION=60"
		;;
	bench-instructions)
		check_instructions "$@"
		;;
	profile)
		[[ ${1:-} && ${1:-} != --* ]] || die "no path to profile" "for example: tools/lab/lab profile ring"
		[[ $FLAVOUR != rt ]] || die "the twin does not run on PREEMPT_RT" "profile another flavour"
		;;
	test-install)
		[[ $FLAVOUR == amd64 || $FLAVOUR == 7.2 ]] ||
			die "the packages are tested with the default kernel" "leave FLAVOUR out, or set FLAVOUR=7.2"
		(($# == 0)) || die "test-install takes no arguments, not '$*'"
		;;
	setup | model | check | htmldocs | deb | crate | series | kvm-selftest | status | clean)
		(($# == 0)) || [[ $cmd == model ]] || die "$cmd takes no arguments, not '$*'"
		;;
	esac
}
