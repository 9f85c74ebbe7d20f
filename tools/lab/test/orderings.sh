#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Tests the check of ORDERING comments: it accepts the sources, and finds planted faults.
# shellcheck disable=SC1091
. "$(dirname "$0")/lib.sh"

# tree PARTNER: writes a module whose only comment names this partner
tree() {
	mkdir -p "$SCRATCH/rust"
	cat >"$SCRATCH/rust/a.rs" <<-END
	struct Flag(Atomic<u32>);
	impl Flag {
	    fn set(&self) {
	        // ORDERING: $1
	        self.0.store(1u32, Release);
	    }
	    // ORDERING: Pairs with \`Flag::set\`.
	    fn get(&self) -> u32 {
	        self.0.load(Acquire)
	    }
	    fn plain(&self) -> u32 {
	        1
	    }
	}
	END
	[[ -z ${2:-} ]] || echo "fn free(a: &Atomic<u32>) -> u32 { a.load(Acquire) }" >>"$SCRATCH/rust/a.rs"
	python3 "$LAB_DIR/lib/orderings.py" "$SCRATCH"
}

check "the sources" python3 "$LAB_DIR/lib/orderings.py" "${LAB_DIR%/tools/lab}"
# shellcheck disable=SC2016 # backquotes are part of the comments
{
check "a partner with an order" tree 'Pairs with `Flag::get`: a reason.'
check "a partner of another type" says 'no function Other::get' tree 'Pairs with `Other::get`: a reason.'
check "a partner without an order" says 'plain has no order' tree 'Pairs with `Flag::plain`: a reason.'
check "the bare name of a method" says 'the partner is no function' tree 'Pairs with `get`: a reason.'
check "no reason" says 'no reason' tree 'None: so.'
check "an order without a comment" says 'an order without ORDERING' tree 'Pairs with `Flag::get`: a reason.' more
}
plan
