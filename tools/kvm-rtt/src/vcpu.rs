// SPDX-License-Identifier: GPL-2.0-only

//! The thread of a vCPU.
//!
//! KVM requires one thread per vCPU. Other threads send it commands, and wait for its replies with
//! a timeout. If the guest hangs, because an interrupt was lost or because KVM does not work on
//! this machine, a signal interrupts it.

mod pause;

#[cfg(target_arch = "x86_64")]
use crate::state::VcpuState;
use crate::{
    boot::{self, Registers},
    layout,
};
use anyhow::{anyhow, bail, ensure, Context, Result};
use kvm_ioctls::{VcpuExit, VcpuFd};
use std::{
    sync::{
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
        Arc, OnceLock,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};
use vm_memory::GuestMemoryMmap;
use vmm_sys_util::signal::{register_signal_handler, Killable, SIGRTMIN};

/// The timeout without progress. All guests are faster, even on an emulated machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);
/// The interval between checks for progress.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);
/// The timeout of a thread that gets a signal.
const PATIENCE: Duration = Duration::from_secs(5);

/// An access of the guest to an address without memory and without an ioeventfd.
#[derive(Debug)]
pub enum Access<'a> {
    /// A write to an I/O port.
    PortWrite(u16, &'a [u8]),
    /// A write to an MMIO address.
    MmioWrite(u64, &'a [u8]),
    /// A read of an MMIO address. The handler stores the value, which is zero otherwise.
    MmioRead(u64, &'a mut [u8]),
}

/// The handler of accesses. The vCPU that makes the access waits until it returns.
pub type OnAccess = Arc<dyn Fn(Access<'_>) -> Result<()> + Send + Sync>;

/// The error of the first vCPU of a VM that has failed. It ends the waits for the others, whose guest may wait
/// for that vCPU.
pub(crate) type Failure = Arc<OnceLock<String>>;

enum Command {
    Run(Box<Registers>),
    GoOn,
    Tsc,
    #[cfg(target_arch = "x86_64")]
    State,
    #[cfg(target_arch = "x86_64")]
    SetState(Box<VcpuState>),
}

/// A reading of the guest's TSC, or on arm64 of its CNTVCT_EL0.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tsc {
    pub(crate) ticks: u64,
    pub(crate) at: Instant,
}

enum Reply {
    /// The number of returns to the VMM.
    Ran(u64),
    /// The guest was paused.
    Paused,
    Tsc(Tsc),
    #[cfg(target_arch = "x86_64")]
    State(Box<VcpuState>),
    #[cfg(target_arch = "x86_64")]
    Set,
}

/// A vCPU and its thread.
pub struct Vcpu {
    commands: Option<Sender<Command>>,
    replies: Receiver<Result<Reply>>,
    stop: Arc<AtomicBool>,
    pause: Arc<AtomicBool>,
    running: Arc<AtomicBool>,
    /// The number of accesses in all runs.
    accesses: Arc<AtomicU64>,
    failure: Failure,
    thread: Option<JoinHandle<()>>,
}

impl Vcpu {
    /// Starts the thread, on `cpu` if given.
    pub(crate) fn new(
        fd: VcpuFd,
        memory: GuestMemoryMmap,
        cpu: Option<usize>,
        on_access: OnAccess,
        failure: Failure,
    ) -> Result<Self> {
        extern "C" fn nothing(_: i32, _: *mut libc::siginfo_t, _: *mut libc::c_void) {}
        // The signal interrupts ioctl(KVM_RUN).
        register_signal_handler(SIGRTMIN(), nothing)?;
        let (commands, inbox) = mpsc::channel();
        let (outbox, replies) = mpsc::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let pause = Arc::new(AtomicBool::new(false));
        let running = Arc::new(AtomicBool::new(false));
        let accesses = Arc::new(AtomicU64::new(0));
        let inside = Inside {
            fd,
            _memory: memory,
            on_access,
            stop: stop.clone(),
            pause: pause.clone(),
            running: running.clone(),
            accesses: accesses.clone(),
            failure: failure.clone(),
        };
        let thread = thread::Builder::new()
            .name("vcpu".into())
            .spawn(move || inside.serve(cpu, &inbox, &outbox))?;
        Ok(Self {
            commands: Some(commands),
            replies,
            stop,
            pause,
            running,
            accesses,
            failure,
            thread: Some(thread),
        })
    }

    /// Starts the guest with these registers.
    ///
    /// # Errors
    ///
    /// The thread has ended, after an error that [`wait`](Vcpu::wait) has returned.
    pub fn start(&self, regs: Registers) -> Result<()> {
        self.running.store(true, Ordering::SeqCst);
        self.tell(Command::Run(Box::new(regs)))
    }

    /// Waits until the guest has written to [`layout::DONE`]; returns the number of returns to the
    /// VMM.
    ///
    /// `happened` counts rings and interrupts. Whenever it grows, the timeout `limit` starts anew.
    pub(crate) fn finish(&self, limit: Duration, happened: impl Fn() -> u64) -> Result<u64> {
        match self.reply(limit, happened)? {
            Reply::Ran(returns) => Ok(returns),
            _ => bail!("the reply is for another command"),
        }
    }

    /// Returns a flag that is true from [`start`](Vcpu::start) until the run has ended. A thread that waits
    /// for something that the guest does checks it, since the guest may have ended with an error.
    pub fn running(&self) -> Arc<AtomicBool> {
        self.running.clone()
    }

    /// Waits until the guest has written to [`layout::DONE`]; returns the number of its accesses.
    ///
    /// # Errors
    ///
    /// The handler of an access has failed, the guest has ended in another way, or another vCPU has failed.
    /// Or the guest has made no access for a long time: it waits for an interrupt that does not come.
    pub fn wait(&self) -> Result<u64> {
        self.finish(LIMIT, || self.accesses.load(Ordering::Relaxed))
    }

    pub(crate) fn tsc(&self) -> Result<Tsc> {
        self.tell(Command::Tsc)?;
        match self.reply(LIMIT, || 0)? {
            Reply::Tsc(tsc) => Ok(tsc),
            _ => bail!("the reply is for another command"),
        }
    }

    fn tell(&self, command: Command) -> Result<()> {
        let to = self.commands.as_ref();
        let told = to.is_some_and(|to| to.send(command).is_ok());
        ensure!(told, "the vCPU's thread has ended");
        Ok(())
    }

    fn reply(&self, limit: Duration, happened: impl Fn() -> u64) -> Result<Reply> {
        let mut last = (happened(), Instant::now());
        while last.1.elapsed() < limit {
            match self.replies.recv_timeout(CHECK_INTERVAL) {
                Ok(reply) => return reply,
                Err(RecvTimeoutError::Disconnected) => bail!("the vCPU's thread has ended"),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if let Some(failure) = self.failure.get() {
                self.interrupt();
                bail!("another vCPU has failed: {failure}");
            }
            let now = happened();
            if now != last.0 {
                last = (now, Instant::now());
            }
        }
        let end = match self.interrupt() {
            true => self.replies.try_recv().ok().and_then(Result::err),
            false => Some(anyhow!("it cannot be interrupted")),
        };
        bail!(
            "the guest has not finished, and made no progress for {} s ({:#})\n  an interrupt was \
             lost, or guests hang with the KVM of this machine; in a virtual machine, nested \
             virtualization of its host may be the cause",
            limit.as_secs(),
            end.unwrap_or_else(|| anyhow!("it is not running"))
        )
    }

    /// Ends the thread, in any state of the guest; returns false if it does not end.
    ///
    /// A signal just before KVM_RUN has no effect, so it is repeated.
    fn interrupt(&self) -> bool {
        self.stop.store(true, Ordering::SeqCst);
        let Some(thread) = &self.thread else {
            return true;
        };
        let start = Instant::now();
        while !thread.is_finished() && start.elapsed() < PATIENCE {
            if thread.kill(SIGRTMIN()).is_err() {
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
        thread.is_finished()
    }
}

impl Drop for Vcpu {
    fn drop(&mut self) {
        // Without commands the thread ends by itself, unless it is in the guest.
        self.commands = None;
        if self.interrupt() {
            if let Some(thread) = self.thread.take() {
                let _ = thread.join();
            }
        }
    }
}

/// The state of the thread.
struct Inside {
    fd: VcpuFd,
    /// The guest's memory, kept as long as the guest may use it.
    _memory: GuestMemoryMmap,
    on_access: OnAccess,
    stop: Arc<AtomicBool>,
    pause: Arc<AtomicBool>,
    running: Arc<AtomicBool>,
    accesses: Arc<AtomicU64>,
    failure: Failure,
}

impl Inside {
    fn serve(
        mut self,
        cpu: Option<usize>,
        inbox: &Receiver<Command>,
        outbox: &Sender<Result<Reply>>,
    ) {
        let mut pinned = cpu.map_or(Ok(()), crate::testbench::pin);
        for command in inbox {
            let reply = std::mem::replace(&mut pinned, Ok(())).and_then(|()| match command {
                Command::Run(regs) => self.start(&regs),
                Command::GoOn => self.run(),
                Command::Tsc => self.tsc().map(Reply::Tsc),
                #[cfg(target_arch = "x86_64")]
                Command::State => VcpuState::of(&self.fd).map(|s| Reply::State(Box::new(s))),
                #[cfg(target_arch = "x86_64")]
                Command::SetState(state) => state.restore(&self.fd).map(|()| Reply::Set),
            });
            self.running.store(false, Ordering::SeqCst);
            if let Err(error) = &reply {
                // Later errors may follow from the first one.
                let _ = self.failure.set(format!("{error:#}"));
            }
            if outbox.send(reply).is_err() || self.stop.load(Ordering::SeqCst) {
                return;
            }
        }
    }

    fn start(&mut self, regs: &Registers) -> Result<Reply> {
        boot::set_registers(&self.fd, regs)?;
        self.run()
    }

    fn run(&mut self) -> Result<Reply> {
        let mut returns = 0;
        loop {
            if self.stop.load(Ordering::SeqCst) {
                let at = boot::position(&self.fd)?;
                bail!("interrupted at code+{:#x}", at.wrapping_sub(layout::CODE));
            }
            if self.pause.load(Ordering::SeqCst) {
                self.complete()?;
                return Ok(Reply::Paused);
            }
            let access = match self.fd.run() {
                Ok(exit) if boot::is_done(&exit)? => break,
                Ok(VcpuExit::IoOut(port, data)) => Access::PortWrite(port, data),
                Ok(VcpuExit::MmioWrite(address, data)) => Access::MmioWrite(address, data),
                Ok(VcpuExit::MmioRead(address, data)) => {
                    data.fill(0);
                    Access::MmioRead(address, data)
                }
                Ok(exit) => {
                    let what = format!("{exit:?}");
                    let at = boot::position(&self.fd)?;
                    bail!("the guest ended with {what} at {at:#x}");
                }
                Err(error) if error.errno() == libc::EINTR => continue,
                Err(error) => return Err(anyhow!(error).context("run the guest")),
            };
            returns += 1;
            self.accesses.fetch_add(1, Ordering::Relaxed);
            (self.on_access)(access)?;
        }
        self.complete()?;
        Ok(Reply::Ran(returns))
    }

    /// Completes an access. It is complete, and the registers can be read and changed, only after KVM has been
    /// entered once more.
    fn complete(&mut self) -> Result<()> {
        self.fd.set_kvm_immediate_exit(1);
        let entered = self.fd.run().map(|exit| format!("{exit:?}"));
        self.fd.set_kvm_immediate_exit(0);
        match entered {
            Err(error) if error.errno() == libc::EINTR => {}
            Err(error) => return Err(anyhow!(error).context("leave the guest")),
            Ok(exit) => bail!("the guest went on: {exit}"),
        }
        Ok(())
    }

    /// Reads the guest's TSC, or arm64's counter, between two readings of the clock. Of several results, returns the
    /// one with the shortest time between them.
    fn tsc(&mut self) -> Result<Tsc> {
        let mut best: Option<(Duration, Tsc)> = None;
        for _ in 0..20 {
            let before = Instant::now();
            let ticks = boot::counter(&self.fd)?;
            let took = before.elapsed();
            let tsc = Tsc {
                ticks,
                at: before + took / 2,
            };
            if best.is_none_or(|(least, _)| took < least) {
                best = Some((took, tsc));
            }
        }
        best.map(|(_, tsc)| tsc)
            .context("no reading of the guest's counter")
    }
}
