// SPDX-License-Identifier: GPL-2.0-only

//! What the guest does.
//!
//! It is assembled with this crate, put among its constants, and copied into the guest's memory; it
//! is never executed here. It refers to nothing but itself, relative to where it is. See it by
//! `objdump -d -j .rodata.kvm_rtt -M intel` of the built library (`libkvm_rtt.rlib`).
//!
//! All of it runs at privilege level 0, in 64-bit mode. It does not set itself up: the VMM sets
//! these registers and the instruction pointer before each run.
//!
//! | register | |
//! |---|---|
//! | rdi | where the next time stamp goes |
//! | rsi, r8w | the MMIO address, or I/O port, that is written to |
//! | r9d | how many writes to make, not zero |
//! | r10d | what is written |
//! | r13 | where interrupts are counted, for all vCPUs to see |
//! | r14d | how many interrupts to wait for, if it makes no writes |
//! | rsp | a stack |
//! | rflags | interrupts are off |
//!
//! rax, rcx, rdx and r11 are for use by the code, and all but r11 by the handler: it comes where
//! nothing is in them.

use crate::layout::DONE;

std::arch::global_asm!(
    r#"
	.pushsection .rodata.kvm_rtt, "a", @progbits
# For the rest of this crate, which may be compiled in several pieces.
	.irp	name, code, pio, mmio, vmcall, vmmcall, circle, ask, answer, interrupt, code_end
	.globl	kvm_rtt_\name
	.hidden	kvm_rtt_\name
	.endr

# What time it is goes to the next place.
	.macro	stamp
	rdtsc
	shl	rdx, 32
	or	rax, rdx
	mov	[rdi], rax
	add	rdi, 8
	.endm

kvm_rtt_code:
# All is done. The VMM sets the registers anew before it goes on.
kvm_rtt_done:
	mov	edx, {done}
	out	dx, al
	jmp	kvm_rtt_done

# Writes to an I/O port. A stamp before the first and after each: n + 1.
kvm_rtt_pio:
	stamp
1:	mov	edx, r8d
	mov	eax, r10d
	out	dx, eax
	stamp
	dec	r9d
	jnz	1b
	jmp	kvm_rtt_done

# The same to an MMIO address.
kvm_rtt_mmio:
	stamp
1:	mov	[rsi], r10d
	stamp
	dec	r9d
	jnz	1b
	jmp	kvm_rtt_done

# The same with hypercalls: 1 is KVM_HC_VAPIC_POLL_IRQ, which does nothing. Intel's instruction ...
kvm_rtt_vmcall:
	stamp
1:	mov	eax, 1
	vmcall
	stamp
	dec	r9d
	jnz	1b
	jmp	kvm_rtt_done

# ... and AMD's.
kvm_rtt_vmmcall:
	stamp
1:	mov	eax, 1
	vmmcall
	stamp
	dec	r9d
	jnz	1b
	jmp	kvm_rtt_done

# Writes to an MMIO address, and waits for an interrupt each time. Stamps: one before each write,
# and the handler's; 2n. An idle CPU would wait like this: it looks with interrupts off, and what
# comes after that ends the hlt, for sti lets nothing through before it. An interrupt that comes
# right after the write is taken there.
kvm_rtt_circle:
1:	mov	r11d, [r13]
	stamp
	sti
	mov	[rsi], r10d
2:	cli
	cmp	r11d, [r13]
	jne	3f
	sti
	hlt
	jmp	2b
3:	dec	r9d
	jnz	1b
	jmp	kvm_rtt_done

# The same when another vCPU is interrupted, which this one sees by the count. Both stamps are
# from here: the CPUs' clocks need not agree. 2n.
kvm_rtt_ask:
1:	mov	r11d, [r13]
	stamp
	mov	[rsi], r10d
2:	pause
	cmp	r11d, [r13]
	je	2b
	stamp
	dec	r9d
	jnz	1b
	jmp	kvm_rtt_done

# The other vCPU: waits for n interrupts. Stamps: the handler's; n.
kvm_rtt_answer:
1:	cli
	test	r14d, r14d
	jz	kvm_rtt_done
	sti
	hlt
	jmp	1b

# An interrupt: is counted, stamped, and acknowledged (x2APIC's EOI, whose value is zero).
kvm_rtt_interrupt:
	inc	dword ptr [r13]
	stamp
	dec	r14d
	mov	ecx, 0x80b
	xor	eax, eax
	xor	edx, edx
	wrmsr
	iretq
kvm_rtt_code_end:

	.purgem	stamp
	.popsection
"#,
    done = const DONE,
);

