// SPDX-License-Identifier: GPL-2.0-only

//! A guest for QEMU that consists of a driver for `ivshmem-doorbell`: 64 KiB of firmware, which
//! start at once, without BIOS or kernel.
//!
//! On the first serial port the guest sends `R` when it is ready, or `N` if it finds no such
//! device. It begins when it receives a byte. If its task is to answer, it sends `A` then, and
//! answers from there on.
//!
//! Send the byte after QEMU has read the server's messages. If a guest enables MSI-X earlier, QEMU
//! aborts with KVM: it has no route for the vectors yet.

/// The task of the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    /// Rings in batches. For each batch the guest sends eight bytes: the difference of its time
    /// stamp counter. Then QEMU ends, by `isa-debug-exit`.
    Write {
        /// Rings in a batch.
        writes: u32,
        /// Batches.
        batches: u32,
    },
    /// Answers each interrupt of its vector 0 by ringing.
    Answer,
}

/// The byte that a ready guest sends.
pub const READY: u8 = b'R';
/// The byte that a guest sends when it begins to answer.
pub const ANSWERS: u8 = b'A';
/// The byte that a guest without the device sends.
pub const NO_DEVICE: u8 = b'N';
/// The I/O port of QEMU's `isa-debug-exit`.
pub const EXIT_PORT: u16 = 0xf4;

/// Returns the firmware of a guest that rings vector `vector` of peer `peer`; none if there is no
/// guest for this architecture.
pub fn image(job: Job, peer: u16, vector: u16) -> Option<Vec<u8>> {
    const SIZE: usize = 0x10000;
    const RESET: usize = SIZE - 16;
    let code = code()?;
    let mut image = vec![0xf4; SIZE];
    image[..code.len()].copy_from_slice(code);
    let (mode, writes, batches) = match job {
        Job::Write { writes, batches } => (0, writes, batches),
        Job::Answer => (1, 0, 0),
    };
    let value = (u32::from(peer) << 16) | u32::from(vector);
    for (at, parameter) in [mode, value, writes, batches].into_iter().enumerate() {
        image[4 + 4 * at..][..4].copy_from_slice(&parameter.to_le_bytes());
    }
    // The CPU starts here. The jump over the last 13 bytes wraps to the beginning.
    image[RESET..RESET + 3].copy_from_slice(&[0xe9, 13, 0]);
    Some(image)
}

#[cfg(not(target_arch = "x86_64"))]
fn code() -> Option<&'static [u8]> {
    None
}

#[cfg(target_arch = "x86_64")]
fn code() -> Option<&'static [u8]> {
    extern "C" {
        static doorbell_guest_start: u8;
        static doorbell_guest_end: u8;
    }
    // SAFETY: Both are labels in one section, the end behind the start. The bytes between are never
    // written.
    Some(unsafe {
        let start = &raw const doorbell_guest_start;
        let len = (&raw const doorbell_guest_end).offset_from(start);
        std::slice::from_raw_parts(start, len as usize)
    })
}

