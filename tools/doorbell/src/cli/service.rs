// SPDX-License-Identifier: GPL-2.0-only

//! The service manager: a socket that it passes, sd_listen_fds(3), and its notification, sd_notify(3).

use anyhow::{ensure, Context as _};
use listenfd::ListenFd;
use sd_notify::NotifyState;
use std::{
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    process::Command,
};

/// The variables that only this process is to see.
const VARIABLES: [&str; 4] = [
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
    "NOTIFY_SOCKET",
];

/// Returns the socket that the service manager has passed, and its path, if it has.
pub fn listener() -> anyhow::Result<Option<(UnixListener, PathBuf)>> {
    let mut passed = ListenFd::from_env();
    let len = passed.len();
    ensure!(
        len <= 1,
        "the service manager has passed {len} sockets, and peers connect to one: use one \
         ListenStream="
    );
    let wrong = "the service manager has not passed a UNIX stream socket: use ListenStream=PATH";
    let Some(listener) = passed.take_unix_listener(0).context(wrong)? else {
        return Ok(None);
    };
    let address = listener.local_addr().context(wrong)?;
    let path = address.as_pathname().map(Path::to_owned).context(wrong)?;
    Ok(Some((listener, path)))
}

/// Notifies the service manager, if there is one, that the service is ready.
pub fn ready() -> anyhow::Result<()> {
    sd_notify::notify(false, &[NotifyState::Ready]).context("notify the service manager")
}

/// Notifies the service manager, if there is one, that the service is about to end.
pub fn stopping() {
    // It finds out by itself otherwise.
    let _ = sd_notify::notify(false, &[NotifyState::Stopping]);
}

/// Hides the service manager from a process that is not the service.
pub fn hide_from(command: &mut Command) -> &mut Command {
    for variable in VARIABLES {
        command.env_remove(variable);
    }
    command
}
