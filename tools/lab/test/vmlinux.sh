#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Tests that a kernel is unpacked for emulated guests, with images that are not real, and what is refused. The guests of
# guest.sh boot a real one, which is compressed by zstd.
. "$(dirname "$0")/lib.sh"
cd "$SCRATCH" || exit
mkdir made

# image FILE: makes an image whose compressed part is the standard input
image() {
	python3 -c '
import struct, sys
packed = sys.stdin.buffer.read()
setup = bytearray(1024)
setup[0x1f1] = 1
struct.pack_into("<II", setup, 0x248, 64, len(packed))
sys.stdout.buffer.write(setup + bytes(64) + packed + b"the end")' >"$1"
}

{ seq 10000; printf '\4\0\0\0\10\0\0\0\22\0\0\0Xen\0'; seq 5; } >kernel
gzip -c kernel | image vmlinuz
seq 10000 | gzip | image no-pvh
echo "neither gzip nor zstd" | image unknown

unpack() {
	python3 "$LAB_DIR/lib/vmlinux.py" "$1"
}

unpacks() {
	unpack vmlinuz >unpacked && cmp kernel unpacked
}
check "a kernel is unpacked" unpacks
check "one without an entry for PVH is refused" says 'no entry for PVH' unpack no-pvh
check "and one that is compressed in another way" says 'unknown compression' unpack unknown

# makes IMAGE ARCH: runs make_vmlinux for a kernel of which this is the image
makes() (
	# shellcheck disable=SC2034 # for make_vmlinux
	ARCH=$2 TREE=''
	# shellcheck source=/dev/null
	. "$LAB_DIR/lib/guest.sh"
	# shellcheck disable=SC2034
	VMLINUZ=$SCRATCH/$1
	kernel_dir() { echo "$SCRATCH/made"; }
	kernel_version() { echo 7.3; }
	in_tree() { echo >>calls && unpack "${4##*/}"; }
	make_vmlinux 2>/dev/null
)

once() {
	makes vmlinuz amd64 && cmp kernel made/vmlinux && makes vmlinuz amd64 &&
		[[ $(wc -l <calls) == 1 && $(ls made) == vmlinux ]]
}
check "once for each kernel" once

again() {
	seq 7 >>kernel
	gzip -c kernel | image vmlinuz
	touch -d '1 hour' vmlinuz
	makes vmlinuz amd64 && cmp kernel made/vmlinux && [[ $(wc -l <calls) == 2 ]]
}
check "again when it has changed" again

neither() {
	touch -d '1 hour' unknown
	makes unknown amd64 && [[ -e made/vmlinux && ! -s made/vmlinux ]] && rm made/vmlinux && makes vmlinuz arm64 &&
		[[ ! -e made/vmlinux ]]
}
check "no file if that fails, and none for another architecture" neither
plan
