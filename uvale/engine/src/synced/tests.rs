use super::between;
use proptest::prelude::*;

proptest! {
    /// Against the picture: walk the ring from `from` to `to` and mark what is allowed.
    #[test]
    fn between_is_the_walk(n in 1u32..40, a in 0u32..40, b in 0u32..40, head in 0u32..40, cur in 0u32..40) {
        let (from, to, head, cur) = (a % n, b % n, head % n, cur % n);
        let mut seen_head = None;
        let mut ok = false;
        let mut i = from;
        let mut step = 0;
        loop {
            if i == head && seen_head.is_none() { seen_head = Some(step); }
            if i == cur && seen_head.is_some() { ok = true; }
            if i == to { break; }
            i = (i + 1) % n;
            step += 1;
        }
        prop_assert_eq!(between(from, head, cur, to), ok);
    }
}

#[test]
fn an_index_beyond_the_ring_can_pass_only_where_netmap_lets_it() {
    // tail >= head: everything beyond is refused
    assert!(!between(0, 1024, 1024, 1023));
    // wrapped: netmap compares with from and to alone, so indices past the end do pass
    assert!(between(10, 1024, 1024, 9));
}
