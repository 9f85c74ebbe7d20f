#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Tests "make module M=DIR": builds copies of samples/template and of a module in
# Rust in the lab, and loads them in a guest. Prints KTAP.

SRC=$(cd "$(dirname "$0")/../../.." && pwd)
TMP=$(mktemp -d) || exit
trap 'rm -rf "$TMP"' EXIT
results=0 failures=0

report() {		# STATUS NAME
	local verdict=ok
	(($1 == 0)) || verdict='not ok' failures=$((failures + 1))
	echo "$verdict $((++results)) $2"
	(($1 == 0)) || sed 's/^/# /' "$TMP/out"
}

# own M [ARGUMENT...]: builds the module in M; the output goes to $TMP/out
own() {
	env -u MAKEFLAGS -u MAKELEVEL make --no-print-directory -C "$SRC" module M="$1" \
		"${@:2}" </dev/null >"$TMP/out" 2>&1
}

# refused NAME TEXT M: reports success if the build fails with TEXT before a set-up
refused() {
	! DOORBELL_LAB=$TMP/lab DOORBELL_MIRROR=http://127.0.0.1:1 own "$3" && grep -qF -- "$2" "$TMP/out" && [[ ! -e $TMP/lab/lock ]]
	report $? "$1"
}

contents() {		# DIRECTORY: prints its files and their times of change
	find "$1" -printf '%P %T@ %s\n' | sort
}

# doorbell_build: prints the lab's own build of doorbell
doorbell_build() {
	"$SRC/tools/lab/lab" enter find /build/module -type f -printf '%p %T@ %s\n' </dev/null \
		2>/dev/null | sort
}

# fresh NAME SAMPLE: copies a sample to a directory outside this source tree
fresh() {
	mkdir -p "$TMP/$(dirname "$1")"
	cp -r "$SRC/samples/$2" "$TMP/$1"
}

echo "KTAP version 1"

mkdir "$TMP/empty" "$TMP/a space"
touch "$TMP/file" "$TMP/a space/Kbuild"
refused "no M" 'no directory is named' ''
refused "M that is missing" "there is no directory $TMP/none" "$TMP/none"
# shellcheck disable=SC2088 # As by a shell that does not expand it.
refused "M below a home directory that is missing" "there is no directory $HOME/no/such" '~/no/such'
refused "M that is no directory" "$TMP/file is not a directory" "$TMP/file"
refused "M without a Kbuild" "$TMP/empty has neither a Kbuild nor a Makefile" "$TMP/empty"
refused "M with a space in it" 'a path with a space' "$TMP/a space"
fresh built template
touch "$TMP/built/modules.order"
refused "M that was built natively" 'an earlier build left there' "$TMP/built"

# The template, by an absolute path outside this source tree.
fresh mine template
contents "$TMP/mine" >"$TMP/before"
own "$TMP/mine"
status=$?
((status == 0)) && grep -qE 'insmod /build/own/[^ /]+/mine/doorbell_template.ko$' "$TMP/out"
report $? "a copy of the template builds, and the message says where it is in the guest"
contents "$TMP/mine" | diff "$TMP/before" - >"$TMP/out"
report $? "its directory is as it was"

# A module in Rust, by a relative path: it includes rust/module_api.rs by another one.
fresh rust/deep/mine_rust ring_rust
up=$(realpath --relative-to="$TMP/rust/deep/mine_rust" "$SRC")
sed -Ei "s,path = \"(../../../drivers/misc/doorbell|../..)/rust/,path = \"$up/rust/," "$TMP/rust/deep/mine_rust/doorbell_ring_rust.rs"
contents "$TMP/rust/deep/mine_rust" >"$TMP/before"
doorbell_build >"$TMP/doorbell"
own "$(realpath --relative-to="$SRC" "$TMP/rust/deep/mine_rust")"
report $? "a module in Rust builds"
contents "$TMP/rust/deep/mine_rust" | diff "$TMP/before" - >"$TMP/out"
report $? "its directory is as it was, too"

# Inside this source tree.
contents "$SRC/samples" >"$TMP/before"
own samples/template W=1
report $? "a module inside of this source tree builds"
contents "$SRC/samples" | diff "$TMP/before" - >"$TMP/out"
report $? "nothing is written there"

# Mistakes in the module.
fresh wrong template
echo 'int wrong = doorbell_no_such_thing;' >>"$TMP/wrong/doorbell_template.c"
! own "$TMP/wrong" && grep -q "^$TMP/wrong/doorbell_template.c:.*doorbell_no_such_thing" "$TMP/out"
report $? "an error of the compiler names the file by its path here"
fresh unknown template
echo 'void doorbell_no_such_function(void); void wrong(void); void wrong(void) { doorbell_no_such_function(); }' \
	>>"$TMP/unknown/doorbell_template.c"
! own "$TMP/unknown" && grep -q 'doorbell_no_such_function.*undefined' "$TMP/out"
report $? "a function that doorbell does not export is an error"
mkdir "$TMP/nothing"
echo '# obj-m := x.o' >"$TMP/nothing/Kbuild"
! own "$TMP/nothing" && grep -qF 'names no module' "$TMP/out"
report $? "a Kbuild that names no module is an error"

# Another module of the same name, with a mark that identifies it.
fresh again/mine template
sed -i 's/"doorbell template: /&again: /' "$TMP/again/mine/doorbell_template.c"
own "$TMP/again/mine"
report $? "another directory of the same name takes its place"

doorbell_build | diff "$TMP/doorbell" - >"$TMP/out" && [[ -s $TMP/doorbell ]]
report $? "the lab's build of doorbell is as it was"

# A module is built by the compiler of its kernel.
# As LLVM of lib/setup.sh.
compiler=
[[ ${LAB_FLAVOUR-} != @(debug|cfi|kcsan|in-tree-lto) ]] || compiler=LLVM=-19
# shellcheck disable=SC2016 # The tree's.
"$SRC/tools/lab/lab" enter sh -c 'mkdir /tmp/doorbell && cp -r /doorbell/samples/template /tmp/native &&
	ln -s /doorbell/include /doorbell/tools /build/module/Module.symvers /tmp/doorbell/ &&
	make -C /tmp/native KDIR=/kernel/kdir DOORBELL=/tmp/doorbell $1 &&
	test -s /tmp/native/doorbell_template.ko && make -C /tmp/native KDIR=/kernel/kdir clean &&
	diff -r /doorbell/samples/template /tmp/native' sh "$compiler" </dev/null >"$TMP/out" 2>&1
report $? "the Makefile of the template builds natively, and cleans up"

# shellcheck disable=SC2016 # The guest's.
"$SRC/tools/lab/lab" run sh -c 'cd /build/own/$(uname -r) || exit
	modinfo -F description mine/doorbell_template.ko
	for dir in mine template; do
		$dir/template $dir/doorbell_template.ko && echo "$dir works" || exit
	done
	insmod mine_rust/doorbell_ring_rust.ko && ring_rust && rmmod doorbell_ring_rust &&
		echo "mine_rust works"' </dev/null >"$TMP/out" 2>&1
report $? "a guest loads them all"
for name in mine template mine_rust; do
	grep -q "^$name works" "$TMP/out"
	report $? "$name does its work"
done
grep -q '^doorbell template: again: ' "$TMP/out"
report $? "of those that have the same name, it is the later one"

echo "1..$results"
((failures == 0))
