//! tcpdump and dumpcap on libpcap's netmap module.

use compat_tests::apps::{self, App};
use compat_tests::capture::{self, CLIENT, Frame, SERVER};
use compat_tests::or_skip;
use compat_tests::world::{Program, World};
use rustix::process::Signal;

/// Starts tcpdump writing to `file`, and waits until it listens.
fn listen(world: &World, tcpdump: &App, port: &str, file: &str, more: &[&str]) -> Program {
    let path = world.file(file);
    let path = path.to_string_lossy();
    let arguments = [&["-i", port, "-U", "-w", &path][..], more].concat();
    let program = world.spawn(tcpdump, &arguments);
    program.wait_text("listening on");
    program
}

/// tcpdump until `count` packets came.
fn listen_for(world: &World, tcpdump: &App, port: &str, file: &str, count: usize) -> Program {
    listen(world, tcpdump, port, file, &["-c", &count.to_string()])
}

/// The capture of a pipe's end. The generator ends when the receiver has given every slot back, and
/// a receiver that stops by a count leaves without doing so: it is stopped from outside instead.
fn through_pipe(
    world: &World,
    listener: Program,
    from: &str,
    sent: &[Frame],
    file: &str,
) -> Vec<Frame> {
    world.send(from, sent);
    interrupt(listener);
    read(world, file)
}

/// Ends a program as a person at its terminal would; tcpdump and dumpcap then say what they saw.
fn interrupt(program: Program) -> String {
    program.signal(Signal::INT);
    let mut program = program;
    let status = program.wait();
    assert!(status.success(), "{}", program.said());
    program.said()
}

fn read(world: &World, file: &str) -> Vec<Frame> {
    capture::read(&world.file(file)).expect("a finished capture")
}

/// tcpdump's own idea of which frames of the recording a filter takes.
fn filtered(world: &World, tcpdump: &App, frames: &[Frame], filter: &[&str]) -> Vec<Frame> {
    let (input, output) = (world.file("whole.pcap"), world.file("filtered.pcap"));
    capture::write(&input, frames);
    let (input, output) = (input.to_string_lossy(), output.to_string_lossy());
    world
        .spawn(
            tcpdump,
            &[&["-r", &*input, "-w", &*output][..], filter].concat(),
        )
        .wait_success();
    read(world, "filtered.pcap")
}

#[test]
fn tcpdump_on_a_switch_sees_each_hosts_frames() {
    let tcpdump = or_skip!("tcpdump", apps::tcpdump());
    let world = World::new();
    // one switch for each: on a common one the second host's destinations would be known
    for (host, switch) in [(CLIENT, "vale0"), (SERVER, "vale1")] {
        let sent = capture::recorded_from(host);
        let file = format!("{switch}.pcap");
        let listener = listen_for(&world, &tcpdump, &format!("{switch}:b"), &file, sent.len());
        world.send(&format!("{switch}:a"), &sent);
        listener.wait_success();
        capture::assert_same(switch, &read(&world, &file), &sent);
    }
}

#[test]
fn tcpdump_on_a_pipe_sees_the_whole_capture_in_order() {
    let tcpdump = or_skip!("tcpdump", apps::tcpdump());
    let world = World::new();
    let sent = capture::recorded();
    for (from, to) in [("netmap:x{1", "netmap:x}1"), ("netmap:y}7", "netmap:y{7")] {
        let listener = listen(&world, &tcpdump, to, "pipe.pcap", &[]);
        let arrived = through_pipe(&world, listener, from, &sent, "pipe.pcap");
        capture::assert_same(to, &arrived, &sent);
    }
}

#[test]
fn tcpdump_with_a_filter_takes_what_it_takes_offline() {
    let tcpdump = or_skip!("tcpdump", apps::tcpdump());
    let world = World::new();
    let sent = capture::recorded();
    let filter = ["tcp port 80 and greater 200 or arp"];
    let wanted = filtered(&world, &tcpdump, &sent, &filter);
    assert!(
        !wanted.is_empty() && wanted.len() < sent.len(),
        "a filter that tells frames apart"
    );
    let listener = listen(&world, &tcpdump, "netmap:f}1", "live.pcap", &filter);
    let arrived = through_pipe(&world, listener, "netmap:f{1", &sent, "live.pcap");
    capture::assert_same("filter", &arrived, &wanted);
}

