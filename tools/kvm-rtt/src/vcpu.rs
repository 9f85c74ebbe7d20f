// SPDX-License-Identifier: GPL-2.0-only

//! A vCPU's thread.
//!
//! KVM wants a vCPU to be used by one thread. Others tell that thread what to do, and have the
//! answer within a time limit: a guest that hangs, because an interrupt was lost or because KVM
//! does not work on this machine, is interrupted by a signal.

use crate::{layout, wiring::Address};
use anyhow::{anyhow, bail, ensure, Context, Result};
use kvm_bindings::{kvm_msr_entry, kvm_regs, Msrs};
use kvm_ioctls::{VcpuExit, VcpuFd};
use std::{
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
        Arc,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};
use vm_memory::GuestMemoryMmap;
use vmm_sys_util::signal::{register_signal_handler, Killable, SIGRTMIN};

/// For that long no guest of ours does nothing, even where everything is emulated.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// How long a thread is given to notice a signal.
const PATIENCE: Duration = Duration::from_secs(5);

const MSR_TSC: u32 = 0x10;

/// What is called when the guest writes where KVM knows of nobody.
pub(crate) type OnWrite = Arc<dyn Fn(Address) -> Result<()> + Send + Sync>;

enum Command {
    Run(kvm_regs),
    Tsc,
}

/// A reading of the guest's TSC.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tsc {
    pub(crate) ticks: u64,
    pub(crate) at: Instant,
}

enum Answer {
    /// How often it came back to the VMM.
    Ran(u64),
    Tsc(Tsc),
}

pub(crate) struct Vcpu {
    commands: Option<Sender<Command>>,
    answers: Receiver<Result<Answer>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Vcpu {
    /// Starts its thread, on `cpu` if there is one to choose.
    pub(crate) fn new(
        fd: VcpuFd,
        memory: GuestMemoryMmap,
        cpu: Option<usize>,
        on_write: OnWrite,
    ) -> Result<Self> {
        extern "C" fn nothing(_: i32, _: *mut libc::siginfo_t, _: *mut libc::c_void) {}
        // What it interrupts is ioctl(KVM_RUN).
        register_signal_handler(SIGRTMIN(), nothing)?;
        let (commands, inbox) = mpsc::channel();
        let (outbox, answers) = mpsc::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let inside = Inside {
            fd,
            _memory: memory,
            on_write,
            stop: stop.clone(),
        };
        let thread = thread::Builder::new()
            .name("vcpu".into())
            .spawn(move || inside.serve(cpu, &inbox, &outbox))?;
        Ok(Self {
            commands: Some(commands),
            answers,
            stop,
            thread: Some(thread),
        })
    }

    /// Has the guest begin with these registers.
    pub(crate) fn start(&self, regs: kvm_regs) -> Result<()> {
        self.tell(Command::Run(regs))
    }

    /// Waits until it has written to [`layout::DONE`]; returns how often it came back to the VMM.
    /// As long as `happened`, which counts rings and interrupts, grows within `limit`, there is
    /// hope.
    pub(crate) fn finish(&self, limit: Duration, happened: impl Fn() -> u64) -> Result<u64> {
        match self.answer(limit, happened)? {
            Answer::Ran(returns) => Ok(returns),
            Answer::Tsc(_) => bail!("not what was asked for"),
        }
    }

    pub(crate) fn tsc(&self) -> Result<Tsc> {
        self.tell(Command::Tsc)?;
        match self.answer(LIMIT, || 0)? {
            Answer::Tsc(tsc) => Ok(tsc),
            Answer::Ran(_) => bail!("not what was asked for"),
        }
    }

    fn tell(&self, command: Command) -> Result<()> {
        let to = self.commands.as_ref();
        let told = to.is_some_and(|to| to.send(command).is_ok());
        ensure!(told, "the vCPU's thread has ended");
        Ok(())
    }

    fn answer(&self, limit: Duration, happened: impl Fn() -> u64) -> Result<Answer> {
        let mut last = (happened(), Instant::now());
        while last.1.elapsed() < limit {
            match self.answers.recv_timeout(LOOK) {
                Ok(answer) => return answer,
                Err(RecvTimeoutError::Disconnected) => bail!("the vCPU's thread has ended"),
                Err(RecvTimeoutError::Timeout) => {}
            }
            let now = happened();
            if now != last.0 {
                last = (now, Instant::now());
            }
        }
        let end = match self.interrupt() {
            true => self.answers.try_recv().ok().and_then(Result::err),
            false => Some(anyhow!("it cannot be interrupted")),
        };
        bail!(
            "the guest has not finished, and for {} s nothing has happened ({:#})\n  an interrupt \
             was lost, or guests hang with the KVM of this machine: in a virtual machine, does \
             its host do nested virtualization right?",
            limit.as_secs(),
            end.unwrap_or_else(|| anyhow!("it is not running"))
        )
    }

    /// Ends the thread, whatever it is doing; false if it does not end.
    ///
    /// A signal that comes just before KVM_RUN has no effect. So there is one after the other.
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
        // Without commands it ends by itself, if it is not in the guest.
        self.commands = None;
        if self.interrupt() {
            if let Some(thread) = self.thread.take() {
                let _ = thread.join();
            }
        }
    }
}

