use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use packet::{FLOW_HASH_MULTIPLIER, protocol};

/// Makes the TUN device give every packet to the queue of its flow: [`packet::flow_hash`] modulo `lanes`. Left alone, the kernel
/// learns the queue from what is written, with a seed of its own, and two busy ends move flows about all the time.
pub(crate) fn steer(tun: impl AsFd, lanes: usize) -> io::Result<()> {
    let program = load(&program(lanes as i32))?;
    // SAFETY: the descriptor is open, and the kernel reads the one number that the pointer refers to; the device keeps a reference
    // of its own to the program.
    unsafe { ioctl::set_steering(tun.as_fd().as_raw_fd(), &program.as_raw_fd()) }?;
    Ok(())
}

fn load(program: &[Instruction]) -> io::Result<OwnedFd> {
    let attributes = LoadAttributes {
        kind: SOCKET_FILTER,
        instruction_count: program.len() as u32,
        instructions: program.as_ptr() as u64,
        licence: LICENCE.as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
    };
    // SAFETY: the attributes are laid out as the kernel's for this command, of the stated size, and what they point to lives until the
    // call returns.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            PROG_LOAD,
            &raw const attributes,
            size_of::<LoadAttributes>(),
        )
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given us this descriptor, and nobody else knows of it.
    let file = unsafe { File::from_raw_fd(fd as libc::c_int) };
    Ok(file.into())
}

/// The hash as [`packet::flow_hash`] describes it. A load beyond the end of the packet ends the program at 0.
fn program(lanes: i32) -> Vec<Instruction> {
    let mut asm = Assembler::default();
    asm.op(MOV_REG, CONTEXT, 1, 0);
    asm.op(MOV, FOLDED, 0, 0);
    asm.load(BYTE, 0);
    asm.op(MOV_REG, TRANSPORT, 0, 0);
    asm.op(AND, TRANSPORT, 0, 15);
    asm.op(LSH, TRANSPORT, 0, 2);
    asm.op(RSH, 0, 0, 4);
    asm.jump(JEQ, 0, 4, "version 4");
    asm.jump(JEQ, 0, 6, "version 6");
    asm.op(MOV, 0, 0, 0);
    asm.op(EXIT, 0, 0, 0);

    asm.label("version 4");
    for word in [12, 16] {
        asm.load(WORD, word);
        asm.op(XOR_REG, FOLDED, 0, 0);
    }
    asm.load(HALF, 6);
    asm.op(AND, 0, 0, 0x3fff);
    asm.op(MOV_REG, FRAGMENT, 0, 0);
    asm.load(BYTE, 9);
    asm.jump(JNE, FRAGMENT, 0, "finish");
    asm.jump(JA, 0, 0, "ports");

    asm.label("version 6");
    for word in (8..40).step_by(4) {
        asm.load(WORD, word);
        asm.op(XOR_REG, FOLDED, 0, 0);
    }
    asm.op(MOV, TRANSPORT, 0, 40);
    asm.load(BYTE, 6);

    asm.label("ports");
    asm.op(MOV_REG, PROTOCOL, 0, 0);
    asm.jump(JEQ, PROTOCOL, protocol::TCP.into(), "load");
    asm.jump(JNE, PROTOCOL, protocol::UDP.into(), "finish");
    asm.label("load");
    asm.op(LOAD_INDIRECT, 0, TRANSPORT, 0);
    asm.op(XOR_REG, FOLDED, PROTOCOL, 0);
    asm.op(MOV_REG, PROTOCOL, 0, 0);
    asm.op(RSH, 0, 0, 16);
    asm.op(XOR_REG, FOLDED, 0, 0);
    asm.op(AND, PROTOCOL, 0, 0xffff);
    asm.op(XOR_REG, FOLDED, PROTOCOL, 0);

    asm.label("finish");
    asm.op(MOV_REG, 0, FOLDED, 0);
    asm.op(RSH, 0, 0, 16);
    asm.op(XOR_REG, 0, FOLDED, 0);
    asm.op(MUL, 0, 0, FLOW_HASH_MULTIPLIER.cast_signed());
    asm.op(RSH, 0, 0, 16);
    asm.op(MOD, 0, 0, lanes.max(1));
    asm.op(EXIT, 0, 0, 0);
    asm.finish()
}

