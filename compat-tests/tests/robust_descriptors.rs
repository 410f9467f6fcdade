//! fork, vfork, exec, dup, SCM_RIGHTS and closing in every order: each case of `descriptors.c` in a world of
//! its own, which must be empty afterwards.

#[macro_use]
mod robust_common;

cases! { "descriptors":
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
    passed_to_a_child = "scm-to-child";
    passed_to_a_program_that_knows_nothing_of_it = "scm-unrelated";
    used_by_two_of_which_one_is_killed = "scm-killed";
    passed_and_never_received = "scm-never-received";
}
