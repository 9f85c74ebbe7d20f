# SPDX-License-Identifier: GPL-2.0-only
# Prints a kernel log. See without-known. "known" is kcsan-known, beside this file.
BEGIN {
	while ((getline line < known) > 0)
		if (line !~ /^(#|$)/ && split(line, word) > 2)
			is_known[word[1] " / " word[2]] = 1
}
function flush(i) { for (i = 0; i < n; i++) print held[i]; n = 0; holds = 0 }
/BUG: KCSAN: / {
	flush()
	holds = 1
	title = $0
	sub(/.*BUG: KCSAN: [^ ]* in /, "", title)
	gsub(/\r| \[[^]]*\]|\+0x[0-9a-f\/x]*/, "", title)
	known_title = title in is_known
	ours = below = 0
}
holds { held[n++] = $0 }
# A stack. Below an interrupt is what it has interrupted.
holds && / by (task|interrupt) / { below = 0 }
holds && / asm_(sysvec|exc|common|call)_/ { below = 1 }
holds && !below && !known_title && /\[doorbell/ { ours = 1 }
holds && /==========/ {
	if (!ours)
		sub(/BUG: KCSAN/, "(data race)", held[0])
	flush()
	next
}
!holds { print }
END { flush() }
