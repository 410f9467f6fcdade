//! Programs of the classic packet filter that receiving sockets carry.

use rustix::fd::AsFd;
use rustix::io::Errno;
use uvale_system::sys::{Instruction, attach_filter, set_program};

use super::option;

/// `linux/if_packet.h`: the packet leaves this host.
const PACKET_OUTGOING: u32 = 4;

/// What the kernel knows of a packet besides its bytes.
const fn load(what: i32) -> Instruction {
    statement(
        libc::BPF_LD | libc::BPF_W | libc::BPF_ABS,
        (libc::SKF_AD_OFF + what) as u32,
    )
}

const fn statement(code: u32, k: u32) -> Instruction {
    jump(code, k, 0, 0)
}

/// Skips so many statements if the value loaded is `k`, and so many if not.
const fn if_equal(k: u32, yes: u8, no: u8) -> Instruction {
    jump(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, k, yes, no)
}

const fn jump(code: u32, k: u32, jt: u8, jf: u8) -> Instruction {
    (code as u16, jt, jf, k)
}

const NOTHING: Instruction = statement(libc::BPF_RET | libc::BPF_K, 0);
const ALL: Instruction = statement(libc::BPF_RET | libc::BPF_K, u32::MAX);

/// The socket sees nothing.
pub(crate) fn close(fd: impl AsFd) -> Result<(), Errno> {
    attach_filter(fd, &[NOTHING])
}

/// The socket sees what arrives, but not what this host sends, nor what carries the mark `mark`.
pub(crate) fn arriving(fd: impl AsFd, mark: Option<u32>) -> Result<(), Errno> {
    let outgoing = [
        load(libc::SKF_AD_PKTTYPE),
        if_equal(PACKET_OUTGOING, 0, 1),
        NOTHING,
    ];
    let marked = mark.map(|mark| [load(libc::SKF_AD_MARK), if_equal(mark, 0, 1), NOTHING]);
    let program: Vec<Instruction> = outgoing
        .into_iter()
        .chain(marked.into_iter().flatten())
        .chain([ALL])
        .collect();
    attach_filter(fd, &program)
}

/// Says which socket of a fanout group sees a packet: the one of the queue that it came by, as netmap's
/// emulated adapter has it. The kernel counts queues from 1, 0 is none.
pub(crate) fn by_queue(fd: impl AsFd) -> Result<(), Errno> {
    let program = [
        load(libc::SKF_AD_QUEUE),
        if_equal(0, 1, 0),
        statement(libc::BPF_ALU | libc::BPF_SUB | libc::BPF_K, 1),
        statement(libc::BPF_RET | libc::BPF_A, 0),
    ];
    set_program(fd, libc::SOL_PACKET, option::FANOUT_DATA, &program)
}
