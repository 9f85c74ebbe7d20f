#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Tests the comparison of figures with the recorded ones, and the profiler.
. "$(dirname "$0")/lib.sh"
command -v python3 >/dev/null || { echo "1..0 # SKIP no python3" && exit; }
cd "$SCRATCH" || exit

# figure PATH DEVICE MEDIAN [P90 [MIN]]: adds a figure to those of the run
figure() {
	printf '{"path": "%s", "text": "%s", "device": "%s", "min": %s, "median": %s, "p90": %s}\n' \
		"$1" "the $1" "$2" "${5:-$3}" "$3" "${4:-$3}" >>figures
}

# measured KERNEL: begins the figures of a run
measured() {
	printf '{"kernel": "%s"}\n' "$1" >figures
}

figures() {
	PYTHONDONTWRITEBYTECODE=1 python3 "$LAB_DIR/lib/instructions.py" "$1" figures --emulator E "${@:2}"
}

# prints PATTERN COMMAND...: succeeds if the command does and a line matches
prints() {
	local pattern=$1 out
	shift
	out=$("$@" 2>&1) || { echo "failed: $out" && return 1; }
	grep -qE -- "$pattern" <<<"$out" || { echo "no line '$pattern' in: $out" && return 1; }
}

# record REASON: replaces the recorded figures
record() {
	figures update --recorded recorded --reason "$1" >new && mv new recorded
}

verdicts() {
	figures check --recorded recorded
}

measured K
figure ring doorbell 750
figure ring twin 700
figure write raw 600
check "the table has the ratio" prints '^the ring +750 +700 +1\.07$' figures table
check "JSON has the figures" prints '"median": 750' figures json
check "the first figures need a reason" says "a reason is needed.*ring" figures update --recorded recorded
check "the first figures are recorded" record first
check "the same figures pass" prints '^ok 2 ring$' verdicts
check "the same figures need no reason" prints '"reason": "first"' figures update --recorded recorded

measured K
figure ring doorbell 753
figure write raw 600
check "a change within the tolerance passes" prints '^ok 2 ring$' verdicts
measured K
figure ring doorbell 755
figure write raw 600
check "a path that is dearer fails" prints '^not ok 2 ring$' verdicts
cp recorded strict
sed -i 's/"reason": "first"/"tolerance": 0.02, &/' recorded
check "it passes within a tolerance of its own" prints '^ok 2 ring$' verdicts
check "which stays when the figures are recorded" prints '"tolerance": 0.02' figures update --recorded recorded --reason next
mv strict recorded
check "it names the command" prints '^# ring: 755\.0 .*recorded 750\.0, \+0\.7%.*make bench-instructions' verdicts
check "a changed figure needs a reason" says "a reason is needed.*ring" figures update --recorded recorded
check "a changed figure gets its reason" prints '"reason": "second"' \
	figures update --recorded recorded --reason second
check "others keep theirs" prints '"reason": "first"' figures update --recorded recorded --reason second
measured K
figure ring doorbell 700
figure write raw 600
check "a path that is cheaper passes" prints '^ok 2 ring$' verdicts
check "and is reported" prints '^# ring: 700\.0 .*-6\.7%: cheaper' verdicts
figure mask doorbell 100
check "a path that is not recorded fails" prints '^not ok 3 mask$' verdicts
measured K
figure write raw 600
check "a path that was not measured fails" prints '^not ok 2 ring$' verdicts
measured K
figure ring doorbell 750 770
check "a few slow batches pass" prints '^ok 1 ' verdicts
check "the table marks them" prints '^the ring +750~' figures table
measured K
figure ring doorbell 750 750 730
check "a median above the minimum fails" prints '^not ok 1 ' verdicts
measured L
figure ring doorbell 900
check "another kernel skips" prints '^ok 2 ring # SKIP recorded with kernel K, this is L$' verdicts
check "another kernel wants all paths" says "without --filter" figures update --recorded recorded --reason third

# A program whose loop begins at 0x401000, and a trace of five iterations.
mkdir bin
printf '#!/bin/sh\necho 0000000000401000 T profiled_iteration\n' >bin/nm
printf '#!/bin/sh\ncat\n' >bin/c++filt
chmod +x bin/*
cat >kallsyms <<-END
	ffffffff81000000 T entry_SYSCALL_64
	ffffffff81000100 T signal
	ffffffff81000200 D data
	ffffffffc0000000 t own	[doorbell]
	ffffffffc0001000 t twin	[doorbell_twin]
END

# trace DEVICE ADDRESS...: writes the iterations; the third has an interrupt
trace() {
	local device=$1 n address
	shift
	for ((n = 0; n < 5; n++)); do
		for address in 401000 401004 ffffffff81000000 ffffffff81000100 "$@"; do
			echo "Trace 0: 0x7f00 [00000000/$address/0040c0b0/ff000200] x"
		done
		((n != 2)) || echo "Trace 0: 0x7f00 [00000000/ffffffff81000104/0040c0b0/ff000200] x"
	done >"trace-$device"
}

profile() {
	PATH=$PWD/bin:$PATH PYTHONDONTWRITEBYTECODE=1 python3 "$LAB_DIR/lib/profile.py" print . ring --program p "$@"
}

trace doorbell ffffffffc0000000 ffffffffc0000004
trace twin ffffffffc0001000
check "the profile adds up" prints '^all +5 +4 +\+1$' profile
check "the profile has the module's functions" prints '^  own\b.* 2 +- +\+2$' profile
check "the profile has those that are equal" prints '^  signal +1 +1 +\+0$' profile --all
: >trace-twin
check "a trace without an iteration fails" says "no complete iteration" profile
plan
