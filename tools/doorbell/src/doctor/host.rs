// SPDX-License-Identifier: GPL-2.0-only

//! Files in which a machine describes itself.

use crate::conditions::governors;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// A machine, by its root directory.
pub struct Host {
    root: PathBuf,
}

impl Host {
    /// Returns this machine.
    pub fn this() -> Self {
        Self::below("/")
    }

    /// Returns the machine whose files are below `root`.
    pub fn below(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Returns the path of its file `path`, which is absolute.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Returns the content of a file, trimmed; an empty string if the file cannot be read.
    pub(super) fn read(&self, path: &str) -> String {
        read(&self.path(path))
    }

    /// Returns the release of its kernel.
    pub(super) fn release(&self) -> String {
        self.read("/proc/sys/kernel/osrelease")
    }

    /// Returns the directory of its kernel's modules.
    pub(super) fn modules(&self) -> PathBuf {
        self.path(&format!("/lib/modules/{}", self.release()))
    }

    /// Returns true if `option` is built into its kernel; none if the configuration cannot be read.
    pub(super) fn config(&self, option: &str) -> Option<bool> {
        let set = format!("{option}=y");
        Some(self.configuration()?.lines().any(|line| line == set))
    }

    /// Returns the value of the string `option` of its kernel.
    pub(super) fn config_text(&self, option: &str) -> Option<String> {
        let configuration = self.configuration()?;
        let mut lines = configuration.lines();
        let value = lines.find_map(|line| line.strip_prefix(option)?.strip_prefix("=\""))?;
        value.strip_suffix('"').map(str::to_owned)
    }

    /// Returns the configuration of its kernel.
    fn configuration(&self) -> Option<String> {
        let files = [
            self.path(&format!("/boot/config-{}", self.release())),
            self.modules().join("config"),
            self.modules().join("build/.config"),
        ];
        files.iter().find_map(|file| fs::read_to_string(file).ok())
    }

    /// Returns the names of the entries of a directory.
    pub(super) fn entries(&self, path: &str) -> Vec<String> {
        list(&self.path(path)).map(|path| name(&path)).collect()
    }

    /// Returns true if a process of this name runs.
    pub(super) fn runs(&self, process: &str) -> bool {
        let of = |pid: String| self.read(&format!("/proc/{pid}/comm"));
        let mut names = self.entries("/proc").into_iter().map(of);
        names.any(|name| name == process)
    }

    /// Returns the frequency governors of its CPUs, sorted, each once.
    pub(super) fn governors(&self) -> Vec<String> {
        let cpus = self.entries("/sys/devices/system/cpu").into_iter();
        let numbers = cpus.filter_map(|name| name.strip_prefix("cpu")?.parse().ok());
        governors(&self.root, numbers)
    }

    /// Returns the idle state of the first CPU with the longest wake-up time, and that time in us.
    pub(super) fn deepest_idle_state(&self) -> Option<(String, u32)> {
        list(&self.path("/sys/devices/system/cpu/cpu0/cpuidle"))
            .filter(|state| name(state).starts_with("state") && read(&state.join("disable")) != "1")
            .filter_map(|state| {
                let us = read(&state.join("latency")).parse().ok()?;
                Some((read(&state.join("name")), us))
            })
            .max_by_key(|&(_, us)| us)
    }
}

fn read(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.trim().to_owned()
}

fn list(dir: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten();
    entries.filter_map(|entry| Some(entry.ok()?.path()))
}

fn name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}
