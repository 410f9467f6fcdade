//! Threads on one port, signals, forks of threaded programs: each case of `threads.c` in a world of its own,
//! which must be empty afterwards.

#[macro_use]
mod robust_common;

cases! { "threads":
    two_threads_two_rings_one_descriptor = "two-rings-one-descriptor";
    two_threads_two_rings_two_descriptors = "two-rings-two-descriptors";
    several_threads_on_one_ring = "same-ring";
    rx_only_and_tx_only_descriptors_of_one_port = "sides";
    three_threads_in_poll_on_one_descriptor = "poll-same-descriptor";
    seventy_descriptors_on_one_port = "seventy-descriptors";
    closing_while_another_thread_polls = "close-while-polling";
    threads_cancelled_in_poll = "cancel-in-poll";
    fork_while_other_threads_open = "fork-while-others-open";
    fork_while_other_threads_sync = "fork-while-others-sync";
    syncs_in_a_signal_handler = "sync-in-a-signal-handler";
    signals_interrupt_poll = "poll-is-interrupted";
}
