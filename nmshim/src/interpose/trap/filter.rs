//! The program of the seccomp filter.

use super::entry;
use super::text::{MANY, Text};
use crate::interpose::syscall;
use libc::sock_filter;
use libc::{BPF_ABS, BPF_JEQ, BPF_JGE, BPF_JGT, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_RET, BPF_W};

/// What our filter gives to its signals.
pub const MARK: u16 = 0x6e6d;

#[cfg(target_arch = "x86_64")]
pub const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
pub const ARCHITECTURE: u32 = 0xc000_00b7;

/// What the filter answers to what it traps.
const TRAP: u32 = libc::SECCOMP_RET_TRAP | MARK as u32;

/// Offsets in `struct seccomp_data`: the number, the architecture, and the two halves of the instruction pointer, which
/// stands behind the instruction.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const LOW: u32 = 8;
const HIGH: u32 = 12;

/// The low half of an argument.
const fn argument(i: u32) -> u32 {
    16 + 8 * i
}

/// The filter, with the numbers that are known, and forks.
pub fn program(text: &Text) -> Vec<sock_filter> {
    let allow = ret(libc::SECCOMP_RET_ALLOW);
    let known: Vec<u32> = (0..512)
        .filter(|nr| syscall::is_known((*nr).into()) || entry::FORK == Some((*nr).into()))
        .collect();
    let behind = known.len() as u8 + 2;
    let mut all = vec![
        load(ARCH),
        op(BPF_JMP | BPF_JEQ | BPF_K, 1, 0, ARCHITECTURE),
        allow,
        load(NUMBER),
        // clone is trapped if it is a fork: it shares nothing, and has no stack.
        op(BPF_JMP | BPF_JEQ | BPF_K, 0, 7, libc::SYS_clone as u32),
        load(argument(0)),
        op(BPF_JMP | BPF_JSET | BPF_K, 4, 0, entry::SHARES as u32),
        load(argument(1)),
        op(BPF_JMP | BPF_JEQ | BPF_K, 0, 2, 0),
        load(argument(1) + 4),
        op(BPF_JMP | BPF_JEQ | BPF_K, behind, 0, 0),
        allow,
    ];
    for (i, nr) in known.iter().enumerate() {
        // To behind the others and the answer for numbers that are not known.
        all.push(op(
            BPF_JMP | BPF_JEQ | BPF_K,
            (known.len() - i) as u8,
            0,
            *nr,
        ));
    }
    all.push(allow);
    all.extend(match exact(text) {
        Some(places) => places,
        None => range(text),
    });
    all
}

/// The part that traps the program's instructions alone; `None`: there are too many, or they are 4 GB apart.
fn exact(text: &Text) -> Option<Vec<sock_filter>> {
    let calls = &text.calls;
    let first = high(*calls.first()?);
    if calls.len() >= MANY || calls.iter().any(|at| high(*at) != first) {
        return None;
    }
    let mut all = vec![
        load(HIGH),
        op(BPF_JMP | BPF_JEQ | BPF_K, 1, 0, first),
        ret(libc::SECCOMP_RET_ALLOW),
        load(LOW),
    ];
    for (i, at) in calls.iter().enumerate() {
        all.push(op(
            BPF_JMP | BPF_JEQ | BPF_K,
            (calls.len() - i) as u8,
            0,
            low(*at),
        ));
    }
    all.push(ret(libc::SECCOMP_RET_ALLOW));
    all.push(ret(TRAP));
    Some(all)
}

/// The part that traps all of the text.
fn range(text: &Text) -> Vec<sock_filter> {
    let (start, end) = (text.program.start, text.program.end);
    let allow = ret(libc::SECCOMP_RET_ALLOW);
    vec![
        // Outside if ip <= start ...
        load(HIGH),
        op(BPF_JMP | BPF_JGT | BPF_K, 5, 0, high(start)),
        op(BPF_JMP | BPF_JEQ | BPF_K, 1, 0, high(start)),
        allow,
        load(LOW),
        op(BPF_JMP | BPF_JGT | BPF_K, 1, 0, low(start)),
        allow,
        // ... or ip > end.
        load(HIGH),
        op(BPF_JMP | BPF_JGE | BPF_K, 1, 0, high(end)),
        ret(TRAP),
        op(BPF_JMP | BPF_JEQ | BPF_K, 1, 0, high(end)),
        allow,
        load(LOW),
        op(BPF_JMP | BPF_JGT | BPF_K, 1, 0, low(end)),
        ret(TRAP),
        allow,
    ]
}

fn high(at: usize) -> u32 {
    (at as u64 >> 32) as u32
}

fn low(at: usize) -> u32 {
    at as u32
}

fn load(at: u32) -> sock_filter {
    op(BPF_LD | BPF_W | BPF_ABS, 0, 0, at)
}

fn ret(action: u32) -> sock_filter {
    op(BPF_RET | BPF_K, 0, 0, action)
}

