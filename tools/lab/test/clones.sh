#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Tests two clones that share a lab and run make test at once: each has its own build, logs,
# results and numbers. A function replaces QEMU and the guest, and others the compilers. The runs
# meet in the middle of the build, of a test on the host and of the guest.
. "$(dirname "$0")/lib.sh"
export DOORBELL_LAB=$SCRATCH/lab SCRATCH

mkdir "$SCRATCH"/{one,two}
for clone in one two; do
	mkdir -p "$SCRATCH/$clone/tools/lab/test"
	cp -r "$LAB_DIR"/{lib,guest,known-versions} "$SCRATCH/$clone/tools/lab/"
	for point in build host guest; do
		mkfifo "$SCRATCH/$point.$clone"
		# It stays open, so that a message is not lost.
		# shellcheck disable=SC2034 # it is not read
		exec {fd}<>"$SCRATCH/$point.$clone"
	done
done
# One of the lab's own tests, of which the second clone's fails.
echo 'echo 1..1; echo "ok 1 one passes"' >"$SCRATCH/one/tools/lab/test/sample.sh"
echo 'echo 1..2; echo "ok 1 two passes"; echo "not ok 2 two fails"; exit 1' >"$SCRATCH/two/tools/lab/test/sample.sh"

# The script that runs in each clone.
cat >"$SCRATCH/run" <<'RUN'
set -u
shopt -s nullglob
CLONE=$1 OTHER=$2 SRC=$SCRATCH/$1 LAB_DIR=$SCRATCH/$1/tools/lab NPROC=2
FLAVOUR=amd64 ARCH=amd64 FLAVOURS=(amd64) ARCHES=(amd64)
for lib in common args run clock enter versions setup arm64 qemu in-tree build guest instructions tests; do
	. "$LAB_DIR/lib/$lib.sh"
done

# meet POINT: waits until the other run is there, too. If one of them has waited in vain, as for a
# lock, neither waits again.
meet() {
	echo "$CLONE" >"$SCRATCH/$1.$OTHER"
	[[ ! -e $SCRATCH/alone ]] || return 0
	read -rt 60 <"$SCRATCH/$1.$CLONE" && echo "$1" >>"$SCRATCH/met.$CLONE" || : >"$SCRATCH/alone"
}

have_all() { :; }
kernel_version() { echo 7.3.4+deb13-amd64; }
mount_lab() { :; }
build_module() { meet build; echo "$CLONE builds the module"; }
build_tools() { echo "$CLONE builds the tools"; }
build_selftests() { printf '%s\n' mask relay >"$BUILD/selftests/TESTS"; }
build_samples() { : >"$BUILD/samples/SAMPLES"; }
build_bench() { :; }
find_image() { VMLINUZ=vmlinuz; }
make_vmlinux() { :; }
make_initramfs() { :; }
find_accelerator() { ACCEL=tcg; }
run_model() { meet host; printf '%s\n' 1..1 "ok 1 model of $CLONE"; }

# Runs QEMU, whose guest takes the tests from the queue of its run.
in_tree() {
	local argument last='' out entry verdict
	for argument; do
		[[ $last != -pidfile ]] || out=$BUILD${argument#/build} out=${out%/*}
		last=$argument
	done
	: >"$out/started"
	echo "console of $CLONE" >"$out/console.log"
	meet guest
	while read -r entry; do
		mkdir "$out/../claims/$entry" 2>/dev/null || continue
		verdict=ok
		[[ $CLONE-$entry != two-relay ]] || verdict="not ok"
		printf '%s\n' 1..2 "ok 1 $CLONE.first" "$verdict 2 $CLONE.last" "# exit status 0" >"$out/../ktap/$entry"
		echo 1000 >"$out/../done/$entry"
	done <"$out/../queue"
	printf '%s\n' 1..1 "ok 1 insmod of $CLONE" "# exit status 0" >"$out/../ktap/module.${out##*/}"
	echo "dmesg of $CLONE" >"$out/dmesg"
	echo 4096 >"$out/tainted"
	echo 0 >"$out/status"
}

run_tests mask relay lab model
RUN
for clone in "one two" "two one"; do
	# shellcheck disable=SC2086 # two words
	DOORBELL_GUESTS=1 "$BASH" "$SCRATCH/run" $clone >"$SCRATCH/out.${clone% *}" 2>"$SCRATCH/err.${clone% *}" &
	pid[${#pid[@]}]=$!
done
wait "${pid[0]}"
status[0]=$?
wait "${pid[1]}"
status[1]=$?

# met CLONE: succeeds if the run was at each point together with the other one
met() {
	diff <(printf '%s\n' build guest host) <(sort "$SCRATCH/met.$1")
}

# ended CLONE NUMBER STATUS LINE: succeeds if the run ended with this status and last line
ended() {
	[[ ${status[$2]} == "$3" && $(tail -n 1 "$SCRATCH/out.$1") == "$4" ]] ||
		{ echo "status ${status[$2]}" && cat "$SCRATCH/out.$1" "$SCRATCH/err.$1" && return 1; }
}

# failures CLONE LINE...: succeeds if the run reports these failures
failures() {
	diff <(printf '%s' "${@:2}") <(sed -n 's/^lab: FAILED //p' "$SCRATCH/err.$1")
}

# build_of CLONE: prints the directory of its builds and runs
build_of() {
	dirname "$(dirname "$(dirname "$(grep -lr "^console of $1" "$SCRATCH/lab/build" --include=console.log)")")"
}

# has_only CLONE OTHER: succeeds if the clone's files and messages are complete, and have nothing of the
# other one
has_only() {
	local dir file
	dir=$(build_of "$1")
	for file in log/build-module.log log/build-tools.log out/ktap/{mask,relay,lab:sample,module.1} \
		    out/log/test-{model,lab}.log out/1/{console.log,dmesg}; do
		grep -q "\\b$1\\b" "$dir/$file" || { echo "$file is not of $1: $(cat "$dir/$file")" && return 1; }
	done
	! grep -rE "\\b$2\\b" "$dir" "$SCRATCH"/{out,err}."$1" || return
	[[ -e $dir/took-amd64/mask ]]
}

shares_nothing() {
	[[ $(build_of one) != "$(build_of two)" ]] && diff <(printf '%s\n' build cargo lock log) <(ls "$SCRATCH/lab") &&
		diff /dev/null <(ls -A "$SCRATCH/lab/log")
}

check "both runs build, test on the host and have a guest at once" met one
check "and the other one, too" met two
check "the numbers of the first are its own" ended one 0 0 "9 passed, 0 failed"
check "and those of the second" ended two 1 1 "8 passed, 2 failed"
check "the first reports no failure" failures one
check "the second reports its own" failures two "relay: 1 failed; alone: make test T=relay
" "  relay: two.last: tools/lab/lab run relay -t last
" "lab:sample: 1 failed; alone: make test T=lab:sample
" "  lab:sample: two fails: make test T=lab:sample
"
check "the logs and results of the first are its own" has_only one two
check "and those of the second" has_only two one
check "nothing of a run is in the lab's own directories" shares_nothing
plan
