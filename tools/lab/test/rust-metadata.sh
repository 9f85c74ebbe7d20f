#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Tests the checks and messages of tools/rust-metadata with fake headers and compilers. It
# takes seconds and needs no lab; "make test-install" makes real metadata. Prints KTAP.

. "$(dirname "$0")/lib.sh"
TOOL=${LAB_DIR%/lab}/rust-metadata
TEXT='rustc 1.85.1 (4eb161250 2025-03-15) (built from a source tarball)'
H=$SCRATCH/headers S=$SCRATCH/source D=$SCRATCH/kdir BIN=$SCRATCH/bin

# Makes headers and a source with which a run succeeds. The fake make exports the symbols
# in $SCRATCH/symbols.
prepare() {
	rm -rf "${SCRATCH:?}"/*
	mkdir -p "$H"/{arch,tools,scripts/basic,include/{config,generated}} \
		"$S"/{scripts,drivers/android/binder,rust/{kernel,bindings}} "$BIN" "$SCRATCH/sysroot/lib/rustlib/src/rust/library/core/src"
	touch "$H"/{.config,scripts/basic/fixdep,scripts/Makefile.build,include/generated/{autoconf.h,rustc_cfg}} \
		"$SCRATCH/sysroot/lib/rustlib/src/rust/library/core/src/lib.rs" \
		"$S"/{scripts/{Makefile,generate_rust_target.rs,unrelated.c},drivers/android/binder/{a.h,b.h}} \
		"$S"/rust/{Makefile,kernel/lib.rs,.kernel.o.cmd,bindings/bindings_generated.rs}
	printf 'VERSION = 7\nPATCHLEVEL = 3\nSUBLEVEL = 4\nEXTRAVERSION =\n' | tee "$H/Makefile" >"$S/Makefile"
	printf 'CONFIG_RUST=y\nCONFIG_RUSTC_VERSION_TEXT=%s\nCONFIG_BINDGEN_VERSION_TEXT=bindgen 0.71.1\n' "$TEXT" \
		>"$H/include/config/auto.conf"
	printf '#include <linux/a.h>\n#include "../../drivers/android/binder/a.h"\n' >"$S/rust/bindings/bindings_helper.h"
	echo 7.3.4-test >"$H/include/config/kernel.release"
	printf '0x0\t%s\tvmlinux\tEXPORT_SYMBOL_GPL\t\n' printk _RNvOne _RNvTwo >"$H/Module.symvers"
	printf '%s\n' _RNvOne _RNvTwo >"$SCRATCH/symbols"
	tool bindgen 'echo "bindgen 0.71.1"'
	tool rustc "case \$1 in --print) echo '$SCRATCH/sysroot' ;; *) echo '$TEXT' ;; esac"
	# shellcheck disable=SC2016 # These are for the program.
	tool make 'while [ "$1" != -C ]; do shift; done; cd "$2" || exit
		touch rust/libkernel.rmeta rust/libmacros.so rust/kernel.o scripts/target.json scripts/generate_rust_target
		sed "s/.*/EXPORT_SYMBOL_RUST_GPL(&);/" '"$SCRATCH"'/symbols >rust/exports_kernel_generated.h
		exit 0'
}

# tool NAME BODY: makes a program
tool() {
	printf '#!/bin/sh\n%s\n' "$2" >"$BIN/$1"
	chmod +x "$BIN/$1"
}

run() {
	PATH=$BIN:/usr/bin:/bin "$TOOL" "$H" "$S" "$D"
}

# refuses NAME PATTERN: checks that the run fails, prints PATTERN, and leaves nothing
refuses() {
	check "$1" refused "$2"
	prepare
}

refused() {
	says "$1" run && [[ -z $(compgen -G "$D*") ]]
}

