// SPDX-License-Identifier: GPL-2.0-only

//! An unmodified QEMU that runs a [guest](super::guest).

use super::guest::{self, Job};
use crate::sys;
use anyhow::{bail, ensure, Context as _};
use rustix::fs::{memfd_create, MemfdFlags};
use std::{
    fs::{self, File},
    io::{self, Read, Seek, Write},
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// The QEMU to run.
#[derive(Clone, Debug)]
pub struct Qemu {
    /// The path of the program.
    pub program: PathBuf,
    /// The accelerator of the guest: kvm or tcg.
    pub accelerator: String,
}

/// A temporary directory, which is removed on drop.
pub struct Scratch(PathBuf);

impl Scratch {
    /// Creates a directory for this process, which only this user can enter.
    pub fn new(name: &str) -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("doorbell-{name}-{}", std::process::id()));
        std::os::unix::fs::DirBuilderExt::mode(&mut fs::DirBuilder::new(), 0o700).create(&path)?;
        Ok(Self(path))
    }

    /// Returns a path in the directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Returns the arguments of a QEMU that runs `image` as a peer of the server at `socket`.
pub fn arguments(image: &Path, socket: &Path, vectors: u32, ioeventfd: bool) -> Vec<String> {
    let port = guest::EXIT_PORT;
    // A comma ends the value of an option, unless it is doubled.
    let value = |path: &Path| path.display().to_string().replace(',', ",,");
    let ioeventfd = if ioeventfd { "on" } else { "off" };
    let mut all: Vec<String> = ["-M", "pc", "-m", "16", "-nodefaults", "-no-user-config"]
        .into_iter()
        .chain(["-no-reboot", "-display", "none", "-serial", "stdio"])
        .map(str::to_owned)
        .collect();
    for (option, value) in [
        ("-bios", image.display().to_string()),
        (
            "-device",
            format!("isa-debug-exit,iobase={port:#x},iosize=4"),
        ),
        (
            "-chardev",
            format!("socket,path={},id=peers", value(socket)),
        ),
        (
            "-device",
            format!("ivshmem-doorbell,chardev=peers,vectors={vectors},ioeventfd={ioeventfd}"),
        ),
    ] {
        all.extend([option.to_owned(), value]);
    }
    all
}

/// A running QEMU.
pub struct Vm {
    child: Child,
    stderr: File,
}

