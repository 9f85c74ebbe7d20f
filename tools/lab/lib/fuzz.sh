# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# make fuzz: runs the fuzzer in a guest, and prints the coverage.

# fuzz SECONDS [ARGUMENT...]: begins with the corpus in out/fuzz of the source tree, if the last run
# has left one there. Returns the status of the fuzzer.
fuzz() {
	local rc duration=$1
	shift
	# By default KASAN reports once.
	[[ $FLAVOUR != debug ]] || DOORBELL_APPEND+=" kasan_multi_shot"
	guest_command "${KVM[@]}" doorbell-fuzz fuzz --duration "$duration" \
		--corpus /doorbell/tools/fuzz/seeds --corpus /doorbell/out/fuzz/corpus "$@"
	rc=$?
	old_programs "$RUN/guest/files/out/fuzz"
	[[ ! -s $RUN/guest/files/out/fuzz/reached ]] || coverage "/build/${RUN##*/}/guest/files/out/fuzz/reached" || rc=1
	return $rc
}

# old_programs DIRECTORY: removes the programs of out/fuzz/corpus that are not in the corpus of the run whose
# output the directory is. The run must have run them all, with KCOV: otherwise it does not know which are needed.
old_programs() {
	local file
	[[ -e $1/complete ]] || return
	for file in out/fuzz/corpus/*.txt; do
		[[ -e $1/corpus/${file##*/} ]] || rm -f "$file"
	done
}

# coverage FILE: prints what the blocks in FILE, a path in the tree, are of each source file
coverage() {
	in_tree "$TREE" "/build/target/$TARGET/release/doorbell-fuzz" coverage \
		--module /build/module/doorbell.ko --reached "$1" --explained /doorbell/tools/fuzz/unreached.txt
}
