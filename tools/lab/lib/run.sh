# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Directories of runs, and the lock of a source tree. Runs of one tree share the
# build. They run in parallel while the sources are unchanged; a run that has to build
# waits until the others have ended.

# lock_file FILE shared|exclusive: takes the lock, or changes the mode of a held one
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

# begin_run: creates RUN, the directory of this run, and removes those of runs that
# have ended. BUILD/out is a link to the newest.
begin_run() {
	local old fd others
	# Between mktemp and flock, a new directory looks like that of a run that has ended.
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
	# The link does not point to a run inside another run.
	[[ -z ${DOORBELL_BUILT:-} ]] || return 0
	# Earlier versions made a directory.
	[[ -L $BUILD/out ]] || rm -rf "$BUILD/out"
	ln -s "${RUN##*/}" "$BUILD/out.${RUN##*.}"
	mv -T "$BUILD/out.${RUN##*.}" "$BUILD/out"
}

# give_back: gives the files of the run to the user who started it
give_back() {
	[[ -z ${DOORBELL_OWNER:-} ]] || chown -R "$DOORBELL_OWNER" "$RUN"
}

# bring_files DIRECTORY: copies the files there, which the command wrote to its current
# directory, to the current directory of the caller
bring_files() {
	local file name
	for file in "$1"/* "$1"/.[!.]*; do
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
