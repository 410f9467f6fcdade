//! Each case of a program that has several, in a world of its own that must be empty afterwards.

use compat_tests::cases;

// fork, vfork, exec, dup and closing in every order.
cases! { descriptors, "descriptors":
    parent_and_child_send_and_the_parent_exits_first = "fork";
    two_children_sleep_on_one_description = "fork-both-sleep";
    a_child_binds_what_its_parent_uses = "child-binds";
    exec_with_an_open_descriptor = "fork-exec";
    vfork_and_exec = "vfork-exec";
    close_on_exec = "cloexec";
    nonblock_changes_nothing_but_the_flag = "nonblock";
    duplicates_closed_in_every_order = "dup-orders";
    dup2_over_a_device_and_of_a_device = "dup2-over";
    close_twice_and_the_number_used_again = "close-twice";
    programs_that_close_everything = "close-everything";
    after_closing_everything_all_numbers_are_the_programs = "numbers-stay-the-programs";
}

// SCM_RIGHTS.
cases! { passed, "passed":
    to_a_child = "to-child";
    to_a_program_that_knows_nothing_of_it = "unrelated";
    used_by_two_of_which_one_is_killed = "killed";
    and_never_received = "never-received";
}

// A mapping keeps its port.
cases! { mapped, "mapped":
    as_long_as_one_page_is_there = "page-by-page";
    calls_that_fail_change_nothing = "refused-unmapping";
    unmapping_by_the_number_of_the_call = "by-number";
    what_is_mapped_over_it_takes_its_place = "mapped-over";
    what_is_attached_over_it_takes_its_place = "attached-over";
    moved_shortened_and_lengthened = "moved";
    a_second_mapping_of_the_same = "second-mapping";
    what_is_moved_over_it_takes_its_place = "moved-over";
    numbers_are_as_if_nothing_was_kept = "numbers";
    closing_everything_closes_what_is_not_mapped = "close-everything";
    without_a_number_left_the_close_is_one = "no-number-left";
    children_have_mappings_of_their_own = "forks";
    an_epoll_set_tells_it_from_what_has_its_number_now = "number-reused";
    an_epoll_set_with_it_rests = "set-rests";
    threads_map_unmap_and_fork = "threads";
    a_handler_unmaps_while_the_program_does = "handler";
}

// Bad pointers.
cases! { pointers, "pointers":
    without_the_device = "without-the-device";
    with_the_device = "with-the-device";
    paths_that_do_not_end = "paths-without-an-end";
    a_program_that_ignores_faults = "ignored-faults";
}

// Handlers that work, jump and end threads, asynchronous cancellation.
cases! { surroundings, "surroundings":
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

// Threads on one port, signals, forks of threaded programs.
cases! { threads, "threads":
    two_threads_two_rings_one_descriptor = "two-rings-one-descriptor";
    two_threads_two_rings_two_descriptors = "two-rings-two-descriptors";
    several_threads_on_one_ring = "same-ring";
    rx_only_and_tx_only_descriptors_of_one_port = "sides";
    three_threads_in_poll_on_one_descriptor = "poll-same-descriptor";
    seventy_descriptors_on_one_port = "seventy-descriptors";
    closing_while_another_thread_polls = "close-while-polling";
    a_number_that_is_polled_becomes_something_else = "number-reused-while-polling";
    threads_cancelled_in_poll = "cancel-in-poll";
    fork_while_other_threads_open = "fork-while-others-open";
    fork_while_other_threads_sync = "fork-while-others-sync";
    fork_while_other_threads_list = "fork-while-others-list";
    syncs_in_a_signal_handler = "sync-in-a-signal-handler";
    signals_interrupt_poll = "poll-is-interrupted";
}