// The firmware is at the last 64 KiB below 4 GiB. Its stack and its interrupt descriptors are in
// the first 64 KiB. Registers in 32-bit code: ebp is the image, ebx the device in configuration
// space, edi the device's registers.
#[cfg(target_arch = "x86_64")]
std::arch::global_asm!(
    r#"
    .pushsection .rodata.doorbell_guest, "a", @progbits
    .balign 16
    .globl doorbell_guest_start
    .hidden doorbell_guest_start
    .globl doorbell_guest_end
    .hidden doorbell_guest_end
doorbell_guest_start:
    .code16
    jmp 20f
    .balign 4
    .long 0                                     # 4: the task
    .long 0                                     # 8: the value for the doorbell register
    .long 0                                     # 12: writes in a batch
    .long 0                                     # 16: batches
    .long 0xffff0000 + (30f - doorbell_guest_start) # 20: the interrupt handler
12: .quad 0                                     # GDT: none, code, data
    .quad 0x00cf9b000000ffff
    .quad 0x00cf93000000ffff
13: .word 23
    .long 0xffff0000 + (12b - doorbell_guest_start)

20: cli
    .byte 0x2e, 0x66, 0x0f, 0x01, 0x16          # lgdtl cs:
    .word 13b - doorbell_guest_start
    mov eax, cr0
    or al, 1
    mov cr0, eax
    .byte 0x66, 0xea                            # ljmpl to the next instruction
    .long 0xffff0000 + (21f - doorbell_guest_start)
    .word 8

    .code32
21: mov eax, 16
    mov ds, eax
    mov es, eax
    mov ss, eax
    mov esp, 0x7000
    mov ebp, 0xffff0000

    # Bus 0, all slots.
    mov ebx, 0x80000000
22: xor eax, eax
    call 40f
    cmp eax, 0x11101af4
    je 23f
    add ebx, 0x800
    cmp ebx, 0x80010000
    jb 22b
33: mov al, 'N'
    call 43f
    jmp 29f

    # Map its registers and its MSI-X table; enable memory decoding and bus mastering.
23: mov edi, 0xe0000000
    mov eax, 0x10
    mov ecx, edi
    call 41f
    mov eax, 0x14
    mov ecx, 0xe0001000
    call 41f
    mov eax, 0x04
    mov ecx, 6
    call 41f
    mov al, 'R'
    call 43f
    call 44f
    cmp dword ptr [ebp + 4], 0
    jne 27f

    # Writes.
    mov esi, [ebp + 16]
24: rdtsc
    push edx
    push eax
    mov eax, [ebp + 8]
    mov ecx, [ebp + 12]
25: mov [edi + 12], eax
    dec ecx
    jnz 25b
    rdtsc
    pop ecx
    sub eax, ecx
    pop ecx
    sbb edx, ecx
    mov ecx, 8
26: call 43f
    shrd eax, edx, 8
    shr edx, 8
    dec ecx
    jnz 26b
    dec esi
    jnz 24b
    jmp 29f

    # Answers. Capability 0x11 is MSI-X, and its highest bit enables it.
27: mov eax, 0x34
    call 40f
28: movzx eax, al
    test eax, eax
    jz 33b
    mov esi, eax
    call 40f
    cmp al, 0x11
    mov al, ah
    jne 28b
    mov ecx, eax
    mov cl, 0x11
    or ecx, 0x80000000
    mov eax, esi
    call 41f
    # Vector 0 is interrupt 0x40 of the first local APIC.
    mov dword ptr [0xe0001000], 0xfee00000
    mov dword ptr [0xe0001004], 0
    mov dword ptr [0xe0001008], 0x40
    mov dword ptr [0xe000100c], 0
    mov eax, [ebp + 20]
    mov [0x1200], ax
    mov word ptr [0x1202], 8
    mov word ptr [0x1204], 0x8e00
    shr eax, 16
    mov [0x1206], ax
    mov word ptr [0x0ff0], 0x7ff
    mov dword ptr [0x0ff2], 0x1000
    .byte 0x0f, 0x01, 0x1d                      # lidt 0xff0
    .long 0x0ff0
    # No interrupts from elsewhere.
    mov al, 0xff
    out 0x21, al
    out 0xa1, al
    mov dword ptr [0xfee000f0], 0x1ff
    mov al, 'A'
    call 43f
    sti
31: hlt
    jmp 31b

    # The handler: end of interrupt, and the answer.
30: push eax
    mov dword ptr [0xfee000b0], 0
    mov eax, [ebp + 8]
    mov [edi + 12], eax
    pop eax
    iretd

    # The end.
29: xor eax, eax
    out 0xf4, al
32: cli
    hlt
    jmp 32b

    # eax = configuration space of ebx at eax
40: push edx
    or eax, ebx
    mov edx, 0xcf8
    out dx, eax
    mov edx, 0xcfc
    in eax, dx
    pop edx
    ret

    # configuration space of ebx at eax = ecx
41: push edx
    or eax, ebx
    mov edx, 0xcf8
    out dx, eax
    mov edx, 0xcfc
    mov eax, ecx
    out dx, eax
    pop edx
    ret

    # Sends al.
43: push edx
    push eax
    mov edx, 0x3fd
42: in al, dx
    test al, 0x20
    jz 42b
    pop eax
    mov edx, 0x3f8
    out dx, al
    pop edx
    ret

    # Waits for a byte.
44: mov edx, 0x3fd
45: in al, dx
    test al, 1
    jz 45b
    mov edx, 0x3f8
    in al, dx
    ret
doorbell_guest_end:
    .code64
    .popsection
"#
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_has_reset_vector_and_parameters() {
        let Some(image) = image(
            Job::Write {
                writes: 3,
                batches: 4,
            },
            5,
            6,
        ) else {
            return;
        };
        assert_eq!(image.len(), 0x10000);
        assert_eq!(image[0xfff0..0xfff3], [0xe9, 13, 0]);
        // A short jump over the parameters.
        assert_eq!(image[0], 0xeb);
        let word = |at: usize| u32::from_le_bytes(image[at..at + 4].try_into().unwrap());
        assert_eq!([4, 8, 12, 16].map(word), [0, 0x50006, 3, 4]);
        // The jump leads to cli, and the handler's address to push eax.
        assert_eq!(image[2 + image[1] as usize], 0xfa);
        assert_eq!(image[word(20) as usize - 0xffff_0000], 0x50);
    }

    #[test]
    fn code_leaves_room_for_the_reset_vector() {
        assert!(code().is_none_or(|code| code.len() < 0x1000));
    }
}
