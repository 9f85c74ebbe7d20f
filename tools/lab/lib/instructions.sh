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

# bench_instructions [--json | --update --reason TEXT] [--filter TEXT]...
bench_instructions() {
	local print=table arguments=() filters=() rc
	while (($#)); do
		case $1 in
		--json)		print=json ;;
		--update)	print=update ;;
		--reason)	arguments=(--reason "${2:-}") && shift ;;
		--filter)	filters+=(--filter "${2:-}") && shift ;;
		esac
		shift
	done
	setup && build || return
	DOORBELL_ACCEL=icount guest_command /doorbell/tools/lab/guest/instructions "${filters[@]}" >&2 || return
	[[ $print != update ]] || arguments+=(--recorded "/doorbell/$RECORDED")
	figures "$print" "${arguments[@]}" >"$RUN/printed" || return
	if [[ $print == update ]]; then
		cat "$RUN/printed" >"$SRC/$RECORDED" || return
		say "wrote $SRC/$RECORDED"
	else
		cat "$RUN/printed"
	fi
}