extern "C" {
    static kvm_rtt_code: u8;
    static kvm_rtt_code_end: u8;
    static kvm_rtt_pio: u8;
    static kvm_rtt_mmio: u8;
    static kvm_rtt_vmcall: u8;
    static kvm_rtt_vmmcall: u8;
    static kvm_rtt_circle: u8;
    static kvm_rtt_ask: u8;
    static kvm_rtt_answer: u8;
    static kvm_rtt_interrupt: u8;
}

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Pio,
    Mmio,
    Vmcall,
    Vmmcall,
    Circle,
    Ask,
    Answer,
    Interrupt,
}

impl Entry {
    /// How far that is from the beginning of the code.
    pub(crate) fn offset(self) -> u64 {
        let at = match self {
            Entry::Pio => &raw const kvm_rtt_pio,
            Entry::Mmio => &raw const kvm_rtt_mmio,
            Entry::Vmcall => &raw const kvm_rtt_vmcall,
            Entry::Vmmcall => &raw const kvm_rtt_vmmcall,
            Entry::Circle => &raw const kvm_rtt_circle,
            Entry::Ask => &raw const kvm_rtt_ask,
            Entry::Answer => &raw const kvm_rtt_answer,
            Entry::Interrupt => &raw const kvm_rtt_interrupt,
        };
        (at.addr() - (&raw const kvm_rtt_code).addr()) as u64
    }

    /// How many time stamps `n` writes leave.
    pub(crate) fn stamps(self, n: u32) -> usize {
        let n = n as usize;
        match self {
            Entry::Circle | Entry::Ask => 2 * n,
            Entry::Answer => n,
            _ => n + 1,
        }
    }

    /// What `stamps` say of each write, in ticks.
    pub(crate) fn ticks(self, stamps: &[u64]) -> Vec<u64> {
        let took = |pair: &[u64]| pair[1].wrapping_sub(pair[0]);
        match self {
            Entry::Circle | Entry::Ask => stamps.chunks_exact(2).map(took).collect(),
            _ => stamps.windows(2).map(took).collect(),
        }
    }
}

/// The code.
pub(crate) fn code() -> &'static [u8] {
    let start = &raw const kvm_rtt_code;
    let len = (&raw const kvm_rtt_code_end).addr() - start.addr();
    // SAFETY: The assembler puts one behind the other, and what is between them are constants.
    unsafe { std::slice::from_raw_parts(start, len) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Entry; 8] = [
        Entry::Pio,
        Entry::Mmio,
        Entry::Vmcall,
        Entry::Vmmcall,
        Entry::Circle,
        Entry::Ask,
        Entry::Answer,
        Entry::Interrupt,
    ];

    #[test]
    fn code_fits_its_page() {
        assert!((100..0x1000).contains(&code().len()), "{}", code().len());
    }

    #[test]
    fn entries_are_in_the_code_and_begin_as_they_should() {
        for entry in ALL {
            let begin = &code()[entry.offset() as usize..];
            let expected: &[u8] = match entry {
                // rdtsc
                Entry::Pio | Entry::Mmio | Entry::Vmcall | Entry::Vmmcall => &[0x0f, 0x31],
                // mov r11d, [r13]
                Entry::Circle | Entry::Ask => &[0x45, 0x8b, 0x5d, 0x00],
                // cli
                Entry::Answer => &[0xfa],
                // inc dword ptr [r13]
                Entry::Interrupt => &[0x41, 0xff, 0x45, 0x00],
            };
            assert!(begin.starts_with(expected), "{entry:?}: {begin:x?}");
        }
        // mov edx, DONE; out dx, al
        assert!(code().starts_with(&[0xba, 0x00, 0x05, 0x00, 0x00, 0xee]));
        // iretq
        assert!(code().ends_with(&[0x48, 0xcf]));
    }

    #[test]
    fn stamps_are_of_writes_or_of_pairs() {
        assert_eq!(Entry::Pio.stamps(3), 4);
        assert_eq!(Entry::Pio.ticks(&[10, 13, 17, 30]), [3, 4, 13]);
        assert_eq!(Entry::Circle.stamps(2), 4);
        assert_eq!(Entry::Circle.ticks(&[10, 13, 17, 30]), [3, 13]);
        assert_eq!(Entry::Ask.ticks(&[u64::MAX, 4]), [5]);
        assert_eq!(Entry::Answer.stamps(5), 5);
    }
}