/// What belongs to the thread.
struct Inside {
    fd: VcpuFd,
    /// The guest's, which so stays as long as the guest may use it.
    _memory: GuestMemoryMmap,
    on_write: OnWrite,
    stop: Arc<AtomicBool>,
}

impl Inside {
    fn serve(
        mut self,
        cpu: Option<usize>,
        inbox: &Receiver<Command>,
        outbox: &Sender<Result<Answer>>,
    ) {
        let mut pinned = cpu.map_or(Ok(()), crate::rig::pin);
        for command in inbox {
            let answer = std::mem::replace(&mut pinned, Ok(())).and_then(|()| match command {
                Command::Run(regs) => self.run(&regs).map(Answer::Ran),
                Command::Tsc => self.tsc().map(Answer::Tsc),
            });
            if outbox.send(answer).is_err() || self.stop.load(Ordering::SeqCst) {
                return;
            }
        }
    }

    fn run(&mut self, regs: &kvm_regs) -> Result<u64> {
        self.fd.set_regs(regs)?;
        let mut returns = 0;
        loop {
            if self.stop.load(Ordering::SeqCst) {
                let rip = self.fd.get_regs()?.rip;
                bail!("interrupted at code+{:#x}", rip.wrapping_sub(layout::CODE));
            }
            let address = match self.fd.run() {
                Ok(VcpuExit::IoOut(layout::DONE, _)) => break,
                Ok(VcpuExit::IoOut(port, _)) => Address::Pio(port),
                Ok(VcpuExit::MmioWrite(address, _)) => Address::Mmio(address),
                Ok(exit) => {
                    let what = format!("{exit:?}");
                    let regs = self.fd.get_regs()?;
                    bail!("the guest ended with {what} at {:#x}", regs.rip);
                }
                Err(error) if error.errno() == libc::EINTR => continue,
                Err(error) => return Err(anyhow!(error).context("run the guest")),
            };
            returns += 1;
            (self.on_write)(address)?;
        }
        // The write to the port is complete, and the registers can be changed, only when KVM has
        // been entered once more.
        self.fd.set_kvm_immediate_exit(1);
        let entered = self.fd.run().map(|exit| format!("{exit:?}"));
        self.fd.set_kvm_immediate_exit(0);
        match entered {
            Err(error) if error.errno() == libc::EINTR => {}
            Err(error) => return Err(anyhow!(error).context("leave the guest")),
            Ok(exit) => bail!("the guest went on: {exit}"),
        }
        Ok(returns)
    }

    /// The guest's TSC as of the moment in between two looks at the clock: those of several that
    /// were closest to each other.
    fn tsc(&mut self) -> Result<Tsc> {
        let mut best: Option<(Duration, Tsc)> = None;
        for _ in 0..20 {
            let entry = kvm_msr_entry {
                index: MSR_TSC,
                ..Default::default()
            };
            let mut msrs = Msrs::from_entries(&[entry])?;
            let before = Instant::now();
            let got = self
                .fd
                .get_msrs(&mut msrs)
                .context("read the guest's TSC")?;
            let took = before.elapsed();
            ensure!(got == 1, "KVM does not let the guest's TSC be read");
            let tsc = Tsc {
                ticks: msrs.as_slice()[0].data,
                at: before + took / 2,
            };
            if best.is_none_or(|(least, _)| took < least) {
                best = Some((took, tsc));
            }
        }
        best.map(|(_, tsc)| tsc).context("no reading of the TSC")
    }
}
