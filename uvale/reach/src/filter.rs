//! Which system calls are handed over: a filter of classic BPF, which every process that the program starts inherits.

/// One instruction.
pub type Instruction = libc::sock_filter;

/// `AUDIT_ARCH_*` of this processor.
#[cfg(target_arch = "x86_64")]
const ARCH: Option<u32> = Some(0xc000_003e);
/// `AUDIT_ARCH_*` of this processor.
#[cfg(target_arch = "aarch64")]
const ARCH: Option<u32> = Some(0xc000_00b7);
/// Not served on this processor.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const ARCH: Option<u32> = None;

/// Bit of x32's system calls.
const X32: u32 = 0x4000_0000;

/// Calls that are handed over whatever their arguments are: those that may name the device, wait for it, or change
/// what a number of a descriptor means.
const ALL: &[libc::c_long] = &[
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_fcntl,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_clone,
    libc::SYS_clone3,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_sendmsg,
];

/// Those that only older processors have.
#[cfg(target_arch = "x86_64")]
const OLD: &[libc::c_long] = &[
    libc::SYS_poll,
    libc::SYS_select,
    libc::SYS_epoll_wait,
    libc::SYS_open,
    libc::SYS_creat,
    libc::SYS_dup2,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_fork,
    libc::SYS_vfork,
];
/// Those that only older processors have.
#[cfg(not(target_arch = "x86_64"))]
const OLD: &[libc::c_long] = &[];

/// ioctls that change flags of a descriptor or a description, which is to be the program's then (`calls/mapping.rs`).
const FLAGS: [u32; 4] = [
    libc::FIONBIO as u32,
    libc::FIOASYNC as u32,
    libc::FIOCLEX as u32,
    libc::FIONCLEX as u32,
];

/// Flags of the one sendmmsg(2) that is not handed over (`install.rs`): none of them means anything to a local socket,
/// and nobody else sets them all.
pub const PASS_ON: u32 =
    (libc::MSG_NOSIGNAL | libc::MSG_CONFIRM | libc::MSG_DONTROUTE | libc::MSG_MORE).cast_unsigned();

/// The letter of netmap's requests, where it is in their numbers.
const REQUESTS: u32 = (b'i' as u32) << 8;

const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
const IS: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
const IS_AT_LEAST: u32 = libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K;
const HAS: u32 = libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K;
const AND: u32 = libc::BPF_ALU | libc::BPF_AND | libc::BPF_K;
const RETURN: u32 = libc::BPF_RET | libc::BPF_K;

/// Offsets in `seccomp_data`: nr, arch, and the low half of an argument on little-endian processors.
const NR: u32 = 0;
const ARCHITECTURE: u32 = 4;
const fn argument(i: u32) -> u32 {
    16 + 8 * i
}

const fn instruction(code: u32, k: u32, jt: u8, jf: u8) -> Instruction {
    Instruction {
        code: code as u16,
        jt,
        jf,
        k,
    }
}

const ALLOW: Instruction = instruction(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0);
const REFUSE: Instruction =
    instruction(RETURN, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32, 0, 0);
const HAND_OVER: Instruction = instruction(RETURN, libc::SECCOMP_RET_USER_NOTIF, 0, 0);

/// The filter; `None` on processors that are not served. Rings of io_uring are set up only if `allows_rings`: what
/// waits in them cannot be seen.
pub fn program(allows_rings: bool) -> Option<Vec<Instruction>> {
    let mut all = vec![
        instruction(LOAD, ARCHITECTURE, 0, 0),
        instruction(IS, ARCH?, 1, 0),
        ALLOW,
        instruction(LOAD, NR, 0, 0),
        instruction(IS_AT_LEAST, X32, 0, 1),
        ALLOW,
    ];
    // The most frequent first.
    let mut ioctl = vec![instruction(LOAD, argument(1), 0, 0)];
    ioctl.extend(FLAGS.iter().flat_map(|flag| is(*flag)));
    ioctl.push(instruction(AND, 0xff00, 0, 0));
    ioctl.extend(is(REQUESTS));
    ioctl.push(ALLOW);
    when(&mut all, libc::SYS_ioctl, &ioctl);
    for nr in ALL.iter().chain(OLD) {
        when(&mut all, *nr, &[HAND_OVER]);
    }
    if !allows_rings {
        when(&mut all, libc::SYS_io_uring_setup, &[REFUSE]);
    }
    // MAP_SHARED and MAP_SHARED_VALIDATE have this bit; -1 is no descriptor.
    let mmap = [
        instruction(LOAD, argument(3), 0, 0),
        instruction(HAS, libc::MAP_SHARED as u32, 1, 0),
        ALLOW,
        instruction(LOAD, argument(4), 0, 0),
        instruction(IS, u32::MAX, 0, 1),
        ALLOW,
        HAND_OVER,
    ];
    when(&mut all, libc::SYS_mmap, &mmap);
    // A program that may be served passes its listener on before anybody takes its calls.
    let pass = [
        instruction(LOAD, argument(3), 0, 0),
        instruction(IS, PASS_ON, 0, 1),
        ALLOW,
        HAND_OVER,
    ];
    when(&mut all, libc::SYS_sendmmsg, &pass);
    all.push(ALLOW);
    Some(all)
}