fn op(code: u32, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use libc::c_int;

    /// What the filter says to a call, by the rules of cBPF.
    fn run(program: &[sock_filter], nr: u32, arch: u32, ip: u64) -> u32 {
        run_with(program, nr, arch, ip, [0; 2])
    }

    /// The same for a call with these first arguments.
    fn run_with(program: &[sock_filter], nr: u32, arch: u32, ip: u64, args: [u64; 2]) -> u32 {
        let (mut at, mut value) = (0, 0);
        loop {
            let op = program[at];
            at += 1;
            let jump = |is| usize::from(if is { op.jt } else { op.jf });
            match u32::from(op.code) {
                c if c == BPF_LD | BPF_W | BPF_ABS => {
                    value = match op.k {
                        NUMBER => nr,
                        ARCH => arch,
                        LOW => ip as u32,
                        HIGH => (ip >> 32) as u32,
                        at => (args[(at as usize - 16) / 8] >> (at % 8 * 8)) as u32,
                    }
                }
                c if c == BPF_RET | BPF_K => return op.k,
                c if c == BPF_JMP | BPF_JEQ | BPF_K => at += jump(value == op.k),
                c if c == BPF_JMP | BPF_JSET | BPF_K => at += jump(value & op.k != 0),
                c if c == BPF_JMP | BPF_JGT | BPF_K => at += jump(value > op.k),
                _ => at += jump(value >= op.k),
            }
        }
    }

    #[test]
    fn the_filter_traps_known_numbers_in_the_text() {
        for program_text in [
            0x40_1000..0x52_3000,
            0x5555_5555_4000..0x5555_5560_0000,
            0x5554_ffff_0000..0x5555_0001_0000,
            0x1_ffff_f000..0x4_0000_1000,
        ] {
            let (start, end) = (program_text.start as u64, program_text.end as u64);
            let text = Text {
                program: program_text,
                libraries: usize::MAX,
                calls: Vec::new(),
            };
            let program = program(&text);
            let says = |nr, ip| run(&program, nr as u32, ARCHITECTURE, ip);
            let trap = TRAP;
            let inside = [
                start + 1,
                start + 2,
                end - 1,
                end,
                (start + end) / 2,
                start + (1 << 12),
            ];
            for nr in [libc::SYS_ioctl, libc::SYS_openat, libc::SYS_rt_sigprocmask] {
                for ip in inside {
                    assert_eq!(says(nr, ip), trap, "{nr} {ip:x}");
                }
                for ip in [
                    0,
                    start,
                    end + 1,
                    end + (1 << 33),
                    u64::MAX,
                    start - (1 << 12),
                ] {
                    assert_eq!(says(nr, ip), libc::SECCOMP_RET_ALLOW, "{nr} {ip:x}");
                }
            }
            for ip in inside {
                assert_eq!(says(libc::SYS_futex, ip), libc::SECCOMP_RET_ALLOW);
                assert_eq!(
                    run(&program, libc::SYS_ioctl as u32, 0x4000_0003, ip),
                    libc::SECCOMP_RET_ALLOW
                );
            }
        }
    }

    #[test]
    fn forks_are_trapped_and_other_clones_are_not() {
        let text = Text {
            program: 0x40_1000..0x50_0000,
            libraries: usize::MAX,
            calls: Vec::new(),
        };
        let says = |flags: c_int, stack, ip| {
            let args = [flags as u64, stack];
            run_with(
                &program(&text),
                libc::SYS_clone as u32,
                ARCHITECTURE,
                ip,
                args,
            )
        };
        for flags in [libc::SIGCHLD, libc::CLONE_VFORK | libc::CLONE_NEWUSER] {
            assert_eq!(says(flags, 0, 0x40_2000), TRAP);
            assert_eq!(says(flags, 0, 0x60_0000), libc::SECCOMP_RET_ALLOW);
            for stack in [0x1000, 1 << 32] {
                assert_eq!(says(flags, stack, 0x40_2000), libc::SECCOMP_RET_ALLOW);
            }
        }
        for flags in [libc::CLONE_VM, libc::CLONE_FILES | 17, libc::CLONE_SETTLS] {
            assert_eq!(says(flags, 0, 0x40_2000), libc::SECCOMP_RET_ALLOW);
        }
    }

    #[test]
    fn few_instructions_are_trapped_alone() {
        let calls = vec![0x40_1002, 0x40_2000, 0x40_2001];
        let mut text = Text {
            program: 0x40_1000..0x50_0000,
            libraries: usize::MAX,
            calls,
        };
        let says = |text: &Text, ip| run(&program(text), libc::SYS_ioctl as u32, ARCHITECTURE, ip);
        for ip in [0x40_1002, 0x40_2000, 0x40_2001] {
            assert_eq!(says(&text, ip), TRAP);
        }
        for ip in [0x40_1001, 0x40_1003, 0x40_2002, 0x1_0040_1002] {
            assert_eq!(says(&text, ip), libc::SECCOMP_RET_ALLOW);
        }
        text.calls = (0..MANY - 1).map(|i| 0x40_1000 + 16 * i).collect();
        for (i, at) in text.calls.iter().enumerate() {
            assert_eq!(says(&text, *at as u64), TRAP, "{i}");
        }
        assert!(program(&text).len() < 4096);
        text.calls.push(0x40_0f00);
        assert_eq!(says(&text, 0x40_1003), TRAP, "all of the text");
    }
}
