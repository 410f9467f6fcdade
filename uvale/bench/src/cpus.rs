//! Which processors there are, and who runs where.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Processors this process may use, one of each core if that leaves two or more: two threads of
/// one core share what is measured here.
pub fn usable() -> Vec<usize> {
    let Ok(set) = sched_getaffinity(None) else {
        return Vec::new();
    };
    let all: Vec<usize> = (0..CpuSet::MAX_CPU)
        .filter(|cpu| set.is_set(*cpu))
        .collect();
    let cores: Vec<usize> = all
        .iter()
        .copied()
        .filter(|cpu| first_of_core(*cpu, &all))
        .collect();
    if cores.len() >= 2 { cores } else { all }
}

/// Is no sibling of `cpu` with a lower number among `all`?
fn first_of_core(cpu: usize, all: &[usize]) -> bool {
    let path = format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
    let Ok(text) = std::fs::read_to_string(path) else {
        return true;
    };
    !siblings(&text).any(|other| other < cpu && all.contains(&other))
}

/// The numbers in a list as the kernel writes it: `0,4` or `0-1`.
fn siblings(text: &str) -> impl Iterator<Item = usize> {
    text.trim().split(',').flat_map(|part| {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        match (from.parse::<usize>(), to.parse::<usize>()) {
            (Ok(from), Ok(to)) => from..to + 1,
            _ => 0..0,
        }
    })
}

/// Keeps this process on `cpu`.
pub fn pin(cpu: usize) -> Result<(), String> {
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).map_err(|e| format!("cannot run on processor {cpu}: {e}"))
}

/// Senders and receivers over `cpus`: the first sender and the first receiver get one each, the
/// others share the rest, or, where there is none, with their own kind.
pub fn place(cpus: &[usize], senders: usize, receivers: usize) -> (Vec<usize>, Vec<usize>) {
    let (first, second, rest) = match cpus {
        [first, second, rest @ ..] => (*first, *second, rest),
        [only] => (*only, *only, &[][..]),
        [] => (0, 0, &[][..]),
    };
    let mut free = rest.iter().copied();
    let mut side = |own: usize, n: usize| {
        let mut places = vec![own];
        places.extend((1..n).map_while(|_| free.next()));
        let distinct = places.len();
        (0..n).map(|i| places[i % distinct]).collect::<Vec<_>>()
    };
    let tx = side(first, senders);
    let rx = side(second, receivers);
    (tx, rx)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn senders_and_receivers_never_share_where_there_are_two() {
        assert_eq!(place(&[0, 1], 1, 1), (vec![0], vec![1]));
        assert_eq!(place(&[0, 1], 2, 1), (vec![0, 0], vec![1]));
        assert_eq!(place(&[0, 1], 1, 3), (vec![0], vec![1, 1, 1]));
        assert_eq!(place(&[3, 5, 7, 9], 2, 1), (vec![3, 7], vec![5]));
        assert_eq!(
            place(&[3, 5, 7, 9], 1, 8),
            (vec![3], vec![5, 7, 9, 5, 7, 9, 5, 7])
        );
    }

    #[test]
    fn kernel_lists() {
        assert_eq!(siblings("0,4\n").collect::<Vec<_>>(), [0, 4]);
        assert_eq!(siblings("2-3\n").collect::<Vec<_>>(), [2, 3]);
        assert_eq!(siblings("\n").count(), 0);
    }
}
