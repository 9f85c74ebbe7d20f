#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# eventfd-layout.sh VMLINUX: print where the wait queue, the counter and the flags
# are in struct eventfd_ctx, as Rust, from the BTF in VMLINUX.

set -eu

if [ -r "$1" ] && command -v pahole >/dev/null 2>&1; then
	pahole -C eventfd_ctx "$1" 2>/dev/null || :
fi | awk '
	$2 == "wqh;" || $1 == "wait_queue_head_t" { wqh = $(NF - 2) }
	$2 == "count;" && ($1 == "__u64" || $1 == "u64") && $(NF - 1) == 8 { count = $(NF - 2) }
	$3 == "flags;" && $1 == "unsigned" && $(NF - 1) == 4 { flags = $(NF - 2) }
	END {
		print "// Made by eventfd-layout.sh."
		if (wqh != "" && count != "" && flags != "")
			printf "const LAYOUT: Option<Layout> = Some(Layout { wqh: %d, count: %d, flags: %d });\n", wqh, count, flags
		else
			print "const LAYOUT: Option<Layout> = None;"
	}'
