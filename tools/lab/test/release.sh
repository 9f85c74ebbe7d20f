#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Tests tools/release: the tarball of a release, and the order, the stop and the continuation
# of "make release-check", whose steps are not real here. It needs no lab. Prints KTAP.
. "$(dirname "$0")/lib.sh"
SRC=${LAB_DIR%/tools/lab}
S=$SCRATCH/src BIN=$SCRATCH/bin
mkdir -p "$S" "$BIN" "$SCRATCH/home"
# No configuration of the machine's user or of a repository around.
export HOME=$SCRATCH/home GIT_CONFIG_NOSYSTEM=1 GIT_CEILING_DIRECTORIES=$SCRATCH
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.org GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@example.org
export GIT_AUTHOR_DATE='2026-01-02 03:04:05 +0000' GIT_COMMITTER_DATE='2026-01-02 03:04:05 +0000'

commit() {
	git -C "$S" add -A && git -C "$S" commit -q -m "$1"
}

# dist SOURCE DIRECTORY: makes the tarball in DIRECTORY
dist() {
	sh "$1/tools/release/dist" "$2" && [[ -s $2/doorbell-$VERSION.tar.xz ]]
}

same() {
	git clone -q "$S" "$SCRATCH/other place" && dist "$S" "$SCRATCH/a" &&
		(umask 077 && TZ=Asia/Tokyo dist "$SCRATCH/other place" "$SCRATCH/b") &&
		cmp "$SCRATCH"/{a,b}/doorbell-"$VERSION".tar.xz
}

complete() {
	mkdir -p "$SCRATCH/x" && tar -C "$SCRATCH/x" -xJf "$SCRATCH/a/doorbell-$VERSION.tar.xz" &&
		diff -r --exclude=.git "$S" "$SCRATCH/x/doorbell-$VERSION" &&
		[[ -x $SCRATCH/x/doorbell-$VERSION/tools/lab/lab && $(ls "$SCRATCH/x") == "doorbell-$VERSION" ]]
}

changed() {
	echo >>"$S/README.md"
	says ' M README\.md' dist "$S" "$SCRATCH/c" || return
	git -C "$S" checkout -q README.md
	touch "$S/new.c"
	says '\?\? new\.c' dist "$S" "$SCRATCH/c" || return
	rm "$S/new.c"
	[[ ! -e $SCRATCH/c/doorbell-$VERSION.tar.xz ]]
}

no_git() {
	says 'no git repository' dist "$SCRATCH/x/doorbell-$VERSION" "$SCRATCH/c"
}

if type -P git xz >/dev/null && git -C "$SRC" rev-parse HEAD >/dev/null 2>&1; then
	(cd "$SRC" && git ls-files -z | xargs -0 cp --parents -a -t "$S" 2>/dev/null)
	VERSION=$(sed -n '/^\[workspace.package\]$/,/^$/s/^version = "\(.*\)"$/\1/p' "$S/Cargo.toml")
	git -C "$S" init -q && commit first
	check "the same commit gives the same tarball" same
	check "the tarball has the files of the commit, in one directory" complete
	check "changes without a commit are refused" changed
	check "a tarball cannot make a tarball" no_git
else
	echo "# NOT TESTED: the tarball: no git or xz, or the source is no repository"
fi

if ! type -P git xz >/dev/null; then
	echo "# NOT TESTED: make release-check: no git or xz"
	plan
fi
# The steps: a source with a "make" that records its arguments and fails at FAIL.
R=$SCRATCH/release
mkdir -p "$R/tools/lab/test" "$R/tools/release"
cp "$SRC/tools/release/check" "$R/tools/release/"
printf '[workspace.package]\nversion = "0.1.0"\n' >"$R/Cargo.toml"
echo "echo version >>\"\$CALLS\"" >"$R/tools/lab/test/version.sh"
cat >"$BIN/make" <<'MAKE'
#!/bin/bash
shift
args="$*"
# The directory of the tarball is below out/.
[[ $args != "-C "*/out/release/dist/doorbell-0.1.0" "* ]] || args="in the tarball: ${args#* * }"
echo "$args" >>"$CALLS"
[[ $args != dist ]] || { mkdir -p out && git archive --prefix=doorbell-0.1.0/ HEAD | xz >out/doorbell-0.1.0.tar.xz; }
[[ -z ${FAIL:-} || $args != $FAIL ]]
MAKE
chmod +x "$BIN/make"
echo /out/ >"$R/.gitignore"
touch "$R/tools/b"
git -C "$R" init -q && git -C "$R" add -A && git -C "$R" commit -q -m first
export CALLS=$SCRATCH/calls
GUESTS='T=!tools !model !lab'
ALL="version
dist
check
test
check FLAVOUR=7.2
test FLAVOUR=7.2 $GUESTS
test FLAVOUR=rt $GUESTS
test FLAVOUR=debug $GUESTS
test FLAVOUR=cfi $GUESTS
test FLAVOUR=kcsan T=race *_race relay values status summary signals
test-install
in the tarball: test T=uapi
crate"