#[test]
fn a_third_port_sees_floods_but_not_learned_destinations() {
    let tcpdump = or_skip!("tcpdump", apps::tcpdump());
    let world = World::new();
    let (client, server) = (
        capture::recorded_from(CLIENT),
        capture::recorded_from(SERVER),
    );
    let groups: Vec<Frame> = server.iter().filter(|f| f.is_group()).cloned().collect();

    let third = listen_for(
        &world,
        &tcpdump,
        "vale0:c",
        "c.pcap",
        client.len() + groups.len(),
    );
    let second = listen_for(&world, &tcpdump, "vale0:b", "b.pcap", client.len());
    // the client's port stays open behind its capture, so that the server's frames have a way home
    let first = listen_for(&world, &tcpdump, "vale0:a", "a.pcap", server.len());
    world.send("vale0:a", &client);
    second.wait_success();
    world.send("vale0:b", &server);
    first.wait_success();
    third.wait_success();

    capture::assert_same("flooded to b", &read(&world, "b.pcap"), &client);
    capture::assert_same("learned at a", &read(&world, "a.pcap"), &server);
    let at_third = [client, groups].concat();
    capture::assert_same("c", &read(&world, "c.pcap"), &at_third);
}

/// Starts dumpcap, and waits until it has opened its file, which it does after the port.
fn dump(world: &World, dumpcap: &App, port: &str, file: &str, more: &[&str]) -> Program {
    let path = world.file(file);
    let path = path.to_string_lossy();
    let program = world.spawn(dumpcap, &[&["-i", port, "-w", &path][..], more].concat());
    program.wait_text("File:");
    program
}

#[test]
fn dumpcap_writes_what_was_sent() {
    let dumpcap = or_skip!("dumpcap", apps::dumpcap());
    let world = World::new();
    let sent = capture::recorded_from(CLIENT);
    let count = sent.len().to_string();
    // both of its file formats: pcapng is its default
    for (file, format) in [("d.pcapng", "-n"), ("d.pcap", "-P")] {
        let listener = dump(&world, &dumpcap, "vale0:c", file, &[format, "-c", &count]);
        world.send("vale0:a", &sent);
        listener.wait_success();
        capture::assert_same(file, &read(&world, file), &sent);
    }
    let whole = capture::recorded();
    let listener = dump(&world, &dumpcap, "netmap:d}3", "pipe.pcapng", &[]);
    let arrived = through_pipe(&world, listener, "netmap:d{3", &whole, "pipe.pcapng");
    capture::assert_same("pipe", &arrived, &whole);
}

#[test]
fn tcpdump_and_dumpcap_on_one_switch_see_the_same() {
    let tcpdump = or_skip!("tcpdump", apps::tcpdump());
    let dumpcap = or_skip!("dumpcap", apps::dumpcap());
    let world = World::new();
    let sent = capture::recorded_from(SERVER);
    let listener = listen_for(&world, &tcpdump, "vale5:t", "t.pcap", sent.len());
    let count = sent.len().to_string();
    let second = dump(&world, &dumpcap, "vale5:d", "d.pcap", &["-P", "-c", &count]);
    world.send("vale5:s", &sent);
    listener.wait_success();
    second.wait_success();
    capture::assert_same("tcpdump", &read(&world, "t.pcap"), &sent);
    capture::assert_same("dumpcap", &read(&world, "d.pcap"), &sent);
}

#[test]
fn tshark_decodes_what_its_own_dumpcap_captures() {
    let tshark = or_skip!("tshark", apps::tshark());
    let world = World::new();
    let sent = capture::recorded_from(CLIENT);
    let count = sent.len().to_string();
    let fields = [
        "-T",
        "fields",
        "-e",
        "frame.number",
        "-e",
        "frame.len",
        "-e",
        "eth.src",
    ];
    // it starts dumpcap and its helpers, which all run under the shim
    let listener = world.spawn(
        &tshark,
        &[&["-i", "vale0:b", "-c", &count][..], &fields].concat(),
    );
    listener.wait_text("Capture started");
    world.send("vale0:a", &sent);
    let mut listener = listener;
    assert!(listener.wait().success(), "{}", listener.said());
    let line = |(i, f): (usize, &Frame)| format!("{}\t{}\t02:00:00:00:00:01\n", i + 1, f.original);
    assert_eq!(
        listener.stdout(),
        sent.iter().enumerate().map(line).collect::<String>()
    );
    assert!(
        !listener.said_since(0).contains("FATAL"),
        "a helper of it failed: {}",
        listener.said()
    );
}

#[test]
fn tcpdump_interrupted_in_poll_flushes_and_frees_its_port() {
    let tcpdump = or_skip!("tcpdump", apps::tcpdump());
    let world = World::new();
    let sent = capture::recorded_from(CLIENT);
    for round in 0..3 {
        let file = format!("int{round}.pcap");
        let listener = listen(&world, &tcpdump, "vale0:b", &file, &[]);
        world.send("vale0:a", &sent);
        let path = world.file(&file);
        compat_tests::wait::wait_for("the frames in the file", || {
            capture::read(&path).is_ok_and(|frames| frames.len() == sent.len())
        });
        // now it sleeps in poll
        let said = interrupt(listener);
        assert!(
            said.contains(&format!("{} packets captured", sent.len())),
            "{said}"
        );
        capture::assert_same("interrupted", &read(&world, &file), &sent);
    }
}

