// SPDX-License-Identifier: GPL-2.0-only

//! The state of a vCPU, for a guest that goes on in another VM.

use anyhow::{Context, Result};
use kvm_bindings::{kvm_lapic_state, kvm_mp_state, kvm_regs, kvm_sregs, kvm_vcpu_events};
use kvm_ioctls::VcpuFd;
use serde::{Deserialize, Serialize};

/// The interrupts in service, of 256 vectors in registers of 32 bits that are 16 bytes apart.
const APIC_ISR: usize = 0x100;
/// The interrupts that wait for service.
const APIC_IRR: usize = 0x200;

/// The state of a vCPU: registers, the APIC with its interrupts, an interrupt that is being delivered, and
/// whether the vCPU halts.
///
/// It does not have the FPU and the model-specific registers, apart from those of the APIC and the mode: the
/// guests of this crate use no others.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VcpuState {
    regs: kvm_regs,
    sregs: kvm_sregs,
    lapic: kvm_lapic_state,
    events: kvm_vcpu_events,
    mp_state: kvm_mp_state,
}

impl VcpuState {
    pub(crate) fn of(fd: &VcpuFd) -> Result<Self> {
        Ok(Self {
            mp_state: fd.get_mp_state().context("read the vCPU's state")?,
            regs: fd.get_regs()?,
            sregs: fd.get_sregs()?,
            lapic: fd.get_lapic().context("read the vCPU's APIC")?,
            events: fd.get_vcpu_events()?,
        })
    }

    /// Restores the state. The vCPU has its CPUID.
    pub(crate) fn restore(&self, fd: &VcpuFd) -> Result<()> {
        // The mode of the APIC is in these, so it comes before the APIC.
        fd.set_sregs(&self.sregs).context("set the vCPU's state")?;
        fd.set_lapic(&self.lapic).context("set the vCPU's APIC")?;
        fd.set_regs(&self.regs)?;
        fd.set_vcpu_events(&self.events)?;
        fd.set_mp_state(self.mp_state)?;
        Ok(())
    }

    /// Returns true if the APIC has the interrupt `vector`, whether or not the guest handles it already.
    pub fn has_interrupt(&self, vector: u8) -> bool {
        let at = usize::from(vector / 32) * 16 + usize::from(vector % 32 / 8);
        [APIC_ISR, APIC_IRR]
            .iter()
            .any(|base| self.lapic.regs[base + at] as u8 & (1 << (vector % 8)) != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> VcpuState {
        VcpuState {
            regs: kvm_regs::default(),
            sregs: kvm_sregs::default(),
            lapic: kvm_lapic_state::default(),
            events: kvm_vcpu_events::default(),
            mp_state: kvm_mp_state::default(),
        }
    }

    #[test]
    fn interrupt_is_found_by_its_bit() {
        let mut state = state();
        assert!(!state.has_interrupt(0x41));
        // Vector 0x41 is bit 1 of the third register.
        state.lapic.regs[APIC_IRR + 0x20] = 1 << 1;
        assert!(state.has_interrupt(0x41));
        assert!(!state.has_interrupt(0x40) && !state.has_interrupt(0x49));
        state.lapic.regs[APIC_IRR + 0x20] = 0;
        // Vector 0xff is the last bit of the last register.
        state.lapic.regs[APIC_ISR + 0x73] = 0x80u8 as _;
        assert!(state.has_interrupt(0xff));
        assert!(!state.has_interrupt(0xf7));
    }

    #[test]
    fn state_survives_its_text() {
        let mut state = state();
        state.regs.r14 = u64::MAX;
        state.lapic.regs[0x221] = 2;
        let text = serde_json::to_string(&state).unwrap();
        let again: VcpuState = serde_json::from_str(&text).unwrap();
        assert_eq!(again.regs, state.regs);
        assert_eq!(again.lapic, state.lapic);
    }
}