makes() {
	run && [[ -e $D/rust/libkernel.rmeta && -e $D/rust/libmacros.so && -e $D/scripts/target.json &&
		$D/include/config/auto.conf -ef $H/include/config/auto.conf && $D/source -ef $H &&
		$(find "$D" -name '*.o' -o -name '*_generated.h' -o -name 'generate_rust_target*') == "" ]] &&
		grep -qx "include $H/Makefile" "$D/Makefile"
}

# Debian has common headers in a second directory.
with_common() {
	mkdir -p "$SCRATCH/common/include" && mv "$H/Makefile" "$H/scripts" "$SCRATCH/common/" && ln -s "$SCRATCH/common/scripts" "$H/scripts" &&
		printf 'KBUILD_OUTPUT=%s\ninclude %s/Makefile\n' "$H" "$SCRATCH/common" >"$H/Makefile" &&
		run && grep -qx "include $SCRATCH/common/Makefile" "$D/Makefile"
}

lists() {
	diff <("$TOOL" --list "$S") - <<-LIST
	rust/Makefile
	rust/bindings/bindings_helper.h
	rust/kernel/lib.rs
	drivers/android/binder/a.h
	Makefile
	scripts/Makefile
	scripts/generate_rust_target.rs
	LIST
}

helps() {
	"$TOOL" --help | grep -q '^VARIABLE.*for Kbuild' && ! "$TOOL" --help | grep -q 'set -u'
}

counts() {
	run | grep -q '7.3.4-test; 2 symbols, all known to the kernel'
}

prepare
check "headers without metadata get it" makes
prepare
check "and the last line has the number of symbols" counts
prepare
check "headers in two directories, as Debian's" with_common
prepare
check "--list prints the files of the source that are needed" lists
check "without arguments there is a usage" says 'rust-metadata HEADERS SOURCE DIR' "$TOOL"
check "--help explains the arguments" helps

rm -r "$H"
refuses "headers that do not exist" 'There is no directory .*/headers'
rm -r "$S"
refuses "a source that does not exist" 'There is no directory .*/source'
sed -i s/CONFIG_RUST=y// "$H/include/config/auto.conf"
refuses "a kernel without Rust" 'CONFIG_RUST is not set'
mkdir "$H/rust" && touch "$H/rust/libkernel.rmeta"
refuses "headers that have metadata" 'has Rust metadata already. Use it as it is'
rm "$H/include/generated/rustc_cfg"
refuses "incomplete headers" 'it has no include/generated/rustc_cfg'
rm "$H/include/config/auto.conf"
refuses "headers that are not configured" 'is not configured'
echo "include $SCRATCH/gone/Makefile" >"$H/Makefile"
refuses "headers without the common ones" 'gone, which is not there'
rm "$S/rust/Makefile"
refuses "a directory that is no source" 'it has no rust/Makefile'
sed -i 's/SUBLEVEL = 4/SUBLEVEL = 5/' "$S/Makefile"
refuses "the source of another version" 'is Linux 7\.3\.5, and .* is of 7\.3\.4'
tool rustc 'echo "rustc 1.85.1 (4eb161250 2025-03-15)"'
refuses "a rustc of the same number from elsewhere" "kernel: rustc 1.85.1 .*source tarball"
rm "$BIN/rustc"
RUSTC=$SCRATCH/bin/rustc refuses "no rustc" 'rustc: not found'
rm "$BIN/bindgen"
BINDGEN=$SCRATCH/bin/bindgen refuses "no bindgen" 'There is no .*bindgen. The kernel was built with bindgen 0.71.1'
rm -r "$SCRATCH/sysroot"
refuses "no source of the core library" 'apt-get install rust-src'
echo _RNvThree >>"$SCRATCH/symbols"
refuses "a symbol that the kernel does not export" 'does not export 1 of 3 Rust symbols'
: >"$SCRATCH/symbols"
refuses "crates that export nothing" 'export no symbol'
tool make 'echo broken >&2; exit 2'
refuses "crates that do not compile" 'cannot be compiled'

exists() {
	mkdir "$D" && says 'exists already' run && [[ -d $D ]]
}
check "a directory that exists stays" exists
plan