release() {
	: >"$CALLS"
	PATH=$BIN:$PATH "$R/tools/release/check" "$@"
}

# calls LINES: succeeds if make was called in this way
calls() {
	diff <(printf '%s' "${1:+$1$'\n'}") "$CALLS"
}

all_pass() {
	local out
	out=$(release) || { echo "$out" && return 1; }
	calls "$ALL" && [[ $(tail -n 1 <<<"$out") == "12 passed, 0 failed" ]] || { echo "$out" && return 1; }
}

nothing_again() {
	release && calls ""
}

stops() {
	local out
	out=$(FAIL='test FLAVOUR=rt*' release --again) && return 1
	calls "$(head -n 7 <<<"$ALL")" && [[ $(tail -n 1 <<<"$out") == "5 passed, 1 failed" ]] &&
		grep -q '^test-rt  *FAILED: .*/out/release/test-rt.log$' <<<"$out" && grep -q '^crate  *not run$' <<<"$out" ||
		{ echo "$out" && return 1; }
}

continues() {
	release && calls "$(tail -n +7 <<<"$ALL")"
}

# The tarball's build fails, not the tarball. It leaves no copy of the source.
fails_in_the_tarball() {
	! FAIL='in the tarball: *' release dist && calls "in the tarball: test T=uapi" && [[ ! -e $R/out/release/dist ]]
}

changed_source() {
	release || return
	echo "# changed" >>"$R/Cargo.toml"
	release && calls "$ALL"
}

# The message is in the tarball's bytes: the commit has another name.
amended() {
	release && git -C "$R" commit -q --amend -m second && release && calls "$ALL"
}

# out/ has no tarball, or that of another commit.
tarball_again() {
	rm "$R"/out/*.tar.xz
	release && calls dist || return
	(cd "$R" && git archive --prefix=doorbell-0.1.0/ 'HEAD^{tree}' | xz >out/doorbell-0.1.0.tar.xz)
	release && calls dist
}

ignored() {
	echo log >"$R/out/log" && release && calls ""
}

removed() {
	rm "$R/tools/b" && release && calls "$ALL"
}

without_git() {
	mv "$R/.git" "$SCRATCH/git" && says 'no git repository' release && calls ""
	local rc=$?
	mv "$SCRATCH/git" "$R/.git"
	return $rc
}

one_step() {
	release crate && calls crate
}

# by_make VARIABLE...: runs "make release-check", where only the lab is not real
by_make() {
	: >"$CALLS"
	make --no-print-directory -C "$R" release-check "$@"
}

# The steps pass; without the others this is not ready.
variables() {
	says '^2 passed, 0 failed' by_make ARGS='test-rt test' T=uapi FLAVOUR=7.2 KERNEL=in-tree REPEAT=2 LOAD=3 &&
		calls $'rt - test !tools !model !lab\n- - test'
}

check "all steps run in order" all_pass
check "steps that have passed are not run again" nothing_again
check "a failure stops it, and the summary names it" stops
check "the same command continues" continues
check "a tarball from which nothing builds is a failure" fails_in_the_tarball
check "a changed file begins anew" changed_source
check "and so does a removed one" removed
check "and a commit with another message" amended
check "a tarball that is missing, or of another commit, is made again" tarball_again
check "what git ignores is no source" ignored
check "without git it cannot run" without_git
check "a step that is named runs again" one_step
check "an unknown step" says "there is no step 'tset'" release tset
if type -P make >/dev/null; then
	cp "$SRC/Makefile" "$R/"
	cat >"$R/tools/lab/lab" <<-'LAB'
	#!/bin/sh
	echo "${DOORBELL_FLAVOUR:--} ${DOORBELL_REPEAT:--} $*" >>"$CALLS"
	LAB
	chmod +x "$R/tools/lab/lab"
	check "variables of make release-check are not those of its steps" variables
else
	echo "# NOT TESTED: make release-check: no make"
fi
check "--list runs none" release --list
check "and prints them" calls ""
plan