#[test]
fn tcpdump_takes_every_kind_of_name() {
    let tcpdump = or_skip!("tcpdump", apps::tcpdump());
    let world = World::new();
    let sent = capture::recorded_from(CLIENT);
    let count = sent.len().to_string();
    // names that programs in the wild use: letters, no digit, `netmap:` before a switch
    let switches = [
        ("valeA:f", "valeA:g"),
        ("vale:x", "vale:y"),
        ("netmap:vale0:1", "vale0:2"),
        ("vale7:a/R", "vale7:b"),
    ];
    for (to, from) in switches {
        let listener = listen(&world, &tcpdump, to, "name.pcap", &["-c", &count]);
        world.send(from, &sent);
        listener.wait_success();
        capture::assert_same(to, &read(&world, "name.pcap"), &sent);
    }
    // pipes of a switch port, of no interface at all, exclusive and receiving only
    let pipes = [
        ("vale0:1}3", "vale0:1{3"),
        ("netmap:w_lo}1", "netmap:w_lo{1"),
        ("netmap:foo}0/xR", "netmap:foo{0"),
    ];
    for (to, from) in pipes {
        let listener = listen(&world, &tcpdump, to, "name.pcap", &[]);
        let arrived = through_pipe(&world, listener, from, &sent, "name.pcap");
        capture::assert_same(to, &arrived, &sent);
    }
}

#[test]
fn tcpdump_says_why_a_port_can_not_be_opened() {
    let tcpdump = or_skip!("tcpdump", apps::tcpdump());
    let world = World::new();
    let nowhere = world.file("nothing.pcap");
    let cases = [
        ("netmap:nosuchif9", "No such device or address"),
        ("netmap:x{one", "Invalid argument"),
        (
            "vale0:a-longer-name-than-a-port-can-have",
            "Invalid argument",
        ),
    ];
    for (port, why) in cases {
        let mut program = world.spawn(&tcpdump, &["-i", port, "-w", &nowhere.to_string_lossy()]);
        assert_eq!(program.wait().code(), Some(1), "{}", program.said());
        assert!(
            program
                .said()
                .contains(&format!("cannot access {port}: {why}")),
            "{}",
            program.said()
        );
    }
}

#[test]
fn tcpdump_that_gives_up_root_goes_on_capturing() {
    let tcpdump = or_skip!("tcpdump", apps::tcpdump());
    if !rustix::process::geteuid().is_root() {
        let why = compat_tests::Skip::optional("not root: nothing to give up");
        return compat_tests::report_skip("tcpdump -Z", &why);
    }
    let world = World::new();
    let sent = capture::recorded_from(CLIENT);
    let count = sent.len().to_string();
    // it changes to that user after the port is open, as Debian's own does by default
    let listener = listen(
        &world,
        &tcpdump,
        "vale0:b",
        "z.pcap",
        &["-Z", "nobody", "-c", &count],
    );
    world.send("vale0:a", &sent);
    listener.wait_success();
    capture::assert_same("another user", &read(&world, "z.pcap"), &sent);
}

#[test]
fn everything_in_one_private_run() {
    let tcpdump = or_skip!("tcpdump", apps::tcpdump());
    let world = World::new();
    let sent = capture::recorded();
    let script = r#"
        "$TCPDUMP" -i 'netmap:s}1' -U -w "$OUT" 2>"$OUT.log" &
        until grep -q 'listening on' "$OUT.log"; do kill -0 $! || exit 9; sleep 0.05; done
        "$UVALE" gen -i 'netmap:s{1' -f tx --pcap "$IN" || exit 8
        kill $!; wait $!
    "#;
    let out = world.file("private.pcap");
    let uvale = &compat_tests::target::binaries().uvale;
    let mut command = std::process::Command::new(uvale);
    command
        .args(["run", "--private", "--", "sh", "-c", script])
        .env_remove("UVALE_DIR");
    command
        .env("TCPDUMP", &tcpdump.path)
        .env("UVALE", uvale)
        .env("OUT", &out);
    command.env("IN", compat_tests::target::data("http.pcap"));
    command.env(
        "LD_LIBRARY_PATH",
        tcpdump.libraries.expect("tcpdump runs on our libpcap"),
    );
    Program::start("uvale run --private", command).wait_success();
    capture::assert_same("private run", &read(&world, "private.pcap"), &sent);
}
