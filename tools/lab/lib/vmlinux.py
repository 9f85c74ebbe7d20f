#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""vmlinux.py IMAGE: prints a compressed kernel for x86 unpacked, so that no emulated guest has to do that. Fails if it is
compressed by other means than Debian's and the lab's, or if QEMU cannot boot it without its own loader."""

import ctypes
import re
import struct
import sys
import zlib


def of_zstd(packed, size):
    """The lab's Python has no module for zstd. The library is that of dpkg."""
    zstd = ctypes.CDLL("libzstd.so.1")
    zstd.ZSTD_decompress.restype = ctypes.c_size_t
    zstd.ZSTD_decompress.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t]
    kernel = ctypes.create_string_buffer(size)
    if zstd.ZSTD_decompress(kernel, size, packed, len(packed)) != size:
        sys.exit("vmlinux.py: zstd fails")
    return kernel.raw


def unpack(image):
    """Documentation/arch/x86/boot.rst describes these fields of the header."""
    sectors = image[0x1F1] or 4
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = (sectors + 1) * 512 + offset
    packed = image[start : start + length]
    (size,) = struct.unpack("<I", packed[-4:])
    if packed.startswith(b"\x28\xb5\x2f\xfd"):
        return of_zstd(packed[:-4], size)
    if packed.startswith(b"\x1f\x8b"):
        return zlib.decompressobj(31).decompress(packed)
    sys.exit("vmlinux.py: an unknown compression")


def main():
    with open(sys.argv[1], "rb") as file:
        kernel = unpack(file.read())
    # The ELF note with the entry for PVH, XEN_ELFNOTE_PHYS32_ENTRY.
    if not re.search(rb"\x04\0\0\0[\x04\x08]\0\0\0\x12\0\0\0Xen\0", kernel):
        sys.exit("vmlinux.py: no entry for PVH")
    sys.stdout.buffer.write(kernel)


main()
