# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Directories of runs, and the lock of a tree. Runs of one tree share what was
# built: they go on side by side while the sources stay as they are, and a run
# that has to build waits for the others to end.

# lock_file FILE shared|exclusive: takes the lock, or changes the one that is held
declare -A LOCK_FDS=()
lock_file() {
	local file=$1 how=-s fd
	[[ $2 == exclusive ]] && how=-x
	if [[ -z ${LOCK_FDS[$file]:-} ]]; then
		exec {fd}>>"$file" || die "cannot open $file"
		LOCK_FDS[$file]=$fd
	fi
	fd=${LOCK_FDS[$file]}
	flock "$how" -n "$fd" && return
	say "waiting for another run to end ($file)"
	flock "$how" "$fd" || die "cannot lock $file"
}

unlock_file() {
	exec {LOCK_FDS[$1]}>&-
	unset "LOCK_FDS[$1]"
}

# begin_run: makes RUN, a directory of this run alone; BUILD/out leads to the last
# one. Removes those of runs that have ended.
begin_run() {
	local old fd others
	# Between mktemp and flock a directory looks like one of a run that has ended.
	exec {others}>>"$BUILD/run-lock" && flock "$others" || die "cannot lock $BUILD/run-lock"
	for old in "$BUILD"/run.*; do
		exec {fd}>>"$old/lock" || continue
		! flock -n "$fd" || rm -rf "$old"
		exec {fd}>&-
	done
	RUN=$(mktemp -d "$BUILD/run.XXXXXX") || die "cannot make a directory in $BUILD"
	chmod 755 "$RUN"
	exec {RUN_FD}>>"$RUN/lock"
	flock -s "$RUN_FD"
	mkdir "$RUN/log"
	exec {others}>&-
	# Not of a run inside of another.
	[[ -z ${DOORBELL_BUILT:-} ]] || return 0
	# What earlier versions left is a directory.
	[[ -L $BUILD/out ]] || rm -rf "$BUILD/out"
	ln -s "${RUN##*/}" "$BUILD/out.${RUN##*.}"
	mv -T "$BUILD/out.${RUN##*.}" "$BUILD/out"
}

# give_back: what a run left belongs to the user who asked for it
give_back() {
	[[ -z ${DOORBELL_OWNER:-} ]] || chown -R "$DOORBELL_OWNER" "$RUN"
}

# bring_files DIRECTORY: moves what a command wrote to its current directory to the
# caller's current directory
bring_files() {
	local file name
	for file in "$1"/*; do
		name=${file##*/}
		[[ -z ${DOORBELL_OWNER:-} ]] || chown -Rh "$DOORBELL_OWNER" "$file"
		if cp -a --remove-destination -t "$PWD" "$file"; then
			say "the command wrote $PWD/$name"
		else
			say "cannot copy $file to $PWD"
			return 1
		fi
	done
}