impl Vm {
    /// Starts QEMU. Its guest does `job` on vector 0 of `peer` after [`go`](Vm::go).
    pub fn start(
        qemu: &Qemu,
        scratch: &Scratch,
        socket: &Path,
        ioeventfd: bool,
        job: Job,
        peer: u32,
    ) -> anyhow::Result<Self> {
        let image = guest::image(job, u16::try_from(peer)?, 0)
            .context("there is no guest for this machine: it has to be an x86_64")?;
        let path = scratch.path("guest.bin");
        fs::write(&path, image).with_context(|| format!("write {}", path.display()))?;
        let stderr = File::from(memfd_create("stderr", MemfdFlags::CLOEXEC)?);
        let mut command = Command::new(&qemu.program);
        command
            .args(["-accel", &qemu.accelerator])
            .args(arguments(&path, socket, 1, ioeventfd))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr.try_clone()?);
        sys::end_with_us(&mut command);
        let child = command.spawn().with_context(|| {
            format!(
                "start {}: is QEMU installed? apt-get install qemu-system-x86, or --qemu-program",
                qemu.program.display()
            )
        })?;
        Ok(Self { child, stderr })
    }

    /// Waits until the guest is ready.
    pub fn wait_ready(&mut self, timeout: Duration) -> anyhow::Result<()> {
        self.wait_byte(guest::READY, timeout)
    }

    /// Waits until the guest, whose task has started, answers.
    pub fn wait_answers(&mut self, timeout: Duration) -> anyhow::Result<()> {
        self.wait_byte(guest::ANSWERS, timeout)
    }

    fn wait_byte(&mut self, expected: u8, timeout: Duration) -> anyhow::Result<()> {
        let mut byte = [0];
        self.read(&mut byte, timeout)?;
        match byte[0] {
            found if found == expected => Ok(()),
            guest::NO_DEVICE => bail!("the guest finds no ivshmem-doorbell device"),
            other => bail!("the guest sends {other:#x}"),
        }
    }

    /// Starts the guest's task. QEMU must have read all messages of the server.
    pub fn go(&mut self) -> anyhow::Result<()> {
        let to = self.child.stdin.as_mut().context("stdin")?;
        Ok(to.write_all(b"!").and_then(|()| to.flush())?)
    }

    /// Reads the guest's output.
    pub fn read(&mut self, buffer: &mut [u8], timeout: Duration) -> anyhow::Result<()> {
        let end = Instant::now() + timeout;
        let mut got = 0;
        while got < buffer.len() {
            let from = self.child.stdout.as_mut().context("stdout")?;
            let left = end.saturating_duration_since(Instant::now());
            if sys::wait_readable(&[from.as_fd()], Some(left))?.is_empty() {
                ensure!(
                    !left.is_zero(),
                    "the guest sent nothing for {timeout:?}{}",
                    self.stderr()?
                );
                continue;
            }
            match from.read(&mut buffer[got..]) {
                Ok(0) => {
                    let status = self.child.wait()?;
                    bail!("QEMU ended ({status}){}", self.stderr()?);
                }
                Ok(n) => got += n,
                // QEMU's end of the pipe, and so ours, may be non-blocking.
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Waits until QEMU has ended by itself.
    pub fn wait_end(&mut self, timeout: Duration) -> anyhow::Result<()> {
        let end = Instant::now() + timeout;
        while self.child.try_wait()?.is_none() {
            ensure!(Instant::now() < end, "QEMU does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    fn stderr(&mut self) -> io::Result<String> {
        let mut text = String::new();
        self.stderr.rewind()?;
        self.stderr.read_to_string(&mut text)?;
        let text = text.trim_end().replace('\n', "\n  ");
        Ok(format!("\n  {text}").trim_end().to_owned())
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the version that `program` prints.
pub fn version(program: &Path) -> anyhow::Result<String> {
    let output = Command::new(program)
        .arg("--version")
        .output()
        .with_context(|| {
            format!(
                "start {}: apt-get install qemu-system-x86, or --qemu-program",
                program.display()
            )
        })?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().next().unwrap_or("unknown").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_keep_commas_apart() {
        let all = arguments(Path::new("/i"), Path::new("/a,b"), 3, false);
        assert!(
            all.contains(&"socket,path=/a,,b,id=peers".to_owned()),
            "{all:?}"
        );
        let device = "ivshmem-doorbell,chardev=peers,vectors=3,ioeventfd=off";
        assert!(all.contains(&device.to_owned()), "{all:?}");
    }

    fn vm(script: &str) -> Vm {
        let stderr = File::from(memfd_create("x", MemfdFlags::CLOEXEC).unwrap());
        let child = Command::new("sh")
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr.try_clone().unwrap())
            .spawn()
            .unwrap();
        Vm { child, stderr }
    }

    #[test]
    fn qemu_that_fails_is_quoted() {
        let error = vm("echo no such machine >&2; exit 3").wait_ready(Duration::from_secs(20));
        let error = error.unwrap_err().to_string();
        assert!(
            error.contains("no such machine") && error.contains('3'),
            "{error}"
        );
    }

    #[test]
    fn wait_for_a_hanging_guest_ends() {
        let start = Instant::now();
        let error = vm("exec sleep 60").wait_ready(Duration::from_millis(50));
        assert!(error.unwrap_err().to_string().contains("sent nothing"));
        assert!(start.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn guest_starts_on_request() {
        let mut vm = vm("printf R; head -c 1; printf A");
        let patience = Duration::from_secs(20);
        vm.wait_ready(patience).unwrap();
        vm.go().unwrap();
        let mut byte = [0];
        vm.read(&mut byte, patience).unwrap();
        assert_eq!(byte, *b"!");
        vm.wait_answers(patience).unwrap();
        vm.wait_end(patience).unwrap();
    }
}
