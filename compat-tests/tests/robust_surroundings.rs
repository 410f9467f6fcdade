//! Handlers that work, jump and end threads, asynchronous cancellation: each case of `surroundings.c`
//! in a world of its own, which must be empty afterwards.

#[macro_use]
mod robust_common;

cases! { "surroundings":
    a_handler_syncs_opens_and_waits_on_the_set_it_interrupted = "handler-works";
    a_handler_sends_to_regions_that_are_just_being_mapped = "handler-maps";
    a_handler_jumps_out_of_a_sync = "jump-out-of-a-sync";
    a_handler_jumps_out_of_a_wait = "jump-out-of-poll";
    a_handler_ends_its_thread = "handler-ends-its-thread";
    threads_that_are_cancelled_asynchronously = "asynchronous-cancellation";
    a_program_sees_its_own_handlers = "handlers-are-the-programs";
    ignored_signals_end_no_wait = "ignored-signals";
    one_of_two_waiters_gives_up = "one-of-two-waiters";
}
