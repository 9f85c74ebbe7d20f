# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# make bench-instructions, and the test that no path has become dearer.

# The file of recorded figures, in the source.
RECORDED=tools/bench/instructions.json

# Prints the version of the emulator, on which the figures depend, as on the kernel.
emulator() {
	in_tree "$TREE" qemu-system-x86_64 --version | head -n 1
}

# figures COMMAND [ARGUMENT...]: runs a command of instructions.py on the figures of this run
figures() {
	in_tree "$TREE" python3 /doorbell/tools/lab/lib/instructions.py "$1" "/build/${RUN##*/}/figures" \
		--emulator "$(emulator)" "${@:2}"
}

# count_instructions GUEST COMMAND [ARGUMENT...]: boots a guest that counts instructions. The
# variables of other guests would change its figures.
count_instructions() {
	local guest=$1 rc
	shift
	ACCEL=icount DOORBELL_MEM=1G DOORBELL_CPUS=1 DOORBELL_APPEND='' boot "$guest" /doorbell/tools/lab/guest/run "$@"
	rc=$?
	[[ $OUTCOME != ended ]] || check_log "$RUN/$guest" || rc=1
	return $rc
}

# bench_instructions [--json | --update --reason TEXT] [--filter TEXT]...
bench_instructions() {
	local print=table arguments=() filters=()
	while (($#)); do
		case $1 in
		--json)		print=json ;;
		--update)	print=update ;;
		--reason)	arguments=(--reason "$2") && shift ;;
		--filter)	filters+=(--filter "$2") && shift ;;
		esac
		shift
	done
	setup && build || return
	DOORBELL_ACCEL=icount prepare_guest
	say "booting $(kernel_version) ($ACCEL) ..."
	count_instructions guest /doorbell/tools/lab/guest/instructions "${filters[@]}" >&2 || return
	[[ $print != update ]] || arguments+=(--recorded "/doorbell/$RECORDED")
	figures "$print" "${arguments[@]}" >"$RUN/printed" || return
	give_back
	if [[ $print == update ]]; then
		cat "$RUN/printed" >"$SRC/$RECORDED" || return
		say "wrote $SRC/$RECORDED"
	else
		cat "$RUN/printed"
	fi
}

# test_instructions: prints KTAP, a test for each path. Where the kernel places its objects differs
# from boot to boot, and seldom moves a figure. So a path has become dearer if it is in two boots.
test_instructions() {
	local rc guest
	for guest in instructions instructions-again; do
		rm -f "$RUN/figures"
		count_instructions "$guest" /doorbell/tools/lab/guest/instructions &&
		figures check --recorded "/doorbell/$RECORDED" >"$RUN/instructions.ktap"
		rc=$?
		((rc == 0)) && grep -q '^not ok' "$RUN/instructions.ktap" || break
	done
	cat "$RUN/instructions.ktap"
	echo "# exit status $rc"
	return $rc
}

# profile_path PATH [--all]: prints the functions of a path
profile_path() {
	local name=$1 tracer rc
	shift
	setup && build || return
	DOORBELL_ACCEL=icount prepare_guest
	say "booting $(kernel_version) ($ACCEL) ..."
	in_tree "$TREE" python3 /doorbell/tools/lab/lib/profile.py trace "/build/${RUN##*/}" doorbell twin \
		--program /build/bench/instructions &
	tracer=$!
	QEMU_EXTRA=(-monitor "unix:/build/${RUN##*/}/monitor,server=on,wait=off")
	count_instructions guest /doorbell/tools/lab/guest/profile "$name" doorbell twin >&2
	rc=$?
	# If the guest has ended early, there is nothing to trace.
	((rc == 0)) || kill "$tracer" 2>/dev/null
	wait "$tracer" || return
	in_tree "$TREE" python3 /doorbell/tools/lab/lib/profile.py print "/build/${RUN##*/}" "$name" \
		--program /build/bench/instructions "$@"
	rc=$?
	rm -f "$RUN"/trace-*
	give_back
	return $rc
}
