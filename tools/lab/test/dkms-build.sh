#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Tests tools/dkms-build with fake headers, compilers and metadata. It needs no lab; "make
# test-install" builds the module with it. Prints KTAP.

. "$(dirname "$0")/lib.sh"
TOOLS=${LAB_DIR%/lab}
# No real compiler: the machine may have Debian's.
TEXT='rustc 1.85.1 (0123456789 2025-03-15) (built from a source tarball)'
export DOORBELL_SHARE=$SCRATCH/share DOORBELL_SOURCES=$SCRATCH/src DOORBELL_CACHE=$SCRATCH/cache \
	DOORBELL_MODULES=$SCRATCH/modules TMPDIR=$SCRATCH/tmp
H=$SCRATCH/headers BIN=$SCRATCH/bin KERNEL=7.3.4+test-amd64

# Makes headers and a source with which a build succeeds.
prepare() {
	rm -rf "${SCRATCH:?}"/*
	mkdir -p "$H/include/config" "$H/include/generated/uapi/linux" "$BIN" "$SCRATCH"/{share,src,modules/$KERNEL,tools,rust,tmp}
	cp "$TOOLS/dkms-build" "$TOOLS/check-kdir.sh" "$SCRATCH/tools/"
	touch "$H/.config" "$H/Makefile" "$H/Module.symvers"
	printf '#define LINUX_VERSION_CODE %d\n' $((7 << 16 | 3 << 8 | 4)) >"$H/include/generated/uapi/linux/version.h"
	# The kernel quotes it in .config only.
	printf 'CONFIG_RUST=y\nCONFIG_RUSTC_VERSION_TEXT=%s\n' "$TEXT" >"$H/include/config/auto.conf"
	tar -C "$SCRATCH" -cJf "$DOORBELL_SHARE/rust-7.3.4.tar.xz" rust
	tool "$BIN/rustc" "echo '$TEXT'"
	tool "$BIN/bindgen" 'echo "bindgen 0.71.1"'
	# shellcheck disable=SC2016 # These are for the programs.
	tool "$BIN/make" 'echo "MAKE $*"; [ -e "$2/rust/libkernel.rmeta" ]'
	# shellcheck disable=SC2016
	tool "$SCRATCH/tools/rust-metadata" 'echo "METADATA $*"; [ -d "$2/rust" ] && mkdir -p "$3" && cp -r "$1"/* "$3/" &&
		mkdir "$3/rust" && touch "$3/rust/libkernel.rmeta"'
}

# tool FILE BODY: makes a program
tool() {
	printf '#!/bin/sh\n%s\n' "$2" >"$1"
	chmod +x "$1"
}

run() {
	(cd "$SCRATCH" && PATH=$BIN:/usr/bin:/bin tools/dkms-build "$KERNEL" "$H" "$@")
}

# prints PATTERN ARGUMENT...: succeeds if the build succeeds and prints PATTERN
prints() {
	local out
	out=$(run "${@:2}" 2>&1) && grep -qE -- "$1" <<<"$out" && return
	echo "$out"
	return 1
}

entries() {
	(cd "$DOORBELL_CACHE" && compgen -G '*')
}

one_entry() {
	[[ $(entries) == "$KERNEL"-*.tar.zst ]]
}

# The second build has the metadata of the first.
twice() {
	prints METADATA && one_entry && prints "from $DOORBELL_CACHE/7" && ! prints METADATA && one_entry
}

# again COMMAND...: if the command changes something, the metadata is made again, and
# replaced in the cache
again() {
	local before
	run && before=$(entries) && "$@" && prints METADATA && one_entry && [[ $(entries) != "$before" ]]
}

other_headers() {
	echo change >>"$H/Module.symvers"
}

other_source() {
	touch "$SCRATCH/rust/new" && tar -C "$SCRATCH" -cJf "$DOORBELL_SHARE/rust-7.3.4.tar.xz" rust
}

other_bindgen() {
	tool "$BIN/bindgen" 'echo "bindgen 0.72.1"'
}

# A file that is cut short is made again.
truncated() {
	run && : >"$DOORBELL_CACHE/$(entries)" && prints METADATA && one_entry
}

other_kernels() {
	mkdir -p "$DOORBELL_CACHE" "$DOORBELL_MODULES/7.3.5-there" &&
		touch "$DOORBELL_CACHE"/{7.3.5-there-0123456789abcdef,7.3.3-gone-0123456789abcdef}.tar.zst &&
		run && [[ $(entries | wc -l) == 2 ]] && entries | grep -q there
}

own_metadata() {
	mkdir "$H/rust" && touch "$H/rust/libkernel.rmeta" && prints "MAKE -C $H M=$SCRATCH" && ! [[ -e $DOORBELL_CACHE ]]
}

from_debian() {
	mkdir -p "$SCRATCH/linux-source-7.3"/{rust,drivers/base,drivers/android,scripts,sound} && touch "$SCRATCH/linux-source-7.3/Makefile" &&
		rm "$DOORBELL_SHARE"/* && tar -C "$SCRATCH" -cJf "$DOORBELL_SOURCES/linux-source-7.3.tar.xz" linux-source-7.3 &&
		prints "made from $DOORBELL_SOURCES/linux-source-7.3.tar.xz"
}

# refuses PATTERN: succeeds if the build fails, prints PATTERN for the user, and caches nothing
refuses() {
	says "$1" run && ! compgen -G "$DOORBELL_CACHE/*" && ! compgen -G "$TMPDIR/*"
}

# oldest VERSION: succeeds if dkms.conf accepts kernels from this version on
oldest() {
	local kernel_source_dir=$H kernelver=$KERNEL BUILD_EXCLUSIVE_KERNEL_MIN
	# shellcheck source=/dev/null
	. "${TOOLS%/tools}/dkms.conf"
	[[ $BUILD_EXCLUSIVE_KERNEL_MIN == "$1" ]] || { echo "$BUILD_EXCLUSIVE_KERNEL_MIN" && return 1; }
}

# 7.2 needs a source: of the package or of Debian, or headers that have the metadata.
accepts_7_2() {
	local file
	mkdir "$H/rust"
	for file in "$DOORBELL_SHARE/rust-7.2.12.tar.xz" "$DOORBELL_SOURCES/linux-source-7.2.tar.xz" "$H/rust/libkernel.rmeta"; do
		touch "$file" && oldest 7.2 && rm "$file" && oldest 7.3 || return
	done
}

if ! command -v zstd >/dev/null; then
	echo "# NOT TESTED: this machine has no zstd"
	plan
fi
prepare
check "metadata is made once, and then taken from the cache" twice
prepare
check "it is made again for other headers" again other_headers
prepare
check "and for another source" again other_source
prepare
check "and for another bindgen" again other_bindgen
prepare
check "and if its file is cut short" truncated
prepare
check "that of kernels that are gone is removed" other_kernels
prepare
check "headers that have metadata are used as they are" own_metadata
prepare
check "without an archive of this release, Debian's source is used" from_debian
prepare
check "variables go to Kbuild" prints 'MAKE .* LLVM=1 modules' LLVM=1
prepare
rm "$DOORBELL_SHARE"/*
check "without any source, the message has a command" refuses '^doorbell: apt-get install linux-source-7\.3'
prepare
tool "$BIN/rustc" 'echo "rustc 1.99.0"'
check "another rustc than the kernel's: both are named" refuses '^doorbell:   kernel:   rustc 1\.85\.1 .*source tarball'
check "and so is this machine's" refuses '^doorbell:   rustc:    rustc 1\.99\.0'
prepare
sed -i 's/rustc 1.85.1/rustc 1.95.0/' "$H/include/config/auto.conf"
check "headers of a kernel that another rustc built" refuses 'was built with another Rust compiler'
prepare
sed -i '/CONFIG_RUSTC/d' "$H/include/config/auto.conf"
check "headers without the compiler's version" refuses '^doorbell: .* has no CONFIG_RUSTC_VERSION_TEXT'
prepare
tool "$SCRATCH/tools/rust-metadata" 'exit 1'
check "metadata that cannot be made" refuses '^doorbell: The Rust metadata cannot be made'
prepare
tool "$BIN/make" 'exit 2'
fails() {
	! run
}
check "a build that fails" fails
prepare
check "kernels 7.2 are skipped if there is no source of them" oldest 7.3
check "and accepted if there is one" accepts_7_2
check "arguments that are missing" says 'usage: dkms-build KERNEL HEADERS' "$TOOLS/dkms-build" "$KERNEL"
plan
