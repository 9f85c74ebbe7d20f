# SPDX-License-Identifier: GPL-2.0-only
# Prints a kernel log. See without-known.
function flush(i) { for (i = 0; i < n; i++) print held[i]; n = 0 }
/ invoked oom-killer:/ { flush(); holds = 1 }
{ held[n++] = $0 }
/oom-kill:constraint=/ {
	if (holds && /oom_memcg=[^,]*\/doorbell-(fuzz|oom)-[0-9]/)
		for (i = 0; i < n; i++) sub(/Call Trace:/, "(call trace)", held[i])
	holds = 0
}
!holds { flush() }
END { flush() }
