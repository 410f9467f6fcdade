//! A mapping keeps its port: each case of `mapped.c` in a world of its own, which must be empty afterwards.

#[macro_use]
mod robust_common;

cases! { "mapped":
    as_long_as_one_page_is_there = "page-by-page";
    calls_that_fail_change_nothing = "refused-unmapping";
    unmapping_by_the_number_of_the_call = "by-number";
    what_is_mapped_over_it_takes_its_place = "mapped-over";
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