/// An instruction as the kernel reads it (`struct bpf_insn`).
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct Instruction {
    code: u8,
    /// Destination in the low half, source in the high half.
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// The part of `union bpf_attr` for loading a program, as far as it is needed.
#[repr(C)]
struct LoadAttributes {
    kind: u32,
    instruction_count: u32,
    instructions: u64,
    licence: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
}

/// Writes instructions and fills in the jumps, which all go forward.
#[derive(Default)]
struct Assembler {
    program: Vec<Instruction>,
    pending: Vec<(usize, &'static str)>,
}

impl Assembler {
    fn op(&mut self, code: u8, destination: u8, source: u8, immediate: i32) {
        let [low, high] = if cfg!(target_endian = "little") {
            [destination, source]
        } else {
            [source, destination]
        };
        self.program.push(Instruction {
            code,
            registers: low | high << 4,
            offset: 0,
            immediate,
        });
    }

    /// Loads from the packet into register 0, in host byte order.
    fn load(&mut self, size: u8, at: i32) {
        self.op(LOAD_ABSOLUTE | size, 0, 0, at);
    }

    fn jump(&mut self, code: u8, register: u8, value: i32, label: &'static str) {
        self.pending.push((self.program.len(), label));
        self.op(code, register, 0, value);
    }

    fn label(&mut self, label: &'static str) {
        let here = self.program.len();
        self.pending.retain(|(from, wanted)| {
            if *wanted == label {
                self.program[*from].offset = (here - from - 1) as i16;
            }
            *wanted != label
        });
    }

    fn finish(self) -> Vec<Instruction> {
        debug_assert!(self.pending.is_empty(), "a label is missing");
        self.program
    }
}

/// The kernel's request, as a function.
mod ioctl {
    nix::ioctl_write_ptr_bad!(set_steering, libc::TUNSETSTEERINGEBPF, libc::c_int);
}

// Registers that survive a load: 6 to 9; loads want the context in 6. One is used twice, because a fragment has no ports.
const CONTEXT: u8 = 6;
const FOLDED: u8 = 7;
const TRANSPORT: u8 = 8;
const FRAGMENT: u8 = 9;
const PROTOCOL: u8 = 9;

// Codes (linux/bpf_common.h, linux/bpf.h). Arithmetic is on 32 bits.
const ALU32: u8 = 0x04;
const REG: u8 = 0x08;
const AND: u8 = ALU32 | 0x50;
const LSH: u8 = ALU32 | 0x60;
const RSH: u8 = ALU32 | 0x70;
const MUL: u8 = ALU32 | 0x20;
const MOD: u8 = ALU32 | 0x90;
const MOV: u8 = ALU32 | 0xb0;
const XOR_REG: u8 = ALU32 | 0xa0 | REG;
/// On 64 bits, for it also moves the context.
const MOV_REG: u8 = 0x07 | 0xb0 | REG;
const JA: u8 = 0x05;
const JEQ: u8 = 0x05 | 0x10;
const JNE: u8 = 0x05 | 0x50;
const EXIT: u8 = 0x05 | 0x90;
const LOAD_ABSOLUTE: u8 = 0x20;
const LOAD_INDIRECT: u8 = 0x40;
const WORD: u8 = 0x00;
const HALF: u8 = 0x08;
const BYTE: u8 = 0x10;

const PROG_LOAD: libc::c_int = 5;
const SOCKET_FILTER: u32 = 1;
/// The kernel asks; the program calls nothing that depends on it.
const LICENCE: &[u8] = b"Dual MIT/GPL\0";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The part of `union bpf_attr` for trying a program out, as far as it is needed.
    #[repr(C)]
    #[derive(Default)]
    struct TestAttributes {
        program: u32,
        result: u32,
        input_len: u32,
        output_len: u32,
        input: u64,
        output: u64,
        repeat: u32,
        duration: u32,
    }

    /// What the kernel makes of a packet; nothing if it does not take one so short for a packet.
    fn run(program: &OwnedFd, packet: &[u8]) -> Option<u32> {
        // It wants an Ethernet header, which the program does not see.
        let mut frame = vec![0; 14];
        let version = packet.first().map_or(0, |byte| byte >> 4);
        frame[12..].copy_from_slice(if version == 6 { &[0x86, 0xdd] } else { &[0x08, 0x00] });
        frame.extend_from_slice(packet);
        let mut attributes = TestAttributes {
            program: program.as_raw_fd() as u32,
            input_len: frame.len() as u32,
            input: frame.as_ptr() as u64,
            ..TestAttributes::default()
        };
        // SAFETY: the attributes are laid out as the kernel's for this command, of the stated size, and the kernel reads the frame,
        // which lives until the call returns, and writes the result.
        let returned = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                PROG_TEST_RUN,
                &raw mut attributes,
                size_of::<TestAttributes>(),
            )
        };
        (returned == 0).then_some(attributes.result)
    }

    const PROG_TEST_RUN: libc::c_int = 10;

    fn may_load() -> bool {
        let is_root = nix::unistd::geteuid().is_root();
        let must = std::env::var_os("TOMBOLO_TEST_NO_SKIP").is_some_and(|value| value == "1");
        assert!(is_root || !must, "not skipped: only root may load programs");
        if !is_root {
            eprintln!("skipped: only root may load programs");
        }
        is_root
    }

    /// Packets that look like ones: the bytes that the hash reads are likely to be what it distinguishes.
    fn packets() -> impl Strategy<Value = Vec<u8>> {
        let first = prop_oneof![Just(0x45u8), Just(0x46), Just(0x4f), Just(0x60), any::<u8>()];
        let next = prop_oneof![
            Just(protocol::TCP),
            Just(protocol::UDP),
            Just(protocol::ICMP),
            any::<u8>()
        ];
        let fragment = prop_oneof![Just([0u8, 0]), Just([0x40, 0]), any::<[u8; 2]>()];
        let bytes = proptest::collection::vec(any::<u8>(), 40..120);
        (bytes, first, next, fragment).prop_map(|(mut bytes, first, next, fragment)| {
            bytes[0] = first;
            let at = if first >> 4 == 6 { 6 } else { 9 };
            if first >> 4 == 4 {
                bytes[6..8].copy_from_slice(&fragment);
            }
            bytes[at] = next;
            bytes
        })
    }

    #[test]
    fn the_kernel_and_the_description_agree_on_every_packet() {
        if !may_load() {
            return;
        }
        for lanes in [1, 2, 3, 16] {
            let program = load(&program(lanes)).unwrap();
            let tried = std::cell::Cell::new(0);
            proptest!(ProptestConfig::with_cases(512), |(packet in packets())| {
                if let Some(lane) = run(&program, &packet) {
                    tried.set(tried.get() + 1);
                    prop_assert_eq!(lane, packet::flow_hash(&packet) % lanes as u32);
                }
            });
            assert!(tried.get() > 400, "the kernel took only {}", tried.get());
        }
    }
}
