// SPDX-License-Identifier: GPL-2.0-only

//! Pauses of the guest, between any two of its instructions.

use super::{Command, Reply, Vcpu};
#[cfg(target_arch = "x86_64")]
use crate::state::VcpuState;
use anyhow::{bail, Context, Result};
use std::{
    sync::{
        atomic::Ordering,
        mpsc::{RecvTimeoutError, TryRecvError},
    },
    time::Duration,
};
use vmm_sys_util::signal::{Killable, SIGRTMIN};

/// The interval of the signals. One that arrives just before KVM_RUN has no effect.
const REPEAT: Duration = Duration::from_millis(10);

impl Vcpu {
    /// Pauses the guest, which runs; returns true if it has written to [`DONE`](crate::layout::DONE) instead.
    ///
    /// An access that the guest has begun is complete. [`go_on`](Vcpu::go_on) ends the pause.
    ///
    /// # Errors
    ///
    /// Those of [`wait`](Vcpu::wait).
    pub fn pause(&self) -> Result<bool> {
        self.pause.store(true, Ordering::SeqCst);
        let thread = self.thread.as_ref().context("there is no thread")?;
        let reply = loop {
            thread.kill(SIGRTMIN()).context("interrupt the vCPU")?;
            match self.replies.recv_timeout(REPEAT) {
                Ok(reply) => break reply,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => bail!("the vCPU's thread has ended"),
            }
        };
        self.pause.store(false, Ordering::SeqCst);
        match reply? {
            Reply::Ran(_) => Ok(true),
            Reply::Paused => Ok(false),
            _ => bail!("the reply is for another command"),
        }
    }

    /// Lets a paused guest go on, or one whose state was set.
    ///
    /// # Errors
    ///
    /// The thread has ended.
    pub fn go_on(&self) -> Result<()> {
        self.running.store(true, Ordering::SeqCst);
        self.tell(Command::GoOn)
    }

    /// Returns true if the guest has written to [`DONE`](crate::layout::DONE) since it was started.
    ///
    /// # Errors
    ///
    /// Those of [`wait`](Vcpu::wait).
    pub fn has_ended(&self) -> Result<bool> {
        match self.replies.try_recv() {
            Err(TryRecvError::Empty) => Ok(false),
            Err(TryRecvError::Disconnected) => bail!("the vCPU's thread has ended"),
            Ok(reply) => match reply? {
                Reply::Ran(_) => Ok(true),
                _ => bail!("the reply is for another command"),
            },
        }
    }

    /// Returns the state of the vCPU, whose guest is paused.
    ///
    /// # Errors
    ///
    /// KVM cannot read it.
    #[cfg(target_arch = "x86_64")]
    pub fn state(&self) -> Result<Box<VcpuState>> {
        match self.ask(Command::State)? {
            Reply::State(state) => Ok(state),
            _ => bail!("the reply is for another command"),
        }
    }

    /// Sets the state of the vCPU, whose guest was not started. [`go_on`](Vcpu::go_on) starts it.
    ///
    /// Interrupts that the APIC has already are replaced by those of the state. So call it before any eventfd is
    /// KVM's irqfd.
    ///
    /// # Errors
    ///
    /// KVM refuses the state.
    #[cfg(target_arch = "x86_64")]
    pub fn set_state(&self, state: &VcpuState) -> Result<()> {
        match self.ask(Command::SetState(Box::new(state.clone())))? {
            Reply::Set => Ok(()),
            _ => bail!("the reply is for another command"),
        }
    }

    /// Makes the thread execute `command`, which does not run the guest; returns the reply.
    #[cfg(target_arch = "x86_64")]
    fn ask(&self, command: Command) -> Result<Reply> {
        self.tell(command)?;
        let reply = self.replies.recv();
        reply.context("the vCPU's thread has ended")?
    }
}
