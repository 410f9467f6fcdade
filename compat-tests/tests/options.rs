//! Options of requests in real programs: their own memory as the region, packets with offsets, CSB mode and
//! sync loops. Each case in a world of its own, which must be empty afterwards.

use compat_tests::cases;
use compat_tests::place::Place;
use compat_tests::programs::program;
use rustix::process::Signal;

cases! { extmem, "options/extmem":
    anonymous_private_memory = "anonymous-private";
    anonymous_shared_memory = "anonymous-shared";
    memory_from_malloc = "malloced";
    huge_pages = "huge-pages";
    a_file_of_one_process = "file-of-one-process";
    a_file_mapped_twice = "file-mapped-twice";
    a_file_of_two_processes = "file-of-two-processes";
    the_same_memory_twice = "same-memory-twice";
    threads_at_the_same_time = "at-the-same-time";
    processes_at_the_same_time = "processes-at-the-same-time";
    two_halves_of_a_mapping = "two-halves";
    a_pipe_and_a_memory_id = "pipe-and-memory-id";
    buffers_change_sides = "buffers-change-sides";
    bad_memory = "bad-memory";
    the_stack = "the-stack";
    busy_and_refused = "busy-and-refused";
    after_close = "after-close";
    over_a_fork = "over-a-fork";
    killed = "killed";
}

cases! { offsets, "options/offsets":
    through_a_switch = "switched";
    in_another_process = "in-another-process";
    through_a_pipe = "piped";
}

cases! { kloop, "options/kloop":
    asleep = "asleep";
    by_eventfds = "by-eventfds";
    directly = "directly";
    two_ends_of_a_pipe = "two-ends-of-a-pipe";
    no_syncs_in_csb_mode = "no-syncs-in-csb-mode";
    bad_csbs = "bad-csbs";
    refusals = "refusals";
}

cases! { kloop_ends, "options/kloop_ends":
    stop_before_start = "stop-before-start";
    stop_waits = "stop-waits";
    stopped_by_others = "stopped-by-others";
    signals_in_the_loop = "signals-in-the-loop";
    closed_while_it_runs = "closed-while-it-runs";
    the_looping_process_dies = "the-looping-process-dies";
    csb_unmapped = "csb-unmapped";
    wild_csb = "wild-csb";
    left_running = "left-running";
}

/// A loop ends with the daemon.
#[test]
fn a_loop_ends_with_the_daemon() {
    let path = compat_tests::or_skip!("a loop's end", program("options/kloop_ends"));
    for events in [false, true] {
        let mut place = Place::new();
        let mut command = place.command(&path);
        command.arg("until-the-daemon-ends");
        if events {
            command.env("EVENTS", "1");
        }
        let program = compat_tests::world::Program::start("kloop", command);
        program.wait_line("ready", |l| l == "ready");
        place.signal_daemon(Signal::KILL);
        program.wait_success();
    }
}