/// Hands over if what is loaded is `value`.
fn is(value: u32) -> [Instruction; 2] {
    [instruction(IS, value, 0, 1), HAND_OVER]
}

/// `then`, which ends in an answer, if the call is `nr`.
fn when(all: &mut Vec<Instruction>, nr: libc::c_long, then: &[Instruction]) {
    all.push(instruction(IS, nr as u32, 0, then.len() as u8));
    all.extend_from_slice(then);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the filter answers to a call: the kernel's machine, as far as it is used.
    fn answer(nr: i64, arch: u32, args: [u64; 6]) -> u32 {
        let mut data = (nr as u32).to_le_bytes().to_vec();
        data.extend(arch.to_le_bytes());
        data.extend([0; 8]);
        data.extend(args.iter().flat_map(|a| a.to_le_bytes()));
        let program = program(false).unwrap();
        let (mut at, mut loaded) = (0, 0u32);
        loop {
            let i = program[at];
            at += 1;
            let skip = |is: bool| usize::from(if is { i.jt } else { i.jf });
            match u32::from(i.code) {
                LOAD => {
                    let from = i.k as usize;
                    loaded = u32::from_le_bytes(data[from..from + 4].try_into().unwrap());
                }
                IS => at += skip(loaded == i.k),
                IS_AT_LEAST => at += skip(loaded >= i.k),
                AND => loaded &= i.k,
                HAS => at += skip(loaded & i.k != 0),
                RETURN => return i.k,
                other => panic!("{other}"),
            }
        }
    }

    #[test]
    fn what_is_handed_over() {
        let arch = ARCH.unwrap();
        let is = |nr, args| answer(nr, arch, args) == libc::SECCOMP_RET_USER_NOTIF;
        for nr in ALL.iter().chain(OLD) {
            assert!(is(*nr, [0; 6]), "{nr}");
            assert!(!is(*nr | i64::from(X32), [0; 6]), "{nr} of x32");
            assert_eq!(answer(*nr, arch ^ 1, [0; 6]), libc::SECCOMP_RET_ALLOW);
        }
        use nm_abi::*;
        for request in [
            NIOCTXSYNC, NIOCRXSYNC, NIOCCTRL, NIOCREGIF, NIOCGINFO, NIOCCONFIG,
        ] {
            assert!(is(libc::SYS_ioctl, [3, request.into(), 0, 0, 0, 0]));
        }
        assert!(!is(libc::SYS_ioctl, [3, 0x5401, 0, 0, 0, 0]));
        let map = |flags: i32, fd: i32| is(libc::SYS_mmap, [0, 1, 3, flags as u64, fd as u64, 0]);
        assert!(map(libc::MAP_SHARED, 3) && map(libc::MAP_SHARED_VALIDATE, 3));
        assert!(!map(libc::MAP_PRIVATE, 3) && !map(libc::MAP_SHARED | libc::MAP_ANONYMOUS, -1));
        assert!(is(libc::SYS_ioctl, [3, FLAGS[0].into(), 0, 0, 0, 0]));
        let ring = answer(libc::SYS_io_uring_setup, arch, [0; 6]);
        assert_eq!(ring, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32);
        let pass = |flags: u32| is(libc::SYS_sendmmsg, [3, 0, 1, flags.into(), 0, 0]);
        assert!(pass(0) && pass(libc::MSG_NOSIGNAL as u32) && !pass(PASS_ON));
        assert!(program(true).unwrap().len() < program(false).unwrap().len());
        assert!(!is(libc::SYS_read, [3, 0, 0, 0, 0, 0]) && !is(libc::SYS_write, [0; 6]));
    }
}
